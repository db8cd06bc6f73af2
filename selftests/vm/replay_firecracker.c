// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ioctls of Firecracker (v1.16): boot of a 64-bit kernel with the full irqchip, virtio-mmio and virtio-pci notifications,
 * a snapshot of the paused guest, and its restoration in a new VM, where the guest goes on.
 *
 * CFLAGS: -mno-red-zone
 */
#include "replay.h"

#define MMIO	0xc0001000ul	/* a virtio-mmio device, legacy interrupt 5 */
#define PCI	0xc0080000ul	/* the notification area of a virtio-pci one, MSI 24 */
#define SERIAL	0x3f8

static volatile u64 legacy, message, done;

/* ---- the guest ---- */

static GUEST void on_legacy(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	legacy++;
	apic_write(0xb0, 0);
}

static GUEST void on_message(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	message++;
	apic_write(0xb0, 0);
}

static GUEST void wait_for(volatile u64 *n, u64 want)
{
	while (*n < want)
		asm volatile("sti; hlt; cli");
}

/* Kick queue 1, hear of it; the same by MSI; say "snapshot"; once more each. */
static GUEST void kernel(void)
{
	u64 round;

	guest_irq[0x35] = on_legacy;
	guest_irq[0x41] = on_message;
	guest_apic_on(false);
	*(volatile u32 *)0xfec00000 = 0x10 + 2 * 5 + 1;
	*(volatile u32 *)0xfec00010 = 0;
	*(volatile u32 *)0xfec00000 = 0x10 + 2 * 5;
	*(volatile u32 *)0xfec00010 = 0x35;		/* pin 5, edge, vector 0x35 */
	for (round = 1; round <= 2; round++) {
		*(volatile u32 *)(MMIO + 0x50) = 0;	/* nobody listens to queue 0: the VMM has it */
		*(volatile u32 *)(MMIO + 0x50) = 1;
		*(volatile u16 *)PCI = 3;
		outb(SERIAL, '0' + round);
		wait_for(&legacy, round);
		wait_for(&message, round);
		outb(SERIAL, 's');
	}
	done = 1;
	guest_exit();
}

REPLAY_KERNEL(kernel);

/* ---- a VM ---- */

struct firecracker {
	int sys, vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	int kick[2], irq[2];
	u32 nr_msrs, msrs[256];
};

static void open_node(struct firecracker *f, const char *node, bool say)
{
	static const int need[] = {
		KVM_CAP_IRQCHIP, KVM_CAP_IOEVENTFD, KVM_CAP_IRQFD, KVM_CAP_USER_MEMORY, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2,
		KVM_CAP_PIT_STATE2, KVM_CAP_ADJUST_CLOCK, KVM_CAP_DEBUGREGS, KVM_CAP_MP_STATE, KVM_CAP_VCPU_EVENTS, KVM_CAP_XCRS,
		KVM_CAP_XSAVE, KVM_CAP_EXT_CPUID,
	};
	struct { u32 n; u32 index[256]; } list = { .n = 256 };

	f->sys = guest_must(open(node, O_RDWR | O_CLOEXEC));
	if (say) {
		tap_eq(ioctl(f->sys, KVM_GET_API_VERSION, 0), 12, "the API's version");
		tap_ok(replay_has(f->sys, need, sizeof(need) / sizeof(need[0])), "its fourteen capabilities");
		tap_ok(ioctl(f->sys, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) > 0, "a number of memory slots");
		tap_ok(!ioctl(f->sys, KVM_GET_MSR_INDEX_LIST, &list), "the MSR list fits into 256 entries");
		f->nr_msrs = list.n;
		memcpy(f->msrs, list.index, sizeof(list.index));
	}
	f->vm = guest_must(ioctl(f->sys, KVM_CREATE_VM, 0));
	f->run_size = guest_must(ioctl(f->sys, KVM_GET_VCPU_MMAP_SIZE, 0));
}

static void create(struct firecracker *f)
{
	struct kvm_userspace_memory_region mem = {
		.memory_size = REPLAY_RAM, .userspace_addr = (u64)replay_ram, .flags = KVM_MEM_LOG_DIRTY_PAGES,
	};
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	guest_must(ioctl(f->vm, KVM_SET_USER_MEMORY_REGION, &mem));
	guest_must(ioctl(f->vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	guest_must(ioctl(f->vm, KVM_CREATE_IRQCHIP, 0));
	guest_must(ioctl(f->vm, KVM_CREATE_PIT2, &pit));
	if (ioctl(f->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) < 0)
		guest_die("KVM_CAP_XSAVE2");
	f->vcpu = guest_must(ioctl(f->vm, KVM_CREATE_VCPU, 0));
	f->run = mmap(NULL, f->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->vcpu, 0);
	if (f->run == MAP_FAILED)
		guest_die("mmap of the vCPU");
}

/* Legacy interrupt on the routes that are there by themselves, then a table with the MSI. */
static bool wire(struct firecracker *f)
{
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + 2 * sizeof(r->entries[0]));
	unsigned int i;
	bool good;

	for (i = 0; i < 2; i++) {
		f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		f->irq[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	good = !replay_irqfd(f->vm, 5, 0, f->irq[0]);
	r->nr = 2;
	r->entries[0] = (struct kvm_irq_routing_entry){
		.gsi = 5, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = 5 },
	};
	r->entries[1] = (struct kvm_irq_routing_entry){
		.gsi = 24, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = 0x41 },
	};
	good &= !ioctl(f->vm, KVM_SET_GSI_ROUTING, r) && !replay_irqfd(f->vm, 24, 0, f->irq[1]);
	good &= !replay_ioeventfd(f->vm, MMIO + 0x50, 4, 1, KVM_IOEVENTFD_FLAG_DATAMATCH, f->kick[0]);
	good &= !replay_ioeventfd(f->vm, PCI, 0, 0, 0, f->kick[1]);
	free(r);
	return good;
}

/* Run until the guest writes @stop on the serial port; true if what comes in between is right. */
static bool run_until(struct firecracker *f, char stop)
{
	bool good = true;

	for (;;) {
		u8 *data = (u8 *)f->run + f->run->io.data_offset;

		if (ioctl(f->vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			guest_die("KVM_RUN");
		}
		data = (u8 *)f->run + f->run->io.data_offset;
		if (f->run->exit_reason == KVM_EXIT_MMIO) {
			good &= f->run->mmio.is_write && f->run->mmio.phys_addr == MMIO + 0x50 && f->run->mmio.len == 4 &&
				!f->run->mmio.data[0];
		} else if (f->run->exit_reason == KVM_EXIT_IO && f->run->io.port == SERIAL) {
			if (*data == stop)
				return good;
			/* The guest has kicked, and waits: answer. */
			good &= replay_kicked(f->kick[0]) && replay_kicked(f->kick[1]);
			replay_signal(f->irq[0]);
			replay_signal(f->irq[1]);
		} else {
			tap_note("exit %u", f->run->exit_reason);
			return stop == 0 && f->run->exit_reason == KVM_EXIT_IO && f->run->io.port == GUEST_EXIT_PORT && good;
		}
	}
}

/* ---- snapshot ---- */

struct snapshot {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;
	struct kvm_xsave xsave;
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	struct kvm_irqchip chip[3];
	struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[80]; } cpuid;
	struct { struct kvm_msrs h; struct kvm_msr_entry e[500]; } msrs;
	int khz;
};

static struct snapshot snap;

static void want(u32 index)
{
	snap.msrs.e[snap.msrs.h.nmsrs++].index = index;
}

/* Those of the list that it keeps, MTRRs and all 32 banks of machine checks. */
static void choose_msrs(struct firecracker *f)
{
	u32 i;

	snap.msrs.h.nmsrs = 0;
	for (i = 0; i < f->nr_msrs; i++) {
		u32 m = f->msrs[i];

		if (m <= 1 || m == 0x10 || m == 0x1b || m == 0x3a || m == 0x3b || m == 0x48 || m == 0x8b || m == 0xce || m == 0xfe ||
		    (m >= 0x174 && m <= 0x176) || m == 0x17a || m == 0x1a0 || m == 0x1fc || m == 0x6e0 || m == 0x140 ||
		    (m >= 0xc0000080 && m <= 0xc0000084) || (m >= 0xc0000100 && m <= 0xc0000103) || m == 0xc0010015 ||
		    (m >= 0x4b564d00 && m <= 0x4b564dff) || m == 0x11 || m == 0x12 || m == 0x277)
			want(m);
	}
	for (i = 0x200; i < 0x210; i++)
		want(i);
	want(0x250), want(0x258), want(0x259);
	for (i = 0x268; i < 0x270; i++)
		want(i);
	want(0x2ff);
	for (i = 0x400; i < 0x480; i++)
		want(i);
}

/* In chunks of 256; all must be read. */
static bool get_msrs(struct firecracker *f)
{
	u32 at, n;

	for (at = 0; at < snap.msrs.h.nmsrs; at += n) {
		struct { struct kvm_msrs h; struct kvm_msr_entry e[256]; } m = {};
		int r;

		n = snap.msrs.h.nmsrs - at < 256 ? snap.msrs.h.nmsrs - at : 256;
		m.h.nmsrs = n;
		memcpy(m.e, snap.msrs.e + at, n * sizeof(m.e[0]));
		r = ioctl(f->vcpu, KVM_GET_MSRS, &m);
		if (r != (int)n) {
			tap_note("%d of %u: MSR %#x cannot be read", r, n, r >= 0 ? m.e[r].index : 0);
			return false;
		}
		memcpy(snap.msrs.e + at, m.e, n * sizeof(m.e[0]));
	}
	return true;
}

static void save(struct firecracker *f)
{
	static u64 bitmap[REPLAY_RAM / 4096 / 64];
	struct kvm_dirty_log log = { .dirty_bitmap = bitmap };
	u64 dirty = 0;
	u32 i;

	/* The port access that ended the run is completed without running on. */
	f->run->immediate_exit = 1;
	tap_ok(ioctl(f->vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "immediate_exit completes the last exit");
	f->run->immediate_exit = 0;
	ioctl(f->vcpu, KVM_KVMCLOCK_CTRL, 0);		/* EINVAL for a guest without kvmclock */
	guest_must(ioctl(f->vcpu, KVM_GET_MP_STATE, &snap.mp));
	guest_must(ioctl(f->vcpu, KVM_GET_REGS, &snap.regs));
	guest_must(ioctl(f->vcpu, KVM_GET_SREGS, &snap.sregs));
	guest_must(ioctl(f->vcpu, KVM_GET_XSAVE, &snap.xsave));
	guest_must(ioctl(f->vcpu, KVM_GET_XCRS, &snap.xcrs));
	guest_must(ioctl(f->vcpu, KVM_GET_DEBUGREGS, &snap.debug));
	guest_must(ioctl(f->vcpu, KVM_GET_LAPIC, &snap.lapic));
	snap.khz = ioctl(f->vcpu, KVM_GET_TSC_KHZ, 0);
	snap.cpuid.h.nent = 80;
	guest_must(ioctl(f->vcpu, KVM_GET_CPUID2, &snap.cpuid));
	choose_msrs(f);
	tap_ok(get_msrs(f), "every MSR of its snapshot can be read");
	guest_must(ioctl(f->vcpu, KVM_GET_VCPU_EVENTS, &snap.events));
	guest_must(ioctl(f->vm, KVM_GET_PIT2, &snap.pit));
	guest_must(ioctl(f->vm, KVM_GET_CLOCK, &snap.clock));
	for (i = 0; i < 3; i++) {
		snap.chip[i].chip_id = i;
		guest_must(ioctl(f->vm, KVM_GET_IRQCHIP, &snap.chip[i]));
	}
	guest_must(ioctl(f->vm, KVM_GET_DIRTY_LOG, &log));
	for (i = 0; i < sizeof(bitmap) / sizeof(bitmap[0]); i++)
		dirty += __builtin_popcountll(bitmap[i]);
	tap_ok(dirty > 1 && dirty < 200, "the dirty log has the few pages that the guest wrote to");
}

static bool restore(struct firecracker *f)
{
	bool good = true;
	u32 i, at, n;

	good &= !ioctl(f->vcpu, KVM_SET_CPUID2, &snap.cpuid);
	good &= !ioctl(f->vcpu, KVM_SET_MP_STATE, &snap.mp);
	good &= !ioctl(f->vcpu, KVM_SET_REGS, &snap.regs);
	good &= !ioctl(f->vcpu, KVM_SET_SREGS, &snap.sregs);
	good &= !ioctl(f->vcpu, KVM_SET_XSAVE, &snap.xsave);
	good &= !ioctl(f->vcpu, KVM_SET_XCRS, &snap.xcrs);
	good &= !ioctl(f->vcpu, KVM_SET_DEBUGREGS, &snap.debug);
	good &= !ioctl(f->vcpu, KVM_SET_LAPIC, &snap.lapic);
	if (ioctl(f->vcpu, KVM_GET_TSC_KHZ, 0) != snap.khz)
		good &= !ioctl(f->vcpu, KVM_SET_TSC_KHZ, snap.khz);
	for (at = 0; at < snap.msrs.h.nmsrs; at += n) {
		struct { struct kvm_msrs h; struct kvm_msr_entry e[256]; } m = {};

		n = snap.msrs.h.nmsrs - at < 256 ? snap.msrs.h.nmsrs - at : 256;
		m.h.nmsrs = n;
		memcpy(m.e, snap.msrs.e + at, n * sizeof(m.e[0]));
		i = ioctl(f->vcpu, KVM_SET_MSRS, &m);
		if (i != n) {
			tap_note("%u of %u: MSR %#x cannot be written", i, n, i < n ? m.e[i].index : 0);
			good = false;
		}
	}
	good &= !ioctl(f->vcpu, KVM_SET_VCPU_EVENTS, &snap.events);
	good &= !ioctl(f->vcpu, KVM_KVMCLOCK_CTRL, 0) || errno == EINVAL;
	good &= !ioctl(f->vm, KVM_SET_PIT2, &snap.pit);
	snap.clock.flags &= KVM_CLOCK_REALTIME;
	good &= !ioctl(f->vm, KVM_SET_CLOCK, &snap.clock);
	for (i = 0; i < 3; i++)
		good &= !ioctl(f->vm, KVM_SET_IRQCHIP, &snap.chip[i]);
	return good;
}

static void finish(struct firecracker *f)
{
	unsigned int i;

	munmap(f->run, f->run_size);
	close(f->vcpu);
	close(f->vm);
	close(f->sys);
	for (i = 0; i < 2; i++) {
		close(f->kick[i]);
		close(f->irq[i]);
	}
}

int main(int argc, char **argv)
{
	const char *node = tap_node(argc, argv);
	struct firecracker f = {};

	replay_load();
	open_node(&f, node, true);
	create(&f);
	tap_ok(wire(&f), "ioeventfds and irqfds: legacy on default routes, MSI on its table");
	tap_eq(replay_cpuid(f.sys, f.vcpu, 0, 80), 0, "the CPUID table fits into 80 entries");
	tap_eq(replay_boot_msrs(f.vcpu), 11, "all of its eleven MSRs are taken");
	replay_regs(f.vcpu, (u64)replay_entry);
	replay_sregs(f.vcpu);
	replay_lint(f.vcpu);
	tap_ok(run_until(&f, 's'), "the guest kicks and is interrupted, queue 0 is the VMM's");
	save(&f);
	finish(&f);

	open_node(&f, node, false);
	create(&f);
	tap_ok(wire(&f), "a second VM is wired alike");
	tap_ok(restore(&f), "the snapshot is restored");
	tap_ok(run_until(&f, 's') && run_until(&f, 0), "the guest goes on in it to its end");
	tap_ok(replay_var(legacy) == 2 && replay_var(message) == 2 && replay_var(done), "it had all its interrupts");
	finish(&f);
	return tap_done();
}
