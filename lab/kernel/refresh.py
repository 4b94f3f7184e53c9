# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Write the commits of build/linux into patches/ and the overlay below a
directory: the checkout, or another one to compare with it."""

import re
import sys
from pathlib import Path

import maintainers
from series import BASE, CHECKOUT, Failed, adds, git, main, require_clean


def brings(commit):
    """The overlay files of a commit: what its message names, and all new files."""
    named = adds(git("log", "-1", "--format=%B", commit))
    new = git("diff-tree", "-r", "--no-commit-id", "--name-only", "--no-renames",
              "--diff-filter=A", commit).splitlines()
    return named + [path for path in new if path not in named]


def require_whole_files(owners):
    """An overlay file is brought in whole: only its own commit may touch it."""
    for path, owner in owners.items():
        for commit in git("log", "--format=%H", f"{BASE}..HEAD", "--", path).splitlines():
            if commit != owner:
                raise Failed(f"{git('log', '-1', '--format=%h (%s)', commit)} changes {path}, "
                             f"which {git('log', '-1', '--format=%h (%s)', owner)} adds.\n"
                             "Squash it there: git commit --fixup, git rebase -i --autosquash")


def patch(commit, brought):
    """A commit as a mail, without its overlay files, and the same on each machine."""
    exclude = [f":(exclude){path}" for path in brought]
    mail = git("show", "--format=email", "--patch-with-stat", "--no-renames", "--stat=72",
               commit, "--", ".", *exclude)
    mail = re.sub(r"\AFrom [0-9a-f]+ ", f"From {'0' * 40} ", mail)
    mail = re.sub(r"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", "", mail, flags=re.M)
    missing = [path for path in brought if path not in adds(mail)]
    lines = "".join(f"Adds: {path}\n" for path in missing)
    return re.sub(r"^(?=Signed-off-by: )", lines, mail, count=1, flags=re.M) + "\n"


def name(number, commit):
    return f"{number:04d}-{git('log', '-1', '--format=%f', commit)[:52]}.patch"


def write(path, content):
    """Leave the time stamp of an unchanged file alone."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def overlay(path):
    if path == "MAINTAINERS":
        theirs = git("show", f"{BASE}:{path}") + "\n"
        return maintainers.ours(theirs, git("show", f"HEAD:{path}") + "\n")
    return git("show", f"HEAD:{path}") + "\n"


def refresh(out):
    require_clean()
    commits = git("rev-list", "--reverse", f"{BASE}..HEAD").split()
    owners = {path: commit for commit in commits for path in brings(commit)}
    require_whole_files(owners)

    series = {name(n, commit): patch(commit, brings(commit))
              for n, commit in enumerate(commits, 1)}
    gone = set()
    if (out / "patches").exists():
        gone = {p for old in (out / "patches").glob("*.patch")
                for p in adds(old.read_text(errors="surrogateescape"))} - owners.keys()
        for old in (out / "patches").glob("*.patch"):
            if old.name not in series:
                old.unlink()
    for path in gone:
        (out / path).unlink(missing_ok=True)
    for path in owners:
        write(out / path, overlay(path).encode(errors="surrogateescape"))
    for file, content in series.items():
        write(out / "patches" / file, content.encode(errors="surrogateescape"))
    write(out / "patches/series", "".join(f"{file}\n" for file in series).encode())


if __name__ == "__main__":
    main(lambda: refresh(Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT))
