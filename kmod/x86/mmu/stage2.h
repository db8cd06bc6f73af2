/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2: the tables that map guest frames to host frames (NPT or EPT), filled by faults, emptied by the MMU notifier.
 *
 * One table per VM, shared by its vCPUs.  Faults hold the lock for reading and change entries by cmpxchg; everything that
 * removes a table holds it for writing.  A fault notes invalidate_seq, finds the host page without the lock, and installs
 * it under the lock only if no invalidation began since.
 */
#ifndef LODGE_X86_MMU_STAGE2_H
#define LODGE_X86_MMU_STAGE2_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "core/addr.h"
#include "core/memslot.h"

struct lodge_vm;
struct lodge_vcpu;

/* How one vendor spells an entry: pte_npt.c, pte_ept.c. */
struct stage2_format {
	u64 present_mask;		/* any of these set: present */
	u64 read, write, exec;		/* permission bits; exec_inverted: the bit forbids (NX) */
	bool exec_inverted;
	u64 leaf;			/* large-page bit */
	u64 accessed, dirty;		/* 0 if the hardware has none */
	u64 table_bits;			/* set in every non-leaf entry */
	u64 leaf_bits;			/* set in every leaf: user bit, memory type write-back */
	u64 mmio_leaf_bits;		/* instead of leaf_bits for PFNMAP pages that are not RAM */
	unsigned int levels;		/* 4 or 5; 0: as many as the host's own page tables have */
	unsigned int max_leaf_level;	/* 1: 4 KiB, 2: 2 MiB, 3: 1 GiB */
	bool nx_huge;			/* larger leaves than 4 KiB must not be executable (iTLB multihit) */
};

extern const struct stage2_format stage2_npt;	/* pte_npt.c */
extern struct stage2_format stage2_ept;		/* pte_ept.c: complete after stage2_ept_init() */

/* What this CPU's EPT has: accessed and dirty bits, the largest leaf, the iTLB multihit erratum; at module load. */
void stage2_ept_init(bool ad, unsigned int max_leaf_level, bool nx_huge);

/*
 * Bits that both vendors leave to software (APM 2 §5.4, SDM 3C table 29-6).
 * In a leaf: the host mapping was writable, only the dirty log took the write bit away; a fault may give it back.
 * In a table: a large page would fit here, the dirty log alone asks for small ones.
 */
#define STAGE2_SW_WRITABLE	(1ull << 11)
#define STAGE2_SW_SPLIT		(1ull << 52)

struct stage2 {
	struct lodge_vm *vm;
	const struct stage2_format *fmt;
	rwlock_t lock;
	u64 *root;
	phys_addr_t root_pa;			/* for nCR3 / EPTP */
	unsigned long invalidate_seq;		/* under lock */
	long invalidate_count;			/* under lock; > 0: between begin and end */
	hva_t invalidate_start, invalidate_end;	/* under lock: the union of ranges in progress */
	gpa_t max_gpa;				/* exclusive: what guest-physical addresses the table can translate */
	unsigned int levels, max_leaf_level;	/* as this host has them */
	u64 me_mask;				/* the host's memory-encryption bit, in every entry that refers to RAM */
	struct list_head detached;		/* under lock: tables that only a stale TLB may still reach */
	atomic64_t removals;			/* grows under lock with what was removed: a flush is due */
	atomic64_t flushed;			/* what removals was when the last complete flush began */
};

#define STAGE2_READ	1
#define STAGE2_WRITE	2
#define STAGE2_EXEC	4

enum stage2_verdict {
	STAGE2_FIXED,		/* enter the guest again */
	STAGE2_EMULATE,		/* no memory there, or a write to a read-only slot: emulate the access */
};

int stage2_init(struct stage2 *s, struct lodge_vm *vm, const struct stage2_format *fmt);
void stage2_destroy(struct stage2 *s);	/* accepts half-built; process context */

/*
 * Resolve a fault of @vcpu at @gpa, @access = STAGE2_* bits.  vm->srcu held, process context, interrupts on, may sleep.
 * Returns an enum stage2_verdict, or -EFAULT (no mapping behind the slot), -EINTR, -ENOMEM.  A poisoned page is "fixed" as well:
 * SIGBUS is pending.
 */
int stage2_fault(struct stage2 *s, struct lodge_vcpu *vcpu, gpa_t gpa, unsigned int access);

/*
 * The quick way for a fault at an entry that is there: by now it allows the access, or it only needs its write bit back (dirty
 * log).  The host's tables are not looked at.  vm->srcu held; does not sleep, nor wait for a lock.  True: enter the guest again.
 */
bool stage2_fault_fast(struct stage2 *s, gpa_t gpa, unsigned int access);

/* Remove every translation of [start, end) gfns; true if stage2_flush() is due. lock is taken inside. */
bool stage2_zap(struct stage2 *s, gfn_t start, gfn_t end);
/* The same for a caller that holds lock for writing. */
bool stage2_zap_locked(struct stage2 *s, gfn_t start, gfn_t end);
/* Split [start, end) gfns down to 4 KiB and, with @protect, write-protect them; true if stage2_flush() is due.  May sleep. */
bool stage2_split(struct stage2 *s, gfn_t start, gfn_t end, bool protect);

/*
 * No vCPU uses a translation that was removed before the call, and the tables removed before it are freed.
 * lock is not held; sleeps only if @may_sleep.
 */
void stage2_flush(struct stage2 *s, bool may_sleep);

/* A zeroed table page, charged to the caller's cgroup, or NULL; and back.  The latter accepts NULL. */
u64 *stage2_table_alloc(struct stage2 *s);
void stage2_table_free(struct stage2 *s, u64 *table);

/* Leaves of @level (1, 2, 3) came (n > 0) or went; counters for the statistics, any context. */
void stage2_count(struct stage2 *s, unsigned int level, long n);

/* The caller, who holds lock, has removed a leaf of @level; it owes a stage2_flush(). */
void stage2_removed(struct stage2 *s, unsigned int level);

#endif
