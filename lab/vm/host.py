# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A host: QEMU with the model, our kernel, a root disk and an nvme disk."""

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from . import judge
from .console import PATIENCE, READY, Console, Linux

BUILD = Path("/repo/build")
# The one that looks for its own faults is slower
IMAGE = BUILD / ("Image-debug" if os.environ.get("DEBUG") else "Image")
sys.path.insert(0, str(BUILD / "qemu-bin"))
# pylint: disable=wrong-import-position
from qemu.machine import QEMUMachine  # noqa: E402

FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
DEVICE = "/machine/peripheral/cmdqv"
ON_OFF = {True: "on", False: "off"}
# Where the firmware puts them: each behind a root port of its own
NVME, NET, PEER = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"


def endpoint(slot, device):
    """A device that shares its IOMMU group with no other."""
    return ["-device", f"pcie-root-port,id=port{slot},chassis={slot},io-reserve=0",
            "-device", f"{device},bus=port{slot}"]


def extra_disk(file):
    """A disk that can be read only, without the SMMU as the others."""
    return ["-drive", f"file={file},if=none,id=extra,format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=extra"]


def network():
    """A network card, and another one on the same wire."""
    return [arg for slot in (2, 3) for arg in (
        "-netdev", f"hubport,id=net{slot},hubid=0",
        *endpoint(slot, f"e1000e,netdev=net{slot},mac=52:54:00:00:00:0{slot},romfile="))]


def command_line(scratch, log, cpus=2, mem="1G", cmdqv=None, cmdline="",
                 net=False, fwb=True, canwbs=True, disk=None, icount=False):
    """QEMU's arguments, but for the console. The block's properties are in
    cmdqv; with None there is no block. A guest's DMA is coherent because of fwb
    in the SMMU or canwbs in the IORT. The file "disk" becomes /dev/vdc. With
    icount the machine's clock counts instructions, a nanosecond each."""
    clock = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"] if icount else \
        ["-accel", "tcg,thread=multi"]
    block = [] if cmdqv is None else ["-device", ",".join(
        ["tegra241-cmdqv,id=cmdqv", *(f"{key}={value}" for key, value in cmdqv.items())])]
    return [
        "-M", f"virt,virtualization=on,gic-version=3,iommu=smmuv3,canwbs={ON_OFF[canwbs]}",
        "-global", f"arm-smmuv3.fwb={ON_OFF[fwb]}",
        # As Grace, without 52-bit addresses: 6.12 crashes in kexec where it has them
        "-cpu", "max,pauth-impdef=on,sve=off,sme=off,lpa2=off", *clock,
        "-smp", str(cpus), "-m", mem, "-nic", "none", "-no-reboot",
        "-bios", FIRMWARE, "-kernel", str(IMAGE),
        "-append", f"console=ttyAMA0 root=/dev/vda rw panic=-1 {cmdline}",
        "-serial", f"file:{log}",
        # The root disk's DMA does not go through the SMMU: it survives each fault
        "-drive", f"file={BUILD}/host.img,if=none,id=root,format=raw,snapshot=on",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"file={IMAGE},if=none,id=image,format=raw,readonly=on",
        "-device", "virtio-blk-pci,drive=image",
        *(extra_disk(disk) if disk else []),
        "-drive", f"file={scratch},if=none,id=scratch,format=raw",
        *endpoint(1, "nvme,serial=scratch,drive=scratch"),
        *(network() if net else []),
        *block]


class Machine(QEMUMachine):
    """QEMUMachine whose console may be a virtio port: the bus comes first."""

    @property
    def _base_args(self):
        return ["-device", "virtio-serial-pci", *super()._base_args]


class Host(Linux):
    """A running host. At its end it is judged: rules broken and warnings of the
    kernel, but for those that match one of the patterns in "expected"."""

    def __init__(self, name="host", faults=(), expected=(), **options):
        self.expected = list(expected)
        self.has_block = options.get("cmdqv") is not None
        self.faults = faults
        self.dir = BUILD / "run" / name
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.log = self.dir / "console.log"
        scratch = self.dir / "nvme.img"
        with scratch.open("wb") as disk:
            disk.truncate(64 << 20)
        self.vm = Machine(str(BUILD / "qemu-bin/qemu-system-aarch64"),
                          ["-S", *command_line(scratch, self.log, **options)],
                          name="qemu", base_temp_dir="/tmp", log_dir=str(self.dir))
        self.vm.set_console(device_type="virtconsole")
        # A test that ruins the machine on purpose says so
        self.judged = True
        self.judged_from = 0
        self.rules = []

    def __enter__(self):
        self.vm.launch()
        self.shell = Console(self.vm.console_socket, self.dir / "shell.log")
        try:
            for fault in self.faults:
                self.inject(fault)
            self.vm.cmd("cont")
            self.reconnect()
        except BaseException:
            self.vm.kill()
            self.vm.shutdown(hard=True)
            raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None and self.judged:
                self.judge()
        finally:
            self.vm.shutdown(hard=True)

    def reconnect(self):
        """Wait for the shell of a machine that boots."""
        self.shell.expect(READY)
        self.shell.make_silent()

    def qmp(self, command, **arguments):
        return self.vm.cmd(command, **arguments)

    def report(self):
        """What the model counted and which rules it saw broken."""
        return json.loads(self.qmp("qom-get", path=DEVICE, property="report"))

    def reset_report(self):
        """Count from zero; the rules broken so far are remembered."""
        self.rules += self.report()["rules"]
        self.qmp("qom-set", path=DEVICE, property="report-reset", value=True)

    def forget_rules(self):
        """Those broken so far were broken on purpose."""
        self.reset_report()
        self.rules = []

    def inject(self, fault):
        self.qmp("qom-set", path=DEVICE, property="inject", value=json.dumps(fault))

    def queue(self, name):
        """The counters of a queue: "smmu", "vcmdq0"…"""
        return next((q for q in self.report()["queues"] if q["name"] == name), None)

    def console(self):
        """All that the kernels of this machine printed on the serial line."""
        return self.log.read_text(errors="replace").splitlines()

    def forget_console(self):
        """What was printed so far is not judged: a crash on purpose."""
        self.judged_from = len(self.console())

    def bind_vfio(self, bdf):
        """Take a PCI device from its driver, for guests."""
        self._bind(bdf, "vfio-pci")

    def unbind_vfio(self, bdf):
        """Give it back."""
        self._bind(bdf, "")

    def _bind(self, bdf, driver):
        self.run(f"""(set -e; cd /sys/bus/pci/devices/{bdf}
            echo '{driver}' > driver_override
            [ ! -e driver ] || echo {bdf} > driver/unbind
            echo {bdf} > /sys/bus/pci/drivers_probe
            [ -e driver ])""")

    def pins(self):
        """How many pages are pinned for a long time."""
        counts = dict(line.split() for line in self.run("grep foll_pin /proc/vmstat").splitlines())
        return int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])

    def add_port(self, name, file):
        """A new virtio port, and what is written to it, kept in a file. Returns
        its device in the host."""
        self.qmp("chardev-add", id=name, backend={
            "type": "file", "data": {"out": str(file)}})
        return self._plug(name)

    def add_socket(self, name):
        """A new virtio port with a socket. Returns its device in the host, and
        the socket."""
        path = str(Path(self.vm.temp_dir) / name)
        self.qmp("chardev-add", id=name, backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}})
        end = socket.socket(socket.AF_UNIX)
        end.connect(path)
        return self._plug(name), end

    def _plug(self, name):
        named = f"grep -slx {name} /sys/class/virtio-ports/*/name"
        self.run(f"while {named}; do sleep 0.1; done")
        self.qmp("device_add", driver="virtserialport", id=name, name=name, chardev=name)
        return self.run(f"until file=$({named}); do sleep 0.1; done; "
                        "echo /dev/$(basename ${file%/name})").strip()

    def remove_port(self, name):
        self.qmp("device_del", id=name)
        # QEMU takes its time to let go of the port
        end = time.monotonic() + PATIENCE
        while "error" in (answer := self.vm.qmp("chardev-remove", {"id": name})):
            if time.monotonic() > end:
                raise RuntimeError(answer["error"]["desc"])
            time.sleep(0.1)

    def poweroff(self):
        """End the kernel; the machine stays, to be looked at."""
        self.qmp("set-action", shutdown="pause")
        self.shell.send("poweroff -f\n")
        self.vm.event_wait("SHUTDOWN", timeout=PATIENCE)
        self.shell = None

    def leaks(self):
        """What kmemleak finds: twice, since memory that was just freed or moved
        shows up once."""
        for _ in range(2):
            found = self.run("cd /sys/kernel/debug; echo scan > kmemleak; cat kmemleak")
        return [line for line in found.splitlines() if line.startswith("unreferenced")]

    def judge(self):
        """Raise Broken if software broke a rule or the kernel complains."""
        rules = self.rules + (self.report()["rules"] if self.has_block else [])
        if os.environ.get("DEBUG") and self.shell:
            rules += self.leaks()
        judge.judge(rules, self.console()[self.judged_from:],
                    self.dmesg() if self.shell else [], self.expected)
