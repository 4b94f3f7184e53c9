# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Data that moves through the SMMU, and is compared."""

# Each CPU has an area of the nvme disk to itself
MEGABYTES = 1

SCRIPT = """
cat > /tmp/load <<'END'
set -e
skip=$(($1 * {megabytes}))
dd if=/dev/urandom of=/tmp/in.$1 bs=1M count={megabytes} 2>/dev/null
dd if=/tmp/in.$1 of=/dev/nvme0n1 bs=16k seek=$((skip * 64)) oflag=direct conv=notrunc 2>/dev/null
dd if=/dev/nvme0n1 of=/tmp/out.$1 bs=16k skip=$((skip * 64)) count=$(({megabytes} * 64)) iflag=direct 2>/dev/null
cmp /tmp/in.$1 /tmp/out.$1
rm /tmp/in.$1 /tmp/out.$1
END
"""


def copy_and_compare(host, cpus):
    """Write random data from each CPU at the same time, read it back, compare.
    Returns the MiB written."""
    host.run(SCRIPT.format(megabytes=MEGABYTES))
    host.run("pids=; for cpu in " + " ".join(map(str, range(cpus))) + "; do "
             "taskset -c $cpu sh /tmp/load $cpu & pids=\"$pids $!\"; done; "
             "code=0; for pid in $pids; do wait $pid || code=1; done; (exit $code)")
    return cpus * MEGABYTES


def carry(sender, receiver, address):
    """A MiB of random data by TCP from the sender's address; compare."""
    sender.run("dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null; "
               "pidof httpd || httpd -h /tmp -p 5000")
    receiver.run(f"wget -q -O /tmp/received {address}:5000/sent")
    assert sender.run("md5sum </tmp/sent") == receiver.run("md5sum </tmp/received")


def exchange_and_compare(host, peer, guest):
    """Random data both ways between a card of the host and the guest's only one."""
    host.run(f"ifconfig $(ls /sys/bus/pci/devices/{peer}/net) 10.0.0.1")
    guest.run("ifconfig eth0 10.0.0.2")
    guest.run("until ping -c 1 -W 1 10.0.0.1; do :; done")
    carry(host, guest, "10.0.0.1")
    carry(guest, host, "10.0.0.2")
