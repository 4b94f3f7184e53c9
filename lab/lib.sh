# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
# shellcheck shell=bash
#
# What all scripts of the lab share: where things lie, how a long step shows
# itself, and how to run a command inside the build root. To be sourced.

set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$repo/build
cache=${XDG_CACHE_HOME:-$HOME/.cache}/grace-lab
mkdir -p "$build/log" "$cache"

die() {
	printf 'error: %s\n' "$1" >&2
	shift
	[ $# -eq 0 ] || printf '       %s\n' "$@" >&2
	exit 1
}

# key FILE…: a short name for the content of these files.
key() {
	cat "$@" | sha256sum | cut -c1-12
}

# cached PATH CMD…: make PATH by "CMD PATH.tmp" unless it exists. A lock lets
# several checkouts share the cache.
cached() {
	local path=$1 lock
	shift
	[ -e "$path" ] && return
	exec {lock}>"$path.lock"
	flock "$lock"
	if [ ! -e "$path" ]; then
		rm -rf "$path.tmp"
		"$@" "$path.tmp"
		mv "$path.tmp" "$path"
	fi
	exec {lock}>&-
}

# How far a step is: its last line, and the share of the lines expected.
progress() {
	local log=$1 expected=$2 share='' width line
	if [ "$expected" -gt 0 ]; then
		share="$(($(wc -l <"$log") * 100 / expected))%"
		[ "${share%\%}" -lt 100 ] || share=99%
	fi
	width=$(($(tput cols 2>/dev/null || echo 80) - 50))
	line=$(tail -c 2000 "$log" | tr '\r' '\n' | tr -d '\033' | grep . | tail -n 1)
	printf '%4s %s' "$share" "${line:0:$((width > 20 ? width : 20))}"
}

# Wait for a job, with a live line on a terminal, else one every half minute.
watch_job() {
	local pid=$1 what=$2 log=$3 expected=$4 start=$SECONDS
	while sleep 0.5 && kill -0 "$pid" 2>/dev/null; do
		if [ -t 1 ]; then
			printf '\r\033[K%s … %d s %s' "$what" $((SECONDS - start)) \
				"$(progress "$log" "$expected")"
		elif [ $((SECONDS - start)) -ge 30 ] && [ $(((SECONDS - start) % 30)) -eq 0 ]; then
			printf '    %d s %s\n' $((SECONDS - start)) "$(progress "$log" "$expected")"
			sleep 0.6
		fi
	done
}

# step WHAT CMD…: run a long command with its output in a log. The variables
# "expect" (lines that the log will have) and "hint" (what to try when it
# fails) may be set for one call.
step() {
	local what=$1 start=$SECONDS log pid rc=0
	shift
	log=$build/log/$(tr -cs 'A-Za-z0-9.\n' - <<<"${what,,}").log
	printf '%s … (log: %s)\n' "$what" "${log#"$repo"/}"
	: >"$log"
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -- -'"$pid"' 2>/dev/null; exit 130' INT TERM
	watch_job "$pid" "$what" "$log" "${expect:-0}"
	wait "$pid" || rc=$?
	trap - INT TERM
	[ ! -t 1 ] || printf '\r\033[K'
	if [ "$rc" -eq 0 ]; then
		printf '    done in %d s\n' $((SECONDS - start))
		return
	fi
	printf '\nFAILED after %d s: %s\n--- the last lines of %s\n' \
		$((SECONDS - start)) "$what" "$log"
	tail -n 20 "$log"
	printf -- '---\nTo try: %s\n' "${hint:-look at the log above for the first error}"
	return "$rc"
}

root_inputs=("$repo/lab/root/build.sh" "$repo/lab/root/build.packages")
root=$cache/root-$(key "${root_inputs[@]}")

# in_root CMD…: run a command in the build root, with the checkout at /repo, the
# cache at /cache and no network, so that paths are the same for everyone.
in_root() {
	bwrap --unshare-all --uid 0 --gid 0 --die-with-parent \
		--ro-bind "$root" / --dev /dev --proc /proc --tmpfs /tmp --tmpfs /var/tmp \
		--bind "$repo" /repo --bind "$cache" /cache --chdir /repo \
		--clearenv --setenv HOME /tmp --setenv TERM "${TERM:-dumb}" \
		--setenv LC_ALL C.UTF-8 --setenv PYTHONPATH /repo/lab \
		--setenv PYTHONDONTWRITEBYTECODE 1 \
		--setenv PATH /usr/lib/ccache:/usr/sbin:/usr/bin \
		--setenv CCACHE_DIR /cache/ccache --setenv CCACHE_DEPEND 1 \
		--setenv GIT_CONFIG_COUNT 1 --setenv GIT_CONFIG_KEY_0 safe.directory \
		--setenv GIT_CONFIG_VALUE_0 '*' --setenv DEBUG "${DEBUG:-}" \
		"$@"
}
