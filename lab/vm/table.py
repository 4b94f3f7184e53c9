# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Tables for people."""


def table(rows):
    """Columns as wide as they need be, the first one to the left."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows)]
    return "\n".join("  ".join([str(first).ljust(widths[0]), *(
        str(cell).rjust(width) for cell, width in zip(others, widths[1:]))])
        for first, *others in rows)
