# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Compose build/linux: the base, then a commit for each patch with the overlay
files that its message names.

The commits are made beside the work tree, which is then switched to the last
one, so that only files whose content differs get a new time stamp."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import maintainers
from series import (BASE, CHECKOUT, COMPOSED, Failed, LINUX, PATCHES, adds, git, main,
                    names, require_clean, run_git)

OVERLAY = ("drivers", "include", "tools", "Documentation")


def mailinfo(patch):
    """The header fields, the message and the diff of a patch file."""
    with tempfile.TemporaryDirectory() as tmp:
        message, diff = Path(tmp, "message"), Path(tmp, "diff")
        info = subprocess.run(["git", "mailinfo", message, diff], check=True, text=True,
                              stdin=patch.open(), capture_output=True).stdout
        fields = dict(line.split(": ", 1) for line in info.splitlines() if line)
        if not {"Author", "Email", "Date", "Subject"} <= fields.keys():
            raise Failed(f"{patch.name}: From, Date or Subject is missing")
        return fields, f"{fields['Subject']}\n\n{message.read_text()}", diff.read_bytes()


def hunk(diff, path, line):
    """The hunk of a file's diff that starts at an old line."""
    text = diff.decode(errors="replace")
    part = text[text.find(f"--- a/{path}\n"):]
    found = re.search(rf"^@@ -{line}[, ].*?(?=^@@ |^diff |\Z)", part, re.M | re.S)
    return found.group() if found else ""


def apply(name, diff, env):
    if b"\ndiff --git " not in b"\n" + diff:
        return
    done = subprocess.run(["git", "-C", LINUX, "apply", "--cached", "--whitespace=nowarn"],
                          input=diff, env=env, capture_output=True)
    if done.returncode:
        error = done.stderr.decode(errors="replace")
        place = re.search(r"patch failed: (\S+):(\d+)", error)
        raise Failed(f"{name} does not apply to the base:\n{error}"
                     + (hunk(diff, *place.groups()) if place else ""))


def add_overlay(name, path, env):
    source = CHECKOUT / path
    if not source.is_file():
        raise Failed(f"{name} adds {path}, which the checkout does not have")
    content = source.read_bytes()
    if path == "MAINTAINERS":
        kernel = git("show", f"{BASE}:{path}") + "\n"
        content = maintainers.merge(kernel, content.decode()).encode()
    mode = "100755" if os.access(source, os.X_OK) else "100644"
    blob = subprocess.run(["git", "-C", LINUX, "hash-object", "-w", "--stdin"], check=True,
                          input=content, capture_output=True).stdout.decode().strip()
    git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", env=env)


def commit(fields, message, parent, env):
    who = {}
    for role in "AUTHOR", "COMMITTER":
        who |= {f"GIT_{role}_NAME": fields["Author"], f"GIT_{role}_EMAIL": fields["Email"],
                f"GIT_{role}_DATE": fields["Date"]}
    return git("commit-tree", "-p", parent, git("write-tree", env=env),
               input=message, env=env | who)


def compose():
    """The last commit of the series, and the overlay files it brought in."""
    brought = {}
    with tempfile.TemporaryDirectory() as tmp:
        env = os.environ | {"GIT_INDEX_FILE": f"{tmp}/index"}
        git("read-tree", BASE, env=env)
        last = git("rev-parse", BASE)
        for name in names():
            fields, message, diff = mailinfo(PATCHES / name)
            apply(name, diff, env)
            for path in adds(message):
                if path in brought:
                    raise Failed(f"{name} and {brought[path]} both add {path}")
                brought[path] = name
                add_overlay(name, path, env)
            last = commit(fields, message, last, env)
    return last, brought


def require_all_brought(brought):
    for top in OVERLAY:
        for path in sorted((CHECKOUT / top).rglob("*")):
            name = str(path.relative_to(CHECKOUT))
            if path.is_file() and name not in brought:
                raise Failed(f"no patch has a line 'Adds: {name}'")


def require_saved():
    """Commits made in build/linux are nowhere else until they are written back."""
    composed = run_git("rev-parse", "-q", "--verify", COMPOSED).stdout.strip()
    if not composed:
        return
    require_clean()
    if composed != git("rev-parse", "HEAD"):
        raise Failed("build/linux has commits that are not in patches/.\n"
                     "Write them back by 'make refresh', or 'git reset --hard "
                     f"{COMPOSED}' there.")


def tree():
    require_saved()
    last, brought = compose()
    require_all_brought(brought)
    git("checkout", "-q", "-B", "series", last)
    git("update-ref", COMPOSED, last)
    print(git("log", "--oneline", "--no-decorate", f"{BASE}..HEAD") or "no patches: the base alone")


if __name__ == "__main__":
    main(tree)
