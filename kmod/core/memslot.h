/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory slots: which hva stands behind a gfn.
 *
 * The set of slots is an array sorted by gfn, replaced as a whole under SRCU; each vCPU and the VM remember the slot last
 * used.  Access to guest memory by the kernel goes through the user mapping (copy_{from,to}_user in the VMM's mm), never
 * through a kept kernel mapping, so that nothing needs pinning.
 */
#ifndef LODGE_CORE_MEMSLOT_H
#define LODGE_CORE_MEMSLOT_H

#include <linux/kvm.h>
#include <linux/types.h>

#include "core/addr.h"

struct lodge_vm;
struct lodge_vcpu;

#define LODGE_USER_SLOTS	32764	/* KVM_CAP_NR_MEMSLOTS */
#define LODGE_PRIVATE_SLOTS	3	/* the module's own, ids from LODGE_USER_SLOTS on */

struct lodge_memslot {
	gfn_t gfn;
	unsigned long npages;
	hva_t hva;
	unsigned long *dirty_bitmap;	/* 2 * size, the second half is scratch for GET_DIRTY_LOG; shared by old and new */
	u32 flags;			/* KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, LODGE_SLOT_* */
	u16 id;
	void *arch;			/* x86/mmu's per-slot data, may stay NULL */
};

#define LODGE_SLOT_INVALID	(1u << 16)	/* being deleted or moved: faults must wait */

struct lodge_memslots {
	struct lodge_memslots *retired;	/* next one that waits for its readers */
	u64 generation;			/* odd while a slot in it is invalid */
	unsigned int n;
	struct lodge_memslot slot[];	/* sorted by gfn; ids unique */
};

int lodge_memslots_init(struct lodge_vm *vm);
void lodge_memslots_destroy(struct lodge_vm *vm);

/*
 * KVM_SET_USER_MEMORY_REGION.  @id may be a private one.  Takes slots_lock (the _locked form has it held).
 * -EINVAL, -EEXIST (overlap), -ENOMEM.
 */
int lodge_memslot_set(struct lodge_vm *vm, const struct kvm_userspace_memory_region *mem);
int lodge_memslot_set_locked(struct lodge_vm *vm, const struct kvm_userspace_memory_region *mem);

/* slots_lock held: wait until no reader holds a set or bus that was replaced before, and free these. */
void lodge_retired_free(struct lodge_vm *vm);

/* The current set.  vm->srcu or slots_lock held. */
struct lodge_memslots *lodge_memslots(struct lodge_vm *vm);
/* The slot that holds @gfn, or NULL; it may be LODGE_SLOT_INVALID.  vm->srcu or slots_lock held. */
struct lodge_memslot *lodge_gfn_to_slot(struct lodge_vm *vm, gfn_t gfn);
/* The slot with identifier @id, or NULL.  vm->srcu or slots_lock held. */
struct lodge_memslot *lodge_slot_by_id(struct lodge_memslots *slots, u16 id);

/* The hva of @gfn for reading, or an error address (lodge_hva_bad); for writing with @write. */
hva_t lodge_gfn_to_hva(struct lodge_vm *vm, gfn_t gfn, bool write);
#define LODGE_HVA_BAD	((hva_t)-1)

static inline bool lodge_hva_bad(hva_t hva)
{
	return hva == LODGE_HVA_BAD;
}

/*
 * Read and write guest memory, any length, may cross pages and slots.  -EFAULT where there is no slot, it is read-only, or
 * the mapping is not there; -EAGAIN where a write could not be logged, for the dirty ring is full.  vm->srcu held, process
 * context of the VMM, may sleep.  Writes mark pages dirty.
 */
int lodge_guest_read(struct lodge_vm *vm, gpa_t gpa, void *buf, unsigned long len);
int lodge_guest_write(struct lodge_vm *vm, gpa_t gpa, const void *buf, unsigned long len);
int lodge_guest_clear(struct lodge_vm *vm, gpa_t gpa, unsigned long len);
/* Mark @gfn dirty in its log, if it has one.  vm->srcu held. */
void lodge_mark_dirty(struct lodge_vm *vm, gfn_t gfn);
/* With dirty rings: is there room to log a write to @slot (may be NULL)?  For writers that a guest or VMM can make repeat. */
bool lodge_can_mark_dirty(struct lodge_vm *vm, const struct lodge_memslot *slot);
void lodge_slot_mark_dirty(struct lodge_vm *vm, const struct lodge_memslot *slot, gfn_t gfn);

/*
 * A guest structure that the kernel reads or writes often (pvclock, PV EOI): the hva is looked up again only when the slots
 * changed.
 */
struct lodge_guest_cache {
	u64 generation;
	gpa_t gpa;
	hva_t hva;		/* LODGE_HVA_BAD: use the slow path */
	u32 len;
};
int lodge_guest_cache_init(struct lodge_vm *vm, struct lodge_guest_cache *c, gpa_t gpa, u32 len);
int lodge_guest_cache_read(struct lodge_vm *vm, struct lodge_guest_cache *c, u32 off, void *buf, u32 len);
int lodge_guest_cache_write(struct lodge_vm *vm, struct lodge_guest_cache *c, u32 off, const void *buf, u32 len);

#endif
