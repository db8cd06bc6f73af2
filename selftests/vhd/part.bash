# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# What the tests of images share: numbered results, and checks of what a
# command says. Read by them after $img is set; not executable. Leaves a new
# directory in $dir, where their last line, finish, does not leave it.
n=0
failed=0
here=$(realpath "$(dirname "$0")")
case $img in /*) ;; *) img=$PWD/$img ;; esac
dir=$(mktemp -d /var/tmp/lodge-test-XXXXXX)
trap 'rm -rf "$dir"' EXIT

ok() { # ok NAME COMMAND...
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name # $(tail -n 1 "$dir/log")"
		failed=1
	fi
}

skip() { # skip NAME REASON
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

skip_all() { # skip_all REASON
	echo "1..0 # SKIP $1"
	exit 0
}

finish() {
	echo "1..$n"
	exit $failed
}

exit_is() { # exit_is CODE COMMAND...
	local want=$1
	shift
	"$@"
	local got=$?
	[ "$got" -eq "$want" ] || { echo "exit code $got, not $want"; return 1; }
}

says() { # says CODE WORDS COMMAND...: it ends with CODE (1: any failure), and says WORDS
	local want=$1 words=$2
	shift 2
	"$@" >"$dir/said" 2>&1
	local got=$?
	cat "$dir/said"
	[ "$got" -eq "$want" ] || { [ "$want" -eq 1 ] && [ $got -gt 0 ]; } || { echo "exit code $got, not $want"; return 1; }
	grep -q -- "$words" "$dir/said" || { echo "it does not say '$words': $(head -n 1 "$dir/said")"; return 1; }
}

json() { # json EXPRESSION COMMAND...: the output is JSON d, for which EXPRESSION holds
	local expression=$1
	shift
	"$@" >"$dir/json" || return 1
	python3 -c "import json, sys; d = json.load(open(sys.argv[1])); assert $expression, d" "$dir/json"
}

noise() { # noise FILE SEED BYTES COUNT: writes COUNT random pieces into a raw file
	python3 - "$@" <<'PY'
import random, sys
path, seed, size, count = sys.argv[1], *map(int, sys.argv[2:])
r = random.Random(seed)
with open(path, "r+b") as f:
    for i in range(count):
        f.seek(r.randrange(size // 512 - 300) * 512)
        f.write(r.randbytes(512 * r.randrange(1, 300)))
PY
}
