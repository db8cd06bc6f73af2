# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# tap.sh - what the lint scripts share: TAP output, and the list of our files.
# Sourced, after 'cd' to the top of the tree.

tap_count=0 tap_failed=0

# result NAME FILE: passes if FILE, the list of complaints, is empty.
result()
{
	tap_count=$((tap_count + 1))
	if [ -s "$2" ]; then
		tap_failed=$((tap_failed + 1))
		head -n "${LINT_LINES:-40}" "$2" | sed 's/^/# /'
		echo "not ok $tap_count - $1 # $(wc -l <"$2") complaints, first: $(head -n 1 "$2" | tr '#' ' ')"
	else
		echo "ok $tap_count - $1"
	fi
}

skip()
{
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

finish()
{
	echo "1..$tap_count"
	[ $tap_failed -eq 0 ]
	exit
}

# Our files below the given paths: known to git, or new and not ignored.
files()
{
	git ls-files --cached --others --exclude-standard -- "$@" | sort -u |
	while read -r f; do
		[ ! -f "$f" ] || echo "$f"
	done
}

headers()
{
	find /usr/src -maxdepth 1 -name 'linux-headers-6.1.0-*-amd64' 2>/dev/null |
		grep -Ev 'cloud|rt-amd64' | sort -V | tail -n 1
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
