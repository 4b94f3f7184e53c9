# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Virtual machines of the lab.

    with Host(cpus=4, cmdqv={"vintfs": 2}) as host:
        print(host.run("uname -r"))
        print(host.report()["queues"])
"""

from .console import CommandFailed
from .guest import NESTED, OWNED, Guest, GuestEnded
from .host import NET, NVME, PEER, Host
from .judge import Broken

__all__ = ["Broken", "CommandFailed", "Guest", "GuestEnded", "Host", "NESTED", "NET", "NVME",
           "OWNED", "PEER"]
