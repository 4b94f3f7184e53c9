# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""make shell: a host whose shell is this terminal."""

import os

from .host import BUILD, command_line

QEMU = str(BUILD / "qemu-bin/qemu-system-aarch64")


def main():
    folder = BUILD / "run/shell"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "nvme.img").open("wb") as disk:
        disk.truncate(64 << 20)
    print("The kernel's messages go to build/run/shell/console.log. End with: exit")
    os.execv(QEMU, [
        QEMU, "-display", "none", "-monitor", "none",
        "-device", "virtio-serial-pci", "-chardev", "stdio,id=console,signal=off",
        "-device", "virtconsole,chardev=console",
        *command_line(folder / "nvme.img", folder / "console.log", cpus=4, cmdqv={})])


if __name__ == "__main__":
    main()
