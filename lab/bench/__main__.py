# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make bench: the kernel's dma_map_benchmark, three ways, alternating.

There are two machines, since the number of queues is chosen at boot; one of
them has its VCMDQs bypassed in turn. The other one is paused meanwhile."""

from statistics import median

from vm import Host
from vm.unmap import bypass, unmap_for
from .result import plot, tabulate

CPUS = 8
THREADS = (1, 2, 4, 8)
ROUNDS = 7
DECIMALS = [None, None, 1, 1, 1, 2, 2, 2, 2, 2]
OWN, TWO, OURS = "SMMU queue", "two VCMDQs", "a VCMDQ per CPU"
TRACING = "/sys/kernel/tracing"
UNMAPS = f"cat {TRACING}/per_cpu/cpu*/stats | awk '/^(entries|overrun):/ {{ n += $2 }} END {{ print n }}'"


def count(host, threads):
    """Commands, syncs and MMIO accesses of an unmap; tracing tells how many
    unmaps there were, and would disturb the time."""
    host.run(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/iommu/unmap/enable")
    host.reset_report()
    unmap_for(host, threads=threads)
    queues = host.report()["queues"]
    host.run(f"echo 0 > {TRACING}/events/iommu/unmap/enable")
    unmaps = int(host.run(UNMAPS))
    return [sum(queue[what] for queue in queues) / unmaps
            for what in ("total", "syncs", "mmio_reads", "mmio_writes")]


def select(hosts, way):
    """The machine of a way, running alone, with its VCMDQs bypassed or not."""
    host, other = hosts if way != TWO else reversed(hosts)
    other.qmp("stop")
    host.qmp("cont")
    if way != TWO:
        bypass(host, way == OWN)
    return host


def measure(hosts):
    """{(way, threads): (times, counts)}"""
    results = {}
    for threads in THREADS:
        times = {way: [] for way in (OWN, TWO, OURS)}
        for number in range(ROUNDS):
            for way, list_of_times in times.items():
                list_of_times.append(unmap_for(select(hosts, way), threads=threads))
            print(f"  {threads} threads, round {number + 1} of {ROUNDS}", flush=True)
        for way, list_of_times in times.items():
            results[way, threads] = (list_of_times, count(select(hosts, way), threads))
    return results


def rows(results):
    yield ["way", "threads", "median", "min", "max", "ratio", "commands", "syncs", "reads",
           "writes"]
    for (way, threads), (times, counts) in results.items():
        yield [way, threads, median(times), min(times), max(times),
               median(times) / median(results[OWN, threads][0]), *counts]


def main():
    with Host(name="bench", cpus=CPUS, net=True, cmdqv={}) as ours, \
            Host(name="bench-two", cpus=CPUS, net=True, cmdqv={},
                 cmdline="arm_smmu_v3.kernel_vcmdqs=2") as two:
        results = measure((ours, two))
        ours.qmp("cont")
        two.qmp("cont")
    print(f"\nAn unmap, µs, and what it costs ({ROUNDS} rounds of 1 s, {CPUS} CPUs):\n")
    tabulate("bench", list(rows(results)), DECIMALS)
    plot("bench", "in the host", CPUS)
    print("\nThe table is in build/bench.tsv, the plot in build/bench.png")


if __name__ == "__main__":
    main()
