# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A guest with a grudge: lab/guest/hostile.c, past the guest's driver."""

# Where the guest sees the block, and BASE of its first queue in it
BASE = 0x40000


def start(guest, what):
    """Let it do this to its first queue from now on."""
    guest.run(f"""
        block=0x$(grep NVDA200C /proc/iomem | cut -d- -f1)
        low=$(devmem $((block + {BASE:#x})) 32)
        high=$(devmem $((block + {BASE:#x} + 4)) 32)
        hostile $block $(((high << 32 | low) & 0xffffffffffe0)) $((1 << (low & 31))) {what} &
        echo $! > /tmp/hostile""")


def stop(guest):
    guest.run("kill $(cat /tmp/hostile); true")
