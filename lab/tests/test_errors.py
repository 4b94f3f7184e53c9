# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Errors of queues while data moves: repaired or contained, and nothing lost."""

import pytest

from vm.load import copy_and_compare

CPUS = 4
NAMES = {1: "illegal command", 2: "abort on command fetch", 3: "ATC invalidation time-out",
         4: "illegal access", 77: "unknown error"}
# Whoever waits for longer says so
HANGS = "(CMDQ|CMD_SYNC) timeout"


@pytest.fixture
def errors(boot):
    """A host that may say what happened to its queues, and nothing else."""
    return lambda **options: boot(cpus=CPUS, expected=["VINTF0: VCMDQ"],
                                  **{"cmdqv": {}, **options})


@pytest.mark.parametrize("code", NAMES)
def test_error_on_each_queue_in_turn_is_repaired(errors, code):
    with errors() as host:
        for queue in range(CPUS):
            host.inject({"fault": "cons-error", "vcmdq": queue, "code": code, "at": 50})
            copy_and_compare(host, CPUS)
            lines = host.logged(f"VINTF0: VCMDQ{queue} .*: {NAMES[code]}")
            assert len(lines) == 1, lines
            assert code in (2, 3) or "opcode 0x" in lines[0]
            assert host.queue(f"vcmdq{queue}")["errors"] == 1
        assert not host.logged("retired") and not host.logged(HANGS)


def test_skipped_invalidation_is_repeated_on_the_own_queue(errors):
    with errors() as host:
        host.reset_report()
        host.inject({"fault": "cons-error", "vcmdq": 0, "code": 1, "count": 2})
        copy_and_compare(host, CPUS)
        assert host.queue("smmu")["commands"].get("TLBI_NH_VA", 0) >= 1


@pytest.mark.parametrize("fault, why", [
    ({"fault": "cons-error", "code": 1, "count": -1}, "has too many errors"),
    ({"fault": "cons-error", "code": 2, "count": -1}, "has too many errors"),
    ({"fault": "gerror", "bits": 2}, "can't be repaired"),
    ({"fault": "gerror", "bits": 4}, "can't be repaired"),
    ({"fault": "stuck-cons", "at": 50}, "makes no progress"),
], ids=["errors for ever", "aborts for ever", "CONS to DRAM", "init error", "stuck CONS"])
def test_queue_beyond_repair_is_retired_alone(errors, fault, why):
    with errors() as host:
        host.inject({**fault, "vcmdq": 1})
        copy_and_compare(host, CPUS)
        retired = host.logged("retired")
        assert len(retired) == 1 and f"VINTF0: VCMDQ1 (LVCMDQ1): {why}" in retired[0]
        host.reset_report()
        copy_and_compare(host, CPUS)
        assert host.queue("smmu")["total"] > 0
        assert host.queue("vcmdq1")["total"] == 0
        assert all(host.queue(f"vcmdq{n}")["total"] for n in (0, 2, 3))
        assert not host.logged(HANGS)


@pytest.mark.parametrize("fault", [{"fault": "lose-irq", "count": 100}, {"fault": "no-irq"}],
                         ids=["lost", "never"])
def test_error_is_repaired_without_its_interrupt(errors, fault):
    with errors() as host:
        host.inject(fault)
        host.inject({"fault": "cons-error", "vcmdq": "any", "code": 1, "count": 3})
        copy_and_compare(host, CPUS)
        assert len(host.logged("illegal command")) == 3
        assert not host.logged("retired") and not host.logged(HANGS)


def test_error_is_repaired_on_the_only_cpu(boot):
    """The interrupt thread can't run there while the waiter polls."""
    with boot(cpus=1, cmdqv={}, expected=["VINTF0: VCMDQ"]) as host:
        host.inject({"fault": "cons-error", "vcmdq": 0, "code": 1, "count": 3})
        copy_and_compare(host, 1)
        assert len(host.logged("illegal command")) == 3
        assert not host.logged(HANGS)


def test_spurious_interrupts_do_nothing(boot):
    with boot(cpus=CPUS, cmdqv={}) as host:
        for _ in range(50):
            host.inject({"fault": "spurious-irq"})
        copy_and_compare(host, CPUS)
        assert not host.logged("VCMDQ[0-9]+ ")


def test_late_consumption_with_errors_loses_nothing(errors):
    with errors(cmdqv={"consume": "async", "delay-ns": 5000}) as host:
        for queue in range(CPUS):
            host.inject({"fault": "cons-error", "vcmdq": queue, "code": 1, "at": 20, "count": 2})
        copy_and_compare(host, CPUS)
        assert len(host.logged("illegal command")) == 2 * CPUS
        assert not host.logged(HANGS)
