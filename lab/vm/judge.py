# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What no machine may show at its end."""

import re

# Trouble of whatever level
TROUBLE = (r"WARNING:|BUG:|Oops|Call trace|Kernel panic|Unable to handle|blocked for more than"
           r"|soft lockup|rcu: INFO|INFO: task|possible circular|refcount_t|UBSAN|KASAN")

# What the base says on any machine of the lab, with or without our driver
USUAL = [
    # The banner about IOMMU_DEBUGFS
    r"\] (\*\*.*\*\*|)$",
    # How lockdep introduces itself
    r"Lock dependency validator:|\.\.\. (MAX_LOCK|CLASSHASH_SIZE|CHAINHASH_SIZE)"
    r"|memory used (by lock dependency|for stack traces)|per task-struct memory footprint",
    # The last words of a kernel
    "reboot: (Restarting system|Power down)$",
    # More CPUs than the machine below has
    "hrtimer: interrupt took",
]


class Broken(AssertionError):
    """The list of what should not have been."""


def matching(pattern, lines):
    return [line for line in lines if re.search(pattern, line)]


def warnings(messages, expected):
    """Messages of the levels "warning" and above, less the expected."""
    return [line for line in messages if re.match(r"<[0-4]>", line)
            and not any(re.search(pattern, line) for pattern in [*USUAL, *expected])]


def judge(rules, console, messages, expected):
    found = [f"rule broken: {rule}" for rule in rules]
    found += matching(TROUBLE, console)
    found += warnings(messages, expected)
    if found:
        raise Broken("\n".join(found))
