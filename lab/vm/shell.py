# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make shell, make guest: this terminal becomes the shell of a host or a guest."""

import os
import select
import sys
import termios
import tty

from . import NVME, OWNED, Guest, Host


def interact(console, running):
    """Copy until the machine ends."""
    socket, keys = console.socket, sys.stdin.fileno()
    saved = termios.tcgetattr(keys)
    tty.setraw(keys)
    try:
        console.make_interactive()
        while True:
            ready = select.select([socket, keys], [], [], 1)[0]
            if socket in ready:
                data = socket.recv(4096)
                if not data:
                    return
                os.write(sys.stdout.fileno(), data)
            if keys in ready:
                socket.sendall(os.read(keys, 4096))
            if not ready and not running():
                return
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, saved)


def main():
    print("The kernels' messages go to build/run/shell. End with: exit")
    with Host(name="shell", cpus=4, mem="2G", cmdqv={}, net=True) as host:
        host.judged = False
        if "guest" not in sys.argv[1:]:
            interact(host.shell, host.vm.is_running)
            return
        host.bind_vfio(NVME)
        print("The host is up; its guest boots, with the nvme disk and two queues …")
        with Guest(host, devices=[NVME], smmu=OWNED, cpus=2) as guest:
            interact(guest.shell, guest.running)


if __name__ == "__main__":
    main()
