# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# tiny.sh - kernels of a few instructions, as ELF files with the PVH note, made
# without a compiler. Sourced; not executable, so the driver does not take it
# for a test.

# bytes HEX...: the bytes themselves.
bytes()
{
	for b in "$@"; do
		# shellcheck disable=SC2059 # an octal escape is meant
		printf "\\$(printf %03o 0x"$b")"
	done
}

# word BYTES VALUE: little-endian.
word()
{
	i=0 left=$(($2))
	while [ $i -lt "$1" ]; do
		bytes "$(printf %02x $((left & 255)))"
		left=$((left >> 8)) i=$((i + 1))
	done
}

# elf32 MACHINE NOTE_TYPE ADDRESS FILE_SIZE HEX...: an ELF32 kernel that is loaded
# to ADDRESS and entered there. FILE_SIZE '': as much as there is.
elf32()
{
	machine=$1 note=$2 at=$3 size=$4
	shift 4
	bytes 7f 45 4c 46 01 01 01 00 00 00 00 00 00 00 00 00
	word 2 2; word 2 "$machine"; word 4 1; word 4 "$at"; word 4 52; word 4 0; word 4 0
	word 2 52; word 2 32; word 2 2; word 2 40; word 2 0; word 2 0
	# PT_LOAD: offset, virtual and physical address, sizes in file and memory, flags, alignment
	word 4 1; word 4 136; word 4 "$at"; word 4 "$at"; word 4 "${size:-$#}"; word 4 65536; word 4 7; word 4 4
	# PT_NOTE
	word 4 4; word 4 116; word 4 0; word 4 0; word 4 20; word 4 20; word 4 4; word 4 4
	word 4 4; word 4 4; word 4 "$note"; bytes 58 65 6e 00; word 4 "$at"
	bytes "$@"
}

# kernel HEX...: one that is as it should be.
kernel()
{
	elf32 3 18 0x100000 '' "$@"
}
