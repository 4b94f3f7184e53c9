#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: build the kernel of build/linux in build/obj, and leave it
# as build/Image.

set -euo pipefail
fragments=(Kconfig.fragment lab/kernel/base.config lab/kernel/host.config)
export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-

build() {
	make -s -C build/linux O=/repo/build/obj "$@"
}

mkdir -p build/obj
sort "${fragments[@]}" | grep -v '^#' >build/obj/wanted
if ! cmp -s build/obj/wanted build/obj/configured; then
	build allnoconfig KCONFIG_ALLCONFIG=/repo/build/obj/wanted
	cp build/obj/wanted build/obj/configured
fi
build olddefconfig
missing=$(grep -vxFf build/obj/.config build/obj/wanted || true)
if [ -n "$missing" ]; then
	printf 'this base has no\n%s\n' "$missing"
	exit 1
fi

# Two more than CPUs, for those that wait for the disk
build -j"$(($(nproc) + 2))" --no-silent Image
cp build/obj/arch/arm64/boot/Image build/Image
