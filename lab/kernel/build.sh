#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# make kernel: build/linux, and build/Image built of it.

. "$(dirname "$0")/../lib.sh"

"$repo/lab/kernel/tree.sh"
expect=1930 hint="make tree, and look at what was changed in drivers/ and patches/" \
	step "Building the kernel" in_root lab/kernel/compile.sh
