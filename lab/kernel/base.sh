#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
#
# In the build root: turn the kernel source tarball on standard input into a
# bare repository ($1) whose branch "base" has one commit.

set -euo pipefail
out=$1

work=$(mktemp -d -p "$(dirname "$out")")
trap 'rm -rf "$work"' EXIT
echo "unpacking"
xz -dcf | tar -C "$work" --strip-components=1 -x
version=$(make -s -C "$work" kernelversion)

git init -q --bare -b base "$out"
export GIT_DIR=$out GIT_WORK_TREE=$work
echo "adding the files of $version"
# The threshold makes git write one pack instead of 80,000 files. -f: the
# kernel's .gitignore has patterns that match files of the tarball.
git -c core.bigFileThreshold=1 -c core.compression=1 add -f -A
date=$(stat -c @%Y "$work/Makefile")
GIT_AUTHOR_DATE="$date +0000" GIT_COMMITTER_DATE="$date +0000" \
	git -c user.name='The base' -c user.email=base@localhost \
	commit -q -m "Linux $version, as Debian packages it"
git repack -q -d
rm -f "$out/index"
