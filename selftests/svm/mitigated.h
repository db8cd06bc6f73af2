/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mitigated.h - the step out of the guest as this kernel has patched it, against what the kernel says of this CPU.
 *
 * The emulator's CPUs have no speculation to attack, but a kernel that believes what a CPU model says it is patches svm_vmrun as
 * it would on the real one.  The patched code is read back through /proc/kcore.  Each row of the table is one mitigation: the
 * kernel's word for it under /sys/devices/system/cpu/vulnerabilities, and what must stand behind VMRUN then, and only then.  A
 * guest runs through it as well.  Each CPU is a boot of its own and so a program of its own: mitigated_*.c.
 */
#ifndef SELFTESTS_SVM_MITIGATED_H
#define SELFTESTS_SVM_MITIGATED_H

#include <elf.h>

#include "../vm/guest.h"
#include "../vm/tap.h"

#define VULNERABILITIES	"/sys/devices/system/cpu/vulnerabilities/"

static u8 vmrun_text[1024];
static u64 vmrun_at;
static volatile u64 rounds;

/* The address of the first kernel symbol whose name contains @part; @module: it must be lodge's. */
static u64 symbol(const char *part, bool module)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], name[256];
	unsigned long long at, found = 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %*c %255s", &at, name) != 2 || module != !!strstr(line, "[lodge]"))
			continue;
		if (strstr(name, part) && !strstr(name, "__pfx"))
			found = at;
	}
	if (f)
		fclose(f);
	return found;
}

static bool read_text(u64 at, void *buf, size_t n)
{
	int fd = open("/proc/kcore", O_RDONLY);
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	bool good = false;
	int i;

	if (fd < 0 || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh))
		return false;
	for (i = 0; i < eh.e_phnum && !good; i++) {
		if (pread(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)) != sizeof(ph))
			break;
		if (at >= ph.p_vaddr && at + n <= ph.p_vaddr + ph.p_memsz)
			good = pread(fd, buf, n, ph.p_offset + at - ph.p_vaddr) == (ssize_t)n;
	}
	close(fd);
	return good;
}

/* Behind VMRUN: where @bytes stand, or -1. */
static int find(const void *bytes, size_t n)
{
	const u8 *vmrun = memmem(vmrun_text, sizeof(vmrun_text), "\x0f\x01\xd8", 3);
	const u8 *p = vmrun ? memmem(vmrun, vmrun_text + sizeof(vmrun_text) - vmrun, bytes, n) : NULL;

	return p ? p - vmrun_text : -1;
}

/* Is there a CALL of @target before the function's end (POP RBP and what follows)? */
static bool calls(u64 target)
{
	int i, end = find("\x41\x5f\x5d", 3);

	for (i = find("\x0f\x01\xd8", 3); i >= 0 && i < end; i++) {
		int32_t rel;

		memcpy(&rel, vmrun_text + i + 1, 4);
		if (vmrun_text[i] == 0xe8 && vmrun_at + i + 5 + rel == target)
			return true;
	}
	return false;
}

static bool untrains(void)
{
	u64 plain = symbol("entry_untrain_ret", false), alias = symbol("srso_alias_untrain_ret", false);

	return (plain && calls(plain)) || (alias && calls(alias));
}

/* Two calls over an INT3 each, as the kernel's loop has them. */
static bool fills(void)
{
	return find("\xe8\x01\x00\x00\x00\xcc\xe8\x01\x00\x00\x00\xcc", 12) >= 0;
}

static const struct {
	const char *file, *words;
	bool (*there)(void);
	const char *what;
} mitigations[] = {
	{ "spectre_v2", "RSB filling", fills, "the return stack is filled" },
	{ "retbleed", "untrained return thunk", untrains, "return predictors are untrained (retbleed)" },
	{ "spec_rstack_overflow", "Safe RET", untrains, "return predictors are untrained (SRSO)" },
};

static bool kernel_says(const char *file, const char *words)
{
	char path[128], text[256] = { 0 };
	int fd;

	snprintf(path, sizeof(path), VULNERABILITIES "%s", file);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	text[strcspn(text, "\n")] = 0;
	tap_note("%s: %s", file, text);
	return strstr(text, words);
}

static GUEST void exits(void)
{
	u32 a, b, c, d;

	for (rounds = 0; rounds < 200; rounds++)
		asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
	guest_exit();
}

/* @expected: a bit per row that this CPU and command line must bring, so that the test cannot pass for nothing. */
static int mitigated(int argc, char **argv, unsigned int expected)
{
	struct guest g;
	unsigned int i, on = 0, untrained = 0;

	guest_create(&g, tap_node(argc, argv), GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, exits);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && rounds == 200, "a guest runs, with 200 exits");
	if (expected && !symbol("untrain_ret", false)) {
		tap_skip("what stands behind VMRUN", "this kernel is built without mitigations");
		guest_destroy(&g);
		return tap_done();
	}
	vmrun_at = symbol("svm_vmrun", true);
	if (!vmrun_at || !read_text(vmrun_at, vmrun_text, sizeof(vmrun_text)))
		tap_bail("svm_vmrun cannot be read through /proc/kcore");
	for (i = 0; i < sizeof(mitigations) / sizeof(mitigations[0]); i++) {
		if (kernel_says(mitigations[i].file, mitigations[i].words))
			on |= 1u << i;
	}
	tap_eq(on, expected, "the kernel mitigates what this CPU model is known for");
	for (i = 0; i < sizeof(mitigations) / sizeof(mitigations[0]); i++) {
		bool want = on >> i & 1;

		/* One place serves both. */
		if (mitigations[i].there == untrains) {
			untrained |= want;
			if (i == 1)
				continue;
			want = untrained;
		}
		tap_ok(mitigations[i].there() == want, "behind VMRUN %s%s", mitigations[i].what, want ? "" : ": not here");
	}
	guest_destroy(&g);
	return tap_done();
}

#endif
