# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make run: boot a host and a guest, move data through the SMMU, show the queues."""

from . import NET, NVME, OWNED, Guest, Host
from .load import copy_and_compare
from .table import table
from .unmap import bypass, cost_in_guest

CPUS = 4


def queues(report):
    """A line for each queue: what it executed."""
    columns = sorted({name for queue in report["queues"] for name in queue["commands"]})
    rows = [["queue", "VINTF", *columns, "errors", "MMIO"]]
    for queue in report["queues"]:
        rows.append([queue["name"], queue.get("vintf", "-"),
                     *(queue["commands"].get(name, 0) for name in columns),
                     queue["errors"], queue["mmio_reads"] + queue["mmio_writes"]])
    return table(rows)


def unmapping(host, guest, trapped):
    """What a second of it costs."""
    bypass(guest, trapped)
    cost = cost_in_guest(host, guest)
    return f"{cost.microseconds} µs each, {cost.exits:.2f} exits each ({cost.unmaps} unmaps)"


def in_a_guest(host):
    """The same in a guest, whose SMMU and queues are the host's hardware."""
    host.bind_vfio(NVME)
    host.bind_vfio(NET)
    print("\nBooting a guest that owns the disk, a network card and two queues …")
    with Guest(host, devices=[NVME, NET], smmu=OWNED, cpus=2) as guest:
        for line in guest.logged("tegra241_cmdqv"):
            print("   ", line.partition("] ")[2])
        host.reset_report()
        print("Writing to the disk in the guest, reading back, comparing …")
        megabytes = copy_and_compare(guest, 2)
        report = host.report()
        print(f"    {megabytes} MiB moved each way, all equal\n")
        print("What went through which queue; those of VINTF 1 are the guest's:")
        print(queues(report))
        print("\nUnmapping in the guest, one thread:")
        print("    through its own queues:      ", unmapping(host, guest, False))
        print("    trapped, as without CMDQ-V:  ", unmapping(host, guest, True))


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
        print(queues(report))
        in_a_guest(host)
        report = host.report()
    print(f"\nInterrupts: {report['interrupts']}. Hardware rules broken by the kernel: "
          f"{len(host.rules + report['rules'])}. Warnings in its log: none.")
    print("Next: make shell, make test, make bench")


if __name__ == "__main__":
    main()
