// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every ioctl of every descriptor with valid, near-valid and random arguments, by racing threads.
 *
 * A round's threads share a pool of descriptors: they make VMs, vCPUs, statistics descriptors and eventfds, use each other's,
 * duplicate and close them under each other.  Structures that can be read are read, changed a little and written back, since
 * purely random ones never pass the first check; the others are filled with values that are right more often than not.  Guests
 * run in between, on memory that threads unmap, protect and discard.
 *
 * NODES: lodge
 * TIMEOUT: 240
 */
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "fuzz.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define THREADS		4
#define CALLS		400		/* of a thread in a round */
#define ROUND_SECONDS	4
#define PLACES		16		/* of each kind in the pool */
#define RAM_SIZE	(4ul << 20)
#define ARG_SIZE	0x10000ul

enum kind { SYS, VM, VCPU, STATS, EVENT, KINDS };

static const char *node;
static volatile u64 *work;
static int pool[KINDS][PLACES];
static u8 *ram;
static size_t run_size;

struct thread {
	pthread_t id;
	struct fuzz_rng r;
	u8 *arg;			/* ARG_SIZE bytes, then a hole */
};

/* ---- the pool ---- */

static int take(struct thread *t, enum kind kind)
{
	if (fuzz_one_in(&t->r, 64))
		kind = fuzz_below(&t->r, KINDS);
	return __atomic_load_n(&pool[kind][fuzz_below(&t->r, PLACES)], __ATOMIC_RELAXED);
}

static void give(struct thread *t, enum kind kind, int fd)
{
	int old;

	if (fd < 0)
		return;
	old = __atomic_exchange_n(&pool[kind][fuzz_below(&t->r, PLACES)], fd, __ATOMIC_RELAXED);
	if (old >= 0)
		close(old);
}

static long call(int fd, unsigned long cmd, unsigned long arg)
{
	__atomic_fetch_add(work, 1, __ATOMIC_RELAXED);
	return ioctl(fd, cmd, arg);
}

/* Where the argument lies: mostly at the end of what is mapped, so that reading too far faults. */
static void *place(struct thread *t, size_t size)
{
	return t->arg + ARG_SIZE - ((size + 7) & ~7ul);
}

static unsigned long spoil(struct thread *t, void *arg)
{
	switch (fuzz_below(&t->r, 48)) {
	case 0:
		return 0;
	case 1:
		return (unsigned long)arg + 8 + fuzz_below(&t->r, 4096);
	case 2:
		return fuzz_number(&t->r);
	case 3:
		return 0xffff888000000000ul + (fuzz_next(&t->r) & 0x3ffffff8);
	default:
		return (unsigned long)arg;
	}
}

/* ---- values that are often right ---- */

static u64 gpa(struct thread *t)
{
	static const u64 good[] = { 0, 0x1000, 0x9f000, 0xf0000, 0x100000, 0x200000, 0x3ff000, 0x40000000, 0xfec00000, 0xfee00000,
				    0xfffff000, 0x100000000, 0xfffffff000, 0x10000000000 };

	if (fuzz_one_in(&t->r, 8))
		return fuzz_number(&t->r);
	return good[fuzz_below(&t->r, sizeof(good) / sizeof(good[0]))] + (fuzz_one_in(&t->r, 4) ? fuzz_below(&t->r, 4096) : 0);
}

static u32 gsi(struct thread *t)
{
	return fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : fuzz_below(&t->r, 30);
}

static u32 msr(struct thread *t)
{
	static const u32 base[] = { 0, 0x10, 0x1b, 0x3a, 0x174, 0x179, 0x1d9, 0x200, 0x250, 0x277, 0x400, 0x6e0, 0x800, 0xda0,
				    0xc0000080, 0xc0000100, 0xc0010000, 0xc0010100, 0x4b564d00, 0x40000000, 0x11 };

	if (fuzz_one_in(&t->r, 16))
		return fuzz_next(&t->r);
	return base[fuzz_below(&t->r, sizeof(base) / sizeof(base[0]))] + fuzz_below(&t->r, 24);
}

static void fill_region(struct thread *t, void *arg)
{
	static const u64 sizes[] = { 0, 0x1000, 0x10000, 0x200000, RAM_SIZE, 0x40000000, 0x1000000000 };
	struct kvm_userspace_memory_region *m = arg;

	m->slot = fuzz_one_in(&t->r, 16) ? fuzz_number(&t->r) : fuzz_below(&t->r, 6);
	m->flags = fuzz_one_in(&t->r, 16) ? fuzz_number(&t->r) : fuzz_below(&t->r, 4);
	m->guest_phys_addr = gpa(t) & ~(fuzz_one_in(&t->r, 16) ? 0 : 0xffful);
	m->memory_size = sizes[fuzz_below(&t->r, sizeof(sizes) / sizeof(sizes[0]))];
	m->userspace_addr = (u64)ram + (fuzz_below(&t->r, RAM_SIZE >> 12) << 12);
	if (m->memory_size >= RAM_SIZE || fuzz_one_in(&t->r, 4))
		m->userspace_addr = (u64)ram;
	if (fuzz_one_in(&t->r, 32))
		m->userspace_addr = fuzz_number(&t->r);
}

static void fill_irqfd(struct thread *t, void *arg)
{
	struct kvm_irqfd *f = arg;

	f->fd = take(t, EVENT);
	f->gsi = gsi(t);
	f->flags = fuzz_one_in(&t->r, 16) ? fuzz_number(&t->r) : fuzz_below(&t->r, 4);
	f->resamplefd = take(t, EVENT);
}

static void fill_ioeventfd(struct thread *t, void *arg)
{
	struct kvm_ioeventfd *f = arg;

	f->datamatch = fuzz_below(&t->r, 3);
	f->addr = fuzz_one_in(&t->r, 2) ? 0xe0 + fuzz_below(&t->r, 4) : gpa(t);
	f->len = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : (u32)(1 << fuzz_below(&t->r, 5)) >> 1;
	f->fd = take(t, EVENT);
	f->flags = fuzz_one_in(&t->r, 16) ? fuzz_number(&t->r) : fuzz_below(&t->r, 8);
}

static void fill_routing(struct thread *t, void *arg)
{
	struct kvm_irq_routing *head = arg;
	u32 i, n = fuzz_below(&t->r, 40);

	head->nr = n;
	for (i = 0; i < n; i++) {
		struct kvm_irq_routing_entry *e = &head->entries[i];

		e->gsi = gsi(t);
		e->type = fuzz_one_in(&t->r, 16) ? fuzz_number(&t->r) : 1 + fuzz_below(&t->r, 2);
		if (e->type == KVM_IRQ_ROUTING_MSI) {
			e->u.msi.address_lo = 0xfee00000 | (fuzz_next(&t->r) & 0xfffff);
			e->u.msi.data = fuzz_next(&t->r) & 0xffff;
		} else {
			e->u.irqchip.irqchip = fuzz_below(&t->r, 4);
			e->u.irqchip.pin = fuzz_below(&t->r, 26);
		}
	}
	if (fuzz_one_in(&t->r, 16))
		head->nr = fuzz_number(&t->r);
}

static void fill_msi(struct thread *t, void *arg)
{
	struct kvm_msi *m = arg;

	m->address_lo = 0xfee00000 | (fuzz_next(&t->r) & 0xfffff);
	m->address_hi = fuzz_one_in(&t->r, 8) ? fuzz_next(&t->r) : 0;
	m->data = fuzz_next(&t->r) & 0xffff;
}

static void fill_line(struct thread *t, void *arg)
{
	struct kvm_irq_level *l = arg;

	l->irq = gsi(t);
	l->level = fuzz_below(&t->r, 2);
}

static void fill_zone(struct thread *t, void *arg)
{
	struct kvm_coalesced_mmio_zone *z = arg;

	z->pio = fuzz_below(&t->r, 2);
	z->addr = z->pio ? 0xe0 + fuzz_below(&t->r, 8) : gpa(t);
	z->size = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : 1u << fuzz_below(&t->r, 13);
}

static void fill_dirty(struct thread *t, void *arg)
{
	struct kvm_dirty_log *l = arg;

	l->slot = fuzz_below(&t->r, 6);
	l->dirty_bitmap = fuzz_one_in(&t->r, 16) ? (void *)fuzz_number(&t->r) : t->arg;
}

static void fill_clear(struct thread *t, void *arg)
{
	struct kvm_clear_dirty_log *l = arg;

	l->slot = fuzz_below(&t->r, 6);
	l->first_page = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : fuzz_below(&t->r, 16) * 64;
	l->num_pages = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : fuzz_below(&t->r, 16) * 64;
	l->dirty_bitmap = fuzz_one_in(&t->r, 16) ? (void *)fuzz_number(&t->r) : t->arg;
}

static void fill_cap(struct thread *t, void *arg)
{
	static const u32 caps[] = { KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_CAP_X86_DISABLE_EXITS, KVM_CAP_EXCEPTION_PAYLOAD,
				    KVM_CAP_X86_TRIPLE_FAULT_EVENT, KVM_CAP_X86_USER_SPACE_MSR, KVM_CAP_HALT_POLL,
				    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_CAP_MAX_VCPU_ID, KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
				    KVM_CAP_DIRTY_LOG_RING, KVM_CAP_EXIT_HYPERCALL };
	struct kvm_enable_cap *c = arg;

	c->cap = fuzz_one_in(&t->r, 8) ? fuzz_below(&t->r, 256) : caps[fuzz_below(&t->r, sizeof(caps) / sizeof(caps[0]))];
	c->args[0] = fuzz_one_in(&t->r, 4) ? fuzz_number(&t->r) : fuzz_below(&t->r, 25);
	if (fuzz_one_in(&t->r, 32))
		c->flags = fuzz_number(&t->r);
}

static void fill_filter(struct thread *t, void *arg)
{
	struct kvm_msr_filter *f = arg;
	u32 i, n = fuzz_below(&t->r, KVM_MSR_FILTER_MAX_RANGES + 1);

	f->flags = fuzz_below(&t->r, 2);
	for (i = 0; i < n; i++) {
		f->ranges[i].flags = fuzz_below(&t->r, 4);
		f->ranges[i].nmsrs = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : fuzz_below(&t->r, 256);
		f->ranges[i].base = msr(t);
		f->ranges[i].bitmap = fuzz_one_in(&t->r, 16) ? (u8 *)fuzz_number(&t->r) : t->arg;
	}
}

static void fill_msrs(struct thread *t, void *arg)
{
	struct kvm_msrs *m = arg;
	u32 i;

	m->nmsrs = 1 + fuzz_below(&t->r, 8);
	for (i = 0; i < m->nmsrs; i++) {
		m->entries[i].index = msr(t);
		m->entries[i].data = fuzz_number(&t->r);
	}
	if (fuzz_one_in(&t->r, 32))
		m->nmsrs = fuzz_number(&t->r);
}

static void fill_pit(struct thread *t, void *arg)
{
	((struct kvm_pit_config *)arg)->flags = fuzz_one_in(&t->r, 4) ? fuzz_number(&t->r) : fuzz_below(&t->r, 2);
}

static void fill_debug(struct thread *t, void *arg)
{
	struct kvm_guest_debug *d = arg;

	d->control = fuzz_below(&t->r, 2) ? fuzz_below(&t->r, 4) | (fuzz_below(&t->r, 64) << 16) : fuzz_number(&t->r);
	d->arch.debugreg[fuzz_below(&t->r, 8)] = fuzz_number(&t->r);
	d->arch.debugreg[7] = fuzz_number(&t->r);
}

static void fill_attr(struct thread *t, void *arg)
{
	struct kvm_device_attr *a = arg;

	a->group = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : 0;
	a->attr = fuzz_below(&t->r, 2);
	a->addr = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : (u64)t->arg;
}

static void fill_mask(struct thread *t, void *arg)
{
	struct kvm_signal_mask *m = arg;

	m->len = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : 8;
	memset(m->sigset, 0, 8);
}

static void fill_numbers(struct thread *t, void *arg)
{
	u64 *v = arg;
	unsigned int i;

	for (i = 0; i < 4; i++)
		v[i] = fuzz_one_in(&t->r, 2) ? fuzz_below(&t->r, 300) : fuzz_number(&t->r);
}

/* ---- the calls ---- */

/* With @get: read with it, change a little, write back with cmd.  With @fill: make an argument.  With neither: a number. */
struct row {
	enum kind kind;
	unsigned long cmd, get;
	void (*fill)(struct thread *t, void *arg);
	enum kind makes;		/* SYS: nothing */
};

static const struct row rows[] = {
	{ .kind = SYS, .cmd = KVM_CREATE_VM, .makes = VM },
	{ .kind = SYS, .cmd = KVM_GET_API_VERSION },
	{ .kind = SYS, .cmd = KVM_CHECK_EXTENSION },
	{ .kind = SYS, .cmd = KVM_GET_MSRS, .fill = fill_msrs },
	{ .kind = SYS, .cmd = KVM_HAS_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = SYS, .cmd = KVM_GET_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = SYS, .cmd = KVM_GET_SUPPORTED_CPUID, .fill = fill_numbers },
	{ .kind = SYS, .cmd = KVM_GET_EMULATED_CPUID, .fill = fill_numbers },
	{ .kind = SYS, .cmd = KVM_GET_MSR_INDEX_LIST, .fill = fill_numbers },
	{ .kind = SYS, .cmd = KVM_GET_MSR_FEATURE_INDEX_LIST, .fill = fill_numbers },
	{ .kind = SYS, .cmd = KVM_X86_GET_MCE_CAP_SUPPORTED, .fill = fill_numbers },
	{ .kind = VM, .cmd = KVM_CREATE_VCPU, .makes = VCPU },
	{ .kind = VM, .cmd = KVM_CREATE_VCPU, .makes = VCPU },
	{ .kind = VM, .cmd = KVM_GET_STATS_FD, .makes = STATS },
	{ .kind = VM, .cmd = KVM_CREATE_IRQCHIP },
	{ .kind = VM, .cmd = KVM_CREATE_PIT2, .fill = fill_pit },
	{ .kind = VM, .cmd = KVM_CREATE_PIT },
	{ .kind = VM, .cmd = KVM_SET_TSS_ADDR },
	{ .kind = VM, .cmd = KVM_SET_IDENTITY_MAP_ADDR, .fill = fill_numbers },
	{ .kind = VM, .cmd = KVM_SET_BOOT_CPU_ID },
	{ .kind = VM, .cmd = KVM_CHECK_EXTENSION },
	{ .kind = VM, .cmd = KVM_SET_USER_MEMORY_REGION, .fill = fill_region },
	{ .kind = VM, .cmd = KVM_SET_USER_MEMORY_REGION, .fill = fill_region },
	{ .kind = VM, .cmd = KVM_SET_USER_MEMORY_REGION, .fill = fill_region },
	{ .kind = VM, .cmd = KVM_GET_DIRTY_LOG, .fill = fill_dirty },
	{ .kind = VM, .cmd = KVM_CLEAR_DIRTY_LOG, .fill = fill_clear },
	{ .kind = VM, .cmd = KVM_SET_IRQCHIP, .get = KVM_GET_IRQCHIP },
	{ .kind = VM, .cmd = KVM_SET_IRQCHIP, .get = KVM_GET_IRQCHIP },
	{ .kind = VM, .cmd = KVM_SET_PIT2, .get = KVM_GET_PIT2 },
	{ .kind = VM, .cmd = KVM_SET_PIT, .get = KVM_GET_PIT },
	{ .kind = VM, .cmd = KVM_SET_CLOCK, .get = KVM_GET_CLOCK },
	{ .kind = VM, .cmd = KVM_REINJECT_CONTROL, .fill = fill_numbers },
	{ .kind = VM, .cmd = KVM_IRQ_LINE, .fill = fill_line },
	{ .kind = VM, .cmd = KVM_IRQ_LINE_STATUS, .fill = fill_line },
	{ .kind = VM, .cmd = KVM_SIGNAL_MSI, .fill = fill_msi },
	{ .kind = VM, .cmd = KVM_IRQFD, .fill = fill_irqfd },
	{ .kind = VM, .cmd = KVM_IRQFD, .fill = fill_irqfd },
	{ .kind = VM, .cmd = KVM_IOEVENTFD, .fill = fill_ioeventfd },
	{ .kind = VM, .cmd = KVM_IOEVENTFD, .fill = fill_ioeventfd },
	{ .kind = VM, .cmd = KVM_SET_GSI_ROUTING, .fill = fill_routing },
	{ .kind = VM, .cmd = KVM_REGISTER_COALESCED_MMIO, .fill = fill_zone },
	{ .kind = VM, .cmd = KVM_UNREGISTER_COALESCED_MMIO, .fill = fill_zone },
	{ .kind = VM, .cmd = KVM_ENABLE_CAP, .fill = fill_cap },
	{ .kind = VM, .cmd = KVM_X86_SET_MSR_FILTER, .fill = fill_filter },
	{ .kind = VM, .cmd = KVM_CREATE_DEVICE, .fill = fill_numbers },
	{ .kind = VM, .cmd = KVM_SET_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = VM, .cmd = KVM_SET_TSC_KHZ },
	{ .kind = VCPU, .cmd = KVM_RUN },
	{ .kind = VCPU, .cmd = KVM_RUN },
	{ .kind = VCPU, .cmd = KVM_RUN },
	{ .kind = VCPU, .cmd = KVM_SET_REGS, .get = KVM_GET_REGS },
	{ .kind = VCPU, .cmd = KVM_SET_SREGS, .get = KVM_GET_SREGS },
	{ .kind = VCPU, .cmd = KVM_SET_SREGS, .get = KVM_GET_SREGS },
	{ .kind = VCPU, .cmd = KVM_SET_SREGS2, .get = KVM_GET_SREGS2 },
	{ .kind = VCPU, .cmd = KVM_SET_FPU, .get = KVM_GET_FPU },
	{ .kind = VCPU, .cmd = KVM_SET_XSAVE, .get = KVM_GET_XSAVE },
	{ .kind = VCPU, .cmd = KVM_SET_XSAVE, .get = KVM_GET_XSAVE2 },
	{ .kind = VCPU, .cmd = KVM_SET_XCRS, .get = KVM_GET_XCRS },
	{ .kind = VCPU, .cmd = KVM_SET_DEBUGREGS, .get = KVM_GET_DEBUGREGS },
	{ .kind = VCPU, .cmd = KVM_SET_LAPIC, .get = KVM_GET_LAPIC },
	{ .kind = VCPU, .cmd = KVM_SET_LAPIC, .get = KVM_GET_LAPIC },
	{ .kind = VCPU, .cmd = KVM_SET_MP_STATE, .get = KVM_GET_MP_STATE },
	{ .kind = VCPU, .cmd = KVM_SET_VCPU_EVENTS, .get = KVM_GET_VCPU_EVENTS },
	{ .kind = VCPU, .cmd = KVM_SET_GUEST_DEBUG, .fill = fill_debug },
	{ .kind = VCPU, .cmd = KVM_GET_MSRS, .fill = fill_msrs },
	{ .kind = VCPU, .cmd = KVM_SET_MSRS, .fill = fill_msrs },
	{ .kind = VCPU, .cmd = KVM_SET_MSRS, .fill = fill_msrs },
	{ .kind = VCPU, .cmd = KVM_INTERRUPT, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_NMI },
	{ .kind = VCPU, .cmd = KVM_SMI },
	{ .kind = VCPU, .cmd = KVM_TPR_ACCESS_REPORTING, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_SET_VAPIC_ADDR, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_SET_TSC_KHZ },
	{ .kind = VCPU, .cmd = KVM_GET_TSC_KHZ },
	{ .kind = VCPU, .cmd = KVM_KVMCLOCK_CTRL },
	{ .kind = VCPU, .cmd = KVM_HAS_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = VCPU, .cmd = KVM_GET_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = VCPU, .cmd = KVM_SET_DEVICE_ATTR, .fill = fill_attr },
	{ .kind = VCPU, .cmd = KVM_X86_SETUP_MCE, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_X86_SET_MCE, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_TRANSLATE, .fill = fill_numbers },
	{ .kind = VCPU, .cmd = KVM_SET_SIGNAL_MASK, .fill = fill_mask },
	{ .kind = VCPU, .cmd = KVM_ENABLE_CAP, .fill = fill_cap },
	{ .kind = VCPU, .cmd = KVM_GET_STATS_FD, .makes = STATS },
	{ .kind = VCPU, .cmd = KVM_GET_CPUID2, .fill = fill_numbers },
};

static void play_row(struct thread *t, const struct row *row)
{
	size_t size = _IOC_SIZE(row->cmd);
	unsigned long arg;
	void *p;
	long r;

	if (row->get && size < _IOC_SIZE(row->get))
		size = _IOC_SIZE(row->get);
	if (row->fill)
		size += 4096;		/* room for a tail */
	p = place(t, size ? size : 8);
	memset(p, 0, size);
	if (row->get) {
		int fd = take(t, row->kind);

		if (row->get == KVM_GET_IRQCHIP)
			*(u32 *)p = fuzz_below(&t->r, 4);
		call(fd, row->get, (unsigned long)p);
		fuzz_mutate(&t->r, p, size);
		call(fd, row->cmd, spoil(t, p));
		return;
	}
	if (row->fill) {
		row->fill(t, p);
		if (fuzz_one_in(&t->r, 8))
			fuzz_mutate(&t->r, p, 64);
		arg = spoil(t, p);
	} else {
		arg = fuzz_one_in(&t->r, 8) ? fuzz_number(&t->r) : row->makes == VCPU ? fuzz_below(&t->r, 5) : 0;
	}
	r = call(take(t, row->kind), row->cmd, arg);
	if (row->makes != SYS)
		give(t, row->makes, r);
}

/* What no row has: CPUID tables, unknown numbers, sizes that do not fit. */
static void play_cpuid(struct thread *t)
{
	struct kvm_cpuid2 *c = place(t, sizeof(*c) + 128 * sizeof(c->entries[0]));

	memset(c, 0, sizeof(*c));
	c->nent = 128;
	call(take(t, SYS), KVM_GET_SUPPORTED_CPUID, (unsigned long)c);
	if (c->nent <= 128)
		fuzz_mutate(&t->r, c, sizeof(*c) + c->nent * sizeof(c->entries[0]));
	call(take(t, VCPU), KVM_SET_CPUID2, spoil(t, c));
}

static void play_unknown(struct thread *t)
{
	unsigned long cmd = _IOC(fuzz_below(&t->r, 4), fuzz_one_in(&t->r, 8) ? fuzz_below(&t->r, 256) : KVMIO,
				 fuzz_below(&t->r, 256), fuzz_below(&t->r, 4) ? fuzz_below(&t->r, 64) : fuzz_below(&t->r, 0x4000));

	fuzz_random(&t->r, t->arg, 256);
	call(take(t, fuzz_below(&t->r, KINDS)), cmd, spoil(t, t->arg));
}

/* ---- what is not an ioctl ---- */

static void play_memory(struct thread *t)
{
	u8 *p = ram + (fuzz_below(&t->r, RAM_SIZE >> 12) << 12);
	size_t size = 0x1000ul << fuzz_below(&t->r, 10);

	if (size > (size_t)(ram + RAM_SIZE - p))
		size = ram + RAM_SIZE - p;
	switch (fuzz_below(&t->r, 5)) {
	case 0:
		madvise(p, size, MADV_DONTNEED);
		break;
	case 1:
		mprotect(p, size, PROT_READ);
		break;
	case 2:
		mprotect(p, size, PROT_READ | PROT_WRITE);
		break;
	case 3:
		mmap(p, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 4:
		madvise(ram, RAM_SIZE, fuzz_one_in(&t->r, 2) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		break;
	}
}

static void play_run_page(struct thread *t)
{
	struct kvm_run *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, take(t, VCPU), 0);

	if (run == MAP_FAILED)
		return;
	if (fuzz_one_in(&t->r, 2)) {
		run->immediate_exit = fuzz_below(&t->r, 2);
		run->request_interrupt_window = fuzz_below(&t->r, 2);
	} else {
		fuzz_mutate(&t->r, run, run_size);
	}
	munmap(run, run_size);
}

static void play_descriptor(struct thread *t)
{
	enum kind kind = fuzz_below(&t->r, KINDS);
	int fd = take(t, kind);
	u64 one = 1;

	switch (fuzz_below(&t->r, 6)) {
	case 0:
		give(t, kind, dup(fd));
		break;
	case 1:
		give(t, EVENT, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
		break;
	case 2:
		give(t, SYS, open(node, O_RDWR | O_CLOEXEC));
		break;
	case 3:
		if (pread(take(t, STATS), t->arg, fuzz_below(&t->r, 4096), fuzz_number(&t->r)) < 0)
			break;
		break;
	case 4:
		if (write(take(t, EVENT), &one, sizeof(one)) < 0)
			break;
		break;
	case 5:
		if (fuzz_one_in(&t->r, 4))
			give(t, kind, dup(take(t, EVENT)));	/* of another kind: what was there is closed */
		break;
	}
}

/* ---- a round ---- */

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	unsigned int i;

	for (i = 0; i < CALLS; i++) {
		u32 what = fuzz_below(&t->r, 100);

		if (what < 76)
			play_row(t, &rows[fuzz_below(&t->r, sizeof(rows) / sizeof(rows[0]))]);
		else if (what < 80)
			play_cpuid(t);
		else if (what < 83)
			play_unknown(t);
		else if (what < 88)
			play_memory(t);
		else if (what < 92)
			play_run_page(t);
		else
			play_descriptor(t);
	}
	return NULL;
}

static void nothing(int sig __attribute__((unused)))
{
}

/* One VM that is complete, so that calls have something to work on from the start. */
static void begin(struct thread *t)
{
	struct kvm_userspace_memory_region m = { .memory_size = RAM_SIZE, .userspace_addr = (u64)ram };
	unsigned int k, i;
	int vm;

	for (k = 0; k < KINDS; k++)
		for (i = 0; i < PLACES; i++)
			pool[k][i] = -1;
	pool[SYS][0] = open(node, O_RDWR | O_CLOEXEC);
	if (pool[SYS][0] < 0)
		_exit(1);
	run_size = ioctl(pool[SYS][0], KVM_GET_VCPU_MMAP_SIZE, 0);
	for (i = 0; i < PLACES; i++)
		pool[SYS][i] = pool[SYS][0];
	vm = ioctl(pool[SYS][0], KVM_CREATE_VM, 0);
	if (fuzz_one_in(&t->r, 2))
		ioctl(vm, KVM_CREATE_IRQCHIP, 0);
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m);
	for (i = 0; i < PLACES; i++) {
		pool[VM][i] = dup(vm);
		pool[VCPU][i] = i < 3 ? ioctl(vm, KVM_CREATE_VCPU, i) : dup(pool[VCPU][i % 3]);
		pool[EVENT][i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	close(vm);
}

static void play(u64 seed)
{
	struct thread t[THREADS];
	unsigned int i, alive;

	signal(SIGUSR1, nothing);
	signal(SIGBUS, SIG_DFL);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < THREADS; i++) {
		t[i].r.state = seed + i * 0x1234567;
		t[i].arg = mmap(NULL, ARG_SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (t[i].arg == MAP_FAILED || ram == MAP_FAILED)
			_exit(1);
		mprotect(t[i].arg + ARG_SIZE, 4096, PROT_NONE);
	}
	fuzz_random(&t[0].r, ram, 0x10000);
	begin(&t[0]);
	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i].id, NULL, thread_main, &t[i]);
	/* Whoever sits in KVM_RUN comes out again; the last word is the parent's. */
	do {
		usleep(5000);
		for (i = 0, alive = 0; i < THREADS; i++) {
			if (t[i].id && pthread_tryjoin_np(t[i].id, NULL) == 0)
				t[i].id = 0;
			else if (t[i].id) {
				alive++;
				pthread_kill(t[i].id, SIGUSR1);
			}
		}
	} while (alive);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (work == MAP_FAILED)
		tap_bail("mmap");
	fuzz_run("ioctls", play, ROUND_SECONDS, work, 100);
	return tap_done();
}
