# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""A Linux that runs commands, whichever level it is on."""

import os

from pexpect.fdpexpect import fdspawn

from . import judge

# Long enough for a loaded machine of two cores; only a hang takes so long
PATIENCE = 600 if os.environ.get("DEBUG") else 120
READY = r"(host|guest)# "


class CommandFailed(Exception):
    """A command returned something else than 0."""

    def __init__(self, command, code, output):
        super().__init__(f"{command}: exit code {code}\n{output}")
        self.code, self.output = code, output


class Console(fdspawn):
    """A shell at the other end of a socket, started by init on /dev/hvc0."""

    def __init__(self, socket, log):
        self.socket = socket
        super().__init__(socket.fileno(), encoding="utf-8", codec_errors="replace", timeout=PATIENCE)
        self.logfile_read = log.open("w")

    def make_silent(self):
        """A shell with a script neither echoes nor prompts."""
        self.send("stty raw -echo; echo read''y; exec sh /dev/hvc0\n")
        self.expect("ready\r?\n")

    def make_interactive(self):
        """As init started it."""
        self.send("stty sane; exec sh -i <>/dev/hvc0 >&0 2>&1\n")


class Linux:
    """What can be asked of a machine with a shell."""

    shell = None

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

    def dmesg(self):
        """The kernel's messages, each with its level: <4>[    1.0] …"""
        return self.run("dmesg -r").splitlines()

    def logged(self, pattern):
        """The kernel's messages that match."""
        return judge.matching(pattern, self.dmesg())
