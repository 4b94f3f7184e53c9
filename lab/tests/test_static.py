# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""What can be said of the sources without running them: nothing, please."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, "/repo/lab/kernel")
# pylint: disable=wrong-import-position
from series import BASE, PATCHES, adds, git, names  # noqa: E402

REPO = Path("/repo")
LINUX = REPO / "build/linux"
CHECK = REPO / "build/check"
CROSS = "aarch64-linux-gnu-"
OVERLAY = [path for name in names() for path in adds((PATCHES / name).read_text())]
SOURCES = [path for path in OVERLAY if path.endswith((".c", ".h"))]
COMMITS = git("rev-list", "--reverse", f"{BASE}..HEAD").split()


def outermost(paths):
    """The directories of some files, less those inside of another one."""
    directories = sorted({f"{Path(path).parent}/" for path in paths})
    return [d for d in directories
            if not any(d != outer and d.startswith(outer) for outer in directories)]


def changed(*patterns):
    return git("diff", "--name-only", "--no-renames", BASE, "HEAD", "--", *patterns).splitlines()


# What is built: all of the kernel that the series touches. What coccinelle reads:
# where its files are
COMPILED = changed("*.c", ":(exclude)tools")
BUILT = outermost(COMPILED)
DRIVERS = sorted({f"{Path(path).parent}/" for path in SOURCES
                  if path.endswith(".c") and not path.startswith("tools/")})


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

    # It takes as long as a small build, and most commits leave these alone
    inputs = (out / "wanted").read_text() + run("git", "ls-files", "-s", "*Kconfig*",
                                                cwd=tree).stdout
    stamp = out / "configured"
    if not stamp.exists() or stamp.read_text() != inputs:
        done = make(out, *args, "allnoconfig", f"KCONFIG_ALLCONFIG={out}/wanted", tree=tree)
        assert done.returncode == 0, done.stdout
        stamp.write_text(inputs)
    got = (out / ".config").read_text().splitlines()
    assert [line for line in lines if not line.endswith("=n") and line not in got] == []
    return out


@cache
def written_lines():
    """Those that the series changed or added, as (path, number)."""
    lines, path = set(), None
    for line in git("diff", "-U0", "--no-renames", BASE, "HEAD", "--", "*.[ch]").splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ b/")
        elif hunk := re.match(r"@@ \S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines |= {(path, number) for number in range(first, first + count)}
    return lines


def is_ours(message):
    """It names a file of the overlay, or a line that the series wrote."""
    return any(path in message for path in SOURCES) or any(
        (path, int(number)) in written_lines()
        for path, number in re.findall(r"\b((?:drivers|include)/[\w./-]+):(\d+)", message))


def nothing_of_ours(done):
    """The tool did its work, and has nothing to say of ours."""
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if is_ours(line)]
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


def titles():
    """Of our entries in MAINTAINERS."""
    entries = (REPO / "MAINTAINERS").read_text().split("\n\n")
    return {entry.split("\n")[0] for entry in entries}


@pytest.mark.parametrize("path", OVERLAY)
def test_overlay_file_has_its_maintainer(path):
    done = run("scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", "--sections",
               "-f", path)
    assert path == "MAINTAINERS" or titles() & set(done.stdout.splitlines())


@pytest.mark.parametrize("path", SOURCES)
def test_kernel_doc(path):
    done = run("scripts/kernel-doc", "-none", "-Wall", path)
    silent(done)


KUNIT = ["CONFIG_KUNIT=y", "CONFIG_ARM_SMMU_V3_IOMMUFD_KUNIT_TEST=y",
         "CONFIG_TEGRA241_CMDQV_KUNIT_TEST=y"]


def build_anew(out, *args):
    """Compile what the series touches, even if it is compiled, with all warnings."""
    for source in COMPILED:
        (out / source).with_suffix(".o").unlink(missing_ok=True)
    return make(out, *args, "W=1", "KCFLAGS=-Wno-error", *BUILT)


@pytest.mark.parametrize("kunit", [[], KUNIT], ids=["without KUnit", "with KUnit"])
@pytest.mark.parametrize("compiler", [["C=1"], ["LLVM=1"]], ids=["gcc and sparse", "clang"])
def test_build_is_silent(compiler, kunit):
    out = configure(compiler[0], *kunit, args=compiler)
    nothing_of_ours(build_anew(out, *compiler))


def symbols(*names, cwd):
    """The symbols that objects need, and those that they have."""
    undefined, defined = set(), set()
    for name in names:
        for line in run(f"{CROSS}nm", "-P", name, cwd=cwd).stdout.splitlines():
            if symbol := re.match(r"(\S+) ([A-TV-Z]) ?", line + " "):
                defined.add(symbol[1])
            elif symbol := re.match(r"(\S+) U", line):
                undefined.add(symbol[1])
    return undefined - defined, defined


def test_what_is_built_in_needs_no_module():
    """iommufd and the tests are modules, the SMMU's driver is not. What an object
    exports it marks by a symbol of its own."""
    modules = [line.replace("=y", "=m") for line in KUNIT]
    out = configure("modules", "CONFIG_MODULES=y", "CONFIG_IOMMUFD=m", *modules)
    nothing_of_ours(build_anew(out))
    needed, kept = symbols("drivers/iommu/built-in.a", cwd=out)
    exported = {name.removeprefix("__export_symbol_") for name in kept}
    loaded = (out / "drivers/iommu/modules.order").read_text().split()
    assert "drivers/iommu/iommufd/iommufd.o" in loaded
    for module in loaded:
        wants, has = symbols(module, cwd=out)
        assert needed & has == set()
        assert wants & kept - exported == set()


CORE = r"drivers/iommu/(?!iommufd/)|include/"
SMMU = r"drivers/iommu/(Kconfig|arm/)"
# Options, the paths of commits that they can make a difference for, and a
# symbol without which they are the same as others
VARIANTS = {
    "all": ([], r"drivers/|include/", "IOMMUFD"),
    "neither": (["CONFIG_TEGRA241_CMDQV=n", "CONFIG_IOMMUFD=n"], CORE, "IOMMUFD"),
    "only nested": (["CONFIG_TEGRA241_CMDQV=n"], SMMU, "ARM_SMMU_V3_IOMMUFD"),
    "only CMDQ-V": (["CONFIG_ARM_SMMU_V3_IOMMUFD=n"], SMMU, "ARM_SMMU_V3_IOMMUFD"),
}


def builds():
    """Each commit with each variant that it can break."""
    for commit in COMMITS:
        paths = git("diff-tree", "-r", "--no-commit-id", "--name-only", commit).splitlines()
        known = re.findall(r"^config (\w+)$", "\n".join(
            git("show", f"{commit}:drivers/iommu/{path}Kconfig") for path in ("", "iommufd/")),
            re.M)
        for variant, (_, affected, symbol) in VARIANTS.items():
            if symbol in known and any(re.match(affected, path) for path in paths):
                yield pytest.param(commit, variant, id=f"{subject(commit)}-{variant}")


@pytest.mark.parametrize("commit, variant", builds())
def test_each_commit_builds(commit, variant):
    tree = CHECK / "tree"
    if not tree.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", tree, "HEAD")
    run("git", "checkout", "-q", "--detach", commit, cwd=tree)
    out = configure(f"commit-{variant.replace(' ', '-')}", *VARIANTS[variant][0], tree=tree)
    silent(make(out, *BUILT, tree=tree))


def coccinelle_scripts():
    """All of the kernel's, but for the few that want an OCaml compiler."""
    scripts = sorted((LINUX / "scripts/coccinelle").rglob("*.cocci"))
    return [script for script in scripts if "script:ocaml" not in script.read_text()]


@pytest.mark.parametrize("directory", DRIVERS)
def test_coccinelle(directory):
    out = configure("C=1")

    def check(script):
        return make(out, "coccicheck", "MODE=report", f"M={LINUX}/{directory}", "J=1",
                    f"COCCI={script}")

    # Most scripts are over at once: two of them are faster than one with J=2
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(check, coccinelle_scripts()):
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
    done = run("codespell", "-L", "sme,filp", *tracked(), cwd=REPO)
    silent(done)


def test_no_address_of_a_host_is_in_the_repository():
    done = run("git", "grep", "--untracked", "-nE", "(https?|ftp)" + "://", cwd=REPO)
    assert done.stdout == ""
