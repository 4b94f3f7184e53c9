# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Blocks that don't come up, or tell nonsense: the machine runs all the same."""

import pytest

from vm.load import copy_and_compare

OURS = "tegra241_cmdqv: "


def only_the_own_queue(host):
    host.reset_report()
    copy_and_compare(host, 2)
    report = host.report()
    return [queue["name"] for queue in report["queues"] if queue["total"]] == ["smmu"]


@pytest.mark.parametrize("what", ["block", "vintf"])
def test_what_does_not_enable_is_not_used(boot, what):
    with boot(cmdqv={}, faults=[{"fault": "no-enable", "what": what}],
              expected=[OURS]) as host:
        assert host.logged("does not start") and host.logged("not used")
        assert only_the_own_queue(host)
        assert not host.report()["enabled"]


def test_queue_that_does_not_enable_is_retired_alone(boot):
    with boot(cpus=4, cmdqv={}, faults=[{"fault": "no-enable", "what": "vcmdq", "index": 2}],
              expected=[OURS]) as host:
        copy_and_compare(host, 4)
        assert len(host.logged("VCMDQ2 .*does not start.*retired")) == 1
        assert all(host.queue(f"vcmdq{n}")["total"] for n in (0, 1, 3))


def test_no_queue_enables(boot):
    with boot(cmdqv={}, faults=[{"fault": "no-enable", "what": "vcmdq"}],
              expected=[OURS]) as host:
        assert host.logged("none of 2 VCMDQs starts")
        assert only_the_own_queue(host)


@pytest.mark.parametrize("param, ok", [
    ("0x0", False), ("0xffffffff", False), ("0x4670", False), ("0x4672", False),
    ("0x4771", False), ("0x4681", False), ("0x5671", False), ("0x1", True),
])
def test_absurd_param_is_refused(boot, param, ok):
    with boot(cmdqv={}, faults=[{"fault": "param", "value": param}], expected=[OURS]) as host:
        assert bool(host.logged("PARAM 0x")) != ok
        assert only_the_own_queue(host) != ok
