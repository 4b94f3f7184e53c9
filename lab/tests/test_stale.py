# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
"""Would a lost invalidation be seen at all? The proof for all other tests."""

from pexpect import TIMEOUT

from vm import CommandFailed
from vm.load import copy_and_compare

ROUNDS = 20


def data_suffers(host):
    """Whether data that moves through the SMMU, or the kernel, comes to harm."""
    try:
        for _ in range(ROUNDS):
            copy_and_compare(host, 2)
    except (CommandFailed, TIMEOUT):
        return True
    return bool(host.logged(r"event 0x10 received|nvme.*(timeout|I/O Error)"))


def test_dropped_invalidations_do_harm(boot):
    with boot(cmdqv={}) as host:
        host.judged = False
        host.inject({"fault": "drop", "opcode": "TLBI"})
        assert data_suffers(host)
