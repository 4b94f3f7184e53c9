# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers

lab = . lab/lib.sh; in_root
SHELL = /bin/bash
.ONESHELL:
.SHELLFLAGS = -ec
MAKEFLAGS += --no-print-directory

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.* ## /  make \1\t/p' Makefile | expand -t 18

run: machine ## boot the virtual Grace and a guest, show which queue executed what
	@$(lab) python3 -m vm.demo

test: machine ## run all tests; DEBUG=1: those of machines, under KASAN, lockdep, kmemleak
	@$(lab) python3 -m pytest lab/tests

check: tree ## static checks of the series and of the lab
	@$(lab) python3 -m pytest lab/tests/test_static.py

kunit: model tree ## the driver's KUnit tests, on arm64 under QEMU
	@$(lab) lab/kernel/kunit.sh run

bench: machine ## measure unmap, in host and guest; leaves build/bench*.tsv and .png
	@$(lab) python3 -m bench
	@$(lab) python3 -m bench.guest
	@$(lab) python3 -m bench.attack

shell: machine ## a shell in the host; "exit" ends it
	@$(lab) python3 -m vm.shell

guest: machine ## a shell in a guest of the host, which has the nvme disk
	@$(lab) python3 -m vm.shell guest

tree: ## compose build/linux: the base kernel and our series, in git
	@lab/kernel/tree.sh

refresh: ## write commits made in build/linux back into patches/ and the overlay
	@lab/kernel/refresh.sh

kernel: ## build build/Image of build/linux
	@lab/kernel/build.sh

clean: ## remove what was built here (downloads and tools stay in the cache)
	@rm -rf build

model:
	@lab/qemu/build.sh

machine: model kernel
	@lab/root/host.sh

.PHONY: help run test check kunit bench shell guest tree refresh kernel clean model machine
