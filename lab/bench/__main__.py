# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make bench: the kernel's dma_map_benchmark, three ways, alternating.

There are two machines, since the number of queues is chosen at boot; one of
them has its VCMDQs bypassed in turn. The other one is paused meanwhile."""

import re
from pathlib import Path
from statistics import median

from vm import Host
from .plot import plot

CPUS = 8
THREADS = (1, 2, 4, 8)
ROUNDS = 7
SECONDS = 1
OWN, TWO, OURS = "SMMU queue", "two VCMDQs", "a VCMDQ per CPU"
BYPASS = "/sys/kernel/debug/iommu/tegra241_cmdqv/bypass_vcmdq"
TRACING = "/sys/kernel/tracing"
TSV, PNG = Path("/repo/build/bench.tsv"), Path("/repo/build/bench.png")

# The nvme disk becomes the device that the benchmark maps memory for
BIND = """
device=$(basename $(readlink -f /sys/block/nvme0n1/device/device))
echo $device > /sys/bus/pci/drivers/nvme/unbind
echo dma_map_benchmark > /sys/bus/pci/devices/$device/driver_override
echo $device > /sys/bus/pci/drivers/dma_map_benchmark/bind
"""
UNMAPS = f"cat {TRACING}/per_cpu/cpu*/stats | awk '/^(entries|overrun):/ {{ n += $2 }} END {{ print n }}'"


def benchmark(host, threads):
    """Microseconds of an unmap."""
    output = host.run(f"dma_map_benchmark -t {threads} -s {SECONDS}")
    return float(re.search(r"unmap latency\(us\):([\d.]+)", output).group(1))


def count(host, threads):
    """Commands, syncs and MMIO accesses of an unmap; tracing tells how many
    unmaps there were, and would disturb the time."""
    host.run(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/iommu/unmap/enable")
    host.reset_report()
    benchmark(host, threads)
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
        host.run(f"echo {'Y' if way == OWN else 'N'} > {BYPASS}")
    return host


def measure(hosts):
    """{(way, threads): (times, counts)}"""
    results = {}
    for threads in THREADS:
        times = {way: [] for way in (OWN, TWO, OURS)}
        for number in range(ROUNDS):
            for way, list_of_times in times.items():
                list_of_times.append(benchmark(select(hosts, way), threads))
            print(f"  {threads} threads, round {number + 1} of {ROUNDS}", flush=True)
        for way, list_of_times in times.items():
            results[way, threads] = (list_of_times, count(select(hosts, way), threads))
    return results


def rows(results):
    for (way, threads), (times, counts) in results.items():
        yield [way, threads, median(times), min(times), max(times),
               median(times) / median(results[OWN, threads][0]), *counts]


COLUMNS = ["way", "threads", "median", "min", "max", "ratio", "commands", "syncs", "reads",
           "writes"]


def show(results):
    print(f"\nAn unmap, µs, and what it costs ({ROUNDS} rounds of {SECONDS} s, {CPUS} CPUs):\n")
    print("{:16}{:>8}{:>9}{:>9}{:>9}{:>8}{:>10}{:>7}{:>7}{:>8}".format(*COLUMNS))
    with TSV.open("w") as tsv:
        print(*COLUMNS, sep="\t", file=tsv)
        for row in rows(results):
            print("{:16}{:>8}{:>9.1f}{:>9.1f}{:>9.1f}{:>8.2f}{:>10.2f}{:>7.2f}{:>7.2f}{:>8.2f}"
                  .format(*row))
            print(row[0], row[1], *(f"{number:.3f}" for number in row[2:]), sep="\t", file=tsv)


def main():
    with Host(name="bench", cpus=CPUS, cmdqv={}) as ours, \
            Host(name="bench-two", cpus=CPUS, cmdqv={},
                 cmdline="arm_smmu_v3.kernel_vcmdqs=2") as two:
        for host in ours, two:
            host.run(BIND)
        results = measure((ours, two))
        ours.qmp("cont")
        two.qmp("cont")
    show(results)
    plot(TSV, PNG, "in the host", CPUS)
    print("\nThe table is in build/bench.tsv, the plot in build/bench.png")


if __name__ == "__main__":
    main()
