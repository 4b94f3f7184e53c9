# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make run: boot a host, move data through the SMMU, show the queues."""

import sys

from . import NVME, Guest, Host
from .load import copy_and_compare

CPUS = 4


def table(queues):
    """A line for each queue: what it executed."""
    columns = sorted({name for queue in queues for name in queue["commands"]})
    rows = [["queue", "VINTF", *columns, "errors", "MMIO"]]
    for queue in queues:
        rows.append([queue["name"], queue.get("vintf", "-"),
                     *(queue["commands"].get(name, 0) for name in columns),
                     queue["errors"], queue["mmio_reads"] + queue["mmio_writes"]])
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    return "\n".join("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths))
                     for row in rows)


def in_a_guest(host):
    """The same in a guest, whose SMMU and queues are the host's hardware."""
    host.bind_vfio(NVME)
    print("Booting a guest that owns the disk and two queues …")
    with Guest(host, devices=[NVME], smmu="accel=on,cmdqv=on") as guest:
        for line in guest.logged("tegra241_cmdqv"):
            print("   ", line.partition("] ")[2])
        host.reset_report()
        exits = guest.exits()
        megabytes = copy_and_compare(guest, 1)
        exits = guest.exits() - exits
        report = host.report()
    print(f"    {megabytes} MiB moved each way in the guest, all equal; {exits} exits\n")
    print("What went through which queue:")
    print(table(report["queues"]))
    return report


def main():
    print(f"Booting a virtual Grace: {CPUS} CPUs, an SMMUv3 with its CMDQ-V block …")
    with Host(name="run", cpus=CPUS, mem="2G", cmdqv={}) as host:
        print(f"Linux {host.run('uname -r').strip()} is up. Its driver says:")
        for line in host.logged("tegra241_cmdqv"):
            print("   ", line.partition("] ")[2])
        host.reset_report()
        print("Writing to the nvme disk from every CPU, reading back, comparing …")
        megabytes = copy_and_compare(host, CPUS)
        report = host.report()
        print(f"    {megabytes} MiB moved each way, all equal\n")
        print("What went through which queue:")
        print(table(report["queues"]))
        if "guest" in sys.argv[1:]:
            print()
            report = in_a_guest(host)
    print(f"\nInterrupts: {report['interrupts']}. Hardware rules broken by the kernel: "
          f"{len(report['rules'])}. Warnings in its log: none.")
    print("Next: make shell, make test, make bench")


if __name__ == "__main__":
    main()
