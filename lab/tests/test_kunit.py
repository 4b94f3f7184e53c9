# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The driver's KUnit tests, as "make kunit" runs them."""

import json
import re
import subprocess

LEAST = 198


def all_cases(group):
    """A parametrised case is a group of its own."""
    yield from group["test_cases"]
    for inner in group["sub_groups"]:
        yield from all_cases(inner)


def test_kunit_passes():
    done = subprocess.run(["lab/kernel/kunit.sh", "run", "--json"], cwd="/repo", text=True,
                          capture_output=True, check=False)
    found = re.search(r"^\{.*^\}", done.stdout, re.M | re.S)
    assert found, done.stdout + done.stderr
    cases = list(all_cases(json.loads(found.group())))
    assert [c["name"] for c in cases if c["status"] != "PASS"] == [], done.stdout
    assert len(cases) >= LEAST
