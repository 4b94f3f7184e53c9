#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: build the kernel's selftests of iommufd with the headers of
# build/linux, and leave them as a disk for the host, build/kselftest.img.

set -euo pipefail
out=/repo/build/kselftest
export ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-

# 6.12.117 took over a test of PASIDs, but not the mock device that has them:
# then it is one without
if ! grep -q PASID build/linux/drivers/iommu/iommufd/iommufd_test.h; then
	export CFLAGS='-DMOCK_FLAGS_DEVICE_PASID=0 -DMOCK_PASID_WIDTH=0'
fi

mkdir -p $out
make -s -C build/linux O=/repo/build/obj INSTALL_HDR_PATH=$out headers_install
# Their Makefile doesn't know of the headers that the programs share
rm -f "$out"/iommufd*
make -C build/linux/tools/testing/selftests/iommu OUTPUT=$out \
	KHDR_INCLUDES="-isystem $out/include" LDFLAGS=-static

disk=$(mktemp -d)
cp "$out"/iommufd* "$disk"
mke2fs -q -F -t ext4 -O ^has_journal -d "$disk" build/kselftest.img 16M
