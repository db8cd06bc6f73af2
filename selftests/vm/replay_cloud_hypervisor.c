// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ioctls of Cloud Hypervisor (54): boot with the split irqchip, its IOAPIC's pins as MSI routes, EOI exits, virtio-pci
 * notifications of any length, a second vCPU started by the guest, pause and the state that a migration takes.
 *
 * CFLAGS: -mno-red-zone
 */
#include <pthread.h>
#include <signal.h>

#include "replay.h"

#define PCI		0xe8003000ul	/* the notification area of a virtio device, MSI 24 */
#define SERIAL		0x3f8
#define SERIAL_PIN	4
#define MSI_GSI		24

static volatile u64 levels, messages, started;

/* ---- the guest ---- */

static GUEST void on_level(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	levels++;
	outb(SERIAL + 1, 0);		/* the device lets its line go */
	apic_write(0xb0, 0);		/* and the VMM hears of the EOI */
}

static GUEST void on_message(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	messages++;
	apic_write(0xb0, 0);
}

/* The second vCPU, from real mode at 0x8000: a word, and rest. */
asm(".pushsection .text\n"
    ".code16\n"
    "second_start:\n"
    "	movl	$1, %cs:(second_word - second_start)\n"
    "1:	hlt\n"
    "	jmp	1b\n"
    ".balign 4\n"
    "second_word:\n"
    "	.long	0\n"
    "second_end:\n"
    ".code64\n"
    ".popsection\n");
extern const u8 second_start[], second_word[], second_end[];

static GUEST void kernel(void)
{
	volatile u32 *word = (volatile u32 *)(0x8000 + (second_word - second_start));
	u64 i;

	guest_irq[0x34] = on_level;
	guest_irq[0x41] = on_message;
	guest_apic_on(false);
	*(volatile u16 *)PCI = 1;
	outb(SERIAL, 'k');
	while (!messages || levels < 2)
		asm volatile("sti; hlt; cli");
	apic_write(0x310, 1 << 24);
	apic_write(0x300, 0x4500);	/* INIT */
	for (i = 0; i < 1000; i++)
		asm volatile("pause");
	apic_write(0x300, 0x4608);	/* SIPI */
	while (!*word)
		asm volatile("pause");
	started = 1;
	guest_exit();
}

REPLAY_KERNEL(kernel);

/* ---- the VM ---- */

static int sys, vm, vcpu[2], kick, irq, pin;
static struct kvm_run *run[2];
static size_t run_size;
static volatile bool paused;
static unsigned int eois;
static bool line;

static void open_node(const char *node)
{
	static const int need[] = {
		KVM_CAP_ADJUST_CLOCK, KVM_CAP_EXT_CPUID, KVM_CAP_GET_TSC_KHZ, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_IOEVENTFD,
		KVM_CAP_IRQCHIP, KVM_CAP_IRQFD, KVM_CAP_IRQ_ROUTING, KVM_CAP_MP_STATE, KVM_CAP_SET_IDENTITY_MAP_ADDR,
		KVM_CAP_SET_TSS_ADDR, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_USER_MEMORY, KVM_CAP_USER_NMI,
		KVM_CAP_VCPU_EVENTS, KVM_CAP_XSAVE,
	};
	struct { u32 n; u32 index[256]; } list = { .n = 256 };

	sys = guest_must(open(node, O_RDWR | O_CLOEXEC));
	tap_eq(ioctl(sys, KVM_GET_API_VERSION, 0), 12, "the API's version");
	tap_ok(replay_has(sys, need, sizeof(need) / sizeof(need[0])), "its seventeen capabilities");
	tap_ok(!ioctl(sys, KVM_GET_MSR_INDEX_LIST, &list), "the MSR list fits into 256 entries");
	vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
}

static void create_vm(void)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_userspace_memory_region mem = { .memory_size = REPLAY_RAM, .userspace_addr = (u64)replay_ram };
	u64 identity = 0xfeffc000;

	guest_must(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity));
	guest_must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000));
	guest_must(ioctl(vm, KVM_ENABLE_CAP, &split));
	guest_must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &mem));
	memcpy(replay_ram + 0x8000, second_start, second_end - second_start);
}

static void create_vcpu(unsigned int id)
{
	run_size = guest_must(ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0));
	vcpu[id] = guest_must(ioctl(vm, KVM_CREATE_VCPU, id));
	run[id] = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu[id], 0);
	if (run[id] == MAP_FAILED)
		guest_die("mmap of the vCPU");
	if (replay_cpuid(sys, vcpu[id], id, 80))
		guest_die("KVM_SET_CPUID2");
	if (ioctl(vcpu[id], KVM_GET_TSC_KHZ, 0) <= 0 && errno != EIO)
		guest_die("KVM_GET_TSC_KHZ");
	if (replay_boot_msrs(vcpu[id]) != 11)
		guest_die("the eleven MSRs");
	replay_lint(vcpu[id]);
}

/* The table has what is in use: a pin of its own IOAPIC, level-triggered, and an MSI-X vector. */
static bool wire(void)
{
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + 2 * sizeof(r->entries[0]));
	bool good;

	kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pin = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	good = !replay_irqfd(vm, SERIAL_PIN, 0, pin) && !replay_irqfd(vm, MSI_GSI, 0, irq);
	r->nr = 2;
	r->entries[0] = (struct kvm_irq_routing_entry){
		.gsi = SERIAL_PIN, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = 0x34 | 1 << 15 | 1 << 14 },
	};
	r->entries[1] = (struct kvm_irq_routing_entry){
		.gsi = MSI_GSI, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = 0x41 },
	};
	good &= !ioctl(vm, KVM_SET_GSI_ROUTING, r);
	good &= !replay_ioeventfd(vm, PCI, 0, 0, 0, kick);
	free(r);
	return good;
}

static void handle_io(struct kvm_run *r)
{
	u8 data = *((u8 *)r + r->io.data_offset);

	if (r->io.direction == KVM_EXIT_IO_IN)
		memset((u8 *)r + r->io.data_offset, 0, r->io.size * r->io.count);
	else if (r->io.port == SERIAL && data == 'k') {
		if (!replay_kicked(kick))
			guest_die("no kick");
		line = true;
		replay_signal(pin);
		replay_signal(irq);
	} else if (r->io.port == SERIAL + 1)
		line = false;
}

/* The EOI of a level-triggered pin: still asserted, it is sent again; the device wants to be served twice. */
static void handle_eoi(struct kvm_run *r)
{
	if (r->eoi.vector != 0x34)
		guest_die("EOI of vector %#x", r->eoi.vector);
	if (++eois == 1)
		line = true;
	if (line)
		replay_signal(pin);
}

static int run_vcpu(unsigned int id)
{
	struct kvm_run *r = run[id];

	for (;;) {
		if (ioctl(vcpu[id], KVM_RUN, 0) < 0) {
			if (errno != EINTR && errno != EAGAIN)
				return -errno;
			if (paused)
				return 0;
			continue;
		}
		switch (r->exit_reason) {
		case KVM_EXIT_IO:
			if (r->io.port == GUEST_EXIT_PORT)
				return 0;
			handle_io(r);
			break;
		case KVM_EXIT_IOAPIC_EOI:
			handle_eoi(r);
			break;
		default:
			return r->exit_reason;
		}
	}
}

static void *second_thread(void *unused)
{
	return (void *)(long)run_vcpu(1) ?: unused;
}

static void kick_vcpu(int sig)
{
	(void)sig;
}

/* What a migration reads of a paused vCPU; each must be writable again. */
static bool state_of(int fd)
{
	static struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[80]; } cpuid;
	struct kvm_device_attr tsc = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET };
	static struct kvm_xsave xsave;
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	u64 offset = 0;
	bool good;

	tsc.addr = (u64)&offset;
	cpuid.h.nent = 80;
	good = !ioctl(fd, KVM_GET_CPUID2, &cpuid) && !ioctl(fd, KVM_GET_MP_STATE, &mp) && !ioctl(fd, KVM_GET_REGS, &regs) &&
	       !ioctl(fd, KVM_GET_SREGS, &sregs) && !ioctl(fd, KVM_GET_XSAVE, &xsave) && !ioctl(fd, KVM_GET_XCRS, &xcrs) &&
	       !ioctl(fd, KVM_GET_LAPIC, &lapic) && !ioctl(fd, KVM_GET_VCPU_EVENTS, &events);
	ioctl(fd, KVM_KVMCLOCK_CTRL, 0);
	good &= !ioctl(fd, KVM_HAS_DEVICE_ATTR, &tsc) && !ioctl(fd, KVM_GET_DEVICE_ATTR, &tsc);
	good &= !ioctl(fd, KVM_SET_MP_STATE, &mp) && !ioctl(fd, KVM_SET_REGS, &regs) &&
		!ioctl(fd, KVM_SET_SREGS, &sregs) && !ioctl(fd, KVM_SET_XSAVE, &xsave) && !ioctl(fd, KVM_SET_XCRS, &xcrs) &&
		!ioctl(fd, KVM_SET_LAPIC, &lapic) && !ioctl(fd, KVM_SET_VCPU_EVENTS, &events) &&
		!ioctl(fd, KVM_SET_DEVICE_ATTR, &tsc);
	return good;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = kick_vcpu };
	struct kvm_clock_data clock;
	pthread_t second;
	void *ret;

	replay_load();
	open_node(tap_node(argc, argv));
	create_vm();
	create_vcpu(0);
	create_vcpu(1);
	tap_ok(wire(), "irqfds before their routes, MSI routes for pins, an ioeventfd of any length");
	replay_regs(vcpu[0], (u64)replay_entry);
	replay_sregs(vcpu[0]);

	sigaction(SIGRTMIN, &act, NULL);
	pthread_create(&second, NULL, second_thread, NULL);
	tap_eq(run_vcpu(0), 0, "the guest runs to its end");
	tap_ok(replay_var(messages) == 1 && replay_var(levels) == 2, "it had its MSI, and its level-triggered interrupt twice");
	tap_eq(eois, 2, "the VMM heard of both EOIs");
	tap_ok(replay_var(started), "the second vCPU was started by INIT and SIPI");

	/* Pause: immediate_exit and a signal. */
	paused = true;
	run[1]->immediate_exit = 1;
	do {
		pthread_kill(second, SIGRTMIN);
		usleep(1000);
	} while (pthread_tryjoin_np(second, &ret));
	tap_ok(!ret, "a halted vCPU stops at immediate_exit and a signal");
	tap_ok(state_of(vcpu[0]) && state_of(vcpu[1]), "the vCPUs' state is read and written");
	tap_ok(!ioctl(vm, KVM_GET_CLOCK, &clock), "and the clock's");
	clock.flags &= KVM_CLOCK_REALTIME;
	tap_ok(!ioctl(vm, KVM_SET_CLOCK, &clock), "which goes on where the wall clock is");
	tap_ok(!replay_irqfd(vm, MSI_GSI, KVM_IRQFD_FLAG_DEASSIGN, irq) &&
	       !replay_ioeventfd(vm, PCI, 0, 0, KVM_IOEVENTFD_FLAG_DEASSIGN, kick), "everything is unwired");
	close(vm);
	close(vcpu[0]);
	close(vcpu[1]);
	close(sys);
	return tap_done();
}
