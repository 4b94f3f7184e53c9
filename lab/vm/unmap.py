# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The kernel's dma_map_benchmark: memory mapped and unmapped for a network card."""

import re
from typing import NamedTuple

BYPASS = "/sys/kernel/debug/iommu/tegra241_cmdqv/bypass_vcmdq"
# The first card that there is, once
BIND = """
    set -- /sys/bus/pci/drivers/dma_map_benchmark/0000:*
    if [ ! -e $1 ]; then
        set -- /sys/class/net/eth*
        device=$(basename $(readlink $1/device))
        echo $device > /sys/bus/pci/devices/$device/driver/unbind
        echo dma_map_benchmark > /sys/bus/pci/devices/$device/driver_override
        echo $device > /sys/bus/pci/drivers/dma_map_benchmark/bind
    fi"""


def bypass(machine, on):
    """Send all commands to the SMMU's own queue, or to the VCMDQs again."""
    machine.run(f"echo {'Y' if on else 'N'} > {BYPASS}")


def unmap_for(machine, seconds=1, threads=1):
    """Let the kernel map and unmap. Returns the microseconds of an unmap."""
    machine.run(BIND)
    output = machine.run(f"dma_map_benchmark -t {threads} -s {seconds}")
    return float(re.search(r"unmap latency\(us\):([\d.]+)", output).group(1))


class Cost(NamedTuple):
    """Of an unmap in a guest. The host issues a CMD_SYNC for each ioctl."""

    microseconds: float
    exits: float
    ioctls: float
    commands: float
    unmaps: int


def cost_in_guest(host, guest, seconds=1, threads=1):
    """What an unmap needs of the guest, of QEMU and of the hardware."""
    host.reset_report()
    exits = guest.exits("mmio_exit_user")
    microseconds = unmap_for(guest, seconds, threads)
    exits = guest.exits("mmio_exit_user") - exits
    queues = host.report()["queues"]
    unmaps = sum(queue["commands"].get("TLBI_NH_VA", 0) for queue in queues)
    smmu = next(queue for queue in queues if queue["name"] == "smmu")
    return Cost(microseconds, exits / unmaps, smmu["syncs"] / unmaps,
                sum(queue["total"] for queue in queues) / unmaps, unmaps)
