# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The grace-lab developers
# shellcheck shell=bash
#
# Making a Debian 13 file system on this machine, from the mirrors that its own
# apt is set up with. To be sourced after lib.sh.

suite=trixie

# Install what the host lacks, or say what it is.
need_host_tools() {
	local missing=()
	command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
	command -v bwrap >/dev/null || missing+=(bubblewrap)
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
		missing+=(debian-archive-keyring)
	if [ "$(id -u)" -ne 0 ]; then
		command -v newuidmap >/dev/null || missing+=(uidmap)
		if ! grep -q "^$(id -un):" /etc/subuid || ! grep -q "^$(id -un):" /etc/subgid; then
			die "$(id -un) has no subordinate user ids" \
				"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
		fi
	fi
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" -eq 0 ] ||
		die "missing packages" "as root: apt-get install ${missing[*]}"
	step "Installing ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# The host's mirror with this label (Debian, Debian-Security).
mirror() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(SITE)' 'Created-By: Packages' |
		sed -n "s/^Debian|$1|//p" | sort -u | head -n 1
}

# A sources.list for the suite on standard output.
sources() {
	local main security type
	main=$(mirror Debian)
	security=$(mirror Debian-Security)
	[ -n "$main" ] || die "apt knows no Debian mirror" \
		"as root: apt-get update; on another distribution: use Debian 12 or 13"
	for type in deb deb-src; do
		printf '%s %s %s main\n' "$type" "$main" "$suite" "$type" "$main" "$suite-updates"
		[ -z "$security" ] || printf '%s %s %s main\n' "$type" "$security" "$suite-security"
	done
	# Their packages are taken where a list says PACKAGE/SUITE; never their sources
	printf 'deb %s %s main\n' "$main" "$suite-backports"
}

# How the host's apt reaches its mirrors: proxies, certificates, checks.
transport() {
	apt-config dump | grep -E '^Acquire::(https?::.|Check-|Retries|ForceIPv)' || true
}

packages() {
	grep -v '^#' "$1"
}

# bootstrap OUT PACKAGES-FILE [mmdebstrap's options]: OUT is a directory or *.tar.
bootstrap() {
	local out=$1 list=$2 mode=root options
	shift 2
	# A home is closed to the other users that an unshared root stands for
	[ "$(id -u)" -eq 0 ] || { mode=unshare; export TMPDIR=/var/tmp; }
	options=$(mktemp)
	transport >"$options"
	chmod a+r "$options"
	sources | mmdebstrap --mode="$mode" --aptopt="$options" \
		--dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include="$(packages "$list" | paste -sd,)" \
		"$@" "$suite" "$out" -
	rm -f "$options"
}
