# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The kernel's own queues in every shape of the block and number of CPUs."""

import pytest

from vm.load import copy_and_compare

GUEST_COMMANDS = {"TLBI_NH_ASID", "TLBI_NH_VA", "ATC_INV", "SYNC"}


def kernel_queues(report):
    return [queue for queue in report["queues"] if queue.get("vintf") == 0]


def expected_queues(vintfs, vcmdqs, cpus):
    """The whole pool if nobody else can want it, else half of it."""
    return min(cpus, vcmdqs if vintfs == 1 else max(vcmdqs // 2, 1))


def test_plain_smmu_without_the_block_moves_data(boot):
    with boot(cpus=2) as host:
        copy_and_compare(host, 2)
        assert not host.logged("tegra241_cmdqv")


@pytest.mark.parametrize("cpus", [1, 2, 8, 16])
@pytest.mark.parametrize("vintfs, vcmdqs", [(1, 1), (2, 2), (16, 32), (64, 128)])
def test_each_cpu_uses_the_queue_it_should_have(boot, vintfs, vcmdqs, cpus):
    count = expected_queues(vintfs, vcmdqs, cpus)
    with boot(cpus=cpus, cmdqv={"vintfs": vintfs, "vcmdqs": vcmdqs}) as host:
        copy_and_compare(host, cpus)
        report = host.report()
        assert report["allocated"] == list(range(count))
        assert [q["name"] for q in kernel_queues(report) if q["commands"].get("TLBI_NH_VA")] \
            == [f"vcmdq{n}" for n in range(count)]
        assert host.logged(f"VINTF0: {count} of {vcmdqs} VCMDQs for {cpus} CPUs")


@pytest.mark.parametrize("properties", [{"irq": "off"}, {"crs": "memory32"}],
                         ids=["no interrupt", "Memory32Fixed"])
def test_block_is_found_as_firmware_may_describe_it(boot, properties):
    with boot(cmdqv=properties, expected=["no error interrupt"]) as host:
        copy_and_compare(host, 2)
        assert len(kernel_queues(host.report())) == 2


def test_guest_kernel_sends_only_what_its_queues_take(boot):
    with boot(cmdqv={"vintfs": 1, "vcmdqs": 2, "hyp-own": "off"}) as host:
        copy_and_compare(host, 2)
        sent = set().union(*(q["commands"] for q in kernel_queues(host.report())))
        assert {"TLBI_NH_VA", "SYNC"} <= sent <= GUEST_COMMANDS
        assert host.logged("VINTF0: .* guest commands")


def test_commands_are_consumed_late(boot):
    """Full queues and waiting: 20 µs for each command."""
    with boot(cpus=8, cmdqv={"consume": "async", "delay-ns": 20000}) as host:
        copy_and_compare(host, 8)
        assert len(kernel_queues(host.report())) == 8
