# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The model's qtests, each in a QEMU of its own."""

import os
import re
import subprocess
from pathlib import Path

import pytest

QEMU = Path("/repo/build/qemu-bin")
QTEST = QEMU / "tegra241-cmdqv-test"


def qtest(*args):
    environment = os.environ | {"QTEST_QEMU_BINARY": str(QEMU / "qemu-system-aarch64")}
    return subprocess.run([QTEST, *args], env=environment, text=True, capture_output=True,
                          timeout=300, check=False)


def cases():
    if not QTEST.exists():
        return []
    return re.findall(r"/aarch64/cmdqv/(\S+)", qtest("-l").stdout)


@pytest.mark.parametrize("case", cases())
def test_model(case):
    done = qtest("-p", f"/aarch64/cmdqv/{case}")
    assert done.returncode == 0 and "\nok 1 " in done.stdout, done.stdout + done.stderr
