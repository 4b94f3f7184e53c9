# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What the user may choose: module parameters and debugfs."""

import pytest

from vm.load import copy_and_compare
from vm.unmap import bypass


def test_kernel_vcmdqs_sets_the_number_of_queues(boot):
    with boot(cpus=4, cmdqv={}, cmdline="arm_smmu_v3.kernel_vcmdqs=3") as host:
        copy_and_compare(host, 4)
        assert host.report()["allocated"] == [0, 1, 2]


@pytest.mark.parametrize("value", [-1, 129, 2147483647])
def test_bad_kernel_vcmdqs_is_reported_and_the_default_used(boot, value):
    with boot(cpus=4, cmdqv={}, cmdline=f"arm_smmu_v3.kernel_vcmdqs={value}",
              expected=["kernel_vcmdqs"]) as host:
        assert host.report()["allocated"] == [0, 1, 2, 3]
        assert len(host.logged(rf"kernel_vcmdqs={value} is not in 1\.\.128, using 4")) == 1


def test_disable_cmdqv_leaves_the_block_disabled(boot):
    with boot(cmdqv={}, cmdline="arm_smmu_v3.disable_cmdqv=1") as host:
        copy_and_compare(host, 2)
        report = host.report()
        assert not report["enabled"]
        assert [queue["name"] for queue in report["queues"]] == ["smmu"]
        assert host.logged("disabled by arm_smmu_v3.disable_cmdqv")


def test_bypass_vcmdq_sends_all_to_the_own_queue_until_taken_back(boot):
    with boot(cmdqv={}) as host:
        bypass(host, True)
        host.reset_report()
        copy_and_compare(host, 2)
        assert host.queue("smmu")["total"] > 0
        assert host.queue("vcmdq0")["total"] + host.queue("vcmdq1")["total"] == 0
        bypass(host, False)
        copy_and_compare(host, 2)
        assert host.queue("vcmdq0")["total"] > 0
