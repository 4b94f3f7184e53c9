# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What the SMMU of a host really has: read as the hardware reads it."""

# The SMMU of QEMU's virt machine, and its registers
SMMU = 0x9050000
STRTAB_BASE = SMMU + 0x80
ADDRESS = 0xffffffffffc0
# Entries of a table of the second level
SPLIT = 8

ABORT, BYPASS, S1, S2, NESTED = 0, 4, 5, 6, 7


def words(host, address, count):
    """64-bit words of physical memory or registers."""
    text = host.qmp("human-monitor-command", **{"command-line": f"xp /{count}gx {address:#x}"})
    return [int(word, 16) for line in text.splitlines() for word in line.split(":")[1].split()]


def stream_id(bdf):
    """0000:01:00.0 → 0x100"""
    bus, device, function = bdf.replace(".", ":").split(":")[1:]
    return int(bus, 16) << 8 | int(device, 16) << 3 | int(function)


def ste(host, bdf):
    """The stream table entry of a device."""
    sid = stream_id(bdf)
    level1 = words(host, STRTAB_BASE, 1)[0] & ADDRESS
    level2 = words(host, level1 + 8 * (sid >> SPLIT), 1)[0] & ADDRESS
    return words(host, level2 + 64 * (sid % (1 << SPLIT)), 8)


def config(host, bdf):
    """ABORT, BYPASS, S1, S2 or NESTED"""
    return ste(host, bdf)[0] >> 1 & 7


def vmid(host, bdf):
    return ste(host, bdf)[2] & 0xffff
