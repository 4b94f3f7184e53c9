# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A guest: our kernel again, started in a host by Debian's QEMU and firmware."""

import json
import time

from pexpect import TIMEOUT

from . import judge
from .console import PATIENCE, READY, Console, Linux

FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
# An SMMU with stage 1 in hardware, and one with queues as well
NESTED, OWNED = "accel=on,cmdqv=off", "accel=on,cmdqv=on"
# What a guest's QEMU has of its host's virtio ports
FILES, SOCKETS = ("console", "stderr"), ("shell", "qmp")


class GuestEnded(Exception):
    """There is no shell and will be none; what QEMU and the kernel said."""


def memory(backend, mem):
    """Guest RAM: "private" is QEMU's own, as is "hugetlb" of 2 MiB pages. A
    "memfd" is shared; a device is passed through only with IOMMU_IOAS_MAP_FILE."""
    if backend == "private":
        return []
    kind = {"memfd": "share=on", "hugetlb": "share=off,hugetlb=on,hugetlbsize=2M"}[backend]
    return ["-object", f"memory-backend-memfd,id=ram,size={mem}M,{kind}",
            "-machine", "memory-backend=ram"]


def pass_through(devices, smmu):
    """Each device behind a root port, with an SMMU of these properties above
    them all, unless there are none."""
    bus = "pcie.1" if smmu else "pcie.0"
    args = ["-object", "iommufd,id=iommufd0"]
    if smmu:
        args += ["-device", f"pxb-pcie,id={bus},bus_nr=8,bus=pcie.0",
                 "-device", f"arm-smmuv3,primary-bus={bus},id=smmuv3,{smmu}"]
    for slot, bdf in enumerate(devices, 1):
        args += ["-device",
                 f"pcie-root-port,id=port{slot},bus={bus},chassis={slot},slot={slot},io-reserve=0",
                 "-device", f"vfio-pci,host={bdf},bus=port{slot},iommufd=iommufd0,rombar=0"]
    return args


def command_line(ports, kernel, mem, cpus, devices, smmu, cmdline, mem_backend):
    """The arguments of Debian's QEMU; a pipe is any file that has two ends."""
    return [
        "qemu-system-aarch64", "-nodefaults", "-display", "none",
        "-M", "virt,gic-version=3", "-cpu", "host", "-accel", "kvm",
        "-smp", str(cpus), "-m", str(mem), *memory(mem_backend, mem),
        "-bios", FIRMWARE, "-kernel", kernel, "-initrd", "/root/guest.cpio",
        # A character on the serial line takes 0.3 ms: warnings and worse alone
        "-append", f"'console=ttyAMA0 loglevel=5 {cmdline}'",
        "-chardev", f"pipe,id=console,path={ports['console']}", "-serial", "chardev:console",
        "-chardev", f"pipe,id=qmp,path={ports['qmp']}", "-qmp", "chardev:qmp",
        "-device", "virtio-serial-pci", "-chardev", f"pipe,id=shell,path={ports['shell']}",
        "-device", "virtconsole,chardev=shell",
        *(pass_through(devices, smmu) if devices or smmu else [])]


class Guest(Linux):
    """A running guest. The devices, PCI addresses in the host, are bound to
    VFIO. At its end the kernel's messages are judged as the host's are."""

    # The options are QEMU's, of a kind each
    def __init__(self, host, name="guest", expected=(), kernel="/dev/vdb", mem=512, cpus=1,
                 devices=(), smmu="", cmdline="", mem_backend="private"):
        self.host, self.name, self.expected = host, name, expected
        self.options = {"kernel": kernel, "mem": mem, "cpus": cpus, "devices": devices, "smmu": smmu,
                        "cmdline": cmdline, "mem_backend": mem_backend}
        self.ports, self.sockets = {}, {}
        self.pid = None
        self.monitor = None

    def path(self, what):
        """Where this is kept of the guest, for whoever looks for the reason."""
        return self.host.dir / f"{self.name}-{what}.log"

    def __enter__(self):
        try:
            self.start()
            self.reconnect()
        except BaseException:
            self.close()
            raise
        return self

    def start(self):
        """Start its QEMU, without waiting for its kernel."""
        for what in FILES:
            self.ports[what] = self.host.add_port(f"{self.name}.{what}", self.path(what))
        for what in SOCKETS:
            self.ports[what], self.sockets[what] = self.host.add_socket(f"{self.name}.{what}")
        if self.options["mem_backend"] == "hugetlb":
            self.host.run(f"echo {self.options['mem'] // 2} > /proc/sys/vm/nr_hugepages")
        self.shell = Console(self.sockets["shell"], self.path("shell"))
        arguments = " ".join(command_line(self.ports, **self.options))
        self.pid = int(self.host.run(f"{arguments} >{self.ports['stderr']} 2>&1 & echo $!"))

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.judge()
        finally:
            self.close()

    def close(self):
        """End its QEMU, if it still runs, and take its ports away."""
        if self.running():
            self.kill()
        for what in self.ports:
            self.host.remove_port(f"{self.name}.{what}")
        for socket in self.sockets.values():
            socket.close()

    def reconnect(self):
        """Wait for the shell of a guest that boots."""
        end, seen = time.monotonic() + PATIENCE, len(self.console())
        while self.shell.expect([READY, TIMEOUT], timeout=2):
            if not self.running() or judge.matching("Kernel panic", self.console()[seen:]):
                raise GuestEnded(self.path("stderr").read_text() + "\n".join(self.console()[seen:]))
            if time.monotonic() > end:
                raise TIMEOUT(f"no shell; see {self.path('console')}")
        self.shell.make_silent()

    def running(self):
        """A process that ended has no program, even before anyone asks for its
        exit code."""
        return self.host.run(f"[ -e /proc/{self.pid}/exe ]", check=False)[0] == 0

    def wait_exit(self, timeout=PATIENCE):
        """The exit code of its QEMU, which is ending."""
        return self.host.run(f"wait {self.pid}", check=False, timeout=timeout)[0]

    def kill(self):
        self.host.run(f"kill -9 {self.pid}")
        self.wait_exit()

    def reboot(self):
        self.shell.send("reboot -f\n")
        self.reconnect()

    def qmp(self, command, **arguments):
        """What its QEMU answers; events are left aside."""
        if not self.monitor:
            self.sockets["qmp"].settimeout(PATIENCE)
            self.monitor = self.sockets["qmp"].makefile("rw")
            self.monitor.readline()
            self.qmp("qmp_capabilities")
        self.monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.monitor.flush()
        answer = {}
        while not answer.keys() & {"return", "error"}:
            answer = json.loads(self.monitor.readline())
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def exits(self, kind="exits"):
        """How often its CPUs left the guest so far, for this reason of KVM's."""
        return int(self.host.run(f"cat /sys/kernel/debug/kvm/{self.pid}-*/{kind}"))

    def console(self):
        """All that its kernels printed on the serial line."""
        return self.path("console").read_text(errors="replace").splitlines()

    def judge(self):
        """Raise Broken if the kernel complains."""
        # With loglevel=5 all that the kernels of its life say there are warnings
        messages = [f"<4>{line}" for line in judge.matching(r"^\[ *\d+\.\d+\] ", self.console())]
        judge.judge([], self.console(), messages, self.expected)
