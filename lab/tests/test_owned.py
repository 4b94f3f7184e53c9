# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Guests that own command queues: what they do needs no exit, and harms nobody."""

import random
import subprocess
import time

import pytest

from vm import NET, NVME, PEER, Guest, GuestEnded, smmu
from vm.hostile import attack
from vm.host import BUILD
from vm.load import copy_and_compare, exchange_and_compare
from vm.unmap import unmap_for

OWNED = "accel=on,cmdqv=on"
# The machines have two CPUs, so the kernel has VCMDQs 0 and 1
FIRST_VCMDQ = 2
HOST_COMPLAINS = "VINTF[1-9]|VINTF0: VCMDQ"


def owned(host):
    """The guests' queues, as the hardware has them."""
    return [queue for queue in host.report()["queues"] if queue.get("vintf")]


def taken(host):
    """What the block has handed out: to be the same before and after."""
    report = host.report()
    return report["vintfs_enabled"], report["allocated"], host.pins()


def test_commands_of_the_guest_run_in_its_own_vintf(host):
    host.bind_vfio(NVME)
    before = taken(host)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2) as guest:
        assert guest.logged("VINTF0: 2 of 2 VCMDQs for 2 CPUs, guest commands")
        host.reset_report()
        copy_and_compare(guest, 2)
        queues = owned(host)
        assert [(queue["vintf"], queue["lvcmdq"]) for queue in queues] == [(1, 0), (1, 1)]
        for queue in queues:
            assert queue["commands"]["TLBI_NH_VA"] and queue["commands"]["SYNC"]
            assert queue["vmid"] == smmu.vmid(host, NVME) and not queue["errors"]
    assert taken(host) == before


def test_unmap_in_the_guest_needs_no_exit_to_qemu(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET], smmu=OWNED) as guest:
        unmap_for(guest)
        host.reset_report()
        exits = guest.exits("mmio_exit_user")
        unmap_for(guest)
        assert guest.exits("mmio_exit_user") == exits
        assert owned(host)[0]["commands"]["TLBI_NH_VA"] > 10000
        assert host.queue("smmu")["total"] == 0


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
        exchange_and_compare(host, PEER, second)
        copy_and_compare(first, 1)
        vmids = {queue["vintf"]: queue["vmid"] for queue in owned(host)}
        assert vmids == {1: smmu.vmid(host, NVME), 2: smmu.vmid(host, NET)}


@pytest.mark.parametrize("cmdqv, refusal", [
    ({"vintfs": 2}, "no VINTF is left for another VM, all 2 are in use"),
    ({"vcmdqs": 4}, "2 VCMDQs are not left for another VM"),
], ids=["no VINTF", "no VCMDQ"])
def test_guest_too_many_is_refused_and_the_other_runs_on(boot, cmdqv, refusal):
    with boot(cmdqv=cmdqv, mem="2560M", net=True, expected=[refusal]) as host:
        host.bind_vfio(NVME)
        host.bind_vfio(NET)
        with Guest(host, devices=[NVME], smmu=OWNED) as guest:
            with pytest.raises(GuestEnded):
                with Guest(host, name="refused", devices=[NET], smmu=OWNED):
                    pass
            copy_and_compare(guest, 1)


def test_guest_reboots_with_its_queues(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2) as guest:
        for _ in range(2):
            guest.reboot()
            copy_and_compare(guest, 1)
        assert len(owned(host)) == 2


def test_guest_changes_its_kernel_by_kexec(host):
    # The new kernel lies on the guest's disk, behind what the load writes
    host.run("dd if=/dev/vdb of=/dev/nvme0n1 bs=1M seek=16 conv=fsync")
    sectors = host.run("cat /sys/block/vdb/size").strip()
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=OWNED, cpus=2, cmdline="retain_initrd") as guest:
        for _ in range(2):
            copy_and_compare(guest, 2)
            guest.run(f"dd if=/dev/nvme0n1 of=/tmp/Image skip={16 * 2048} count={sectors}")
            guest.run("kexec --kexec-file-syscall --load /tmp/Image --reuse-cmdline "
                      "--initrd=/sys/firmware/initrd")
            guest.shell.send("kexec --exec\n")
            guest.reconnect()
        host.reset_report()
        copy_and_compare(guest, 2)
        assert all(queue["commands"]["TLBI_NH_VA"] for queue in owned(host))


@pytest.fixture(scope="module", name="large_pages")
def kernel_with_pages_of_64_kib():
    subprocess.run(["lab/kernel/kunit.sh", "build"], cwd="/repo", check=True, capture_output=True)
    return BUILD / "kunit/arch/arm64/boot/Image"


def test_guest_with_pages_of_64_kib(boot, large_pages):
    with boot(cmdqv={}, mem="2G", disk=large_pages) as host:
        host.bind_vfio(NVME)
        with Guest(host, kernel="/dev/vdc", devices=[NVME], smmu=OWNED, cpus=2,
                   cmdline="kunit.enable=0") as guest:
            assert "64 kB" in guest.run("grep KernelPageSize /proc/self/smaps")
            copy_and_compare(guest, 2)
            assert all(queue["commands"]["TLBI_NH_VA"] for queue in owned(host))


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
            copy_and_compare(guest, 2)
            while owned(host)[0]["total"] < entries:
                unmap_for(guest)
            copy_and_compare(guest, 2)
            assert not any(queue["errors"] for queue in owned(host))


def test_memory_of_huge_pages_and_shared_memory(host):
    host.bind_vfio(NVME)
    for backend in ("hugetlb", "memfd"):
        with Guest(host, devices=[NVME], smmu=OWNED, mem_backend=backend) as guest:
            copy_and_compare(guest, 1)
            assert owned(host)[0]["total"]


def test_qemu_killed_at_any_point_leaves_nothing(host):
    host.bind_vfio(NVME)
    before = taken(host)
    chance = random.Random(1)
    for _ in range(50):
        guest = Guest(host, devices=[NVME], smmu=OWNED)
        guest.start()
        time.sleep(chance.uniform(0, 6))
        guest.close()
        assert taken(host) == before
    with Guest(host, devices=[NVME], smmu=OWNED) as guest:
        copy_and_compare(guest, 1)
        assert smmu.vmid(host, NVME) == 1


def test_twenty_guests_in_turn_leave_nothing(host):
    host.bind_vfio(NVME)
    before = taken(host)
    for _ in range(20):
        with Guest(host, devices=[NVME], smmu=OWNED) as guest:
            copy_and_compare(guest, 1)
            assert smmu.vmid(host, NVME) == 1
            guest.shell.send("poweroff -f\n")
            assert guest.wait_exit() == 0
        assert taken(host) == before


@pytest.mark.parametrize("what, sign", [
    ("opcodes", lambda queue, rules: queue["errors"] > 100),
    ("overrun", lambda queue, rules: "prod-overrun" in rules),
    ("garbage", lambda queue, rules: queue["errors"]),
    ("doorbells", lambda queue, rules: queue["commands"]["SYNC"] > 10_000_000),
], ids=["opcodes", "overrun", "garbage", "doorbells"])
def test_hostile_guest_disturbs_nobody(host, what, sign):
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    # Whatever it breaks, it is not the kernels that we judge
    host.judged = False
    its_own = f"vcmdq{FIRST_VCMDQ + 2}"
    with Guest(host, name="victim", devices=[NVME], smmu=OWNED) as victim, \
            Guest(host, name="hostile", devices=[NET], smmu=OWNED) as guest:
        host.reset_report()
        with attack(guest, what):
            for _ in range(60):
                copy_and_compare(victim, 1)
                report = host.report()
                if sign(host.queue(its_own), [rule["rule"] for rule in report["rules"]]):
                    break
            else:
                pytest.fail(f"no sign of the attack: {report}")
        assert not any(queue["errors"] for queue in report["queues"] if queue["name"] != its_own)
        assert all(its_own.upper() in rule["first"] for rule in report["rules"])
        assert not victim.logged("VINTF0: VCMDQ") and not host.logged(HOST_COMPLAINS)
        guest.kill()
    host.unbind_vfio(NET)
