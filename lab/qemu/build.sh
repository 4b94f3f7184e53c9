#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# QEMU with the model, linked to as build/qemu-bin.

. "$(dirname "$0")/../lib.sh"

make_qemu() {
	in_root lab/qemu/compile.sh "/cache/${1##*/}"
}

"$repo/lab/root/build.sh"
mapfile -t inputs < <(find "$repo/lab/qemu" -type f ! -name build.sh | sort)
qemu=$cache/qemu-$(key "${root_inputs[@]}" "${inputs[@]}")
expect=1900 hint="the first error in the log; a change in lab/qemu may not compile" \
	cached "$qemu" step "Building QEMU with the model" make_qemu
ln -sfn "/cache/${qemu##*/}" "$build/qemu-bin"
