# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Guests that own command queues: what they do needs no exit, and harms nobody."""

import random
import subprocess
import time
from contextlib import contextmanager

import pytest

from vm import NET, NVME, OWNED, PEER, Guest, GuestEnded, smmu
from vm.hostile import attack, noticed
from vm.host import BUILD
from vm.load import copy_and_compare, exchange_and_compare
from vm.unmap import unmap_for

# The machines have two CPUs, so the kernel has VCMDQs 0 and 1
FIRST_VCMDQ = 2
# The first queue of the second guest
HOSTILE = f"vcmdq{FIRST_VCMDQ + 2}"
HOST_COMPLAINS = "VINTF[1-9]|VINTF0: VCMDQ"


def owned(host):
    """The queues that guests have now."""
    return [queue for queue in host.report()["queues"] if queue.get("vintf") and queue["enabled"]]


def copy_on_own_queues(host, guest, cpus):
    """Move data, which takes one queue of the guest for each CPU."""
    host.reset_report()
    copy_and_compare(guest, cpus)
    queues = owned(host)
    assert [queue["lvcmdq"] for queue in queues] == list(range(cpus))
    assert all(queue["commands"].get("TLBI_NH_VA") for queue in queues)


def handed_out(host):
    """VINTFs, VCMDQs, stream-ID slots and pages: the same before and after."""
    report = host.report()
    return report["vintfs_enabled"], report["allocated"], report["sids"], host.pins()


def check_first_of_all(host):
    """What one guest has where nothing is lost: the lowest numbers."""
    assert smmu.vmid(host, NVME) == 1
    assert [(queue["vintf"], queue["name"]) for queue in owned(host)] == [(1, f"vcmdq{FIRST_VCMDQ}")]


def test_commands_of_the_guest_run_in_its_own_vintf(host):
    host.bind_vfio(NVME)
    before = handed_out(host)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2) as guest:
        assert guest.logged("VINTF0: 2 of 2 VCMDQs for 2 CPUs, guest commands")
        host.reset_report()
        copy_and_compare(guest, 2)
        queues = owned(host)
        assert [(queue["vintf"], queue["lvcmdq"]) for queue in queues] == [(1, 0), (1, 1)]
        for queue in queues:
            assert queue["commands"]["TLBI_NH_VA"] and queue["commands"]["SYNC"]
            assert queue["vmid"] == smmu.vmid(host, NVME) and not queue["errors"]
    assert handed_out(host) == before


def test_unmap_in_the_guest_needs_no_exit_to_qemu(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET], smmu=OWNED) as guest:
        unmap_for(guest)
        host.reset_report()
        # A warning on the serial line would be an exit
        guest.run("dmesg -n 1")
        exits = {kind: guest.exits(kind) for kind in ("mmio_exit_user", "mmio_exit_kernel", "exits")}
        unmap_for(guest)
        exits = {kind: guest.exits(kind) - before for kind, before in exits.items()}
        unmaps = owned(host)[0]["commands"]["TLBI_NH_VA"]
        assert unmaps > 10000 and host.queue("smmu")["total"] == 0
        assert exits["mmio_exit_user"] == 0
        # Those that are left are the timer's
        assert exits["mmio_exit_kernel"] < unmaps / 10 and exits["exits"] < unmaps / 10


def test_error_interrupts_the_guest_through_the_event_queue(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, expected=["VINTF0: VCMDQ0"]) as guest:
        interrupts = "$(awk '/tegra241-cmdqv/ { print $2 }' /proc/interrupts)"
        assert guest.run(f"echo {interrupts}").strip() == "0"
        host.inject({"fault": "cons-error", "vcmdq": FIRST_VCMDQ, "code": 1, "at": 20})
        copy_and_compare(guest, 1)
        guest.run(f"until [ {interrupts} -gt 0 ]; do sleep 0.1; done")


@pytest.mark.parametrize("code", [1, 2, 4, 77])
def test_error_is_repaired_by_the_guest(host, code):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, expected=["VINTF0: VCMDQ0"]) as guest:
        host.inject({"fault": "cons-error", "vcmdq": FIRST_VCMDQ, "code": code, "at": 20})
        copy_and_compare(guest, 1)
        assert owned(host)[0]["errors"] == 1
        assert guest.logged("VINTF0: VCMDQ0") and not guest.logged("retired|CMD_SYNC timeout")
        assert not host.logged(HOST_COMPLAINS)


def test_two_guests_with_queues_at_once(host):
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    with Guest(host, name="first", devices=[NVME], smmu=OWNED) as first, \
            Guest(host, name="second", devices=[NET], smmu=OWNED) as second:
        copy_and_compare(first, 1)
        host.reset_report()
        exchange_and_compare(host, PEER, second)
        copy_and_compare(first, 1)
        assert all(queue["total"] for queue in owned(host))
        vmids = {queue["vintf"]: queue["vmid"] for queue in owned(host)}
        assert vmids == {1: smmu.vmid(host, NVME), 2: smmu.vmid(host, NET)}
        assert vmids[1] != vmids[2]


@pytest.mark.parametrize("cmdqv, refusal", [
    ({"vintfs": 2}, "no VINTF is left for another VM, all 2 are in use"),
    # GET_HW_INFO tells QEMU
    ({"vcmdqs": 4}, "insufficient vCMDQs log2=0"),
], ids=["no VINTF", "no VCMDQ"])
def test_guest_too_many_is_refused_and_the_other_runs_on(boot, cmdqv, refusal):
    with boot(cmdqv=cmdqv, mem="2560M", net=True, expected=[refusal]) as host:
        host.bind_vfio(NVME)
        host.bind_vfio(NET)
        with Guest(host, devices=[NVME], smmu=OWNED) as guest:
            with pytest.raises(GuestEnded) as refused:
                with Guest(host, name="refused", devices=[NET], smmu=OWNED):
                    pass
            assert refusal in str(refused.value) or host.logged(refusal)
            copy_and_compare(guest, 1)


def test_guest_reboots_with_its_queues(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2) as guest:
        for _ in range(2):
            guest.reboot()
            copy_on_own_queues(host, guest, 2)


def test_guest_changes_its_kernel_by_kexec(host):
    # The new kernel lies on the guest's disk, behind what the load writes
    host.run("dd if=/dev/vdb of=/dev/nvme0n1 bs=1M seek=16 conv=fsync")
    sectors = host.run("cat /sys/block/vdb/size").strip()
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2, cmdline="retain_initrd") as guest:
        for _ in range(2):
            guest.run(f"dd if=/dev/nvme0n1 of=/tmp/Image skip={16 * 2048} count={sectors}")
            guest.run("kexec --kexec-file-syscall --load /tmp/Image --reuse-cmdline "
                      "--initrd=/sys/firmware/initrd")
            guest.shell.send("kexec --exec\n")
            guest.reconnect()
            copy_on_own_queues(host, guest, 2)


@pytest.fixture(scope="module", name="kernel_64k")
def kernel_with_pages_of_64_kib():
    subprocess.run(["lab/kernel/kunit.sh", "build"], cwd="/repo", check=True, capture_output=True)
    return BUILD / "kunit/arch/arm64/boot/Image"


def test_guest_with_pages_of_64_kib(boot, kernel_64k):
    with boot(cmdqv={}, mem="2G", disk=kernel_64k) as host:
        host.bind_vfio(NVME)
        with Guest(host, kernel="/dev/vdc", devices=[NVME], smmu=OWNED, cpus=2,
                   cmdline="kunit.enable=0") as guest:
            assert "64 kB" in guest.run("grep KernelPageSize /proc/self/smaps")
            copy_on_own_queues(host, guest, 2)


@pytest.fixture(scope="module", name="base_kernel")
def kernel_without_the_series():
    subprocess.run(["lab/kernel/compile.sh", "base"], cwd="/repo", check=True, capture_output=True)
    return BUILD / "Image-base"


@pytest.mark.parametrize("backend, entries", [("private", 1 << 8), ("hugetlb", 1 << 17)])
def test_mainline_driver_in_the_guest_uses_the_whole_of_the_largest_queue(
        boot, base_kernel, backend, entries):
    with boot(cmdqv={}, mem="2560M", net=True, disk=base_kernel) as host:
        host.bind_vfio(NVME)
        host.bind_vfio(NET)
        with Guest(host, kernel="/dev/vdc", devices=[NVME, NET], smmu=OWNED, cpus=2,
                   mem_backend=backend) as guest:
            assert guest.logged(f"allocated {entries} entries for vcmdq0")
            copy_on_own_queues(host, guest, 2)
            for _ in range(20):
                unmap_for(guest, threads=2)
                if owned(host)[0]["total"] > entries:
                    break
            else:
                pytest.fail(f"{owned(host)}")
            copy_on_own_queues(host, guest, 2)


def test_memory_of_huge_pages_and_shared_memory(host):
    host.bind_vfio(NVME)
    for backend in ("hugetlb", "memfd"):
        with Guest(host, devices=[NVME], smmu=OWNED, mem_backend=backend) as guest:
            copy_on_own_queues(host, guest, 1)


def test_qemu_killed_at_any_point_leaves_nothing(host):
    host.bind_vfio(NVME)
    before = handed_out(host)
    start = time.monotonic()
    with Guest(host, devices=[NVME], smmu=OWNED):
        boot_time = time.monotonic() - start
    chance, live = random.Random(1), 0
    for _ in range(50):
        guest = Guest(host, devices=[NVME], smmu=OWNED)
        guest.start()
        time.sleep(chance.uniform(0, 1.2 * boot_time))
        live += bool(owned(host))
        guest.close()
        assert handed_out(host) == before
    # Some with queues, some without
    assert 5 < live < 45
    with Guest(host, devices=[NVME], smmu=OWNED) as guest:
        copy_on_own_queues(host, guest, 1)
        check_first_of_all(host)


def test_twenty_guests_in_turn_leave_nothing(host):
    host.bind_vfio(NVME)
    before = handed_out(host)
    for _ in range(20):
        with Guest(host, devices=[NVME], smmu=OWNED) as guest:
            copy_on_own_queues(host, guest, 1)
            check_first_of_all(host)
            guest.shell.send("poweroff -f\n")
            assert guest.wait_exit() == 0
        assert handed_out(host) == before


def test_stream_id_of_the_guest_becomes_that_of_its_device(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET], smmu=OWNED) as guest:
        with attack(guest, "own"):
            for _ in range(600):
                if noticed(host, f"vcmdq{FIRST_VCMDQ}", "own"):
                    break
        queue = owned(host)[0]
        assert queue["commands"]["ATC_INV"]
        assert not queue["errors"]
        assert int(queue["last"].split()[1], 16) == smmu.stream_id(NET)
        guest.kill()


@contextmanager
def attacked(host):
    """A hostile guest, and another one; the host has a network card and its own
    two queues. Whatever the guest breaks, it breaks on its own queue; from then
    on rules are the host's again."""
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    with Guest(host, name="victim", devices=[NVME], smmu=OWNED) as victim, \
            Guest(host, name="hostile", devices=[NET], smmu=OWNED,
                  expected=["VINTF0: VCMDQ", "callbacks suppressed"]) as hostile:
        host.reset_report()
        yield victim, hostile
        report = host.report()
        for queue in report["queues"]:
            assert queue["name"] == HOSTILE or not queue["errors"]
        assert all(HOSTILE.upper() in rule["first"] for rule in report["rules"])
        assert not victim.logged("VINTF0: VCMDQ") and not host.logged(HOST_COMPLAINS)
        host.forget_rules()
        hostile.kill()
    host.unbind_vfio(NET)


@pytest.mark.parametrize("what, times", [
    ("opcodes", 1000), ("overrun", 1000), ("garbage", 100), ("doorbells", 10_000_000)])
def test_hostile_guest_disturbs_nobody(host, what, times):
    with attacked(host) as (victim, hostile):
        with attack(hostile, what):
            for _ in range(60):
                copy_and_compare(victim, 1)
                unmap_for(host)
                if noticed(host, HOSTILE, what) > times:
                    break
            else:
                pytest.fail(f"no {times} times: {host.report()}")
        assert host.queue("vcmdq0")["total"] + host.queue("vcmdq1")["total"]
        # No device but its own one
        assert "ATC_INV" not in host.queue(HOSTILE)["commands"]
