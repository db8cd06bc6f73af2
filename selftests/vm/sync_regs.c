// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM_CAP_SYNC_REGS: registers and events come and go in the shared page; hostile masks and values are refused.
 *
 * CFLAGS: -mno-red-zone
 */
#include <pthread.h>
#include <stddef.h>

#include "guest.h"
#include "tap.h"

#define ALL	(KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/* RBX + 1 at every exit. */
asm(".pushsection .text\n"
    "count_up:\n"
    "	inc %rbx\n"
    "	mov $0xf4, %edx\n"
    "	out %al, %dx\n"
    "	jmp count_up\n"
    ".popsection\n");
extern void count_up(void);

static const char *node;
static struct guest g;
static struct kvm_run *run;

static int try(void)
{
	return ioctl(g.vcpu[0], KVM_RUN, 0) < 0 ? -errno : 0;
}

static bool same_as_ioctls(void)
{
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &regs));
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &sregs));
	guest_must(ioctl(g.vcpu[0], KVM_GET_VCPU_EVENTS, &events));
	return !memcmp(&regs, &run->s.regs.regs, sizeof(regs)) && !memcmp(&sregs, &run->s.regs.sregs, sizeof(sregs)) &&
	       !memcmp(&events, &run->s.regs.events, sizeof(events));
}

static void masks(void)
{
	run->kvm_valid_regs = 1 << 3;
	tap_eq(try(), -EINVAL, "an unknown set to be stored: EINVAL");
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 1ull << 63;
	tap_eq(try(), -EINVAL, "an unknown set to be loaded: EINVAL");
	run->kvm_dirty_regs = 0;
}

static void store(void)
{
	memset(&run->s, 0xa5, sizeof(run->s));
	run->kvm_valid_regs = 0;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 0xa5a5a5a5a5a5a5a5, "nothing is stored when nothing is asked for");
	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 2, "the general registers are stored");
	tap_eq(run->s.regs.sregs.cr3, 0xa5a5a5a5a5a5a5a5, "and nothing else");
	memset(&run->s, 0, sizeof(run->s));	/* stock KVM leaves zeroes of the interrupt bitmap unwritten */
	run->kvm_valid_regs = ALL;
	guest_run(&g, 0);
	tap_ok(same_as_ioctls(), "all three sets are what the ioctls say");
}

static void load(void)
{
	struct kvm_sregs sregs;

	run->s.regs.regs.rbx = 0x1000;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 4, "a set that is not marked dirty is not loaded");
	run->s.regs.regs.rbx = 0x1000;
	run->s.regs.sregs.apic_base = 1 << 11 | 0xfee00100;
	run->s.regs.sregs.cr2 = 0x12345000;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 0x1001, "general registers that are marked dirty are loaded");
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &sregs));
	tap_eq(sregs.cr2, 0x12345000, "special registers too");
	tap_eq(run->kvm_dirty_regs, 0, "and the marks are gone");

	run->kvm_valid_regs = 0;
	run->s.regs.regs.rbx = 0x2000;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	guest_run(&g, 0);
	run->kvm_valid_regs = ALL;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 0x2002, "loading works without storing");
}


static void events(void)
{
	run->s.regs.events.nmi.masked = 1;
	run->s.regs.events.flags = 0;
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	guest_run(&g, 0);
	tap_eq(run->s.regs.events.nmi.masked, 1, "events that are marked dirty are loaded");
	run->s.regs.events.nmi.masked = 0;
	run->s.regs.events.flags = 0;
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	/* Without an entry: VT-x of Bochs 2.7 does not let go of NMI blocking there. */
	run->immediate_exit = 1;
	tap_ok(try() == -EINTR && !run->s.regs.events.nmi.masked, "in both directions");
	run->immediate_exit = 0;
}

static void refused(void)
{
	u64 cr0 = run->s.regs.sregs.cr0;

	run->s.regs.regs.rbx = 0x3000;
	run->s.regs.sregs.cr0 = 1ull << 31;		/* paging without protection */
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	tap_eq(try(), -EINVAL, "impossible special registers: EINVAL");
	tap_eq(run->kvm_dirty_regs, KVM_SYNC_X86_SREGS, "what was loaded before them is no longer marked");
	run->s.regs.sregs.cr0 = cr0;
	run->s.regs.events.flags = 1u << 31;
	run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	tap_eq(try(), -EINVAL, "impossible events: EINVAL");
	run->kvm_dirty_regs = 0;
	guest_run(&g, 0);
	tap_eq(run->s.regs.regs.rbx, 0x3001, "the guest goes on with what was loaded");
}

static volatile bool stop;

/* Scribbles over what the kernel is about to read. */
static void *scribble(void *unused)
{
	(void)unused;
	while (!stop) {
		run->kvm_dirty_regs = KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
		run->s.regs.sregs.cr4 ^= 1ull << 5;
		run->s.regs.events.exception.pending ^= 1;
		run->s.regs.events.exception.nr += 7;
		run->kvm_dirty_regs = ~0ull;
	}
	return NULL;
}

static void race(void)
{
	unsigned int i, odd = 0;
	pthread_t thread;

	pthread_create(&thread, NULL, scribble, NULL);
	for (i = 0; i < 2000; i++) {
		int r = try();

		if (r && r != -EINVAL && r != -EINTR)
			odd++;
	}
	stop = true;
	pthread_join(thread, NULL);
	tap_eq(odd, 0, "a page that changes while it is read: EINVAL or a run, nothing else");
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	guest_create(&g, node, GUEST_IRQCHIP);
	tap_eq(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS), ALL, "KVM_CAP_SYNC_REGS names three sets");
	tap_eq(offsetof(struct kvm_run, s) + sizeof(run->s), sizeof(*run), "the sets end the page's structure");
	guest_vcpu(&g, 0);
	run = g.run[0];
	guest_start64(&g, 0, count_up);
	masks();
	store();
	load();
	events();
	refused();
	race();
	guest_destroy(&g);
	return tap_done();
}
