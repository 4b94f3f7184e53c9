#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# make refresh: write the commits of build/linux back into patches/ and the
# overlay, and compose build/linux of them again.

. "$(dirname "$0")/../lib.sh"

[ -e "$build/linux/.git" ] || die "there is no build/linux" "make tree"
in_root python3 lab/kernel/refresh.py
git -C "$build/linux" update-ref refs/lab/composed HEAD
"$repo/lab/kernel/tree.sh"
