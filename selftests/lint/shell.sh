#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# shell.sh - shellcheck over every shell script; Python scripts compile.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

scripts()
{
	files . | while read -r f; do
		case $(head -c 40 "$f" | head -n 1 | tr -d '\0') in
		"#!"*"$1"*) echo "$f" ;;
		esac
	done
}

if command -v shellcheck >/dev/null; then
	{ scripts sh; files '*.sh'; } | sort -u | grep -v /corpus/ |
		xargs -r shellcheck -x -f gcc >"$tmp/bad" 2>&1
	result "shellcheck finds nothing" "$tmp/bad"
else
	skip "shellcheck finds nothing" "shellcheck is not installed"
fi
scripts python3 | while read -r f; do
	python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" 2>&1 | tail -n 1
done >"$tmp/bad"
result "Python scripts compile" "$tmp/bad"
finish
