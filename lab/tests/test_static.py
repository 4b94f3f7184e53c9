# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What can be said of the sources without running them: nothing, please."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, "/repo/lab/kernel")
# pylint: disable=wrong-import-position
from series import BASE, PATCHES, adds, git, names  # noqa: E402

REPO = Path("/repo")
LINUX = REPO / "build/linux"
CHECK = REPO / "build/check"
DRIVER = "drivers/iommu/arm/arm-smmu-v3/"
CROSS = "aarch64-linux-gnu-"
OVERLAY = [path for name in names() for path in adds((PATCHES / name).read_text())]
SOURCES = [path for path in OVERLAY if path.endswith((".c", ".h"))]
COMMITS = git("rev-list", "--reverse", f"{BASE}..HEAD").split()


def run(*command, cwd=LINUX, **options):
    """All that a command prints."""
    return subprocess.run(command, cwd=cwd, text=True, errors="replace", check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def silent(done):
    if done.returncode or done.stdout:
        pytest.fail(f"exit code {done.returncode}\n{done.stdout}", pytrace=False)


def make(out, *args, tree=LINUX):
    return run("make", "-s", "-j2", "-C", tree, f"O={out}", "ARCH=arm64",
               f"CROSS_COMPILE={CROSS}", *args)


def configure(name, *lines, tree=LINUX, args=()):
    """A build directory for the lab's kernel with some options changed."""
    out = CHECK / name
    out.mkdir(parents=True, exist_ok=True)
    (out / "wanted").write_text("".join(
        (REPO / path).read_text() for path in
        ("Kconfig.fragment", "lab/kernel/base.config", "lab/kernel/host.config"))
        + "".join(f"{line}\n" for line in lines))
    done = make(out, *args, "allnoconfig", f"KCONFIG_ALLCONFIG={out}/wanted", tree=tree)
    assert done.returncode == 0, done.stdout
    return out


def nothing_of_ours(done):
    """The tool did its work, and no line of its output names a file of ours."""
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if any(path in line for path in SOURCES)]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def subject(commit):
    return git("log", "-1", "--format=%f", commit)


@pytest.mark.parametrize("commit", COMMITS, ids=subject)
def test_checkpatch_of_each_commit(commit):
    mail = git("show", "--format=email", "--stat=72", "--patch", commit)
    # Our entry in MAINTAINERS has the new files of all commits: the next test
    done = run("scripts/checkpatch.pl", "--strict", "--terse", "--no-summary",
               "--ignore", "FILE_PATH_CHANGES", "-", input=mail)
    silent(done)


@pytest.mark.parametrize("path", OVERLAY)
def test_overlay_file_has_its_maintainer(path):
    done = run("scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", "--sections",
               "-f", path)
    assert path == "MAINTAINERS" or "TEGRA241 CMDQ-V" in done.stdout


@pytest.mark.parametrize("path", SOURCES)
def test_kernel_doc(path):
    done = run("scripts/kernel-doc", "-none", "-Wall", path)
    silent(done)


KUNIT = ["CONFIG_KUNIT=y", "CONFIG_TEGRA241_CMDQV_KUNIT_TEST=y"]


@pytest.mark.parametrize("kunit", [[], KUNIT], ids=["without KUnit", "with KUnit"])
@pytest.mark.parametrize("compiler", [["C=1"], ["LLVM=1"]], ids=["gcc and sparse", "clang"])
def test_build_is_silent(compiler, kunit):
    out = configure(compiler[0], *kunit, args=compiler)
    for source in SOURCES:
        if source.endswith(".c"):
            (out / source).with_suffix(".o").unlink(missing_ok=True)
    done = make(out, *compiler, "W=1", "KCFLAGS=-Wno-error", DRIVER)
    nothing_of_ours(done)


@pytest.mark.parametrize("cmdqv", ["y", "n"], ids=["with TEGRA241_CMDQV", "without"])
@pytest.mark.parametrize("number", range(len(COMMITS)))
def test_each_commit_builds(number, cmdqv):
    tree = CHECK / "tree"
    if not tree.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", tree, "HEAD")
    run("git", "checkout", "-q", "--detach", COMMITS[number], cwd=tree)
    out = configure("commit", f"CONFIG_TEGRA241_CMDQV={cmdqv}", tree=tree)
    done = make(out, DRIVER, tree=tree)
    silent(done)


def coccinelle_scripts():
    """All of the kernel's, but for the few that want an OCaml compiler."""
    scripts = sorted((LINUX / "scripts/coccinelle").rglob("*.cocci"))
    return [script for script in scripts if "script:ocaml" not in script.read_text()]


def test_coccinelle():
    out = configure("C=1")
    for script in coccinelle_scripts():
        done = make(out, "coccicheck", "MODE=report", f"M={LINUX}/{DRIVER}", "J=2",
                    f"COCCI={script}")
        nothing_of_ours(done)


def test_refresh_changes_nothing(tmp_path):
    done = run("python3", "lab/kernel/refresh.py", tmp_path, cwd=REPO)
    silent(done)
    for path in ["patches", *OVERLAY]:
        silent(run("diff", "-ru", REPO / path, tmp_path / path))


def tracked(*patterns):
    return run("git", "ls-files", "-co", "--exclude-standard", "--", *patterns,
               cwd=REPO).stdout.split()


def test_shellcheck():
    scripts = [path for path in tracked(".ci", "lab")
               if re.match(r"#!/bin/(ba)?sh|.*\n(.*\n)?# shellcheck shell", (REPO / path).read_text())]
    done = run("shellcheck", "-x", "-P", "SCRIPTDIR", *scripts, cwd=REPO)
    silent(done)


def test_pyflakes():
    done = run("pyflakes3", *tracked("*.py"), cwd=REPO)
    silent(done)


def test_codespell():
    done = run("codespell", "-L", "sme", *tracked(), cwd=REPO)
    silent(done)


def test_no_address_of_a_host_is_in_the_repository():
    done = run("git", "grep", "--untracked", "-nE", "(https?|ftp)" + "://", cwd=REPO)
    assert done.stdout == ""
