// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walking the guest's own page tables: gva to gpa, with the rights, faults and accessed and dirty bits that the processor would
 * give (APM 2 ch. 5, SDM 3A ch. 4).
 *
 * One loop serves all paging modes; a mode is a row of constants (entry size, index bits, levels).  On the way down the walk
 * collects the rights as the AND of every entry's; they are judged once, at the leaf, together with WP, SMEP, SMAP and
 * protection keys.  Only when the access is allowed are the accessed bits set, from the top down, and the dirty bit at the
 * leaf, each with a cmpxchg on the guest's memory: where an entry has changed meanwhile the walk begins anew, a bounded number
 * of times.
 *
 * A page fault's error code: P for rights and reserved bits, W and U from the access, RSVD, I for a fetch where NX or SMEP can
 * matter, PK.
 */
#ifdef __KERNEL__
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/types.h>
#else
#include <errno.h>
#endif

#include "x86/mmu/gwalk.h"

#define GW_CR0_WP	(1ull << 16)
#define GW_CR0_PG	(1ull << 31)
#define GW_CR4_PSE	(1ull << 4)
#define GW_CR4_PAE	(1ull << 5)
#define GW_CR4_LA57	(1ull << 12)
#define GW_CR4_SMEP	(1ull << 20)
#define GW_CR4_SMAP	(1ull << 21)
#define GW_CR4_PKE	(1ull << 22)
#define GW_EFER_LMA	(1ull << 10)
#define GW_EFER_NXE	(1ull << 11)
#define GW_RFLAGS_AC	(1ull << 18)

#define GW_P		(1ull << 0)
#define GW_W		(1ull << 1)
#define GW_U		(1ull << 2)
#define GW_A		(1ull << 5)
#define GW_D		(1ull << 6)
#define GW_PS		(1ull << 7)
#define GW_PAT_LARGE	(1ull << 12)
#define GW_NX		(1ull << 63)
#define GW_PKEY_SHIFT	59

#define GW_ERR_P	0x01
#define GW_ERR_W	0x02
#define GW_ERR_U	0x04
#define GW_ERR_RSVD	0x08
#define GW_ERR_I	0x10
#define GW_ERR_PK	0x20

#define GW_LEVELS	5
#define GW_TRIES	8

struct gw_mode {
	int levels, entry_size, index_bits;
	bool long_mode, pae;
};

struct gw_walk {
	const struct gwalk_regs *regs;
	const struct gwalk_ops *ops;
	void *opaque;
	u64 gva;
	unsigned int flags;
	struct gw_mode mode;
	u64 entry[GW_LEVELS + 1], addr[GW_LEVELS + 1];	/* by level, 1 = last */
	int leaf;					/* level of the leaf */
	u64 rights;					/* AND of W and U, OR of NX */
};

/* Bits first..last, both included; none if last < first. */
static u64 gw_bits(int first, int last)
{
	if (last < first)
		return 0;
	return (~0ull >> (63 - last)) & (~0ull << first);
}

static struct gw_mode gw_mode(const struct gwalk_regs *r)
{
	if (r->efer & GW_EFER_LMA)
		return (struct gw_mode){ .levels = r->cr4 & GW_CR4_LA57 ? 5 : 4, .entry_size = 8, .index_bits = 9,
					 .long_mode = true, .pae = true };
	if (r->cr4 & GW_CR4_PAE)
		return (struct gw_mode){ .levels = 3, .entry_size = 8, .index_bits = 9, .pae = true };
	return (struct gw_mode){ .levels = 2, .entry_size = 4, .index_bits = 10 };
}

static int gw_shift(const struct gw_walk *w, int level)
{
	return 12 + (level - 1) * w->mode.index_bits;
}

static u16 gw_error(const struct gw_walk *w, u16 bits)
{
	const struct gwalk_regs *r = w->regs;
	bool nx = w->mode.pae && (r->efer & GW_EFER_NXE);

	if (w->flags & GWALK_WRITE)
		bits |= GW_ERR_W;
	if (w->flags & GWALK_USER)
		bits |= GW_ERR_U;
	if ((w->flags & GWALK_FETCH) && (nx || (r->cr4 & GW_CR4_SMEP)))
		bits |= GW_ERR_I;
	return bits;
}

/* Reserved bits of an entry, by mode and level (APM 2 §5.3.3-5.3.5, SDM 3A tables 4-5, 4-10, 4-15..4-20). */
static u64 gw_reserved(const struct gw_walk *w, int level, u64 e)
{
	const struct gwalk_regs *r = w->regs;
	u64 rsvd;

	if (!w->mode.pae) {
		if (level == 2 && (e & GW_PS) && (r->cr4 & GW_CR4_PSE))
			/* PSE-36: bits 20:13 are address bits 39:32, as far as MAXPHYADDR goes; 21 is reserved. */
			return gw_bits(21, 21) | (r->maxphyaddr < 40 ? gw_bits(r->maxphyaddr - 32 + 13, 20) : 0);
		return 0;
	}
	rsvd = gw_bits(r->maxphyaddr, 51);
	if (!w->mode.long_mode) {
		if (level == 3)
			return gw_bits(r->maxphyaddr, 63) | gw_bits(5, 8) | gw_bits(1, 2);
		rsvd |= gw_bits(52, 62);
	}
	if (!(r->efer & GW_EFER_NXE))
		rsvd |= GW_NX;
	if (level > 3 || (level == 3 && !r->gbpages))
		rsvd |= GW_PS;
	if (level > 1 && level <= 3 && (e & GW_PS))
		rsvd |= gw_bits(13, gw_shift(w, level) - 1);
	return rsvd;
}

static bool gw_is_leaf(const struct gw_walk *w, int level, u64 e)
{
	if (level == 1)
		return true;
	if (!(e & GW_PS))
		return false;
	if (!w->mode.pae)
		return w->regs->cr4 & GW_CR4_PSE;
	return level == 2 || (level == 3 && w->mode.long_mode);
}

static u64 gw_table_addr(const struct gw_walk *w, u64 e)
{
	return w->mode.pae ? e & gw_bits(12, 51) : e & gw_bits(12, 31);
}

static u64 gw_leaf_addr(const struct gw_walk *w)
{
	u64 e = w->entry[w->leaf];
	int shift = gw_shift(w, w->leaf);
	u64 base;

	if (w->mode.pae)
		base = e & gw_bits(shift, 51);
	else if (w->leaf == 1)
		base = e & gw_bits(12, 31);
	else
		base = (e & gw_bits(22, 31)) | (e & gw_bits(13, 20)) << (32 - 13);
	return base | (w->gva & (gw_bits(0, shift - 1)));
}

/* Read the entry of @level whose table is at @table. 0, 1 = page fault with *error, -errno. */
static int gw_read(struct gw_walk *w, int level, u64 table, u16 *error)
{
	int shift = gw_shift(w, level), size = w->mode.entry_size, r;
	u64 index = (w->gva >> shift) & ((1u << w->mode.index_bits) - 1);
	bool pdpte = level == 3 && !w->mode.long_mode;
	u64 e = 0;

	if (pdpte)
		index &= 3;
	w->addr[level] = table + index * size;
	if (pdpte && w->regs->pdptr_valid) {
		e = w->regs->pdptr[index];
	} else {
		r = w->ops->read(w->opaque, w->addr[level], &e, size);
		if (r)
			return r;
	}
	w->entry[level] = e;
	if (!(e & GW_P)) {
		*error = gw_error(w, 0);
		return 1;
	}
	if (e & gw_reserved(w, level, e)) {
		*error = gw_error(w, GW_ERR_P | GW_ERR_RSVD);
		return 1;
	}
	if (!pdpte) {
		w->rights &= e | ~(GW_W | GW_U);
		w->rights |= e & GW_NX;
	}
	return 0;
}

static bool gw_key_denies(const struct gw_walk *w)
{
	const struct gwalk_regs *r = w->regs;
	unsigned int key = (w->entry[w->leaf] >> GW_PKEY_SHIFT) & 15;
	bool ad = r->pkru & (1u << (2 * key)), wd = r->pkru & (2u << (2 * key));

	if (!(r->cr4 & GW_CR4_PKE) || !w->mode.long_mode || !(w->rights & GW_U) || (w->flags & GWALK_FETCH))
		return false;
	if (ad)
		return true;
	return wd && (w->flags & GWALK_WRITE) && ((w->flags & GWALK_USER) || (r->cr0 & GW_CR0_WP));
}

/* The error bits if the access is forbidden by the collected rights, or 0. */
static u16 gw_denied(const struct gw_walk *w)
{
	const struct gwalk_regs *r = w->regs;
	bool user = w->flags & GWALK_USER, user_page = w->rights & GW_U;

	if (user && !user_page)
		return GW_ERR_P;
	if ((w->flags & GWALK_WRITE) && !(w->rights & GW_W) && (user || (r->cr0 & GW_CR0_WP)))
		return GW_ERR_P;
	if (w->flags & GWALK_FETCH) {
		if (w->mode.pae && (r->efer & GW_EFER_NXE) && (w->rights & GW_NX))
			return GW_ERR_P;
		if (!user && user_page && (r->cr4 & GW_CR4_SMEP))
			return GW_ERR_P;
	} else if (!user && user_page && (r->cr4 & GW_CR4_SMAP)) {
		if ((w->flags & GWALK_IMPLICIT) || !(r->rflags & GW_RFLAGS_AC))
			return GW_ERR_P;
	}
	return gw_key_denies(w) ? GW_ERR_P | GW_ERR_PK : 0;
}

/* Set accessed bits, and the leaf's dirty bit for a write.  0, 1 = an entry changed, -errno. */
static int gw_set_bits(struct gw_walk *w)
{
	int level, r;

	for (level = w->mode.levels; level >= w->leaf; level--) {
		u64 old = w->entry[level], new = old | GW_A;

		if (level == 3 && !w->mode.long_mode)
			continue;	/* PDPTEs of PAE paging have no accessed bit */
		if (level == w->leaf && (w->flags & GWALK_WRITE))
			new |= GW_D;
		if (new == old)
			continue;
		r = (w->ops->cmpxchg)(w->opaque, w->addr[level], old, new, w->mode.entry_size);
		if (r)
			return r;
	}
	return 0;
}

/* One walk.  0, 1 = page fault, 2 = an entry changed meanwhile, -errno. */
static int gw_try(struct gw_walk *w, struct gwalk_result *res)
{
	u64 table = w->mode.long_mode ? w->regs->cr3 & gw_bits(12, 51) :
		    w->mode.pae ? w->regs->cr3 & gw_bits(5, 31) : w->regs->cr3 & gw_bits(12, 31);
	int level, r;
	u16 denied;

	w->rights = GW_W | GW_U;
	for (level = w->mode.levels; ; level--) {
		r = gw_read(w, level, table, &res->error_code);
		if (r)
			return r;
		if (gw_is_leaf(w, level, w->entry[level]))
			break;
		table = gw_table_addr(w, w->entry[level]);
	}
	w->leaf = level;
	denied = gw_denied(w);
	if (denied) {
		res->error_code = gw_error(w, denied);
		return 1;
	}
	if (!(w->flags & GWALK_NO_SET)) {
		r = gw_set_bits(w);
		if (r)
			return r > 0 ? 2 : r;
	}
	res->gpa = gw_leaf_addr(w);
	res->page_size = 1ull << gw_shift(w, level);
	res->writable = w->rights & GW_W;
	res->user = w->rights & GW_U;
	res->exec = !(w->rights & GW_NX) || !(w->regs->efer & GW_EFER_NXE);
	return 0;
}

int gwalk(const struct gwalk_regs *regs, const struct gwalk_ops *ops, void *opaque, u64 gva, unsigned int flags,
	  struct gwalk_result *res)
{
	struct gw_walk w = { .regs = regs, .ops = ops, .opaque = opaque, .gva = gva, .flags = flags };
	int tries, r;

	res->error_code = 0;
	if (!(regs->cr0 & GW_CR0_PG)) {
		res->gpa = gva;
		res->page_size = 4096;
		res->writable = res->user = res->exec = true;
		return 0;
	}
	w.mode = gw_mode(regs);
	for (tries = 0; tries < GW_TRIES; tries++) {
		r = gw_try(&w, res);
		if (r != 2)
			return r;
	}
	return -EAGAIN;
}
