# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""DMA that no driver would do: an e1000e card reads from an address of choice."""

# Registers of the first transmit ring
TDBAL, TDBAH, TDH, TDT = 0x3800, 0x3804, 0x3810, 0x3818
CARD = "/sys/class/net/eth0/device"


def read_from(guest, address, times=1):
    """Let the guest's card fetch transmit descriptors from there. The interface
    is of no use from then on."""
    guest.run(f"""
        ifconfig eth0 up
        base=$(head -n 1 {CARD}/resource | cut -d' ' -f1)
        devmem $((base + {TDBAL})) 32 {address & 0xffffffff:#x}
        devmem $((base + {TDBAH})) 32 {address >> 32:#x}
        n={times}
        while [ $n -gt 0 ]; do
            next=$(( ($(devmem $((base + {TDH})) 32) + 1) % 256 ))
            devmem $((base + {TDT})) 32 $next
            n=$((n - 1))
        done""")


def faults(machine):
    """The translation faults that a kernel has logged: four words each."""
    lines = machine.dmesg()
    found = []
    for n, line in enumerate(lines):
        if "event 0x10 received" in line:
            found.append([int(word.split()[-1], 16) for word in lines[n + 1:n + 5]])
    return found


def first_fault(machine):
    """The first one, when it arrives."""
    machine.run("until dmesg | grep -q 'event 0x10'; do sleep 0.1; done")
    return faults(machine)[0]
