# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""From one kernel to the next, and the end of the last."""

import pytest

from vm.load import copy_and_compare

LOAD = "cat /dev/vdb > /tmp/Image && kexec --kexec-file-syscall {} /tmp/Image " \
       "--append=\"$(sed s/crashkernel=.*// /proc/cmdline) {}\""


def kexec(host, cmdline=""):
    host.run(LOAD.format("--load", cmdline))
    host.shell.send("kexec --exec\n")
    host.reconnect()


def test_kexec_finds_the_block_disabled(boot):
    with boot(cmdqv={}) as host:
        copy_and_compare(host, 2)
        kexec(host, "arm_smmu_v3.disable_cmdqv=1")
        assert not host.report()["enabled"] and not host.report()["allocated"]
        copy_and_compare(host, 2)


def test_kexec_into_the_same_kernel(boot):
    with boot(cmdqv={}) as host:
        for _ in range(2):
            copy_and_compare(host, 2)
            kexec(host)
        host.reset_report()
        copy_and_compare(host, 2)
        assert host.queue("vcmdq0")["total"] and host.queue("vcmdq1")["total"]


@pytest.mark.parametrize("what", ["vcmdq", "vintf", "block"])
def test_what_does_not_disable_does_not_hold_up_a_kexec(boot, what):
    with boot(cmdqv={}, expected=["tegra241_cmdqv: "]) as host:
        host.inject({"fault": "no-disable", "what": what})
        kexec(host)
        assert any("does not stop" in line for line in host.console())
        copy_and_compare(host, 2)
        host.inject({"fault": "clear"})
        host.forget_rules()


def test_crash_kernel_takes_over_a_running_block(boot):
    # The base says both of any crash kernel on an SMMUv3
    usual = ["memblock_cap_memory_range", "SMMU currently enabled! Resetting"]
    with boot(cmdqv={}, cmdline="crashkernel=256M", mem="2G", expected=usual) as host:
        copy_and_compare(host, 2)
        host.run(LOAD.format("--load-panic", "maxcpus=1 reset_devices"))
        host.shell.send("echo c > /proc/sysrq-trigger\n")
        host.reconnect()
        host.forget_console()
        copy_and_compare(host, 1)
        assert host.queue("vcmdq0")["total"]


def test_poweroff_leaves_the_block_disabled(boot):
    with boot(cmdqv={}) as host:
        copy_and_compare(host, 2)
        host.poweroff()
        assert not host.report()["enabled"]
