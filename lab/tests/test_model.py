# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The model's qtests, each in a QEMU of its own."""

import os
import subprocess
from pathlib import Path

import pytest

QEMU = Path("/repo/build/qemu-bin")
QTEST = QEMU / "tegra241-cmdqv-test"


def qtest(*args):
    environment = os.environ | {"QTEST_QEMU_BINARY": str(QEMU / "qemu-system-aarch64")}
    return subprocess.run([QTEST, "--tap", "-k", *args], env=environment, text=True,
                          capture_output=True, timeout=300, check=False)


def cases():
    listed = subprocess.run([QTEST, "-l"], text=True, capture_output=True, check=False).stdout
    return listed.split() or ["the model is not built"]


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.rpartition("cmdqv/")[2])
def test_model(case):
    done = qtest("-p", case)
    assert done.returncode == 0 and "\nok 1 " in done.stdout, done.stdout + done.stderr
