#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root, make kunit: build the kernel of build/linux with the
# driver's KUnit tests in build/kunit, and run them on arm64 under our QEMU.

set -euo pipefail
export PATH=/repo/build/qemu-bin:$PATH
cd build/linux
exec tools/testing/kunit/kunit.py run --arch=arm64 --cross_compile=aarch64-linux-gnu- \
	--build_dir=/repo/build/kunit --kunitconfig=drivers/iommu/arm/arm-smmu-v3 \
	--jobs="$(($(nproc) + 2))" "$@"
