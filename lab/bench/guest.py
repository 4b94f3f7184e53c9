# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make bench, in a guest: dma_map_benchmark with queues of its own, and with all
commands on the emulated SMMU's queue, where each access traps. The guest's
kernel switches from one to the other, so both are measured in one session.

Instructions are counted on a machine of one CPU whose clock they are: those of
the guest, and where it is trapped of KVM, QEMU and the host's kernel."""

from statistics import median

from vm import NET, OWNED, Guest, Host
from vm.unmap import bypass, cost_in_guest
from .result import plot, tabulate

CPUS = 4
THREADS = (1, 2, 4)
ROUNDS = 3
OWN, TRAPPED = "own queues", "trapped"
COLUMNS = ["way", "threads", "median", "min", "max", "ratio", "exits", "ioctls", "commands",
           "instructions"]
DECIMALS = [None, None, 1, 1, 1, 3, 2, 2, 2, 0]


def measure(host, guest):
    """{(way, threads): the cost, each round}"""
    results = {(way, threads): [] for threads in THREADS for way in (TRAPPED, OWN)}
    for number in range(ROUNDS):
        for (way, threads), rounds in results.items():
            bypass(guest, way == TRAPPED)
            rounds.append(cost_in_guest(host, guest, threads=threads))
        print(f"  round {number + 1} of {ROUNDS}", flush=True)
    return results


def instructions(host, guest):
    """{way: instructions of an unmap}, of one thread"""
    result = {}
    for way in (TRAPPED, OWN):
        bypass(guest, way == TRAPPED)
        result[way] = 1000 * cost_in_guest(host, guest).microseconds
    return result


def rows(results, counts):
    yield COLUMNS
    for (way, threads), rounds in results.items():
        times, *others, _unmaps = zip(*rounds)
        base = median(cost.microseconds for cost in results[TRAPPED, threads])
        yield [way, threads, median(times), min(times), max(times), median(times) / base,
               *map(median, others), counts[way] if threads == 1 else "-"]


def in_a_guest(name, cpus, ask, **options):
    """What ask(host, guest) returns."""
    with Host(name=name, cpus=cpus, mem="2G", net=True, cmdqv={}, **options) as host:
        host.bind_vfio(NET)
        with Guest(host, devices=[NET], smmu=OWNED, cpus=cpus) as guest:
            return ask(host, guest)


def main():
    results = in_a_guest("bench-guest", CPUS, measure)
    counts = in_a_guest("bench-icount", 1, instructions, icount=True)
    print(f"\nAn unmap in a guest, µs, and what it costs ({ROUNDS} rounds of 1 s, {CPUS} CPUs;\n"
          "instructions: all that one thread causes on one CPU, by -icount):\n")
    tabulate("bench-guest", list(rows(results, counts)), DECIMALS)
    plot("bench-guest", "in a guest", CPUS)
    print("\nThe table is in build/bench-guest.tsv, the plot in build/bench-guest.png")


if __name__ == "__main__":
    main()
