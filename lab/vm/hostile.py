# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A guest with a grudge: lab/guest/hostile.c, past the guest's driver."""

from contextlib import contextmanager

# Where the guest sees the block, and BASE of its first queue in it
BASE = 0x40000


@contextmanager
def attack(guest, what):
    """Let it do this to its first queue all the while."""
    guest.run(f"""
        block=0x$(grep NVDA200C /proc/iomem | cut -d- -f1)
        low=$(devmem $((block + {BASE:#x})) 32)
        high=$(devmem $((block + {BASE:#x} + 4)) 32)
        hostile $block $(((high << 32 | low) & 0xffffffffffe0)) $((1 << (low & 31))) {what} &""")
    yield
    guest.run("kill $!")


def noticed(host, name, what):
    """How often this was noticed of the queue since the last reset_report()."""
    report = host.report()
    if what == "overrun":
        return sum(rule["count"] for rule in report["rules"] if rule["rule"] == "prod-overrun")
    queue = next(queue for queue in report["queues"] if queue["name"] == name)
    return {"opcodes": queue["errors"], "garbage": queue["errors"],
            "doorbells": queue["commands"].get("SYNC", 0),
            "own": queue["commands"].get("ATC_INV", 0), "nothing": 0}[what]
