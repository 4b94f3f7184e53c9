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

# The shared libraries that a program in the guest needs, and those they need
add_libraries() {
	local name
	for name in $(aarch64-linux-gnu-readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
		[ ! -e "$guest/lib/$name" ] || continue
		cp "$(find "$work/usr/lib" -name "$name" -print -quit)" "$guest/lib"
		add_libraries "$guest/lib/$name"
	done
}

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
aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -static -o "$work/usr/bin/hostile" /repo/lab/guest/hostile.c

# A guest's initramfs: the same bytes each time
guest=$(mktemp -d)
mkdir -p "$guest"/{bin,lib,dev,proc,sys,tmp,root}
cp "$work"/usr/bin/{busybox,dma_map_benchmark,hostile} "$work"/usr/sbin/kexec "$guest/bin"
ln -s busybox "$guest/bin/sh"
add_libraries "$guest/bin/kexec"
install /repo/lab/root/guest-init "$guest/init"
find "$guest" -exec touch -h -d @0 {} +
(cd "$guest" && find . | sort | cpio -o -H newc --owner 0:0 --reproducible) >"$work/root/guest.cpio"

mke2fs -q -t ext4 -d "$work" "$out" 128M
