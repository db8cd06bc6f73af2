#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# style.sh - licence tags, sizes, and the kernel's own checkpatch.pl.
# shellcheck disable=SC2016	# the dollars are awk's
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

# Without a tag: LICENSE is the licences' text itself; seeds of fuzz targets are inputs, byte for byte, and their folder's
# README.md names their licence.  Everything else can have a comment, a patch above its first file too.
tagged()
{
	files . | grep -vE '^LICENSE$|^selftests/fuzz/corpus/[^/]+/'
}

# Their tags, as "FILE<tab>LICENCE": on line 1, or line 2 after a '#!'.
tagged | xargs -r awk '
	FNR == 1 { if (name != "") print name "\t" tag; name = FILENAME; tag = "" }
	FNR <= 2 && /SPDX-License-Identifier: / && tag == "" {
		tag = $0
		sub(/.*SPDX-License-Identifier: /, "", tag)
		sub(/ *(\*\/|-->) *$/, "", tag)
	}
	FNR == 2 { nextfile }
	END { if (name != "") print name "\t" tag }' >"$tmp/tags"
awk -F'\t' '$2 == "" { print $1 ": no SPDX tag on line 1" }' "$tmp/tags" >"$tmp/bad"
comm -23 <(tagged | sort) <(cut -f1 "$tmp/tags" | sort) | sed 's/$/: no SPDX tag on line 1/' >>"$tmp/bad"
result "every file has its licence tag" "$tmp/bad"

while IFS=$'\t' read -r f tag; do
	case $f in
	kmod/*|Kbuild) want='GPL-2.0-only|\(?GPL-2.0-only OR (MIT|BSD-2-Clause)\)?' ;;
	include/uapi/*) want='\(?\(?GPL-2.0-only WITH Linux-syscall-note\)?( OR (MIT|BSD-2-Clause|BSD-3-Clause))?\)?' ;;
	include/lodge/*|userspace/liblodge/*|userspace/vhd/*|userspace/common/*) want='LGPL-2.1-or-later' ;;
	qemu-patches/*) want='GPL-2.0-or-later' ;;
	userspace/*|selftests/*) want='GPL-2.0-or-later|LGPL-2.1-or-later' ;;
	*) continue ;;
	esac
	[[ $tag =~ ^($want)$ ]] || echo "$f: licence '$tag', expected $want"
done <"$tmp/tags" >"$tmp/bad"
result "licences are those of their directories" "$tmp/bad"

files . | grep -E '\.([chS]|sh|py|asl)$|Makefile$|Kbuild$|selftests/run$|selftests/qemu/[a-z-]+$' |
	xargs -r awk '{ lines[FILENAME] = FNR }
	END { for (f in lines) if (lines[f] > 1000) print f ": " lines[f] " lines, the ceiling is 1000" }' >"$tmp/bad"
result "no file has more than 1000 lines" "$tmp/bad"

# In kernel style a function, and nothing else, has its braces alone in column 1.
files kmod userspace include selftests | grep -E '\.[ch]$' | xargs -r awk '
	FNR == 1 { start = 0; file = FILENAME }
	/^{/ { start = FNR; name = previous }
	/^}/ && start { if (FNR - start - 1 > 100) print FILENAME ":" start ": " FNR - start - 1 " lines: " name; start = 0 }
	/^[^ \t{}#]/ { previous = $0 }' >"$tmp/bad"
result "no function has more than 100 lines" "$tmp/bad"

files . | xargs -r grep -nIHE '[[:space:]]+$' -- 2>/dev/null |
	grep -vE '^(LICENSE|[^:]*\.(md|patch)|[^:]*/corpus/[^:]*):' | cut -c 1-100 >"$tmp/bad"
result "no line ends in white space" "$tmp/bad"

# checkpatch.pl comes with the kernel's source only.
find_checkpatch()
{
	local c
	for c in "${CHECKPATCH:-}" build/lint/scripts/checkpatch.pl \
		/usr/src/linux-source-6.1/scripts/checkpatch.pl; do
		[ -z "$c" ] || [ ! -e "$c" ] || { echo "$c"; return; }
	done
	[ -e /usr/src/linux-source-6.1.tar.xz ] || return
	mkdir -p build/lint
	tar -C build/lint -xf /usr/src/linux-source-6.1.tar.xz --strip-components=1 --occurrence=1 \
		linux-source-6.1/scripts/checkpatch.pl linux-source-6.1/scripts/spelling.txt \
		linux-source-6.1/scripts/const_structs.checkpatch 2>/dev/null
	echo build/lint/scripts/checkpatch.pl
}

# What does not apply to a tree of our own, or to user space.
ignore=FILE_PATH_CHANGES,MAINTAINERS,NOT_UNIFIED_DIFF,COMMIT_MESSAGE,SPDX_LICENSE_TAG,LINUX_VERSION_CODE
ignore=$ignore,CONST_STRUCT,EMBEDDED_FUNCTION_NAME,PREFER_DEFINED_ATTRIBUTE_MACRO,CONSTANT_COMPARISON
# Types of our own are decided on; X-macros cannot have parentheses.
# Tables by macro have a statement a row.
ignore=$ignore,TRAILING_SEMICOLON,TRAILING_STATEMENTS,BLOCK_COMMENT_STYLE,NEW_TYPEDEFS,COMPLEX_MACRO,TRACING_LOGGING,MULTISTATEMENT_MACRO_USE_DO_WHILE,SYMBOLIC_PERMS,VSPRINTF_SPECIFIER_PX
user=,MACRO_WITH_FLOW_CONTROL,SPLIT_STRING,FUNCTION_ARGUMENTS,PREFER_KERNEL_TYPES,CAMELCASE,STRCPY,STRLCPY,STRNCPY,VOLATILE,MEMORY_BARRIER,PREFER_FALLTHROUGH
user=$user,PREFER_PRINTK,PREFER_KSTRTOX,SSCANF_TO_KSTRTO,MINMAX,ARRAY_SIZE,PREFER_ASM_GOTO,AVOID_BUG,AVOID_EXTERNS
# Labels in assembly text, casts to void in one line, prose in comments.
user=$user,LEADING_SPACE,SUSPECT_COMMA_SEMICOLON,REPEATED_WORD,UNNECESSARY_ELSE,STATIC_CONST_CHAR_ARRAY,UNSPECIFIED_INT
user=$user,BRACES,SPACING,LINE_SPACING,USE_RELATIVE_PATH,ENOSYS,ENOTSUPP,NAKED_SSCANF,ALLOC_WITH_MULTIPLY,USLEEP_RANGE,PRINTK_WITHOUT_KERN_LEVEL

# It takes minutes, and what it says depends on the file and the options alone: what neither has changed in
# the last commits has had its verdict.  'make lint' (LINT=all) looks at everything, and so does whoever has
# no more of the history.
since=HEAD~20
if [ "${LINT:-}" = all ] || ! git rev-parse -q --verify $since >/dev/null ||
   git diff $since -- selftests/lint/style.sh | grep -qE '^[-+](ignore|user)='; then
	since='' scope=''
else
	scope=", what changed in 20 commits"
fi
recent()
{
	if [ -z "$since" ]; then
		cat
	else
		grep -xFf <(git diff --name-only $since; git ls-files --others --exclude-standard)
	fi
}
checkpatch=$(find_checkpatch)
if [ -z "$checkpatch" ]; then
	skip "checkpatch: the module" "no checkpatch.pl (package linux-source-6.1)"
	skip "checkpatch: user space" "no checkpatch.pl (package linux-source-6.1)"
else
	# A file that passed, with these options, is not looked at again (build/lint/passed).
	run()
	{
		local rc LC_ALL=C
		export LC_ALL
		mkdir -p build/lint
		touch build/lint/passed
		xargs -r sha256sum | sed "s/ / $(echo "$1" | cat - "$checkpatch" | sha256sum | cut -c 1-16)/" |
			sort | comm -23 - build/lint/passed >"$tmp/sums"
		cut -d' ' -f3- "$tmp/sums" |
			xargs -r perl "$checkpatch" --no-tree --terse --quiet --no-summary --show-types \
			--max-line-length=100 --ignore "$1" -f >"$tmp/said" 2>&1
		rc=$?
		grep -E ':[0-9]+: (ERROR|WARNING)' "$tmp/said" >"$tmp/found"
		# 123: some have complaints. Cut short, it has seen nothing.
		if [ $rc != 0 ] && [ $rc != 123 ]; then
			echo "checkpatch ended with status $rc: $(tail -n 1 "$tmp/said")"
			return
		fi
		cut -d: -f1 "$tmp/found" | sort -u >"$tmp/complained"
		grep -vFf <(sed 's/^/ /' "$tmp/complained") "$tmp/sums" >>build/lint/passed
		sort -u -o build/lint/passed build/lint/passed
		cat "$tmp/found"
	}
	files kmod include | grep -E '\.[chS]$' | recent | run "$ignore" >"$tmp/bad"
	result "checkpatch: the module$scope" "$tmp/bad"
	files userspace selftests | grep -E '\.[ch]$' | recent | run "$ignore$user" >"$tmp/bad"
	result "checkpatch: user space$scope" "$tmp/bad"
fi
finish
