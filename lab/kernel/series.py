# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What composing the series and writing it back have in common."""

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PATCHES = CHECKOUT / "patches"
LINUX = CHECKOUT / "build/linux"
BASE = "refs/lab/base"
# The commit that "make tree" left, to tell work that was done since
COMPOSED = "refs/lab/composed"


class Failed(Exception):
    """What the user has to know, without a traceback."""


def run_git(*args, **options):
    """git in build/linux, as subprocess.run() has it."""
    return subprocess.run(["git", "-C", LINUX, *args], capture_output=True,
                          text=True, errors="surrogateescape", **options)


def git(*args, **options):
    """The output of git in build/linux, less the last newline."""
    done = run_git(*args, **options)
    if done.returncode:
        raise Failed(f"git {' '.join(map(str, args))}: {done.stderr}")
    return done.stdout.removesuffix("\n")


def names():
    """The patches of the series, in order."""
    return (PATCHES / "series").read_text().split()


def adds(message):
    """The overlay files that a commit message names."""
    return re.findall(r"^Adds: (\S+)$", message, re.M)


def require_clean():
    if git("status", "--porcelain", "--untracked-files=no"):
        raise Failed("build/linux has changes that are not committed.\n"
                     "Commit them and 'make refresh', or 'git reset --hard' there.")


def main(function):
    try:
        function()
    except Failed as failed:
        sys.exit(f"error: {failed}")
