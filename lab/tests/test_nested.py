# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Guests that have an SMMU of their own, with page tables the hardware walks."""

import pytest

from vm import NESTED, NET, NVME, PEER, Guest, GuestEnded, smmu
from vm.fault import faults, first_fault, read_from
from vm.load import copy_and_compare, exchange_and_compare

# The first device behind the SMMU of a guest: bus 9, as pxb-pcie has bus 8
GUEST_SID = 0x900
# An IOVA that no Linux would use next
NOWHERE = 0xbad0000000
S2_FAULT = 1 << 39


def test_nvme_moves_data_through_both_stages(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=NESTED, cpus=2) as guest:
        assert smmu.config(host, NVME) == smmu.NESTED
        copy_and_compare(guest, 2)


def test_network_card_has_interrupts_through_both_stages(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET], smmu=NESTED) as guest:
        assert smmu.config(host, NET) == smmu.NESTED
        exchange_and_compare(host, PEER, guest)
        assert "ITS-" in guest.run("grep eth0 /proc/interrupts")


def test_two_devices_behind_one_smmu(host):
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    with Guest(host, devices=[NVME, NET], smmu=NESTED, cpus=2) as guest:
        copy_and_compare(guest, 2)
        exchange_and_compare(host, PEER, guest)
        assert smmu.vmid(host, NVME) == smmu.vmid(host, NET) > 0


def test_fault_arrives_in_the_guest_with_its_own_stream_id(host):
    host.bind_vfio(NET)
    with Guest(host, devices=[NET], smmu=NESTED) as guest:
        assert not faults(guest)
        read_from(guest, NOWHERE)
        event = first_fault(guest)
        assert event[0] >> 32 == GUEST_SID
        assert event[2] & ~0xfff == NOWHERE
        assert not faults(host)


def test_guest_that_bypasses_its_smmu(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=NESTED, cmdline="iommu.passthrough=1") as guest:
        assert smmu.config(host, NVME) == smmu.S2
        copy_and_compare(guest, 1)


def test_device_can_not_reach_beyond_the_memory_of_its_guest(host):
    host.bind_vfio(NET)
    # No guest of this size has memory there, but the larger one beside it has
    beyond = (1 << 30) + (300 << 20)
    with Guest(host, name="large", mem=512), \
            Guest(host, devices=[NET], smmu=NESTED, mem=256,
                  cmdline="iommu.passthrough=1") as guest:
        read_from(guest, beyond)
        event = first_fault(host)
        assert event[0] >> 32 == smmu.stream_id(NET)
        assert event[1] & S2_FAULT and event[2] & ~0xfff == beyond
        assert not faults(guest)


def test_memory_that_is_shared_with_other_processes(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=NESTED, mem_backend="memfd") as guest:
        copy_and_compare(guest, 1)


def test_two_guests_at_once_have_vmids_of_their_own(host):
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    with Guest(host, name="first", devices=[NVME], smmu=NESTED) as first, \
            Guest(host, name="second", devices=[NET], smmu=NESTED) as second:
        assert smmu.vmid(host, NVME) != smmu.vmid(host, NET)
        copy_and_compare(first, 1)
        exchange_and_compare(host, PEER, second)
        copy_and_compare(first, 1)


def test_flood_of_faults_disturbs_no_other_guest(host):
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    with Guest(host, name="victim", devices=[NVME], smmu=NESTED) as victim, \
            Guest(host, name="flooder", devices=[NET], smmu=NESTED,
                  expected=["evtq_thread: .* callbacks suppressed"]) as flooder:
        for _ in range(3):
            read_from(flooder, NOWHERE, times=200)
            copy_and_compare(victim, 1)
        assert faults(flooder) and not faults(victim) and not faults(host)


def test_guest_reboots(host):
    host.bind_vfio(NVME)
    with Guest(host, devices=[NVME], smmu=NESTED) as guest:
        copy_and_compare(guest, 1)
        guest.reboot()
        assert smmu.config(host, NVME) == smmu.NESTED
        copy_and_compare(guest, 1)


def test_killed_qemu_leaves_nothing(host):
    host.bind_vfio(NVME)
    before, vmids = host.pins(), set()
    for _ in range(3):
        with Guest(host, devices=[NVME], smmu=NESTED) as guest:
            copy_and_compare(guest, 1)
            assert host.pins() > before
            vmids.add(smmu.vmid(host, NVME))
            guest.kill()
        assert host.pins() == before
        # The host's own page table
        assert smmu.config(host, NVME) == smmu.S1
    assert len(vmids) == 1
    host.unbind_vfio(NVME)
    copy_and_compare(host, 2)


@pytest.mark.parametrize("coherency", ["fwb", "canwbs"])
def test_one_promise_of_coherency_is_enough(boot, coherency):
    promises = {"fwb": False, "canwbs": False, coherency: True}
    with boot(cmdqv={}, mem="2G", **promises) as host:
        host.bind_vfio(NVME)
        with Guest(host, devices=[NVME], smmu=NESTED) as guest:
            copy_and_compare(guest, 1)
            assert smmu.ste(host, NVME)[1] >> 25 & 1 == promises["fwb"]


def test_without_coherency_there_is_no_smmu_for_the_guest(boot):
    refusal = "no vIOMMU: the SMMU has no S2FWB and the IORT does not say CANWBS"
    with boot(cmdqv={}, mem="2G", fwb=False, canwbs=False, expected=[refusal]) as host:
        host.bind_vfio(NVME)
        with pytest.raises(GuestEnded, match="not supported"):
            with Guest(host, devices=[NVME], smmu=NESTED):
                pass
        assert host.logged(refusal)
