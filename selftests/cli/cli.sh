#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# cli.sh - what `lodge` answers without any guest: usage, errors, exit codes.
# BOX: none
# shellcheck shell=dash
n=0 failed=0
lodge=${LODGE:-$(dirname "$0")/../../build/lodge}
doc=$(dirname "$0")/../../userspace/doc
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LODGE_RUN_DIR="$work/run"

result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2 # $(echo "${3:-}" | tr '\r\n#' '   ' | tail -c 300)"
	fi
}

# expect STATUS TEXT WHAT COMMAND...: exit status, and a text in the output.
expect()
{
	want=$1 text=$2 what=$3
	shift 3
	timeout 20 "$@" >"$work/out" 2>&1 </dev/null
	status=$?
	[ $status = "$want" ] && grep -q -- "$text" "$work/out"
	result $? "$what" "status $status: $(cat "$work/out")"
}

head -c 100000 /dev/urandom >"$work/noise"
printf '\177ELF' >"$work/elf"
head -c 3000 /dev/zero >>"$work/elf"
: >"$work/empty"
for k in /boot/vmlinuz-*-cloud-amd64; do
	head -c 20000 "$k" >"$work/short"
done

expect 2 Usage: "no command: usage" "$lodge"
expect 0 Commands: "--help lists the commands" "$lodge" --help
expect 0 'lodge [0-9]' "--version" "$lodge" --version
expect 2 'unknown command' "an unknown command" "$lodge" frobnicate
expect 0 Examples: "run --help has examples" "$lodge" run --help
expect 2 'unknown option' "an unknown option" "$lodge" run --frobnicate
expect 2 'needs a value' "an option without its value" "$lodge" run -m
expect 2 'no size' "a memory size that is none" "$lodge" run -m 12Q
expect 2 'between 16M' "too little memory" "$lodge" run -m 1
expect 2 'too large' "a size that overflows" "$lodge" run -m 99999999999999T
expect 2 'number from 1' "no CPU" "$lodge" run -c 0
expect 2 'is no name' "a name with a slash" "$lodge" run --name ../x
expect 2 'does not know' "an unknown console" "$lodge" run --console com7
expect 2 "behind '--'" "an empty command" "$lodge" run --
expect 3 'No such file' "a kernel that is not there" "$lodge" run --device /dev/null -k "$work/none"
expect 3 'No such file' "an initrd that is not there" "$lodge" run -k "$work/noise" -i "$work/none"
expect 4 'doctor' "a device that is not there" "$lodge" run --device "$work/none" -k "$work/noise"
expect 4 'no hypervisor' "a device that is something else" "$lodge" run --device /dev/null -k "$work/noise"
expect 0 '"memory": 134217728' "--dry-run --json needs no device" \
	"$lodge" run --dry-run --json -m 128 -k "$work/noise"
truncate -s 1M "$work/disk.raw"
"$lodge" run --dry-run --json -m 128 -c 3 -k "$work/noise" --name plan --ring packed "$work/disk.raw" \
	--disk "$work/disk.raw,readonly=on" --net user --net tap,ifname=lt0 -- echo 'a "b"' >"$work/out" 2>&1
python3 -c 'import json, sys
p = json.load(open(sys.argv[1]))
assert p["name"] == "plan" and p["cpus"] == 3 and p["memory"] == 128 << 20 and p["ring"] == "packed"
assert len(p["disks"]) == 2 and p["nets"] == ["user", "tap,ifname=lt0"] and p["command"] == ["echo", "a \"b\""]
assert "rdinit=" in p["cmdline"] and p["initrd"] is None' "$work/out" 2>"$work/err"
result $? "--dry-run --json tells all of the plan" "$(cat "$work/out" "$work/err")"
mkdir -p "$work/tree/tools/x" "$work/tree/arch/x86/boot"
cp "$work/noise" "$work/tree/arch/x86/boot/bzImage"
found() { (cd "$1" && "$lodge" run --dry-run --json) 2>"$work/err" | sed -n 's/.*"kernel": "\(.*\)",/\1/p'; }
[ "$(found "$work/tree")" = arch/x86/boot/bzImage ] &&
	[ "$(found "$work/tree/tools/x")" = ../../arch/x86/boot/bzImage ] &&
	cp "$work/noise" "$work/tree/bzImage" && [ "$(found "$work/tree")" = ./bzImage ]
result $? "the kernel of a source tree is found" "$(found "$work/tree") $(cat "$work/err")"
if [ ! -r "/boot/vmlinuz-$(uname -r)" ]; then
	(cd "$work" && "$lodge" run --dry-run) >"$work/out" 2>&1
	[ $? = 3 ] && grep -q "/boot/vmlinuz-$(uname -r)" "$work/out"
else
	[ "$(found "$work")" = "/boot/vmlinuz-$(uname -r)" ]
fi
result $? "without one it is the host's, or an error that tells the places" "$(cat "$work/out")"
expect 3 "disk $work/none" "--dry-run finds a disk missing" "$lodge" run --dry-run -k "$work/noise" "$work/none"
expect 3 'tup' "--dry-run finds a network misspelt" "$lodge" run --dry-run -k "$work/noise" --net tup
expect 0 '^\[\]' "list --json without guests" "$lodge" list --json
expect 1 'no guest named' "info of no guest" "$lodge" info nobody
expect 2 'NAME of a guest' "stop without a name" "$lodge" stop
expect 2 'no name of a guest' "a name that leaves the run directory" "$lodge" kill ../../etc
expect 0 'complete -F' "completion for bash" "$lodge" completion
expect 1 'device' "doctor finds that the device is missing" "$lodge" doctor --device "$work/none"
"$lodge" doctor --json --device "$work/none" | python3 -c 'import json,sys; json.load(sys.stdin)'
result $? "doctor --json is JSON"
"$lodge" completion | bash -n
result $? "the completion is a script"

# commands [GROUP]: the words behind `lodge GROUP`, as its help lists them.
commands()
{
	# shellcheck disable=SC2086
	"$lodge" $1 --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

# all_commands [GROUP]: every command below it, a line each.
all_commands()
{
	for word in $(commands "$1"); do
		set -- "$1" "${1:+$1 }$word"
		# shellcheck disable=SC2086
		if "$lodge" $2 --help | grep -q '^Commands:'; then
			(all_commands "$2")
		else
			echo "$2"
		fi
	done
}

# complete_word WORD...: what completes the last word.
complete_word()
{
	# shellcheck disable=SC2016
	PATH="$(dirname "$lodge"):$PATH" bash -c '
		source <(lodge completion)
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_lodge
		printf "%s\n" "${COMPREPLY[@]}"' - "$@"
}

all_commands "" >"$work/all"
[ "$(wc -l <"$work/all")" -ge 14 ] && grep -q '^img key show$' "$work/all"
result $? "there are commands to look at" "$(cat "$work/all")"
while read -r c; do
	# shellcheck disable=SC2086
	expect 0 '^Examples:' "$c --help has examples" "$lodge" $c --help
	sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' "$work/out" | sort >"$work/options"
	# shellcheck disable=SC2086
	complete_word lodge $c --h | grep -qx -- --help &&
		complete_word lodge $c -- | sort | diff "$work/options" - >"$work/out"
	result $? "completion knows the options of $c" "$(cat "$work/out")"
	page=$doc/lodge-${c%% *}.1
	[ -e "$page" ] && target=$(sed -n 's|^\.so man1/||p' "$page") && page=$doc/${target:-${page##*/}}
	grep -v '^\.\\"' "$page" 2>/dev/null | sed 's/\\-/-/g' >"$work/page"
	while read -r o; do
		grep -q -e "$o\b" "$work/page" || echo "$o"
	done <"$work/options" >"$work/out"
	[ -s "$work/page" ] && [ ! -s "$work/out" ]
	result $? "the manual page of $c has all its options" "$page: $(cat "$work/out")"
done <"$work/all"
[ "$(complete_word lodge run --on-panic st)" = stay ]
result $? "completion of an option's choices"
touch "$work/some-disk.vhd"
[ "$(complete_word lodge run "$work/some")" = "$work/some-disk.vhd" ]
result $? "completion of a file"
[ "$(complete_word lodge snapshot guest --disk 0 = "$work/some")" = "$work/some-disk.vhd" ] &&
	[ "$(complete_word lodge snapshot guest --disk 0 = | head -n 1)" != --help ] &&
	[ "$(complete_word lodge run --on-panic = st)" = stay ]
result $? "completion behind an equals sign" "$(complete_word lodge snapshot guest --disk 0 = "$work/some")"
[ "$(complete_word lodge img cr)" = create ]
result $? "completion of a command below another"
echo "1..$n"
exit $failed
