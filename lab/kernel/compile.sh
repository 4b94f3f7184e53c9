#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: build the kernel of build/linux in build/obj, and leave it
# as build/Image; with DEBUG=1 one that looks for faults, as build/Image-debug.
# "compile.sh base" builds build/Image-base, without the series: a guest with
# the driver that mainline had in 6.12.

set -euo pipefail
kind=${1:-${DEBUG:+debug}}
source=build/linux
obj=build/obj${kind:+-$kind}
fragments=(Kconfig.fragment lab/kernel/{base,guest,host}.config)
case $kind in
debug)
	fragments+=(lab/kernel/debug.config) ;;
base)
	source=build/linux-base
	fragments=(lab/kernel/{base,guest}.config)
	git -C build/linux worktree prune
	[ -e $source ] || git -C build/linux worktree add --detach ../linux-base refs/lab/base
	git -C $source checkout -q --detach refs/lab/base ;;
esac
export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-

build() {
	make -s -C "$source" O="/repo/$obj" "$@"
}

mkdir -p "$obj"
sort -u "${fragments[@]}" | grep -v '^#' >"$obj/wanted"
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
cp "$obj/arch/arm64/boot/Image" "build/Image${kind:+-$kind}"
