#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# pvh.sh - 32-bit ELF kernels: a tiny one runs and finds its start info, and each
# malformed one has a clear error.
# BOX: --smp 2 --file build/lodge --file selftests/guest/guest.sh --file selftests/guest/tiny.sh
# NODES: kvm? lodge
# TIMEOUT: 120
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
# shellcheck source=selftests/guest/tiny.sh
. ./tiny.sh

# cmpl $magic,(%ebx); jne bad; movl 24(%ebx),%esi (the command line); mov $0x3f8,%dx;
# 1: lodsb; test %al,%al; jz 2f; out %al,(%dx); jmp 1b; 2: power off; bad: ud2
print_cmdline='81 3b 78 c5 6e 33 75 19 8b 73 18 66 ba f8 03 ac 84 c0 74 03 ee eb f8
	66 ba 00 06 b0 34 ee f4 eb fd 0f 0b'

# boot FILE: into out.
boot()
{
	within 30 lodge run --device "$node" -q -m 16 -k "$1" --net none --console ttyS0 --bare-cmdline \
		-a 'a 32-bit kernel speaks' --timeout $((20 * stretch)) </dev/null >out 2>&1
}

# refused TEXT WHAT
refused()
{
	boot k
	[ $? = 3 ] && grep -q "$1" out
	result $? "$2" "$(cat out)"
}

# shellcheck disable=SC2086 # words are wanted
{
kernel $print_cmdline >k
boot k
result $? "it powers off" "$(cat out)"
grep -q 'a 32-bit kernel speaks' out
result $? "its start info has the command line" "$(cat out)"
elf32 62 18 0x100000 '' $print_cmdline >k
refused 'not ELF for x86' "ELF32 with the machine of ELF64"
elf32 40 18 0x100000 '' $print_cmdline >k
refused 'not ELF for x86' "ELF32 of another architecture"
elf32 3 17 0x100000 '' $print_cmdline >k
refused 'PVH entry note' "no PVH note"
elf32 3 18 0x100000 1000 $print_cmdline >k
refused 'outside the file' "a segment longer than the file"
elf32 3 18 0x1000 '' $print_cmdline >k
refused 'impossible addresses' "a segment in the first MiB"
elf32 3 18 0xfffffff0 '' $print_cmdline >k
refused 'does not fit' "a segment at the end of the address space"
elf32 3 18 0x8000000 '' $print_cmdline >k
refused 'does not fit' "a segment above the memory"
kernel $print_cmdline | head -c 40 >k
refused 'not ELF' "a header cut short"
kernel $print_cmdline | head -c 60 >k
refused 'out of reach' "program headers cut short"
}
finish
