// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * translate - KVM_TRANSLATE in every paging mode: what the guest's own tables say of an address.
 */
#include "guest.h"
#include "tap.h"

#define RAM_SIZE	0x400000ul
#define L5	0x100000ul	/* tables */
#define L4	0x101000ul
#define L3	0x102000ul
#define L2	0x103000ul
#define L1	0x104000ul
#define CR4_PSE	0x10
#define CR4_PAE	0x20
#define CR4_LA57 0x1000

static const char *node;
static u8 *ram;
static struct guest g;

static void put64(u64 table, unsigned int index, u64 entry) { ((u64 *)(ram + table))[index] = entry; }
static void put32(u64 table, unsigned int index, u32 entry) { ((u32 *)(ram + table))[index] = entry; }

/* The physical address of @gva, or -1. */
static u64 translate(u64 gva)
{
	struct kvm_translation t = { .linear_address = gva };

	guest_must(ioctl(g.vcpu[0], KVM_TRANSLATE, &t));
	if (!t.valid && t.physical_address != ~0ull)
		return -2ull;
	return t.valid ? t.physical_address : ~0ull;
}

static bool mode(u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
	struct kvm_sregs s;

	memset(ram + L5, 0, 0x6000);
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	s.cr0 = cr0;
	s.cr3 = cr3;
	s.cr4 = cr4;
	s.efer = efer;
	s.cs.l = efer != 0;
	s.cs.db = !efer;
	return !ioctl(g.vcpu[0], KVM_SET_SREGS, &s);
}

/* What SET_SREGS has cached of PAE's four pointers is not looked at again by itself. */
static void reload(void)
{
	struct kvm_sregs s;

	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	guest_must(ioctl(g.vcpu[0], KVM_SET_SREGS, &s));
}

static void no_paging(void)
{
	TAP_REQUIRE(mode(0x11, 0, 0, 0), "protected mode without paging");
	tap_eq(translate(0x123456), 0x123456, "without paging: the address itself");
	tap_eq(translate(0xfee00000), 0xfee00000, "without paging: also where no memory is");
}

static void legacy(void)
{
	TAP_REQUIRE(mode(0x80000011, L2, CR4_PSE, 0), "32-bit paging");
	put32(L2, 1, L1 | 7);
	put32(L1, 5, 0x234000 | 7);
	put32(L2, 2, 0x00400000 | 0x87);
	put32(L2, 3, 0x00800000 | 0x87 | 3 << 13);	/* PSE-36: bits 39:32 in 20:13 */
	put32(L2, 4, 0xff000000 | 7);			/* a table where no memory is */
	tap_eq(translate(0x405678), 0x234678, "32-bit paging: a page of 4 KiB");
	tap_eq(translate(0x8abcde), 0x4abcde, "32-bit paging: a page of 4 MiB");
	tap_eq(translate(0xc12345), 0x300812345, "32-bit paging: a page of 4 MiB above 4 GiB (PSE-36)");
	tap_eq(translate(0x406000), ~0ull, "32-bit paging: no page");
	tap_eq(translate(0x1400000), ~0ull, "32-bit paging: no table");
	tap_eq(translate(0x1000000), ~0ull, "32-bit paging: a table outside memory");
}

static void pae(void)
{
	TAP_REQUIRE(mode(0x80000011, L3, CR4_PAE, 0), "PAE paging");
	put64(L3, 1, L2 | 1);
	put64(L2, 1, L1 | 7);
	put64(L1, 5, 0x234000 | 7);
	put64(L2, 2, 0x300000000 | 0x87);
	reload();
	tap_eq(translate(0x40205678), 0x234678, "PAE: a page of 4 KiB");
	tap_eq(translate(0x404abcde), 0x3000abcde, "PAE: a page of 2 MiB");
	tap_eq(translate(0x40206000), ~0ull, "PAE: no page");
	tap_eq(translate(0x80000000), ~0ull, "PAE: no directory");
}

static void long_mode(u64 root, u64 cr4, u64 high, const char *name)
{
	TAP_REQUIRE(mode(0x80000011, root, CR4_PAE | cr4, 0x500), "%s paging", name);
	if (cr4)
		put64(L5, 3, L4 | 7);
	put64(L4, 2, L3 | 7);
	put64(L4, 511, L3 | 7);
	put64(L3, 1, L2 | 7);
	put64(L3, 510, L2 | 7);
	put64(L2, 1, L1 | 7);
	put64(L1, 5, 0x234000 | 7);
	put64(L2, 2, 0x300000000 | 0x87);
	put64(L3, 2, 0x4c0000000 | 0x87);
	put64(L3, 3, 0xff0000000 | 7);
	high += 2ull << 39;
	tap_eq(translate(high + 0x40205678), 0x234678, "a page of 4 KiB");
	tap_eq(translate(high + 0x404abcde), 0x3000abcde, "a page of 2 MiB");
	tap_eq(translate(high + 0x92345678), 0x4d2345678, "a page of 1 GiB");
	tap_eq(translate(high + 0x40206000), ~0ull, "no page");
	tap_eq(translate(high + 0x100000000), ~0ull, "no directory");
	tap_eq(translate(high + 0xc0000000), ~0ull, "a table outside memory");
	if (!cr4)
		tap_eq(translate(0xffffffff80205678), 0x234678, "the upper half");
}

static bool has_la57(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	bool has = false;
	u32 i;

	c->nent = 256;
	guest_must(ioctl(g.sys, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++)
		if (c->entries[i].function == 7 && c->entries[i].index == 0)
			has = c->entries[i].ecx & 1 << 16;
	free(c);
	return has;
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	guest_create(&g, node, GUEST_IRQCHIP | GUEST_NO_IMAGE);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_slot(&g, 0, 0, 0, ram, RAM_SIZE);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, NULL);
	no_paging();
	legacy();
	pae();
	tap_note("four levels");
	long_mode(L4, 0, 0, "4-level");
	if (has_la57()) {
		tap_note("five levels");
		long_mode(L5, CR4_LA57, 3ull << 48, "5-level");
	} else {
		tap_skip("5-level paging", "the CPU has none");
	}
	guest_destroy(&g);
	return tap_done();
}
