# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make run: boot a host and a guest, move data through the SMMU, show the queues."""

import re

from . import NET, NVME, Guest, Host
from .load import copy_and_compare, unmap_for

CPUS = 4
BYPASS = "/sys/kernel/debug/iommu/tegra241_cmdqv/bypass_vcmdq"


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


def cost_of_unmap(host, guest, bypass):
    """Commands and exits to QEMU, of a second of unmapping in the guest."""
    guest.run(f"echo {bypass} > {BYPASS}")
    host.reset_report()
    exits = guest.exits("mmio_exit_user")
    time = re.search(r"unmap latency\(us\):([\d.]+)", unmap_for(guest, 1)).group(1)
    exits = guest.exits("mmio_exit_user") - exits
    unmaps = sum(queue["commands"].get("TLBI_NH_VA", 0) for queue in host.report()["queues"])
    return f"{time} µs each, {exits / unmaps:.2f} exits each ({unmaps} unmaps)"


def in_a_guest(host):
    """The same in a guest, whose SMMU and queues are the host's hardware."""
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    print("\nBooting a guest that owns the disk, a network card and two queues …")
    with Guest(host, devices=[NVME, NET], smmu="accel=on,cmdqv=on", cpus=2) as guest:
        for line in guest.logged("tegra241_cmdqv"):
            print("   ", line.partition("] ")[2])
        host.reset_report()
        print("Writing to the disk in the guest, reading back, comparing …")
        megabytes = copy_and_compare(guest, 2)
        report = host.report()
        print(f"    {megabytes} MiB moved each way, all equal\n")
        print("What went through which queue; those of VINTF 1 are the guest's:")
        print(table(report["queues"]))
        print("\nUnmapping in the guest, one thread:")
        print("    through its own queues:      ", cost_of_unmap(host, guest, "N"))
        print("    trapped, as without CMDQ-V:  ", cost_of_unmap(host, guest, "Y"))


def main():
    print(f"Booting a virtual Grace: {CPUS} CPUs, an SMMUv3 with its CMDQ-V block …")
    with Host(name="run", cpus=CPUS, mem="2G", net=True, cmdqv={}) as host:
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
        in_a_guest(host)
        report = host.report()
    print(f"\nInterrupts: {report['interrupts']}. Hardware rules broken by the kernel: "
          f"{len(report['rules'])}. Warnings in its log: none.")
    print("Next: make shell, make test, make bench")


if __name__ == "__main__":
    main()
