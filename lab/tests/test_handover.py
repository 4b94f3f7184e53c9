# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""From one kernel to the next, and the end of the last."""

import pytest

from vm.load import copy_and_compare

LOAD = "cat /dev/vdb > /tmp/Image && kexec --kexec-file-syscall {} /tmp/Image " \
       "--append=\"$(cat /proc/cmdline) {}\""


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
        host.reset_report()


def test_crash_kernel_takes_over_a_running_block(boot):
    with boot(cmdqv={}, cmdline="crashkernel=256M", mem="2G") as host:
        copy_and_compare(host, 2)
        host.run(LOAD.format("--load-panic", "maxcpus=1 reset_devices"))
        host.console_from = len(host.console())
        host.shell.send("echo c > /proc/sysrq-trigger\n")
        host.reconnect()
        copy_and_compare(host, 1)
        assert host.queue("vcmdq0")["total"]


def test_poweroff_leaves_the_block_disabled(boot):
    with boot(cmdqv={}) as host:
        host.run("mount -o remount,ro /")
        host.qmp("set-action", shutdown="pause")
        host.shell.send("poweroff -f\n")
        host.vm.event_wait("SHUTDOWN", timeout=60)
        report = host.report()
        assert not report["enabled"] and report["rules"] == []
