# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What all tests use."""

import os
import re
from pathlib import Path

import pytest

from vm import Host


@pytest.fixture
def boot(request):
    """Host, named after the test, so that its logs are found in build/run."""
    name = re.sub(r"[^\w.]+", "-", request.node.name).strip("-")
    return lambda **options: Host(name=name, **options)


@pytest.fixture
def host(boot):
    """One that has room for guests, and devices for them."""
    with boot(cmdqv={}, mem="2560M", net=True) as machine:
        yield machine


def pytest_collection_modifyitems(items):
    """Cheapest first; the machine tests are the rest, and all that a kernel that
    looks for its own faults is for."""
    cheapest = ["test_static", "test_model", "test_kunit"]
    if os.environ.get("DEBUG"):
        items[:] = [item for item in items if item.module.__name__ not in cheapest]
    items.sort(key=lambda item: [*cheapest, item.module.__name__].index(item.module.__name__))


def pytest_terminal_summary(terminalreporter):
    """The line that continuous integration reads."""
    count = {kind: len(terminalreporter.stats.get(kind, []))
             for kind in ("passed", "failed", "error")}
    line = f"{count['passed']} passed, {count['failed'] + count['error']} failed"
    Path("/repo/build/summary").write_text(f"{line}\n")
