#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# The host's root disk, linked to as build/host.img.

. "$(dirname "$0")/../lib.sh"
. "$repo/lab/root/bootstrap.sh"

make_image() {
	# Of what QEMU and its libraries share, a guest needs its firmware alone
	bootstrap - "$repo/lab/root/host.packages" --variant=extract --arch=arm64 \
		--dpkgopt='path-exclude=/usr/share/*' \
		--dpkgopt='path-include=/usr/share/qemu-efi-aarch64/QEMU_EFI.fd' \
		--dpkgopt='path-exclude=/usr/bin/qemu-system-arm' \
		--dpkgopt='path-exclude=/usr/lib/aarch64-linux-gnu/gconv/*' |
		in_root lab/root/image.sh "/cache/${1##*/}"
}

"$repo/lab/kernel/tree.sh"
image=$cache/host-$(key "$repo"/lab/root/{host.sh,host.packages,image.sh,init,guest-init} \
	"$repo/lab/guest/hostile.c" \
	"$build/linux/tools/testing/selftests/dma/dma_map_benchmark.c").img
cached "$image" step "Making the host's root disk" make_image
ln -sfn "/cache/${image##*/}" "$build/host.img"
