#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root, kunit.sh run: build the kernel of build/linux with the
# driver's KUnit tests in build/kunit, and run them on arm64 under our QEMU.
# The kernel has pages of 64 KiB and the drivers that a guest needs, so it can
# be one as well. kunit.sh build: no more than that.

set -euo pipefail
export PATH=/repo/build/qemu-bin:$PATH
mapfile -t options < <(sed -e '/^#/d' -e s/4K_PAGES/64K_PAGES/ lab/kernel/{base,guest}.config)

cd build/linux
exec tools/testing/kunit/kunit.py "$1" --arch=arm64 --cross_compile=aarch64-linux-gnu- \
	--build_dir=/repo/build/kunit --kunitconfig=drivers/iommu/arm/arm-smmu-v3 \
	"${options[@]/#/--kconfig_add=}" --jobs="$(($(nproc) + 2))" "${@:2}"
