// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory slots: which are accepted, and what the guest sees of creation, aliases, moves, read-only slots and removal.
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

#define SLOT	10
#define SIZE	0x10000ul
#define GPA	0x40000000ul

static const char *node;
static volatile u64 guest_value, guest_address;

static int set(struct guest *g, u32 slot, u32 flags, u64 gpa, const void *host, u64 size)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (u64)host,
	};

	return ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

static u8 *memory(void)
{
	u8 *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		guest_die("mmap");
	return p;
}

static void rules(void)
{
	struct guest g;
	u8 *p = memory(), *q = memory();

	guest_create(&g, node, GUEST_NO_IMAGE);
	tap_eq(set(&g, 0, 0, GPA, p, 0), -EINVAL, "removal of a slot that is not there: EINVAL");
	tap_eq(set(&g, 0, 0, GPA + 1, p, SIZE), -EINVAL, "an address that is not a page's: EINVAL");
	tap_eq(set(&g, 0, 0, GPA, p + 1, SIZE), -EINVAL, "a host address that is not a page's: EINVAL");
	tap_eq(set(&g, 0, 0, GPA, p, SIZE - 1), -EINVAL, "a size that is not whole pages: EINVAL");
	tap_eq(set(&g, 0, 0, -4096ul, p, SIZE), -EINVAL, "a range that wraps: EINVAL");
	tap_eq(set(&g, 0, 0, 1ul << 60, p, SIZE), -EINVAL, "an address beyond what a guest can have: EINVAL");
	tap_eq(set(&g, 0, 0x10, GPA, p, SIZE), -EINVAL, "an unknown flag: EINVAL");
	tap_eq(set(&g, 0, 0, 0, p, 1ul << 43), -EINVAL, "too many pages: EINVAL");
	tap_eq(set(&g, 0, 0, GPA, (void *)0xffff800000000000ul, SIZE), -EINVAL, "the kernel's addresses: EINVAL");
	tap_eq(set(&g, 32764, 0, GPA, p, SIZE), -EINVAL, "a slot number too large: EINVAL");
	tap_eq(set(&g, 7 << 16, 0, GPA, p, SIZE), -EINVAL, "an address space too large: EINVAL");
	tap_eq(set(&g, 32763, 0, GPA, p, SIZE), 0, "the last slot number");
	tap_eq(set(&g, 32763, 0, GPA, p, SIZE), 0, "the same again changes nothing");
	tap_eq(set(&g, 1, 0, GPA + SIZE - 4096, q, SIZE), -EEXIST, "a range that overlaps: EEXIST");
	tap_eq(set(&g, 1, 0, GPA - SIZE + 4096, q, SIZE), -EEXIST, "a range that overlaps from below: EEXIST");
	tap_eq(set(&g, 1, 0, GPA + SIZE, q, SIZE), 0, "a range that touches");
	tap_eq(set(&g, 1, 0, GPA + SIZE - 4096, q, SIZE), -EEXIST, "a move that would overlap: EEXIST");
	tap_eq(set(&g, 1, 0, GPA + SIZE + 4096, q, SIZE), 0, "a move over its own old range");
	tap_eq(set(&g, 2, 0, GPA + 4 * SIZE, p, SIZE), 0, "the same host memory a second time");
	tap_eq(set(&g, 1, 0, GPA + SIZE + 4096, p, SIZE), -EINVAL, "another host address for a slot: EINVAL");
	tap_eq(set(&g, 1, 0, GPA + SIZE + 4096, q, SIZE / 2), -EINVAL, "another size for a slot: EINVAL");
	tap_eq(set(&g, 1, KVM_MEM_READONLY, GPA + SIZE + 4096, q, SIZE), -EINVAL, "read-only for a slot that was not: EINVAL");
	tap_eq(set(&g, 1, KVM_MEM_LOG_DIRTY_PAGES, GPA + SIZE + 4096, q, SIZE), 0, "a dirty log for a slot that had none");
	tap_eq(set(&g, 1, 0, GPA + SIZE + 4096, q, SIZE), 0, "and away again");
	tap_eq(set(&g, 1, 0, 0, NULL, 0), 0, "removal needs nothing but the number");
	tap_eq(set(&g, 1, 0, 0, NULL, 0), -EINVAL, "and happens once");
	guest_destroy(&g);
	munmap(p, SIZE);
	munmap(q, SIZE);
}

static void many(void)
{
	u8 *p = memory();
	struct guest g;
	int i, bad = 0;

	guest_create(&g, node, GUEST_NO_IMAGE);
	for (i = 0; i < 500; i++)
		bad += !!set(&g, (i * 7) % 500, 0, GPA + (u64)((i * 13) % 500) * SIZE, p, SIZE);
	tap_eq(bad, 0, "500 slots in no order");
	for (i = 0; i < 500; i++)
		bad += !!set(&g, (i * 11) % 500, 0, 0, NULL, 0);
	tap_eq(bad, 0, "and removed in another");
	guest_destroy(&g);
	munmap(p, SIZE);
}

/* ---- seen by the guest: one read, one write per step ---- */

static GUEST void steps(void)
{
	for (;;) {
		guest_value = *(volatile u64 *)guest_address;
		outb(GUEST_EXIT_PORT, 0);
		*(volatile u64 *)guest_address = 0x5555;
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* The guest reads at @gpa: value, or -1 with an MMIO exit (which gets 0x77). */
static long guest_reads(struct guest *g, u64 gpa)
{
	bool mmio = false;
	int why;

	guest_address = gpa;
	while ((why = guest_run(g, 0)) == KVM_EXIT_MMIO) {
		if (g->run[0]->mmio.phys_addr != gpa || g->run[0]->mmio.is_write)
			guest_die("strange MMIO exit");
		*(u64 *)g->run[0]->mmio.data = 0x77;
		mmio = true;
	}
	if (why != GUEST_DONE)
		guest_die("exit reason %d", why);
	return mmio ? -1 : (long)guest_value;
}

/* The guest writes 0x5555: true if it was an MMIO exit. */
static bool guest_writes_mmio(struct guest *g, u64 gpa)
{
	bool mmio = false;
	int why;

	guest_address = gpa;
	while ((why = guest_run(g, 0)) == KVM_EXIT_MMIO) {
		if (g->run[0]->mmio.phys_addr != gpa || !g->run[0]->mmio.is_write || g->run[0]->mmio.len != 8)
			guest_die("strange MMIO exit");
		mmio = *(u64 *)g->run[0]->mmio.data == 0x5555;
	}
	if (why != GUEST_DONE)
		guest_die("exit reason %d", why);
	return mmio;
}

static void seen(void)
{
	u8 *p = memory(), *q = memory();
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, steps);
	*(u64 *)p = 0x1234;
	*(u64 *)q = 0x4321;

	tap_eq(guest_reads(&g, GPA), -1, "where no slot is, a read is the VMM's");
	tap_eq(guest_value, 0x77, "and gets what the VMM answers");
	tap_ok(guest_writes_mmio(&g, GPA), "where no slot is, a write is the VMM's");

	tap_eq(set(&g, SLOT, 0, GPA, p, SIZE), 0, "a slot is made while the vCPU exists");
	tap_eq(guest_reads(&g, GPA), 0x1234, "the guest reads its memory");
	tap_ok(!guest_writes_mmio(&g, GPA) && *(u64 *)p == 0x5555, "the guest writes its memory");

	tap_eq(set(&g, SLOT + 1, 0, GPA + 2 * SIZE, p, SIZE), 0, "an alias of it");
	tap_eq(guest_reads(&g, GPA + 2 * SIZE), 0x5555, "the guest reads the same through the alias");
	*(u64 *)p = 0;
	tap_ok(!guest_writes_mmio(&g, GPA + 2 * SIZE) && *(u64 *)p == 0x5555, "and writes it");

	tap_eq(set(&g, SLOT + 1, 0, 0, NULL, 0), 0, "the alias is removed");
	tap_eq(guest_reads(&g, GPA + 2 * SIZE), -1, "nothing is left there");
	tap_ok(guest_writes_mmio(&g, GPA + 2 * SIZE), "for writing neither");
	tap_eq(guest_reads(&g, GPA), 0x5555, "the slot itself is");
	tap_ok(!guest_writes_mmio(&g, GPA), "for writing as well");

	tap_eq(set(&g, SLOT, 0, GPA + 4 * SIZE, p, SIZE), 0, "the slot moves");
	tap_eq(guest_reads(&g, GPA + 4 * SIZE), 0x5555, "its memory is at the new place");
	tap_ok(!guest_writes_mmio(&g, GPA + 4 * SIZE), "for writing as well");
	tap_eq(guest_reads(&g, GPA), -1, "and not at the old one");
	tap_ok(guest_writes_mmio(&g, GPA), "for writing neither");

	tap_eq(set(&g, SLOT + 2, KVM_MEM_READONLY, GPA, q, SIZE), 0, "a read-only slot");
	tap_eq(guest_reads(&g, GPA), 0x4321, "the guest reads it");
	tap_ok(guest_writes_mmio(&g, GPA), "a write to it is the VMM's");
	tap_eq(guest_reads(&g, GPA), 0x4321, "and changes nothing");
	tap_eq(*(u64 *)q, 0x4321, "in the VMM's memory neither");
	guest_destroy(&g);
	munmap(p, SIZE);
	munmap(q, SIZE);
}

/* The host changes the mapping behind a slot. */
static void notified(void)
{
	u8 *p = memory();
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, steps);
	*(u64 *)p = 0x1111;
	guest_slot(&g, SLOT, 0, GPA, p, SIZE);
	tap_eq(guest_reads(&g, GPA), 0x1111, "the guest reads a page");
	guest_writes_mmio(&g, GPA);
	madvise(p, SIZE, MADV_DONTNEED);
	tap_eq(guest_reads(&g, GPA), 0, "after MADV_DONTNEED it reads the new one");
	guest_writes_mmio(&g, GPA);
	tap_eq(*(u64 *)p, 0x5555, "and writes it");
	p = mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	*(u64 *)p = 0x2222;
	tap_eq(guest_reads(&g, GPA), 0x2222, "after another mapping was put there it reads that");
	guest_writes_mmio(&g, GPA);
	*(u64 *)p = 0x3333;
	mprotect(p, SIZE, PROT_READ);
	tap_eq(guest_reads(&g, GPA), 0x3333, "it reads a page that became read-only for the VMM");
	munmap(p, SIZE);
	guest_address = GPA;
	tap_ok(ioctl(g.vcpu[0], KVM_RUN, 0) < 0 && errno == EFAULT, "without a mapping RUN ends with EFAULT");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	rules();
	many();
	seen();
	notified();
	return tap_done();
}
