#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# The build root: a Debian 13 with all that the lab is built, run and tested
# with, the kernel's source, and QEMU's source package in /usr/src.

. "$(dirname "$0")/../lib.sh"
. "$repo/lab/root/bootstrap.sh"

make_root() {
	local tmp=$1
	# shellcheck disable=SC2016 # mmdebstrap's shell expands them
	# /usr/share/AAVMF: the same firmware, padded to 64 MiB a file
	set -- "$repo/lab/root/build.packages" --variant=apt \
		--dpkgopt='path-exclude=/usr/share/AAVMF/*' \
		--customize-hook='mkdir "$1/repo" "$1/cache"' \
		--customize-hook='cd "$1/usr/src" && chroot "$1" sh -c "cd /usr/src && apt-get source --download-only qemu"'
	if [ "$(id -u)" -eq 0 ]; then
		bootstrap "$tmp" "$@"
	else
		# All files become the user's: the only one that bwrap can map
		mkdir "$tmp"
		bootstrap - "$@" | tar -C "$tmp" -x --no-same-owner --exclude='./dev/*'
	fi
}

need_host_tools
cached "$root" step "Making the Debian build root" make_root
