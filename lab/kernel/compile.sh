#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: build the kernel of build/linux in build/obj, and leave it
# as build/Image; with DEBUG=1 one that looks for faults, as build/Image-debug.

set -euo pipefail
kind=${DEBUG:+-debug}
obj=build/obj$kind
fragments=(Kconfig.fragment lab/kernel/base.config lab/kernel/host.config
	${DEBUG:+lab/kernel/debug.config})
export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-

build() {
	make -s -C build/linux O="/repo/$obj" "$@"
}

mkdir -p "$obj"
sort "${fragments[@]}" | grep -v '^#' >"$obj/wanted"
if ! cmp -s "$obj"/{wanted,configured}; then
	build allnoconfig KCONFIG_ALLCONFIG="/repo/$obj/wanted"
	cp "$obj"/{wanted,configured}
fi
build olddefconfig
missing=$(grep -vxFf "$obj"/{.config,wanted} || true)
if [ -n "$missing" ]; then
	printf 'this base has no\n%s\n' "$missing"
	exit 1
fi

# Two more than CPUs, for those that wait for the disk
build -j"$(($(nproc) + 2))" --no-silent Image
cp "$obj/arch/arm64/boot/Image" "build/Image$kind"
