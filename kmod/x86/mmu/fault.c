// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stage-2 faults: from the host's page tables into the guest's.
 *
 * The usual fault finds its page in the VMM's page table, reads it there with interrupts off (which keeps page tables from
 * being freed, as in get_user_pages_fast), and installs what it read.  It takes no reference to the page.  That is sound
 * because of the order of three steps:
 *
 *	1. note s->invalidate_seq;
 *	2. read the host's entry;
 *	3. take s->lock, see that no invalidation of this range is in progress and that the sequence number is the same,
 *	   and only then install.
 *
 * A host entry that step 2 read can only lose its meaning between an invalidate_begin and its invalidate_end.  If begin ran
 * before step 3, step 3 sees the count, or, when end ran as well, the sequence number; if begin runs after it, begin zaps
 * what was installed.
 *
 * Nor is the page's dirty state lost: a leaf is writable only if the host's entry was writable and dirty (then whoever cleans
 * the page must first invalidate it here), or was writable and get_user_pages has just marked the page dirty.
 *
 * What the host's table does not have, get_user_pages_unlocked() brings in (copy-on-write, swap, userfaultfd, hwpoison);
 * mappings without pages (VM_PFNMAP, VM_IO) are brought in by fixup_user_fault().  Then the host's table is read again.
 *
 * Where that would mean to wait, a guest that knows asynchronous page faults is given something else to do (x86/apf.c).
 *
 * The size of a leaf is the largest that the host maps the page with, that lies within the slot, and that guest and host
 * addresses are aligned alike for.  While the slot's writes are logged it is 4 KiB; so is code where large pages may not be
 * executable.
 *
 * Around a 4 KiB fault the present neighbours of a small aligned window are installed as well, without their accessed bit:
 * a fault costs about a hundred times what one more entry does.  Neighbours are never made writable in a logged slot.
 */
#include "x86/mmu/stage2.h"

#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>

#include "core/memslot.h"
#include "core/stats.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/mmu/up.h"
#include "x86/mmu/walk.h"

#define FAULT_AROUND		16	/* entries of the window, a power of two */
#define FAULT_TRIES		16

/* A host mapping, as read from the host's page table. */
struct host_map {
	u64 pfn;			/* of the 4 KiB page that was asked for */
	unsigned int level;		/* that the host maps it with */
	bool writable;			/* and dirty */
	bool mmio;
	unsigned int around_first, around_end;	/* which places of the window around[] holds */
	pte_t around[FAULT_AROUND];		/* the window's entries of the host, the fault's own is at gfn % FAULT_AROUND */
};

struct fault {
	struct stage2 *s;
	struct lodge_vcpu *vcpu;
	const struct lodge_memslot *slot;
	gfn_t gfn;
	hva_t hva;
	unsigned int access;
	bool logged;			/* writes to the slot are logged */
	bool dirtied;			/* the page was just marked dirty by get_user_pages */
	bool poisoned;			/* it is no more: SIGBUS has been sent */
	bool deferred;			/* somebody else brings the page in, the guest goes on without it */
	unsigned int level;		/* to be installed */
	unsigned int host_level;	/* what it could be without the dirty log */
	unsigned long seq;
	struct host_map host;
	u64 *spare[WALK_LEVELS_MAX];	/* tables for the levels that are missing */
	unsigned int nr_spare, need;
};

enum install_result { INSTALLED, INSTALL_RETRY, INSTALL_TABLES, INSTALL_FLUSH };

static bool host_entry_usable(u64 val)
{
	/* PROT_NONE entries look present to pte_present(), but not here. */
	return (val & (_PAGE_PRESENT | _PAGE_USER)) == (_PAGE_PRESENT | _PAGE_USER);
}

static void host_map_fill(struct fault *f, u64 val, u64 pfn, unsigned int level)
{
	struct host_map *h = &f->host;

	h->level = level;
	h->pfn = pfn + ((f->hva >> PAGE_SHIFT) & (walk_pages(level) - 1));
	h->writable = (val & _PAGE_RW) && ((val & _PAGE_DIRTY) || f->dirtied);
	h->mmio = false;
	h->around_end = 0;
	if (unlikely(val & _PAGE_SPECIAL) && !is_zero_pfn(h->pfn)) {
		h->mmio = !pfn_valid(h->pfn) || !page_is_ram(h->pfn);
		if (h->mmio)
			h->writable = val & _PAGE_RW;	/* there is no dirty state to lose */
	}
}

static bool host_read_pte(struct fault *f, pmd_t pmd)
{
	struct host_map *h = &f->host;
	pte_t *table = (pte_t *)pmd_page_vaddr(pmd);
	unsigned int index = pte_index(f->hva), at = f->gfn % FAULT_AROUND, i;
	pte_t pte = READ_ONCE(table[index]);

	if (!host_entry_usable(pte_val(pte)))
		return false;
	host_map_fill(f, pte_val(pte), pte_pfn(pte), 1);
	/* The window is aligned in gfns; in the host's table it may begin anywhere, and be cut off by the table's ends. */
	h->around_first = at > index ? at - index : 0;
	h->around_end = min_t(unsigned int, FAULT_AROUND, PTRS_PER_PTE - index + at);
	table += index;
	table -= at;
	for (i = h->around_first; i < h->around_end; i++)
		h->around[i] = READ_ONCE(table[i]);
	return true;
}

/* Interrupts are off. */
static bool host_read_locked(struct fault *f)
{
	hva_t hva = f->hva;
	pgd_t *pgdp = pgd_offset(f->s->vm->mm, hva);
	pgd_t pgd = READ_ONCE(*pgdp);
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	if (!(pgd_val(pgd) & _PAGE_PRESENT))
		return false;
	p4d = READ_ONCE(*p4d_offset(pgdp, hva));
	if (!(p4d_val(p4d) & _PAGE_PRESENT))
		return false;
	pud = READ_ONCE(*pud_offset(&p4d, hva));
	if (!host_entry_usable(pud_val(pud)))
		return false;
	if (pud_val(pud) & _PAGE_PSE) {
		host_map_fill(f, pud_val(pud), pud_pfn(pud), 3);
		return true;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, hva));
	if (!host_entry_usable(pmd_val(pmd)))
		return false;
	if (pmd_val(pmd) & _PAGE_PSE) {
		host_map_fill(f, pmd_val(pmd), pmd_pfn(pmd), 2);
		return true;
	}
	return host_read_pte(f, pmd);
}

/* Read the host's mapping of f->hva; false: it is not there, or not writable although the access is a write. */
static bool host_read(struct fault *f)
{
	unsigned long flags;
	bool ok;

	local_irq_save(flags);
	ok = host_read_locked(f);
	local_irq_restore(flags);
	return ok && (f->host.writable || !(f->access & STAGE2_WRITE));
}

/* A mapping without struct pages: make its fault handler install the entry. */
static int host_fault_pfnmap(struct fault *f, bool write)
{
	struct mm_struct *mm = f->s->vm->mm;
	struct vm_area_struct *vma;
	bool unlocked = false;
	int r = -EFAULT;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, f->hva);
	if (!vma || !(vma->vm_flags & (VM_PFNMAP | VM_IO)))
		goto out;
	if (!(vma->vm_flags & (write ? VM_WRITE : VM_READ)))
		goto out;
	r = fixup_user_fault(mm, f->hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
	/* There is no page whose dirty state could be lost. */
	f->dirtied = true;
out:
	mmap_read_unlock(mm);
	return r;
}

/* Would bringing the page in mean to wait, and has the guest something better to do? */
static bool host_fault_deferred(struct fault *f, unsigned int flags, struct page **page, long *n)
{
	if (likely(!vcpu_may_fault_async(f->vcpu)))
		return false;
	*n = get_user_pages_unlocked(f->hva, 1, page, flags | FOLL_NOWAIT);
	f->deferred = !*n && vcpu_fault_async(f->vcpu, f->hva, flags & FOLL_WRITE);
	return f->deferred;
}

/* The slow way: bring the page in.  0: look again. */
static int host_fault(struct fault *f)
{
	bool write = f->access & STAGE2_WRITE;
	unsigned int flags = (write ? FOLL_WRITE : 0) | FOLL_HWPOISON;
	struct page *page;
	long n = 0;

	if (host_fault_deferred(f, flags, &page, &n))
		return 0;
	if (!n)
		n = get_user_pages_unlocked(f->hva, 1, &page, flags);
	if (n == 1) {
		/* FOLL_TOUCH, which the _unlocked form implies, has marked the page dirty for a write. */
		f->dirtied = write;
		put_page(page);
		return 0;
	}
	if (n == -EHWPOISON) {
		/* The signal ends KVM_RUN on the way back into the guest. */
		send_sig_mceerr(BUS_MCEERR_AR, (void __user *)f->hva, PAGE_SHIFT, current);
		f->poisoned = true;
		return 0;
	}
	if (fatal_signal_pending(current))
		return -EINTR;
	if (n == -EFAULT)
		return host_fault_pfnmap(f, write);
	return n < 0 ? n : -EFAULT;
}

/* Does the aligned block of @level around the fault lie in the slot, with gfn and hva aligned alike? */
static bool fault_block_fits(const struct fault *f, unsigned int level)
{
	const struct lodge_memslot *slot = f->slot;
	u64 mask = walk_pages(level) - 1;
	gfn_t first = f->gfn & ~mask;

	return !((f->gfn ^ (f->hva >> PAGE_SHIFT)) & mask) &&
	       first >= slot->gfn && first + mask < slot->gfn + slot->npages;
}

static void fault_choose_level(struct fault *f)
{
	unsigned int level = min(f->host.level, f->s->max_leaf_level);

	if (f->s->fmt->nx_huge && (f->access & STAGE2_EXEC))
		level = 1;
	while (level > 1 && !fault_block_fits(f, level))
		level--;
	f->host_level = level;
	f->level = f->logged ? 1 : level;
}

/* Did the host's mapping, or its neighbourhood that we use as well, change since f->seq was noted? */
static bool fault_stale(const struct fault *f)
{
	const struct stage2 *s = f->s;

	if (unlikely(s->invalidate_count)) {
		/* The block, wherever it lies about the address, and the window. */
		hva_t size = max_t(u64, walk_pages(f->level), FAULT_AROUND) << PAGE_SHIFT;
		hva_t lo = f->hva > size ? f->hva - size : 0, hi = f->hva + size;

		if (lo < s->invalidate_end && hi > s->invalidate_start)
			return true;
	}
	return s->invalidate_seq != f->seq;
}

/* The bits that every leaf of the slot at @level has, besides address and write rights. */
static u64 fault_leaf_bits(const struct fault *f, unsigned int level)
{
	const struct stage2_format *fmt = f->s->fmt;
	u64 e = f->host.mmio ? fmt->mmio_leaf_bits : fmt->leaf_bits | f->s->me_mask;

	return e | fmt->read | (fmt->exec_inverted || (level > 1 && fmt->nx_huge) ? 0 : fmt->exec);
}

/* The bits of a leaf that the host lets us write to. */
static u64 fault_write_bits(const struct fault *f, bool write)
{
	if (f->slot->flags & KVM_MEM_READONLY)
		return 0;
	return STAGE2_SW_WRITABLE | (!f->logged || write ? f->s->fmt->write : 0);
}

static u64 fault_leaf(const struct fault *f, unsigned int level)
{
	u64 e = (f->host.pfn & ~(walk_pages(level) - 1)) << PAGE_SHIFT;

	e |= fault_leaf_bits(f, level);
	if (level > 1)
		e |= f->s->fmt->leaf;
	if (f->host.writable)
		e |= fault_write_bits(f, f->access & STAGE2_WRITE);
	return e;
}

static bool leaf_allows(const struct stage2_format *fmt, u64 e, unsigned int access)
{
	if ((access & STAGE2_WRITE) && !(e & fmt->write))
		return false;
	if ((access & STAGE2_EXEC) && !(e & fmt->exec) != fmt->exec_inverted)
		return false;
	return e & fmt->read;
}

/* Put the present neighbours of the fault's host page into the level-1 table that @ptep points into. */
static void fault_around(const struct fault *f, u64 *ptep)
{
	const struct lodge_memslot *slot = f->slot;
	unsigned int at = f->gfn & (FAULT_AROUND - 1);
	gfn_t first = f->gfn - at;
	unsigned int i = max_t(s64, f->host.around_first, (s64)(slot->gfn - first));
	unsigned int end = min_t(u64, f->host.around_end, slot->gfn + slot->npages - first);
	u64 bits = fault_leaf_bits(f, 1), write = fault_write_bits(f, false);
	long count = 0;

	ptep -= at;
	for (; i < end; i++) {
		u64 val = pte_val(f->host.around[i]), e = bits;

		if (!host_entry_usable(val) || (val & _PAGE_SPECIAL) || READ_ONCE(ptep[i]))
			continue;
		if ((val & (_PAGE_RW | _PAGE_DIRTY)) == (_PAGE_RW | _PAGE_DIRTY))
			e |= write;
		if (!cmpxchg64(&ptep[i], 0, e | (u64)pte_pfn(f->host.around[i]) << PAGE_SHIFT))
			count++;
	}
	stage2_count(f->s, 1, count);
}

/* Hang a spare table into the empty entry *ptep; the entry as it is then, or 0 without a spare. */
static u64 fault_add_table(struct fault *f, u64 *ptep, unsigned int level)
{
	const struct stage2 *s = f->s;
	u64 e, old;

	if (!f->nr_spare)
		return 0;
	e = __pa(f->spare[f->nr_spare - 1]) | s->fmt->table_bits | s->me_mask;
	if (level <= f->host_level)
		e |= STAGE2_SW_SPLIT;
	old = cmpxchg64(ptep, 0, e);
	if (old)
		return old;
	f->nr_spare--;
	return e;
}

/* A leaf is in the way, or is at the right place but says something else. */
static enum install_result fault_meet_leaf(struct fault *f, u64 *ptep, u64 old, unsigned int level)
{
	const struct stage2_format *fmt = f->s->fmt;
	u64 e = fault_leaf(f, level);
	u64 soft = fmt->accessed | fmt->dirty | fmt->write | STAGE2_SW_WRITABLE;

	if (leaf_allows(fmt, old, f->access))
		return INSTALLED;
	if (level <= f->level && !((old ^ e) & ~soft)) {
		/* Only more rights: no processor can have cached the lesser ones past the fault that brought us here. */
		e |= old | fmt->accessed | fmt->dirty;
		return cmpxchg64(ptep, old, e) == old ? INSTALLED : INSTALL_RETRY;
	}
	if (cmpxchg64(ptep, old, 0) != old)
		return INSTALL_RETRY;
	stage2_removed(f->s, level);
	return INSTALL_FLUSH;
}

static enum install_result fault_set_leaf(struct fault *f, u64 *ptep, unsigned int level)
{
	const struct stage2_format *fmt = f->s->fmt;
	u64 e = fault_leaf(f, level) | fmt->accessed;

	if (f->access & STAGE2_WRITE)
		e |= fmt->dirty;
	if (cmpxchg64(ptep, 0, e))
		return INSTALL_RETRY;
	stage2_count(f->s, level, 1);
	if (level == 1 && f->host.around_end && !f->host.mmio)
		fault_around(f, ptep);
	return INSTALLED;
}

/* s->lock held for reading. */
static enum install_result fault_install_locked(struct fault *f)
{
	struct stage2 *s = f->s;
	unsigned int level = s->levels;
	u64 *table = s->root;

	for (;;) {
		u64 *ptep = &table[walk_index(f->gfn, level)];
		u64 e = READ_ONCE(*ptep);

		if (!walk_present(s, e)) {
			if (level <= f->level)
				return fault_set_leaf(f, ptep, level);
			e = fault_add_table(f, ptep, level);
			if (!e) {
				f->need = level - f->level;
				return INSTALL_TABLES;
			}
		}
		if (walk_is_leaf(s, e, level))
			return fault_meet_leaf(f, ptep, e, level);
		table = walk_table(e);
		level--;
	}
}

static enum install_result fault_install(struct fault *f)
{
	struct stage2 *s = f->s;
	enum install_result r = INSTALL_RETRY;

	read_lock(&s->lock);
	if (!fault_stale(f)) {
		r = fault_install_locked(f);
		/*
		 * After the write bit: a bit that was set before could be harvested, and the page protected, in between.
		 * Before the lock is released: whoever removes the slot waits for it.
		 */
		if (r == INSTALLED && f->logged && (f->access & STAGE2_WRITE))
			lodge_slot_mark_dirty(s->vm, f->slot, f->gfn);
	}
	read_unlock(&s->lock);
	return r;
}

static int fault_get_tables(struct fault *f)
{
	while (f->nr_spare < f->need) {
		u64 *table = stage2_table_alloc(f->s);

		if (!table)
			return -ENOMEM;
		f->spare[f->nr_spare++] = table;
	}
	return 0;
}

static int fault_resolve(struct fault *f)
{
	int tries, r;

	for (tries = 0; tries < FAULT_TRIES; tries++) {
		f->seq = READ_ONCE(f->s->invalidate_seq);
		smp_rmb();	/* the sequence number before the host's entry */
		if (!host_read(f)) {
			r = host_fault(f);
			if (r)
				return r;
			if (unlikely(f->poisoned || f->deferred))
				return STAGE2_FIXED;
			continue;
		}
		fault_choose_level(f);
		switch (fault_install(f)) {
		case INSTALLED:
			return STAGE2_FIXED;
		case INSTALL_TABLES:
			r = fault_get_tables(f);
			if (r)
				return r;
			f->dirtied = false;
			break;
		case INSTALL_FLUSH:
			stage2_flush(f->s, true);
			break;
		case INSTALL_RETRY:
			f->dirtied = false;
			cpu_relax();
			break;
		}
	}
	/* The host is busy with this page: let the guest fault again, signals and requests are looked at on the way. */
	return STAGE2_FIXED;
}

int stage2_fault(struct stage2 *s, struct lodge_vcpu *vcpu, gpa_t gpa, unsigned int access)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	struct lodge_memslot *slot = lodge_gfn_to_slot(s->vm, gfn);
	struct fault f;
	int r;

	if (!slot || gpa >= s->max_gpa)
		return STAGE2_EMULATE;
	/* On its way out: fault again until the new set of slots is there. */
	if (unlikely(slot->flags & LODGE_SLOT_INVALID))
		return STAGE2_FIXED;
	if (unlikely((slot->flags & KVM_MEM_READONLY) && (access & STAGE2_WRITE)))
		return STAGE2_EMULATE;

	f.s = s;
	f.vcpu = vcpu;
	f.slot = slot;
	f.gfn = gfn;
	f.hva = slot->hva + ((gfn - slot->gfn) << PAGE_SHIFT);
	f.access = access;
	f.logged = slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
	f.dirtied = false;
	f.poisoned = false;
	f.deferred = false;
	f.nr_spare = 0;
	r = fault_resolve(&f);
	while (unlikely(f.nr_spare))
		stage2_table_free(s, f.spare[--f.nr_spare]);
	return r;
}

/* Give the write bit back that the dirty log took from the leaf @e; the log may have been switched off, the slot be going. */
static bool fault_restore_write(struct stage2 *s, gfn_t gfn, u64 *ptep, u64 e)
{
	const struct lodge_memslot *slot = lodge_gfn_to_slot(s->vm, gfn);
	const struct stage2_format *fmt = s->fmt;

	if (!slot || slot->flags & (LODGE_SLOT_INVALID | KVM_MEM_READONLY))
		return false;
	if (cmpxchg64(ptep, e, e | fmt->write | fmt->dirty | fmt->accessed) != e)
		return false;
	/* After the write bit and before the lock is released, as in fault_install(). */
	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
		lodge_slot_mark_dirty(s->vm, slot, gfn);
	return true;
}

bool stage2_fault_fast(struct stage2 *s, gpa_t gpa, unsigned int access)
{
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned int level = s->levels;
	u64 *table = s->root, *ptep, e;
	bool done = false;

	if (gpa >= s->max_gpa || !read_trylock(&s->lock))
		return false;
	for (;;) {
		ptep = &table[walk_index(gfn, level)];
		e = READ_ONCE(*ptep);
		if (!walk_present(s, e))
			goto unlock;
		if (walk_is_leaf(s, e, level))
			break;
		table = walk_table(e);
		level--;
	}
	done = leaf_allows(s->fmt, e, access);
	if (!done && level == 1 && (e & STAGE2_SW_WRITABLE))
		done = fault_restore_write(s, gfn, ptep, e);
unlock:
	read_unlock(&s->lock);
	return done;
}
