#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# entry.sh - the step out of the guest does what the kernel's mitigations ask.
#
# No emulator has the bugs, so this looks at the code: which places of the back
# ends' entry.S the kernel patches for which of its flags, and what stands where.
# A table: flag of <asm/cpufeatures.h>, where it must be (before or after
# VMRUN or VMLAUNCH), and what it is for.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

kdir=$(headers)
if [ ! -e build/module/kmod/x86/svm/entry.o ] || [ ! -e build/module/kmod/x86/vmx/entry.o ] || [ -z "$kdir" ]; then
	skip "the entry paths" "the module is not built"
	finish
fi
features=$(find -L "${kdir%-amd64}-common" "$kdir" -path '*/arch/x86/include/asm/cpufeatures.h' -print -quit 2>/dev/null)

# look_at BACK-END INSTRUCTION: what the checks after it are about.
look_at()
{
	object=build/module/kmod/x86/$1/entry.o enters=$2
	objdump -d --no-show-raw-insn -j .noinstr.text "$object" >"$tmp/code"
	objdump -r -j .altinstructions "$object" >"$tmp/relocs"
	objcopy -O binary -j .altinstructions "$object" "$tmp/alts"
}

check()
{
	python3 - "$tmp" "$features" "$enters" "$@" <<'PY'
import re, struct, sys

tmp, features, enters, what, *args = sys.argv[1:]
code = [(int(m[1], 16), m[2].strip()) for m in
        (re.match(r"\s*([0-9a-f]+):\s+(.*)", l) for l in open(tmp + "/code")) if m]
at = next((a for a, insn in code if insn.startswith(enters)), None)

def flag(name):
    text = open(features).read()
    m = re.search(r"#define X86_(?:FEATURE|BUG)_%s\s+(?:X86_BUG)?\(?\s*(\d+)\s*\*\s*32\s*\+\s*(\d+)" % name, text)
    return int(m[1]) * 32 + int(m[2]) if m else None

section = r"\.text" if what == "in_c" else r"\.noinstr\.text"
places = [int(m[1], 16) for m in re.finditer(r"PC32\s+%s\+0x([0-9a-f]+)" % section, open(tmp + "/relocs").read())]
data = open(tmp + "/alts", "rb").read()
size = len(data) // len(places)
alts = [(place, struct.unpack_from("<H", data, i * size + 8)[0] & 0x7fff) for i, place in enumerate(places)]

if what == "flag":
    name, side = args
    number = flag(name)
    if number is None:
        print(f"this kernel has no flag {name}")
    elif not any(n == number and (p < at if side == "before" else p > at) for p, n in alts):
        print(f"nothing is patched for {name} {side} {enters.upper()}")
elif what == "in_c":
    function, name, variable = args
    start, length = next(([int(v, 16) for v in l.split()[:2]] for l in open(tmp + "/symbols")
                          if l.split()[3:] == [function]), (0, 0))
    if not any(n == flag(name) and start <= p < start + length for p, n in alts):
        print(f"nothing in {function} is patched for {name}")
    if variable and not re.search(r"mov[bl]\s+\$0x1,\S+\s[^\n]*\n[^\n]*\b" + variable, open(tmp + "/code").read()):
        print(f"{function} does not set {variable}")
elif what == "zeroed":
    zeroed = set(re.findall(r"^xor\s+%(\w+),%\1$", "\n".join(i for a, i in code if a > at), re.M))
    for reg in (args[0] + " ecx edx ebx ebp esi edi " + " ".join(f"r{n}d" for n in range(8, 16))).split():
        if reg not in zeroed:
            print(f"{reg} keeps the guest's value")
elif what == "quiet":
    fill = min(p for p, n in alts if p > at and n in (flag("RETPOLINE"), flag("RSB_VMEXIT")))
    for a, insn in code:
        if at < a < fill and re.match(r"(call|ret|jmp\s+\*)", insn):
            print(f"{insn} at {a:#x} comes before the return stack is filled")
PY
}

flagged()
{
	check flag "$1" "$2" >"$tmp/bad" 2>&1
	result "$3 ($1, $2 ${enters^^})" "$tmp/bad"
}

# in_c OBJECT FUNCTION FLAG WHAT [VARIABLE]: what the compiler made of C; VARIABLE is written in the function.
in_c()
{
	object=build/module/kmod/x86/$1
	objdump -r -j .altinstructions "$object" >"$tmp/relocs"
	objcopy -O binary -j .altinstructions "$object" "$tmp/alts"
	objdump -dr --no-show-raw-insn --disassemble="$2" "$object" >"$tmp/code"
	nm -S "$object" >"$tmp/symbols"
	enters=-
	check in_c "$2" "$3" "${5:-}" >"$tmp/bad" 2>&1
	result "$4 ($3)" "$tmp/bad"
}

look_at svm vmrun
flagged MSR_SPEC_CTRL before "the guest's SPEC_CTRL is loaded"
flagged CLEAR_CPU_BUF_VM before "CPU buffers are cleared"
flagged RETPOLINE after "the return stack is filled"
flagged MSR_SPEC_CTRL after "the host's SPEC_CTRL is back"
flagged UNRET after "return predictors are untrained, retbleed"
flagged ENTRY_IBPB after "or flushed"
flagged SRSO_ALIAS after "the same for SRSO"
flagged IBPB_ON_VMEXIT after "or flushed at every exit"
check zeroed eax >"$tmp/bad" 2>&1
result "no general register keeps a guest's value" "$tmp/bad"
check quiet >"$tmp/bad" 2>&1
result "nothing calls or returns before the return stack is filled" "$tmp/bad"

in_c svm/life.o svm_load USE_IBPB "a CPU that turns to another vCPU flushes the branch predictors"
in_c svm/run.o svm_run IBPB_EXIT_TO_USER "a return to the VMM is marked for VMSCAPE" x86_ibpb_exit_to_user

# What cannot be is not there: Intel's CPUs need no untraining.
look_at vmx vmlaunch
flagged MSR_SPEC_CTRL before "the guest's SPEC_CTRL is loaded"
flagged CLEAR_CPU_BUF before "CPU buffers are cleared"
flagged RSB_VMEXIT after "the return stack is filled"
flagged MSR_SPEC_CTRL after "the host's SPEC_CTRL is back"
flagged CLEAR_BHB_LOOP_ON_VMEXIT after "the branch history is cleared"
check zeroed '' >"$tmp/bad" 2>&1	# RAX is the function's value
result "no general register keeps a guest's value" "$tmp/bad"
check quiet >"$tmp/bad" 2>&1
result "nothing calls or returns before the return stack is filled" "$tmp/bad"
in_c vmx/load.o vmx_load USE_IBPB "a CPU that turns to another vCPU flushes the branch predictors"
in_c vmx/run.o vmx_run IBPB_EXIT_TO_USER "a return to the VMM is marked for VMSCAPE" x86_ibpb_exit_to_user
finish
