# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Guests of Debian's QEMU under KVM, without an SMMU of their own."""

import pytest

from vm import NET, NVME, PEER, Guest, GuestEnded
from vm.load import copy_and_compare, exchange_and_compare


def test_each_candidate_is_alone_in_its_group(host):
    for bdf in (NVME, NET, PEER):
        assert host.run(f"ls /sys/bus/pci/devices/{bdf}/iommu_group/devices").split() == [bdf]


def test_guest_boots_and_boots_again(host):
    with Guest(host) as guest:
        assert guest.run("uname -r") == host.run("uname -r")
        assert guest.logged("EFI v") and guest.logged("ACPI: ")
        assert guest.qmp("query-status")["status"] == "running"
        exits = guest.exits()
        guest.run("cat /proc/interrupts")
        assert guest.exits() > exits > 0
        guest.reboot()
        guest.shell.send("poweroff -f\n")
        assert guest.wait_exit() == 0
    with Guest(host, mem_backend="memfd", cpus=2) as guest:
        assert guest.run("nproc").strip() == "2"


@pytest.mark.parametrize("backend", ["private", "hugetlb"])
def test_nvme_moves_data_in_the_guest(host, backend):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], cpus=2, mem_backend=backend) as guest:
        copy_and_compare(guest, 2)
    host.unbind_vfio(NVME)
    copy_and_compare(host, 2)


def test_network_card_moves_data_in_the_guest(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET]) as guest:
        exchange_and_compare(host, PEER, guest)


def test_killed_qemu_leaves_nothing(host):
    host.bind_vfio(NVME)
    for _ in range(2):
        with Guest(host, devices=[NVME]) as guest:
            copy_and_compare(guest, 1)
            guest.kill()
    assert host.run("ls /sys/kernel/debug/kvm | grep -c -- - || true").strip() == "0"
    host.unbind_vfio(NVME)
    copy_and_compare(host, 2)


def test_qemu_that_refuses_says_why(host):
    with pytest.raises(GuestEnded, match="0000:01:00.0"):
        with Guest(host, devices=[NVME]):
            pass
