# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The driver's KUnit tests, as "make kunit" runs them."""

import json
import re
import subprocess

LEAST = 30


def test_kunit_passes():
    done = subprocess.run(["lab/kernel/kunit.sh", "--json"], cwd="/repo", text=True,
                          capture_output=True, check=False)
    found = re.search(r"^\{.*^\}", done.stdout, re.M | re.S)
    assert found, done.stdout + done.stderr
    suites = json.loads(found.group())["sub_groups"]
    cases = [case for suite in suites for case in suite["test_cases"]]
    assert [c["name"] for c in cases if c["status"] != "PASS"] == [], done.stdout
    assert len(cases) >= LEAST
