// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_gwalk.c: page tables of arbitrary bytes, walked with arbitrary registers.  Whatever they are, the walk ends, an answer is
 * one of those promised, a translation keeps the offset in the page and the address within the physical width, a fault sets no
 * bit, and what a walk that may set bits found is found again.
 *
 * Input: a struct head, then the guest's memory (repeated to fill it).
 *
 * LINK: kmod/x86/mmu/gwalk.c
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/mmu/gwalk.h"

#define RAM (16 * 4096)

struct head {
	uint64_t cr3, gva;
	uint32_t cr4, rflags, pkru;
	uint8_t cr0, efer, flags, maxphyaddr, gbpages, races;
};

struct ram {
	unsigned char bytes[RAM];
	int races, reads, sets;
};

static int ram_read(void *opaque, u64 gpa, void *buf, int len)
{
	struct ram *r = opaque;

	if (++r->reads > 1000)
		abort();
	/* addresses wrap, so that walks go deep */
	memcpy(buf, r->bytes + gpa % (RAM - 8), len);
	return 0;
}

static int ram_cmpxchg(void *opaque, u64 gpa, u64 old, u64 new, int len)
{
	struct ram *r = opaque;
	u64 cur = 0;

	memcpy(&cur, r->bytes + gpa % (RAM - 8), len);
	if (r->races > 0) {
		r->races--;
		return 1;
	}
	if (cur != old)
		return 1;
	if ((old | new) != new || ((old ^ new) & ~0x60ull))
		abort();	/* only accessed and dirty bits, only set */
	memcpy(r->bytes + gpa % (RAM - 8), &new, len);
	r->sets++;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct gwalk_ops ops = { .read = ram_read, .cmpxchg = ram_cmpxchg };
	static struct ram ram;
	struct gwalk_result res, again;
	struct gwalk_regs regs = { 0 };
	struct head h;
	int r;

	if (size <= sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	for (size_t i = 0; i < RAM; i += size)
		memcpy(ram.bytes + i, data, i + size > RAM ? RAM - i : size);
	regs.cr0 = (h.cr0 & 1 ? 1ull << 31 : 0) | (h.cr0 & 2 ? 1ull << 16 : 0);
	regs.cr3 = h.cr3;
	regs.cr4 = h.cr4;
	regs.efer = (uint64_t)(h.efer & 3) << 10;
	regs.rflags = h.rflags;
	regs.pkru = h.pkru;
	regs.maxphyaddr = 32 + h.maxphyaddr % 21;
	regs.gbpages = h.gbpages & 1;
	if (h.gbpages & 2) {
		memcpy(regs.pdptr, ram.bytes, sizeof(regs.pdptr));
		regs.pdptr_valid = true;
	}
	ram.races = h.races % 12;
	ram.reads = ram.sets = 0;
	r = gwalk(&regs, &ops, &ram, h.gva, h.flags & 31, &res);
	if (r == 1) {
		if (res.error_code & ~0x3f)
			abort();
		return 0;
	}
	if (r) {
		/* entries may lie in one another's way and keep changing */
		if (r != -EAGAIN)
			abort();
		return 0;
	}
	if ((regs.cr0 & (1ull << 31)) && (res.gpa >> 52 || ((res.gpa ^ h.gva) & (res.page_size - 1))))
		abort();
	if ((h.flags & GWALK_NO_SET) && ram.sets)
		abort();
	if (!(h.flags & GWALK_NO_SET))
		return 0;
	if (gwalk(&regs, &ops, &ram, h.gva, h.flags & 31, &again) || again.gpa != res.gpa)
		abort();
	return 0;
}
