#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: build the model in build/qemu and put what runs into $1.
# The source is unpacked again only when it or the patches change, so that a
# change of the model compiles in seconds.

set -euo pipefail
out=$1
src=/repo/build/qemu
model=/repo/lab/qemu

patched=$(cat /usr/src/qemu_*.dsc "$model"/patches/* "$model/devices.mak" | sha256sum)
if [ "$patched" != "$(cat "$src/.patched" 2>/dev/null)" ]; then
	rm -rf "$src"
	dpkg-source --no-check -x /usr/src/qemu_*.dsc "$src"
	while read -r patch; do
		patch -d "$src" -p1 -F0 --no-backup-if-mismatch <"$model/patches/$patch"
	done <"$model/patches/series"
	cp "$model/devices.mak" "$src/configs/devices/aarch64-softmmu/grace.mak"
	cp -r "$model"/{hw,include,tests} "$src"
	mkdir "$src/build"
	cd "$src/build"
	../configure --target-list=aarch64-softmmu --without-default-features \
		--without-default-devices --with-devices-aarch64=grace \
		--enable-system --enable-tcg --enable-fdt=system \
		--disable-install-blobs --disable-docs --cc="ccache gcc"
	echo "$patched" >"$src/.patched"
fi

# Only what differs, or everything would be compiled again
rsync -rc --out-format=%n "$model"/{hw,include,tests} "$src"
ninja -C "$src/build" qemu-system-aarch64 tests/qtest/tegra241-cmdqv-test
mkdir -p "$out"
cp "$src/build/qemu-system-aarch64" "$src/build/tests/qtest/tegra241-cmdqv-test" "$out"
cp -r "$src/python/qemu" "$out"
