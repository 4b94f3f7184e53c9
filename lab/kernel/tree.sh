#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# make tree: build/linux, a git repository of the base and the series. BASE may
# name another source tarball of Linux 6.12 (.tar or .tar.xz).

. "$(dirname "$0")/../lib.sh"

tarball=${BASE:-$root/usr/src/linux-source-6.12.tar.xz}
linux=$build/linux

import() {
	in_root lab/kernel/base.sh "/cache/${1##*/}" <"$tarball"
}

# Copied, not linked: git works in build/linux outside of the build root, too.
take_base() {
	git init -q "$linux"
	cp -n "$base"/objects/pack/pack-* "$linux/.git/objects/pack/"
	git -C "$linux" update-ref refs/lab/base \
		"$(git --git-dir="$base" rev-parse base)"
}

# What build/linux is composed of
inputs() {
	echo "$base"
	cd "$repo"
	find patches drivers include tools Documentation MAINTAINERS lab/kernel/*.py \
		-type f -exec sha256sum {} + | sort
}

"$repo/lab/root/build.sh"
[ -r "$tarball" ] || die "no kernel source: $tarball"
base=$cache/linux-$(key "$tarball" "$repo/lab/kernel/base.sh").git
cached "$base" step "Importing the kernel's source into git" import

# Unchanged, it is left alone, with what a developer does there
stamp=$linux/.git/lab-inputs
[ "$(inputs)" != "$(cat "$stamp" 2>/dev/null)" ] || exit 0
take_base
in_root python3 lab/kernel/compose.py
inputs >"$stamp"
