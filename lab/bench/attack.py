# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make bench, beside a hostile guest: what an unmap takes in the host and in
another guest, while that one does its worst to its own queue. To share a CPU
with it costs, too: so they are compared with one that only takes the CPU."""

from statistics import median

from vm import NET, NVME, OWNED, Guest, Host
from vm.hostile import attack, noticed
from vm.unmap import unmap_for
from .result import tabulate

ATTACKS = ("nothing", "opcodes", "overrun", "garbage", "doorbells")
ROUNDS = 3
# With four CPUs the kernel has 0 to 3, the first guest 4 and 5
HOSTILE = "vcmdq6"


def measure(host, victim, hostile):
    """{attack: [(µs in the host, µs in the victim), each round]}"""
    results = {what: [] for what in ATTACKS}
    for number in range(ROUNDS):
        for what, rounds in results.items():
            host.reset_report()
            with attack(hostile, what):
                rounds.append((unmap_for(host), unmap_for(victim)))
            assert what == "nothing" or noticed(host, HOSTILE, what), what
        print(f"  round {number + 1} of {ROUNDS}", flush=True)
    return results


def rows(results):
    yield ["the guest sends", "host", "ratio", "other guest", "ratio"]
    host_alone, victim_alone = map(median, zip(*results["nothing"]))
    for what, rounds in results.items():
        host, victim = map(median, zip(*rounds))
        yield [what, host, host / host_alone, victim, victim / victim_alone]


def main():
    with Host(name="bench-attack", cpus=4, mem="2560M", net=True, cmdqv={}) as host:
        # Rules are broken on purpose
        host.judged = False
        host.bind_vfio(NET)
        host.bind_vfio(NVME)
        with Guest(host, name="victim", devices=[NET], smmu=OWNED) as victim, \
                Guest(host, name="hostile", devices=[NVME], smmu=OWNED,
                      expected=["VINTF0: VCMDQ", "callbacks suppressed"]) as hostile:
            results = measure(host, victim, hostile)
            hostile.kill()
    print(f"\nAn unmap, µs, beside a hostile guest (median of {ROUNDS} rounds of 1 s, one "
          "thread):\n")
    tabulate("bench-attack", list(rows(results)), [None, 1, 2, 1, 2])
    print("\nThe table is in build/bench-attack.tsv")


if __name__ == "__main__":
    main()
