# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""The kernel's selftests of iommufd, the base's and ours, in a host: a test for
each of their cases."""

import re
import subprocess

import pytest

from vm import Host
from vm.host import BUILD

SOURCES = BUILD / "linux/tools/testing/selftests/iommu"
PROGRAMS = ["iommufd", "iommufd_fail_nth", "iommufd_viommu", "iommufd_viommu_fail_nth",
            "iommufd_hw_queue", "iommufd_hw_queue_fail_nth"]
# The harness of the programs ends a case that takes longer than it should; all
# of them together take ten seconds where nothing else runs
HANG = 900
# The base's fail_nth makes mock devices without memory
NO_MEMORY = [r"kobject.*-12\b", "kobject: can not set name properly!",
             r"iommufd_mock\d+: Failed to add to iommu group \d+: -12"]
# What a queue is refused for
NOT_CONTIGUOUS = [r"HW queue \d: its \d+ bytes are not contiguous"]


def names(program):
    """The cases of a program, as it prints them: they are known before it runs."""
    source = (SOURCES / f"{program}.c").read_text()
    for header in re.findall(r'^#include "(iommufd_viommu\w*\.h)"', source, re.M):
        source += (SOURCES / header).read_text()
    variants = {}
    for fixture, variant in re.findall(r"^FIXTURE_VARIANT_ADD\((\w+),\s*(\w+)\)", source, re.M):
        variants.setdefault(fixture, []).append(f"{fixture}.{variant}")
    for fixture, case in re.findall(r"^TEST_(?:F|F_TIMEOUT|FAIL_NTH)\((\w+),\s*(\w+)", source, re.M):
        for name in variants.get(fixture, [fixture]):
            yield f"{name}.{case}"


class Results:
    """What a program said of each case, by name."""

    def __init__(self, output):
        self.output = output
        self.verdict = {name: verdict for verdict, name in
                        re.findall(r"^((?:not )?ok) \d+ ([^\s#]+.*?)\s*$", output, re.M)}
        self.said = dict(re.findall(r"^#  RUN +(\S+) \.\.\.\n(.*?)^#  +(?:OK|FAIL)  ", output,
                                    re.M | re.S))


@pytest.fixture(scope="module", name="results")
def run_all():
    """Results by program, of one host, which is judged at the end."""
    subprocess.run(["lab/kernel/kselftest.sh"], cwd="/repo", check=True, capture_output=True)
    with Host(name="kselftest", mem="2G", cmdqv={}, disk=BUILD / "kselftest.img",
              expected=NO_MEMORY + NOT_CONTIGUOUS) as host:
        host.run("mkdir /tmp/kselftest && mount -o ro /dev/vdc /tmp/kselftest && "
                 "echo 64 > /proc/sys/vm/nr_hugepages")
        results = {program: Results(host.run(f"/tmp/kselftest/{program}", check=False,
                                             timeout=HANG)[1])
                   for program in PROGRAMS}
        assert host.logged(NOT_CONTIGUOUS[0])
        yield results


@pytest.mark.parametrize("program, case", [
    pytest.param(program, case, id=f"{program}-{case}")
    for program in PROGRAMS for case in names(program)])
def test_case(results, program, case):
    found = results[program]
    if found.verdict.get(case) != "ok":
        pytest.fail(found.said.get(case) or found.output, pytrace=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_other_cases_ran(results, program):
    assert set(results[program].verdict) == set(names(program))
