// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * iTLB multihit: on a CPU with the erratum large pages are not executable, and code in one is mapped in pages of 4 KiB.
 *
 * BOX: --bochs corei7_skylake_x --append mitigations=auto --allow-warn
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <sys/mman.h>

#include "../vm/binstats.h"
#include "../vm/guest.h"
#include "../vm/tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define SIZE	0x200000ul
#define RET	0xc3

static volatile u64 sum;

/* Data in the page's first half. */
static GUEST void reader(void)
{
	for (;;) {
		sum += *(volatile u64 *)(GPA + 0x1000);
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* Then code, in the second. */
static GUEST void caller(void)
{
	for (;;) {
		((void (*)(void))(GPA + 0x100000))();
		sum += *(volatile u64 *)(GPA + 0x1000);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static void run(struct guest *g)
{
	if (guest_run(g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
}

/* A box of this size has none of itself. */
static void allow_huge_pages(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "w");

	if (!f || fputs("madvise", f) < 0 || fclose(f))
		guest_die("no huge pages here");
}

static bool erratum(void)
{
	char line[100] = "";
	FILE *f = fopen("/sys/devices/system/cpu/vulnerabilities/itlb_multihit", "r");

	if (f && fgets(line, sizeof(line), f))
		tap_note("%s", line);
	if (f)
		fclose(f);
	return strstr(line, "Split huge pages");
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region r = { .slot = SLOT, .guest_phys_addr = GPA, .memory_size = SIZE };
	u64 base_2m, base_4k;
	struct guest g;
	u8 *ram;

	allow_huge_pages();
	ram = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ram = (u8 *)(((u64)ram + SIZE - 1) & -SIZE);
	madvise(ram, SIZE, MADV_HUGEPAGE);
	*(u64 *)(ram + 0x1000) = 1;
	ram[0x100000] = RET;
	r.userspace_addr = (u64)ram;

	guest_create(&g, argc > 1 ? argv[1] : "/dev/lodge", GUEST_IRQCHIP);
	tap_ok(erratum(), "the kernel says that guests are kept from the erratum");	/* while VT-x is in use */
	guest_vcpu(&g, 0);
	guest_must(ioctl(g.vm, KVM_SET_USER_MEMORY_REGION, &r));
	guest_start64(&g, 0, reader);
	run(&g);
	base_2m = stat_of(g.vm, "pages_2m");
	tap_ok(base_2m >= 1, "data is mapped by a large page");

	guest_start64(&g, 0, caller);
	run(&g);
	tap_eq(stat_of(g.vm, "pages_2m"), base_2m - 1, "executing in it takes it apart");
	tap_ok(stat_of(g.vm, "pages_4k") > base_4k, "and maps pages of 4 KiB");
	run(&g);
	run(&g);
	tap_eq(sum, 4, "guest and memory are right");
	guest_destroy(&g);
	return tap_done();
}
