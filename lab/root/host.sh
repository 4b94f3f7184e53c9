#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# The host's root disk, linked to as build/host.img.

. "$(dirname "$0")/../lib.sh"
. "$repo/lab/root/bootstrap.sh"

make_image() {
	bootstrap - "$repo/lab/root/host.packages" --variant=extract --arch=arm64 |
		in_root lab/root/image.sh "/cache/${1##*/}"
}

"$repo/lab/kernel/tree.sh"
image=$cache/host-$(key "$repo"/lab/root/{host.sh,host.packages,image.sh,init} \
	"$build/linux/tools/testing/selftests/dma/dma_map_benchmark.c").img
cached "$image" step "Making the host's root disk" make_image
ln -sfn "/cache/${image##*/}" "$build/host.img"
