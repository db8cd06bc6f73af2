// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_gwalk.c: the walk of a guest's page tables, in every paging mode and for every cause of a fault, over tables built in
 * memory.
 *
 * LINK: kmod/x86/mmu/gwalk.c
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/mmu/gwalk.h"

#define MEM_PAGES	32
#define ROOT		0x1000ull

#define P	1ull
#define W	2ull
#define U	4ull
#define A	0x20ull
#define D	0x40ull
#define PS	0x80ull
#define NX	(1ull << 63)
#define PKEY(k)	((u64)(k) << 59)

#define ERR_P	1
#define ERR_W	2
#define ERR_U	4
#define ERR_R	8
#define ERR_I	16
#define ERR_PK	32

#define CR0_PE	1ull
#define CR0_WP	(1ull << 16)
#define CR0_PG	(1ull << 31)
#define CR4_PSE	(1ull << 4)
#define CR4_PAE	(1ull << 5)
#define CR4_LA57 (1ull << 12)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define CR4_PKE	(1ull << 22)
#define LMA	(1ull << 10)
#define NXE	(1ull << 11)

static unsigned char mem[MEM_PAGES * 4096];
static struct gwalk_regs regs;
static struct gwalk_result res;
static int races;		/* how many cmpxchg calls find another value */
static int calls;		/* cmpxchg calls */
static u64 next_table;

static int mem_read(void *opaque, u64 gpa, void *buf, int len)
{
	(void)opaque;
	if (gpa + len > sizeof(mem))
		return -EFAULT;
	memcpy(buf, mem + gpa, len);
	return 0;
}

static int mem_cmpxchg(void *opaque, u64 gpa, u64 old, u64 new, int len)
{
	u64 cur = 0;

	(void)opaque;
	calls++;
	if (gpa + len > sizeof(mem))
		return -EFAULT;
	memcpy(&cur, mem + gpa, len);
	if (races > 0) {
		races--;
		return 1;
	}
	if (cur != old)
		return 1;
	memcpy(mem + gpa, &new, len);
	return 0;
}

static const struct gwalk_ops ops = { .read = mem_read, .cmpxchg = mem_cmpxchg };

static void setup(void)
{
	memset(mem, 0, sizeof(mem));
	memset(&regs, 0, sizeof(regs));
	memset(&res, 0, sizeof(res));
	races = calls = 0;
	next_table = ROOT + 0x1000;
	regs.cr0 = CR0_PE | CR0_PG;
	regs.cr3 = ROOT;
	regs.maxphyaddr = 40;
	regs.gbpages = true;
}

static void mode_long(void)
{
	setup();
	regs.cr4 = CR4_PAE;
	regs.efer = LMA | NXE;
}

static void mode_la57(void)
{
	mode_long();
	regs.cr4 |= CR4_LA57;
}

static void mode_pae(void)
{
	setup();
	regs.cr4 = CR4_PAE;
	regs.efer = NXE;
}

static void mode_32(void)
{
	setup();
	regs.cr4 = CR4_PSE;
}

static u64 get64(u64 gpa)
{
	u64 v;

	memcpy(&v, mem + gpa, 8);
	return v;
}

static void put64(u64 gpa, u64 v)
{
	memcpy(mem + gpa, &v, 8);
}

static void put32(u64 gpa, u32 v)
{
	memcpy(mem + gpa, &v, 4);
}

static u32 get32(u64 gpa)
{
	u32 v;

	memcpy(&v, mem + gpa, 4);
	return v;
}

/* Where the 8-byte entry of @level for @gva lies once tables down to it exist; makes them with @bits. */
static u64 entry_at(int levels, u64 gva, int level, u64 bits)
{
	u64 table = ROOT;

	for (int l = levels; ; l--) {
		u64 mask = levels == 3 && l == 3 ? 3 : 511;
		u64 at = table + ((gva >> (12 + 9 * (l - 1))) & mask) * 8;

		if (l == level)
			return at;
		if (!get64(at)) {
			/* PDPTEs of PAE paging have neither W nor U */
			put64(at, next_table | (levels == 3 && l == 3 ? P : bits));
			next_table += 0x1000;
		}
		table = get64(at) & 0xffffffffff000ull;
	}
}

static void map(int levels, u64 gva, int level, u64 entry)
{
	put64(entry_at(levels, gva, level, P | W | U), entry);
}

static int walk(u64 gva, unsigned int flags)
{
	memset(&res, 0xee, sizeof(res));
	return gwalk(&regs, &ops, NULL, gva, flags, &res);
}

#define GVA	0x00007f1234567abcull
#define GVA32	0x12345678ull

/* ---- translation ---- */

START_TEST(without_paging_addresses_are_physical)
{
	setup();
	regs.cr0 = CR0_PE;
	ck_assert_int_eq(walk(0x12345, GWALK_WRITE | GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0x12345);
	ck_assert(res.writable && res.user && res.exec);
}
END_TEST

START_TEST(long_mode_translates_4k_2m_1g)
{
	mode_long();
	map(4, GVA, 1, 0x1234567000ull | P | W | U);
	ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0x1234567abcull);
	ck_assert_uint_eq(res.page_size, 4096);

	mode_long();
	map(4, GVA, 2, 0x1234400000ull | P | W | U | PS);
	ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0x1234400000ull | (GVA & 0x1fffff));
	ck_assert_uint_eq(res.page_size, 2u << 20);

	mode_long();
	map(4, GVA, 3, 0x1240000000ull | P | W | U | PS);
	ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0x1240000000ull | (GVA & 0x3fffffff));
	ck_assert_uint_eq(res.page_size, 1u << 30);
}
END_TEST

START_TEST(la57_uses_five_levels)
{
	u64 gva = 0x0012345678901234ull;

	mode_la57();
	map(5, gva, 1, 0x7654321000ull | P | W);
	ck_assert_int_eq(walk(gva, 0), 0);
	ck_assert_uint_eq(res.gpa, 0x7654321234ull);
	ck_assert_int_eq(walk(gva ^ (1ull << 50), 0), 1);
	ck_assert_uint_eq(res.error_code, 0);
}
END_TEST

START_TEST(pae_translates_4k_2m)
{
	mode_pae();
	map(3, GVA32, 1, 0x8765432000ull | P | W | U);
	ck_assert_int_eq(walk(GVA32, GWALK_USER | GWALK_WRITE), 0);
	ck_assert_uint_eq(res.gpa, 0x8765432678ull);
	ck_assert(res.writable && res.user);

	mode_pae();
	map(3, GVA32, 2, 0x8765400000ull | P | W | U | PS);
	ck_assert_int_eq(walk(GVA32, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0x8765400000ull | (GVA32 & 0x1fffff));
}
END_TEST

START_TEST(pae_takes_pdptes_from_registers)
{
	mode_pae();
	map(3, GVA32, 1, 0x5000ull | P | W);
	regs.pdptr[0] = get64(ROOT);
	put64(ROOT, 0);
	regs.pdptr_valid = true;
	ck_assert_int_eq(walk(GVA32, 0), 0);
	ck_assert_uint_eq(res.gpa, 0x5678);
	regs.pdptr[0] = 0;
	ck_assert_int_eq(walk(GVA32, 0), 1);
}
END_TEST

START_TEST(pae_cr3_is_32_byte_aligned)
{
	mode_pae();
	regs.cr3 = ROOT + 0x20;
	put64(ROOT + 0x20, 0x2000 | P);
	put64(0x2000 + ((GVA32 >> 21) & 511) * 8, 0x400000 | P | PS);
	ck_assert_int_eq(walk(GVA32, 0), 0);
	ck_assert_uint_eq(res.gpa, 0x400000 | (GVA32 & 0x1fffff));
}
END_TEST

START_TEST(two_level_translates_4k_4m_and_pse36)
{
	mode_32();
	put32(ROOT + (GVA32 >> 22) * 4, 0x2000 | P | W | U);
	put32(0x2000 + ((GVA32 >> 12) & 1023) * 4, 0xabcde000 | P | W | U);
	ck_assert_int_eq(walk(GVA32, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0xabcde678);

	put32(ROOT + (GVA32 >> 22) * 4, 0xab400000 | P | W | U | PS);
	ck_assert_int_eq(walk(GVA32, GWALK_USER), 0);
	ck_assert_uint_eq(res.gpa, 0xab400000 | (GVA32 & 0x3fffff));
	ck_assert_uint_eq(res.page_size, 4u << 20);

	put32(ROOT + (GVA32 >> 22) * 4, 0xab400000 | (0xa5 << 13) | P | PS);
	ck_assert_int_eq(walk(GVA32, 0), 0);
	ck_assert_uint_eq(res.gpa, 0xa5ab400000ull | (GVA32 & 0x3fffff));
}
END_TEST

START_TEST(without_cr4_pse_the_ps_bit_means_nothing)
{
	mode_32();
	regs.cr4 = 0;
	put32(ROOT + (GVA32 >> 22) * 4, 0x2000 | P | W | PS);
	put32(0x2000 + ((GVA32 >> 12) & 1023) * 4, 0x7000 | P | W);
	ck_assert_int_eq(walk(GVA32, 0), 0);
	ck_assert_uint_eq(res.gpa, 0x7678);
}
END_TEST

/* ---- not present, and the error code's W, U, I ---- */

START_TEST(a_missing_entry_at_any_level_faults_without_p)
{
	for (int level = 1; level <= 4; level++) {
		mode_long();
		map(4, GVA, 1, 0x3000 | P | W | U);
		put64(entry_at(4, GVA, level, 0), 0x3000 | W | U);
		ck_assert_int_eq(walk(GVA, 0), 1);
		ck_assert_uint_eq(res.error_code, 0);
		ck_assert_int_eq(walk(GVA, GWALK_WRITE), 1);
		ck_assert_uint_eq(res.error_code, ERR_W);
		ck_assert_int_eq(walk(GVA, GWALK_USER), 1);
		ck_assert_uint_eq(res.error_code, ERR_U);
		ck_assert_int_eq(walk(GVA, GWALK_FETCH | GWALK_USER), 1);
		ck_assert_uint_eq(res.error_code, ERR_U | ERR_I);
	}
}
END_TEST

START_TEST(the_fetch_bit_needs_nx_or_smep)
{
	mode_long();
	regs.efer = LMA;
	ck_assert_int_eq(walk(GVA, GWALK_FETCH), 1);
	ck_assert_uint_eq(res.error_code, 0);
	regs.cr4 |= CR4_SMEP;
	ck_assert_int_eq(walk(GVA, GWALK_FETCH), 1);
	ck_assert_uint_eq(res.error_code, ERR_I);
	mode_32();
	regs.efer = NXE;	/* no NX without PAE */
	ck_assert_int_eq(walk(GVA32, GWALK_FETCH), 1);
	ck_assert_uint_eq(res.error_code, 0);
}
END_TEST

/* ---- rights ---- */

START_TEST(user_needs_u_at_every_level)
{
	for (int level = 1; level <= 4; level++) {
		mode_long();
		map(4, GVA, 1, 0x3000 | P | W | U);
		put64(entry_at(4, GVA, level, 0), get64(entry_at(4, GVA, level, 0)) & ~U);
		ck_assert_int_eq(walk(GVA, GWALK_USER), 1);
		ck_assert_uint_eq(res.error_code, ERR_P | ERR_U);
		ck_assert_int_eq(walk(GVA, 0), 0);
		ck_assert(!res.user);
	}
}
END_TEST

START_TEST(write_needs_w_at_every_level)
{
	for (int level = 1; level <= 4; level++) {
		mode_long();
		map(4, GVA, 1, 0x3000 | P | W | U);
		put64(entry_at(4, GVA, level, 0), get64(entry_at(4, GVA, level, 0)) & ~W);
		ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_WRITE), 1);
		ck_assert_uint_eq(res.error_code, ERR_P | ERR_W | ERR_U);
		ck_assert_int_eq(walk(GVA, GWALK_WRITE), 0);
		ck_assert(!res.writable);
		regs.cr0 |= CR0_WP;
		ck_assert_int_eq(walk(GVA, GWALK_WRITE), 1);
		ck_assert_uint_eq(res.error_code, ERR_P | ERR_W);
		ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	}
}
END_TEST

START_TEST(fetch_is_stopped_by_nx_at_any_level)
{
	for (int level = 1; level <= 4; level++) {
		mode_long();
		map(4, GVA, 1, 0x3000 | P | W | U);
		put64(entry_at(4, GVA, level, 0), get64(entry_at(4, GVA, level, 0)) | NX);
		ck_assert_int_eq(walk(GVA, GWALK_FETCH | GWALK_USER), 1);
		ck_assert_uint_eq(res.error_code, ERR_P | ERR_U | ERR_I);
		ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
		ck_assert(!res.exec);
	}
}
END_TEST

START_TEST(smep_stops_supervisor_fetch_from_user_pages)
{
	mode_long();
	map(4, GVA, 1, 0x3000 | P | W | U);
	ck_assert_int_eq(walk(GVA, GWALK_FETCH), 0);
	regs.cr4 |= CR4_SMEP;
	ck_assert_int_eq(walk(GVA, GWALK_FETCH), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_I);
	ck_assert_int_eq(walk(GVA, GWALK_FETCH | GWALK_USER), 0);
}
END_TEST

START_TEST(smap_stops_supervisor_data_on_user_pages_unless_ac)
{
	mode_long();
	regs.cr4 |= CR4_SMAP;
	map(4, GVA, 1, 0x3000 | P | W | U);
	ck_assert_int_eq(walk(GVA, 0), 1);
	ck_assert_uint_eq(res.error_code, ERR_P);
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_W);
	ck_assert_int_eq(walk(GVA, GWALK_FETCH), 0);
	ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	regs.rflags = 1 << 18;
	ck_assert_int_eq(walk(GVA, 0), 0);
	ck_assert_int_eq(walk(GVA, GWALK_IMPLICIT), 1);
	ck_assert_uint_eq(res.error_code, ERR_P);
}
END_TEST

START_TEST(protection_keys_deny_access_and_writes)
{
	mode_long();
	regs.cr4 |= CR4_PKE;
	map(4, GVA, 1, 0x3000 | P | W | U | PKEY(5));
	regs.pkru = 1u << 10;			/* AD of key 5 */
	ck_assert_int_eq(walk(GVA, GWALK_USER), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_U | ERR_PK);
	ck_assert_int_eq(walk(GVA, 0), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_PK);
	ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_FETCH), 0);
	regs.pkru = 2u << 10;			/* WD */
	ck_assert_int_eq(walk(GVA, GWALK_USER), 0);
	ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_WRITE), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_W | ERR_U | ERR_PK);
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 0);
	regs.cr0 |= CR0_WP;
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 1);
	regs.pkru = ~(3u << 10);		/* every other key */
	ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_WRITE), 0);
	regs.pkru = ~0u;
	map(4, GVA, 1, 0x3000 | P | W | PKEY(5));
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 0);	/* a supervisor page has no key */
	regs.cr4 &= ~CR4_PKE;
	map(4, GVA, 1, 0x3000 | P | W | U | PKEY(5));
	ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_WRITE), 0);
}
END_TEST

/* ---- reserved bits ---- */

static void check_reserved(int levels, u64 gva, int level, u64 entry, bool reserved)
{
	map(levels, gva, level, entry);
	ck_assert_int_eq(walk(gva, GWALK_WRITE), reserved);
	if (reserved)
		ck_assert_uint_eq(res.error_code, ERR_P | ERR_W | ERR_R);
}

START_TEST(address_bits_beyond_maxphyaddr_are_reserved)
{
	mode_long();
	check_reserved(4, GVA, 1, (1ull << 39) | P | W, false);
	check_reserved(4, GVA, 1, (1ull << 40) | P | W, true);
	check_reserved(4, GVA, 1, (1ull << 51) | P | W, true);
	check_reserved(4, GVA, 1, (1ull << 52) | P | W, false);	/* available */
	regs.maxphyaddr = 52;
	check_reserved(4, GVA, 1, (1ull << 51) | P | W, false);
	mode_pae();
	check_reserved(3, GVA32, 1, (1ull << 40) | P | W, true);
	check_reserved(3, GVA32, 1, (1ull << 52) | P | W, true);
	check_reserved(3, GVA32, 1, (1ull << 62) | P | W, true);
}
END_TEST

START_TEST(nx_is_reserved_without_efer_nxe)
{
	mode_long();
	check_reserved(4, GVA, 1, 0x3000 | P | W | NX, false);
	regs.efer = LMA;
	check_reserved(4, GVA, 1, 0x3000 | P | W | NX, true);
	mode_pae();
	regs.efer = 0;
	check_reserved(3, GVA32, 1, 0x3000 | P | W | NX, true);
}
END_TEST

START_TEST(ps_is_reserved_where_no_large_page_can_be)
{
	mode_long();
	check_reserved(4, GVA, 4, 0x2000 | P | W | PS, true);
	mode_long();
	check_reserved(4, GVA, 3, 0x40000000 | P | W | PS, false);
	regs.gbpages = false;
	check_reserved(4, GVA, 3, 0x40000000 | P | W | PS, true);
	mode_la57();
	check_reserved(5, GVA, 5, 0x2000 | P | W | PS, true);
}
END_TEST

START_TEST(low_address_bits_of_large_pages_are_reserved)
{
	mode_long();
	check_reserved(4, GVA, 2, 0x600000 | (1 << 12) | P | W | PS, false);	/* PAT */
	check_reserved(4, GVA, 2, 0x600000 | (1 << 13) | P | W | PS, true);
	check_reserved(4, GVA, 2, 0x600000 | (1 << 20) | P | W | PS, true);
	mode_long();
	check_reserved(4, GVA, 3, 0x40000000 | (1 << 29) | P | W | PS, true);
	mode_pae();
	check_reserved(3, GVA32, 2, 0x600000 | (1 << 20) | P | W | PS, true);
}
END_TEST

START_TEST(pae_pdptes_have_reserved_low_bits)
{
	for (int bit = 1; bit <= 8; bit++) {
		bool reserved = bit == 1 || bit == 2 || bit >= 5;

		mode_pae();
		map(3, GVA32, 1, 0x3000 | P | W);
		put64(ROOT, get64(ROOT) | 1ull << bit);
		ck_assert_int_eq(walk(GVA32, 0), reserved);
		if (reserved)
			ck_assert_uint_eq(res.error_code, ERR_P | ERR_R);
	}
}
END_TEST

START_TEST(pse36_bits_beyond_maxphyaddr_are_reserved)
{
	mode_32();
	regs.maxphyaddr = 36;
	put32(ROOT + (GVA32 >> 22) * 4, 0x400000 | (1 << 16) | P | PS);
	ck_assert_int_eq(walk(GVA32, 0), 0);
	put32(ROOT + (GVA32 >> 22) * 4, 0x400000 | (1 << 17) | P | PS);
	ck_assert_int_eq(walk(GVA32, 0), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_R);
	put32(ROOT + (GVA32 >> 22) * 4, 0x400000 | (1 << 21) | P | PS);
	ck_assert_int_eq(walk(GVA32, 0), 1);
}
END_TEST

START_TEST(reserved_bits_win_over_rights)
{
	mode_long();
	map(4, GVA, 1, (1ull << 45) | P);
	ck_assert_int_eq(walk(GVA, GWALK_USER), 1);
	ck_assert_uint_eq(res.error_code, ERR_P | ERR_U | ERR_R);
}
END_TEST

/* ---- accessed and dirty ---- */

START_TEST(a_read_sets_accessed_bits_and_no_dirty_bit)
{
	mode_long();
	map(4, GVA, 1, 0x3000 | P | W);
	ck_assert_int_eq(walk(GVA, 0), 0);
	for (int level = 1; level <= 4; level++)
		ck_assert_uint_eq(get64(entry_at(4, GVA, level, 0)) & (A | D), A);
	ck_assert_int_eq(calls, 4);
	ck_assert_int_eq(walk(GVA, 0), 0);
	ck_assert_int_eq(calls, 4);	/* nothing left to set */
}
END_TEST

START_TEST(a_write_sets_the_dirty_bit_of_the_leaf_alone)
{
	mode_long();
	map(4, GVA, 2, 0x600000 | P | W | PS);
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 0);
	ck_assert_uint_eq(get64(entry_at(4, GVA, 2, 0)) & (A | D), A | D);
	ck_assert_uint_eq(get64(entry_at(4, GVA, 3, 0)) & (A | D), A);
	mode_32();
	put32(ROOT + (GVA32 >> 22) * 4, 0x2000 | P | W);
	put32(0x2000 + ((GVA32 >> 12) & 1023) * 4, 0x7000 | P | W);
	ck_assert_int_eq(walk(GVA32, GWALK_WRITE), 0);
	ck_assert_uint_eq(get32(ROOT + (GVA32 >> 22) * 4) & (A | D), A);
	ck_assert_uint_eq(get32(0x2000 + ((GVA32 >> 12) & 1023) * 4) & (A | D), A | D);
}
END_TEST

START_TEST(pae_pdptes_get_no_accessed_bit)
{
	mode_pae();
	map(3, GVA32, 1, 0x3000 | P | W);
	ck_assert_int_eq(walk(GVA32, 0), 0);
	ck_assert_uint_eq(get64(ROOT) & A, 0);
	ck_assert_uint_eq(get64(entry_at(3, GVA32, 2, 0)) & A, A);
}
END_TEST

START_TEST(a_fault_sets_nothing)
{
	mode_long();
	map(4, GVA, 1, 0x3000 | P | U);
	ck_assert_int_eq(walk(GVA, GWALK_USER | GWALK_WRITE), 1);
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(no_set_sets_nothing)
{
	mode_long();
	map(4, GVA, 1, 0x3000 | P | W);
	ck_assert_int_eq(walk(GVA, GWALK_WRITE | GWALK_NO_SET), 0);
	ck_assert_uint_eq(res.gpa, 0x3abc);
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(a_changed_entry_is_walked_again_a_bounded_number_of_times)
{
	mode_long();
	map(4, GVA, 1, 0x3000 | P | W);
	races = 3;
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), 0);
	ck_assert_uint_eq(res.gpa, 0x3abc);
	mode_long();
	map(4, GVA, 1, 0x3000 | P | W);
	races = 1 << 30;
	ck_assert_int_eq(walk(GVA, GWALK_WRITE), -EAGAIN);
	ck_assert_int_lt(calls, 100);
}
END_TEST

START_TEST(tables_outside_memory_are_efault)
{
	mode_long();
	regs.cr3 = sizeof(mem) + 0x1000;
	ck_assert_int_eq(walk(GVA, 0), -EFAULT);
	mode_long();
	put64(ROOT + ((GVA >> 39) & 511) * 8, 0x77777000ull | P | W);
	ck_assert_int_eq(walk(GVA, 0), -EFAULT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("gwalk");
	TCase *tc = tcase_create("gwalk");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, without_paging_addresses_are_physical);
	tcase_add_test(tc, long_mode_translates_4k_2m_1g);
	tcase_add_test(tc, la57_uses_five_levels);
	tcase_add_test(tc, pae_translates_4k_2m);
	tcase_add_test(tc, pae_takes_pdptes_from_registers);
	tcase_add_test(tc, pae_cr3_is_32_byte_aligned);
	tcase_add_test(tc, two_level_translates_4k_4m_and_pse36);
	tcase_add_test(tc, without_cr4_pse_the_ps_bit_means_nothing);
	tcase_add_test(tc, a_missing_entry_at_any_level_faults_without_p);
	tcase_add_test(tc, the_fetch_bit_needs_nx_or_smep);
	tcase_add_test(tc, user_needs_u_at_every_level);
	tcase_add_test(tc, write_needs_w_at_every_level);
	tcase_add_test(tc, fetch_is_stopped_by_nx_at_any_level);
	tcase_add_test(tc, smep_stops_supervisor_fetch_from_user_pages);
	tcase_add_test(tc, smap_stops_supervisor_data_on_user_pages_unless_ac);
	tcase_add_test(tc, protection_keys_deny_access_and_writes);
	tcase_add_test(tc, address_bits_beyond_maxphyaddr_are_reserved);
	tcase_add_test(tc, nx_is_reserved_without_efer_nxe);
	tcase_add_test(tc, ps_is_reserved_where_no_large_page_can_be);
	tcase_add_test(tc, low_address_bits_of_large_pages_are_reserved);
	tcase_add_test(tc, pae_pdptes_have_reserved_low_bits);
	tcase_add_test(tc, pse36_bits_beyond_maxphyaddr_are_reserved);
	tcase_add_test(tc, reserved_bits_win_over_rights);
	tcase_add_test(tc, a_read_sets_accessed_bits_and_no_dirty_bit);
	tcase_add_test(tc, a_write_sets_the_dirty_bit_of_the_leaf_alone);
	tcase_add_test(tc, pae_pdptes_get_no_accessed_bit);
	tcase_add_test(tc, a_fault_sets_nothing);
	tcase_add_test(tc, no_set_sets_nothing);
	tcase_add_test(tc, a_changed_entry_is_walked_again_a_bounded_number_of_times);
	tcase_add_test(tc, tables_outside_memory_are_efault);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
