#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: make the host's root disk $1 of the packages' files on
# standard input (a tar), our init, and the kernel's own benchmark.

set -euo pipefail
out=$1
work=$(mktemp -d)
linux=/repo/build/linux

# The packages were unpacked, not installed: their directories are one in /usr
mkdir -p "$work"/usr/{bin,sbin,lib} "$work"/{dev,proc,sys,tmp,root}
ln -s usr/bin usr/sbin usr/lib "$work"
tar -C "$work" -x --no-same-owner --keep-directory-symlink --exclude='./dev/*'
ln -sf busybox "$work/usr/bin/sh"
install /repo/lab/root/init "$work/usr/sbin/init"

# Its one header of the kernel alone, or the C library's would be hidden
include=$(mktemp -d)
install -D -t "$include/linux" "$linux/include/linux/map_benchmark.h"
aarch64-linux-gnu-gcc -O2 -static -I"$include" -o "$work/usr/bin/dma_map_benchmark" \
	"$linux/tools/testing/selftests/dma/dma_map_benchmark.c"

mke2fs -q -t ext4 -d "$work" "$out" 128M
