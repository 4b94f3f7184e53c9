# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A host: QEMU with the model, our kernel, a root disk and an nvme disk."""

import json
import shutil
import sys
from pathlib import Path

from pexpect.fdpexpect import fdspawn

from . import judge

BUILD = Path("/repo/build")
sys.path.insert(0, str(BUILD / "qemu-bin"))
# pylint: disable=wrong-import-position
from qemu.machine import QEMUMachine  # noqa: E402

FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
DEVICE = "/machine/peripheral/cmdqv"
# Long enough for a loaded machine of two cores; only a hang takes so long
PATIENCE = 120
READY = r"host# "


class CommandFailed(Exception):
    """A command in the host returned something else than 0."""

    def __init__(self, command, code, output):
        super().__init__(f"{command}: exit code {code}\n{output}")
        self.code, self.output = code, output


def command_line(scratch, log, cpus=2, mem="1G", cmdqv=None, cmdline=""):
    """QEMU's arguments, but for the console. The block's properties are in
    cmdqv; with None there is no block."""
    block = [] if cmdqv is None else ["-device", ",".join(
        ["tegra241-cmdqv,id=cmdqv", *(f"{key}={value}" for key, value in cmdqv.items())])]
    return [
        "-M", "virt,virtualization=on,gic-version=3,iommu=smmuv3",
        # As Grace, without 52-bit addresses: 6.12 crashes in kexec where it has them
        "-cpu", "max,pauth-impdef=on,sve=off,sme=off,lpa2=off", "-accel", "tcg,thread=multi",
        "-smp", str(cpus), "-m", mem, "-nic", "none", "-no-reboot",
        "-bios", FIRMWARE, "-kernel", str(BUILD / "Image"),
        "-append", f"console=ttyAMA0 root=/dev/vda rw panic=-1 {cmdline}",
        "-serial", f"file:{log}",
        # The root disk's DMA does not go through the SMMU: it survives each fault
        "-drive", f"file={BUILD}/host.img,if=none,id=root,format=raw,snapshot=on",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"file={BUILD}/Image,if=none,id=image,format=raw,readonly=on",
        "-device", "virtio-blk-pci,drive=image",
        "-drive", f"file={scratch},if=none,id=scratch,format=raw",
        "-device", "nvme,serial=scratch,drive=scratch",
        *block]


class Machine(QEMUMachine):
    """QEMUMachine whose console may be a virtio port: the bus comes first."""

    @property
    def _base_args(self):
        return ["-device", "virtio-serial-pci", *super()._base_args]


class Host:
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
        self.shell = None
        # A test that ruins the machine on purpose says so
        self.judged = True
        self.judged_from = 0

    def __enter__(self):
        self.vm.launch()
        self.shell = fdspawn(self.vm.console_socket.fileno(), encoding="utf-8",
                             codec_errors="replace", timeout=PATIENCE)
        self.shell.logfile_read = (self.dir / "shell.log").open("w")
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
        # A shell with a script neither echoes nor prompts
        self.shell.send("stty raw -echo; echo read''y; exec sh /dev/hvc0\n")
        self.shell.expect("ready\r?\n")

    def run(self, command, check=True, timeout=PATIENCE):
        """What a shell command prints, both streams. Without check: its exit
        code and what it prints."""
        self.shell.send(f"{{ {command}\n}} </dev/null 2>&1; echo \"@$?@\"\n")
        self.shell.expect(r"@(\d+)@\r?\n", timeout=timeout)
        code, output = int(self.shell.match.group(1)), self.shell.before
        if not check:
            return code, output
        if code:
            raise CommandFailed(command, code, output)
        return output

    def qmp(self, command, **arguments):
        return self.vm.cmd(command, **arguments)

    def report(self):
        """What the model counted and which rules it saw broken."""
        return json.loads(self.qmp("qom-get", path=DEVICE, property="report"))

    def reset_report(self):
        self.qmp("qom-set", path=DEVICE, property="report-reset", value=True)

    def inject(self, fault):
        self.qmp("qom-set", path=DEVICE, property="inject", value=json.dumps(fault))

    def queue(self, name):
        """The counters of a queue: "smmu", "vcmdq0"…"""
        return next((q for q in self.report()["queues"] if q["name"] == name), None)

    def dmesg(self):
        """The kernel's messages, each with its level: <4>[    1.0] …"""
        return self.run("dmesg -r").splitlines()

    def logged(self, pattern):
        """The kernel's messages that match."""
        return judge.matching(pattern, self.dmesg())

    def console(self):
        """All that the kernels of this machine printed on the serial line."""
        return self.log.read_text(errors="replace").splitlines()

    def forget_console(self):
        """What was printed so far is not judged: a crash on purpose."""
        self.judged_from = len(self.console())

    def poweroff(self):
        """End the kernel; the machine stays, to be looked at."""
        self.qmp("set-action", shutdown="pause")
        self.shell.send("poweroff -f\n")
        self.vm.event_wait("SHUTDOWN", timeout=PATIENCE)
        self.shell = None

    def judge(self):
        """Raise Broken if software broke a rule or the kernel complains."""
        rules = self.report()["rules"] if self.has_block else []
        judge.judge(rules, self.console()[self.judged_from:],
                    self.dmesg() if self.shell else [], self.expected)
