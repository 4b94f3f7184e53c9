# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make bench, in a guest: dma_map_benchmark with queues of its own, and with all
commands on the emulated SMMU's queue, where each access traps. The guest's
kernel switches from one to the other, so both are measured in one session."""

import re
from pathlib import Path
from statistics import median

from vm import NET, Guest, Host
from vm.load import unmap_for
from .plot import plot

CPUS = 4
THREADS = (1, 2, 4)
ROUNDS = 3
SECONDS = 1
OWN, TRAPPED = "own queues", "trapped"
BYPASS = "/sys/kernel/debug/iommu/tegra241_cmdqv/bypass_vcmdq"
TSV, PNG = Path("/repo/build/bench-guest.tsv"), Path("/repo/build/bench-guest.png")
COLUMNS = ["way", "threads", "median", "min", "max", "ratio", "exits", "ioctls", "commands"]


def select(guest, way):
    guest.run(f"echo {'Y' if way == TRAPPED else 'N'} > {BYPASS}")


def benchmark(host, guest, threads):
    """Microseconds of an unmap; and exits to QEMU, ioctls of QEMU and commands of
    the hardware for each. The host issues a CMD_SYNC for each ioctl."""
    host.reset_report()
    exits = guest.exits("mmio_exit_user")
    output = unmap_for(guest, SECONDS, threads)
    exits = guest.exits("mmio_exit_user") - exits
    queues = host.report()["queues"]
    unmaps = sum(queue["commands"].get("TLBI_NH_VA", 0) for queue in queues)
    smmu = next(queue for queue in queues if queue["name"] == "smmu")
    return (float(re.search(r"unmap latency\(us\):([\d.]+)", output).group(1)),
            exits / unmaps, smmu["syncs"] / unmaps,
            sum(queue["total"] for queue in queues) / unmaps)


def measure(host, guest):
    """{(way, threads): what benchmark() says, each round}"""
    results = {(way, threads): [] for threads in THREADS for way in (TRAPPED, OWN)}
    for number in range(ROUNDS):
        for (way, threads), rounds in results.items():
            select(guest, way)
            rounds.append(benchmark(host, guest, threads))
        print(f"  round {number + 1} of {ROUNDS}", flush=True)
    return results


def rows(results):
    for (way, threads), rounds in results.items():
        times, *counts = zip(*rounds)
        base = median(time for time, *_ in results[TRAPPED, threads])
        yield [way, threads, median(times), min(times), max(times), median(times) / base,
               *map(median, counts)]


def show(results):
    print(f"\nAn unmap in a guest, µs, and what it costs ({ROUNDS} rounds of {SECONDS} s, "
          f"{CPUS} CPUs):\n")
    print("{:16}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>10}".format(*COLUMNS))
    with TSV.open("w") as tsv:
        print(*COLUMNS, sep="\t", file=tsv)
        for row in rows(results):
            print("{:16}{:>8}{:>9.1f}{:>9.1f}{:>9.1f}{:>8.3f}{:>8.2f}{:>8.2f}{:>10.2f}"
                  .format(*row))
            print(row[0], row[1], *(f"{number:.4f}" for number in row[2:]), sep="\t", file=tsv)


def main():
    with Host(name="bench-guest", cpus=CPUS, mem="2G", net=True, cmdqv={}) as host:
        host.bind_vfio(NET)
        with Guest(host, devices=[NET], smmu="accel=on,cmdqv=on", cpus=CPUS) as guest:
            results = measure(host, guest)
    show(results)
    plot(TSV, PNG, "in a guest", CPUS)
    print("\nThe table is in build/bench-guest.tsv, the plot in build/bench-guest.png")


if __name__ == "__main__":
    main()
