// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator's memory and ports on a vCPU.
 *
 * An access is translated whole before any of it happens; then each piece goes to guest memory or to a device.  Device reads
 * are answered from a list kept in the order in which they are asked for, since the emulator is deterministic: after user
 * space has supplied one, the instruction is emulated again from its start and finds it there.  Device writes are queued and
 * done when the instruction has succeeded, which ends a REP instruction after the iteration.
 */
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "core/iobus.h"
#include "core/memslot.h"
#include "x86/emulate_glue.h"
#include "x86/fetch.h"

struct piece {
	u64 gpa;
	unsigned int len;
};

static struct vcpu_emul *to_emul(struct emul_ctxt *c)
{
	return container_of(c, struct vcpu_emul, ctxt);
}

static int translate_piece(struct emul_ctxt *c, u64 linear, unsigned int flags, u64 *gpa)
{
	struct vcpu_emul *em = to_emul(c);
	struct gwalk_result res;
	unsigned int access = 0;
	int r;

	if (flags & EMUL_ACC_WRITE)
		access |= GWALK_WRITE;
	if (flags & EMUL_ACC_FETCH)
		access |= GWALK_FETCH;
	if (flags & EMUL_ACC_SYSTEM)
		access |= GWALK_IMPLICIT;
	else if (c->cpl == 3)
		access |= GWALK_USER;
	r = guest_translate(em->vcpu, linear, access, &res);
	if (r == 1)
		return emul_page_fault(c, linear, res.error_code);
	if (r == -EAGAIN)
		return EMUL_RETRY;
	if (r)
		return EMUL_UNHANDLED;		/* tables where there is no memory */
	*gpa = res.gpa;
	return EMUL_OK;
}

/* @n bytes at @linear: one or more pages, each translated. */
#define PIECES	(EMUL_WRITE_MAX / PAGE_SIZE + 2)

static int translate(struct emul_ctxt *c, u64 linear, unsigned int n, unsigned int flags, struct piece *p, unsigned int *nr)
{
	unsigned int i = 0;
	int r;

	while (n) {
		unsigned int len = min_t(unsigned int, n, PAGE_SIZE - offset_in_page(linear));

		if (i == PIECES)
			return EMUL_UNHANDLED;
		r = translate_piece(c, linear, flags, &p[i].gpa);
		if (r)
			return r;
		p[i++].len = len;
		linear += len;
		if (c->mode != EMUL_LONG64)
			linear = (u32)linear;
		n -= len;
	}
	*nr = i;
	return EMUL_OK;
}

/* Memory, and for a write one that may be written: a ROM's writes are the VMM's. */
static bool is_memory(struct x86_vcpu *vcpu, u64 gpa, bool write)
{
	if (vcpu->lapic && lapic_claims(vcpu->lapic, gpa))
		return false;
	return !lodge_hva_bad(lodge_gfn_to_hva(vcpu->core.vm, gpa_to_gfn(gpa), write));
}

/* ---- device memory ---- */

static int device_read_frag(struct vcpu_emul *em, u64 gpa, unsigned int len, u8 *buf)
{
	struct mmio_frag *f;

	if (em->next_read == em->nr_reads) {
		if (em->nr_reads == EMUL_FRAGS)
			return EMUL_UNHANDLED;
		f = &em->read[em->nr_reads++];
		f->gpa = gpa;
		f->len = len;
		f->done = mmio_kernel_read(em->vcpu, gpa, len, f->data);
	}
	f = &em->read[em->next_read];
	if (f->gpa != gpa || f->len != len) {
		/* The guest changed its mind (its page tables) while user space answered. */
		em->nr_reads = 0;
		em->next_read = 0;
		return EMUL_RETRY;
	}
	if (!f->done)
		return EMUL_IO_NEEDED;
	memcpy(buf, f->data, len);
	em->next_read++;
	return EMUL_OK;
}

static int device_read(struct vcpu_emul *em, u64 gpa, unsigned int n, u8 *buf)
{
	int r;

	while (n) {
		unsigned int len = min_t(unsigned int, n, 8 - (gpa & 7));

		/* An aligned access of the usual sizes stays whole. */
		r = device_read_frag(em, gpa, len, buf);
		if (r)
			return r;
		gpa += len;
		buf += len;
		n -= len;
	}
	return EMUL_OK;
}

static int device_write(struct vcpu_emul *em, u64 gpa, unsigned int n, const u8 *buf)
{
	while (n) {
		unsigned int len = min_t(unsigned int, n, 8 - (gpa & 7));
		struct mmio_frag *f;

		if (em->nr_writes == EMUL_FRAGS)
			return EMUL_UNHANDLED;
		f = &em->write[em->nr_writes++];
		f->gpa = gpa;
		f->len = len;
		memcpy(f->data, buf, len);
		gpa += len;
		buf += len;
		n -= len;
	}
	em->ctxt.stop = true;
	return EMUL_OK;
}

/* ---- the ops ---- */

int emulate_fetch(struct emul_ctxt *c, u64 linear, void *buf, unsigned int n, unsigned int *got)
{
	struct vcpu_emul *em = to_emul(c);
	u64 gpa;
	int r;

	n = min_t(unsigned int, n, PAGE_SIZE - offset_in_page(linear));
	r = translate_piece(c, linear, EMUL_ACC_FETCH, &gpa);
	if (r)
		return r;
	if (lodge_guest_read(em->vcpu->core.vm, gpa, buf, n))
		return EMUL_UNHANDLED;		/* code in device memory */
	*got = n;
	return EMUL_OK;
}

int emulate_read(struct emul_ctxt *c, u64 linear, void *buf, unsigned int n, unsigned int flags)
{
	struct vcpu_emul *em = to_emul(c);
	struct piece p[PIECES];
	unsigned int nr, i;
	u8 *to = buf;
	int r;

	r = translate(c, linear, n, flags, p, &nr);
	if (r)
		return r;
	for (i = 0; i < nr; i++) {
		if (is_memory(em->vcpu, p[i].gpa, false))
			r = lodge_guest_read(em->vcpu->core.vm, p[i].gpa, to, p[i].len) ? EMUL_UNHANDLED : EMUL_OK;
		else
			r = device_read(em, p[i].gpa, p[i].len, to);
		if (r)
			return r;
		to += p[i].len;
	}
	return EMUL_OK;
}

static int memory_write(struct lodge_vm *vm, u64 gpa, const void *from, unsigned int len)
{
	int r = lodge_guest_write(vm, gpa, from, len);

	return !r ? EMUL_OK : r == -EAGAIN ? EMUL_RETRY : EMUL_UNHANDLED;
}

int emulate_write(struct emul_ctxt *c, u64 linear, const void *buf, unsigned int n, unsigned int flags)
{
	struct vcpu_emul *em = to_emul(c);
	struct piece p[PIECES];
	const u8 *from = buf;
	unsigned int nr, i;
	int r;

	r = translate(c, linear, n, flags | EMUL_ACC_WRITE, p, &nr);
	if (r)
		return r;
	for (i = 0; i < nr; i++) {
		if (is_memory(em->vcpu, p[i].gpa, true))
			r = memory_write(em->vcpu->core.vm, p[i].gpa, from, p[i].len);
		else
			r = device_write(em, p[i].gpa, p[i].len, from);
		if (r)
			return r;
		from += p[i].len;
	}
	return EMUL_OK;
}

/* 0 done, 1 it held something else, -EFAULT */
static int cmpxchg16_user(hva_t hva, const void *old, const void *new)
{
	u64 lo, hi, nlo, nhi;
	int err = -EFAULT;
	bool same;

	if (!boot_cpu_has(X86_FEATURE_CX16) || (hva & 15))
		return -EFAULT;
	memcpy(&lo, old, 8);
	memcpy(&hi, old + 8, 8);
	memcpy(&nlo, new, 8);
	memcpy(&nhi, new + 8, 8);
	stac();
	asm volatile("1: lock; cmpxchg16b %[mem]\n"
		     "setz %[same]\n"
		     "xor %[err], %[err]\n"
		     "2:\n"
		     _ASM_EXTABLE_UA(1b, 2b)
		     : [mem] "+m" (*(u8 (*)[16])hva), [same] "=&q" (same), [err] "+r" (err), "+a" (lo), "+d" (hi)
		     : "b" (nlo), "c" (nhi)
		     : "memory", "cc");
	clac();
	return err ? err : !same;
}

static int cmpxchg_user(hva_t hva, const void *old, const void *new, unsigned int n)
{
	u8 o8 = *(const u8 *)old, n8 = *(const u8 *)new;
	u16 o16, n16;
	u32 o32, n32;
	u64 o64, n64;

	switch (n) {
	case 1:
		return __try_cmpxchg_user((u8 __user *)hva, &o8, n8, fault8);
	case 2:
		memcpy(&o16, old, 2);
		memcpy(&n16, new, 2);
		return __try_cmpxchg_user((u16 __user *)hva, &o16, n16, fault16);
	case 4:
		memcpy(&o32, old, 4);
		memcpy(&n32, new, 4);
		return __try_cmpxchg_user((u32 __user *)hva, &o32, n32, fault32);
	case 8:
		memcpy(&o64, old, 8);
		memcpy(&n64, new, 8);
		return __try_cmpxchg_user((u64 __user *)hva, &o64, n64, fault64);
	default:
		return cmpxchg16_user(hva, old, new);
	}
}

int emulate_cmpxchg(struct emul_ctxt *c, u64 linear, const void *old, const void *new, unsigned int n, unsigned int flags)
{
	struct vcpu_emul *em = to_emul(c);
	struct lodge_vm *vm = em->vcpu->core.vm;
	struct piece p[PIECES];
	unsigned int nr;
	int r;

	r = translate(c, linear, n, flags | EMUL_ACC_WRITE, p, &nr);
	if (r)
		return r;
	/* Across pages there is no way to do it at once; on a device there is no meaning to it. */
	if (nr > 1 || !is_memory(em->vcpu, p[0].gpa, true))
		return emulate_write(c, linear, new, n, flags);
	if (!lodge_can_mark_dirty(vm, lodge_gfn_to_slot(vm, gpa_to_gfn(p[0].gpa))))
		return EMUL_RETRY;
	r = cmpxchg_user(lodge_gfn_to_hva(vm, gpa_to_gfn(p[0].gpa), true) + offset_in_page(p[0].gpa), old, new, n);
	if (r < 0)
		return EMUL_UNHANDLED;
	lodge_mark_dirty(vm, gpa_to_gfn(p[0].gpa));
	return r ? EMUL_RETRY : EMUL_OK;
}

int emulate_probe(struct emul_ctxt *c, u64 linear, unsigned int n, unsigned int flags)
{
	struct vcpu_emul *em = to_emul(c);
	struct piece p[PIECES];
	unsigned int nr, i;
	int r;

	r = translate(c, linear, n, flags, p, &nr);
	if (r)
		return r;
	for (i = 0; i < nr; i++)
		if (!is_memory(em->vcpu, p[i].gpa, flags & EMUL_ACC_WRITE))
			return EMUL_IO_NEEDED;
	return EMUL_OK;
}

void emulate_commit(struct emul_ctxt *c)
{
	struct vcpu_emul *em = to_emul(c);

	em->nr_reads = 0;
	em->next_read = 0;
	em->in.valid = false;
	/* A thousand iterations on a slow device are too long for those who wait. */
	if (need_resched())
		c->stop = true;
}

/* ---- ports ---- */

int emulate_pio_in(struct emul_ctxt *c, u16 port, unsigned int size, void *buf, unsigned int count)
{
	struct vcpu_emul *em = to_emul(c);
	struct lodge_vcpu *core = &em->vcpu->core;
	unsigned int i;

	if (em->in.valid && em->in.port == port && em->in.size == size && em->in.count >= count) {
		memcpy(buf, em->in.data, size * count);
		return EMUL_OK;
	}
	if (size * count > EMUL_PIO_BATCH)
		return EMUL_UNHANDLED;
	for (i = 0; i < count; i++, cond_resched())
		if (lodge_iobus_read(core, core->vm, LODGE_BUS_PIO, port, size, buf + i * size))
			break;
	if (i == count) {
		memcpy(em->in.data, buf, size * count);
	} else if (i) {
		/* A device that stops answering half way has gone: nothing drives the bus. */
		memset(buf + i * size, 0xff, (count - i) * size);
		memcpy(em->in.data, buf, size * count);
	}
	em->in.port = port;
	em->in.size = size;
	em->in.count = count;
	em->in.valid = i > 0;
	em->in.wanted = !em->in.valid;
	return em->in.valid ? EMUL_OK : EMUL_IO_NEEDED;
}

int emulate_pio_out(struct emul_ctxt *c, u16 port, unsigned int size, const void *buf, unsigned int count)
{
	struct vcpu_emul *em = to_emul(c);
	struct lodge_vcpu *core = &em->vcpu->core;
	unsigned int i;

	if (size * count > EMUL_PIO_BATCH || em->out.pending)
		return EMUL_UNHANDLED;
	for (i = 0; i < count; i++, cond_resched())
		if (lodge_iobus_write(core, core->vm, LODGE_BUS_PIO, port, size, buf + i * size))
			break;
	if (i == count)
		return EMUL_OK;
	memcpy(core->pio_data, buf + i * size, (count - i) * size);
	em->out.port = port;
	em->out.size = size;
	em->out.count = count - i;
	em->out.pending = true;
	c->stop = true;
	return EMUL_OK;
}
