# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Our MAINTAINERS entries: put into the kernel's file, and taken out again."""

from bisect import bisect


def entries(text):
    """What blank lines part: an entry has its title in its first line."""
    return text.rstrip("\n").split("\n\n")


def merge(kernel, ours):
    """The kernel's file with our entries where the alphabet puts them."""
    merged = entries(kernel)
    # The prose on top, which ends before this entry, is not sorted
    first = next(n for n, e in enumerate(merged) if e.startswith("3C59X "))
    for entry in entries(ours):
        merged.insert(bisect(merged, entry, lo=first), entry)
    return "\n\n".join(merged) + "\n"


def ours(kernel, merged):
    """The entries of the merged file that the kernel's does not have."""
    theirs = set(entries(kernel))
    return "\n\n".join(e for e in entries(merged) if e not in theirs) + "\n"
