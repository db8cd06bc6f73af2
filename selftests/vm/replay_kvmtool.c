// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ioctls of kvmtool (b48735e) from its start to its guest's end, in its order, with its arguments; the guest is a few
 * instructions in real mode that wait for the timer and for the serial port's interrupt, and reset through the i8042.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "guest.h"
#include "tap.h"

#define RAM		(32ul << 20)
#define SELECTOR	0x1000
#define COALESCED	2

static int sys, vm, vcpu[2];
static struct kvm_run *run[2];
static u8 *ram;
static char serial[64];
static unsigned int nr_serial;
static bool reset;

/* ---- the guest: a flat binary at 1000:0000 ---- */

asm(".pushsection .text\n"
    ".code16\n"
    "real_start:\n"
    "	cli\n"
    "	mov	%cs, %ax\n"
    "	mov	%ax, %ds\n"
    "	xor	%ax, %ax\n"
    "	mov	%ax, %es\n"
    "	movw	$(real_timer - real_start), %es:0x20\n"	/* IRQ 0 is vector 8 */
    "	mov	%cs, %es:0x22\n"
    "	movw	$(real_uart - real_start), %es:0x30\n"		/* IRQ 4 is vector 12 */
    "	mov	%cs, %es:0x32\n"
    "	mov	$0x11, %al\n"
    "	out	%al, $0x20\n"
    "	mov	$8, %al\n"
    "	out	%al, $0x21\n"
    "	mov	$4, %al\n"
    "	out	%al, $0x21\n"
    "	mov	$1, %al\n"
    "	out	%al, $0x21\n"
    "	mov	$0xee, %al\n"				/* IRQ 0 and 4 */
    "	out	%al, $0x21\n"
    "	mov	$0x34, %al\n"
    "	out	%al, $0x43\n"
    "	mov	$0x10, %al\n"
    "	out	%al, $0x40\n"
    "	mov	$0x27, %al\n"
    "	out	%al, $0x40\n"
    "	sti\n"
    "1:	hlt\n"
    "	cmpb	$3, real_ticks - real_start\n"
    "	jb	1b\n"
    "	mov	$(real_t - real_start), %si\n"
    "	call	real_print\n"
    "	mov	$0x3f9, %dx\n"				/* interrupts on: the host raises one */
    "	mov	$2, %al\n"
    "	out	%al, %dx\n"
    "2:	hlt\n"
    "	cmpb	$0, real_served - real_start\n"
    "	je	2b\n"
    "	mov	$(real_s - real_start), %si\n"
    "	call	real_print\n"
    "	mov	$0xfe, %al\n"
    "	out	%al, $0x64\n"
    "3:	hlt\n"
    "	jmp	3b\n"
    "real_print:\n"
    "	mov	$0x3f8, %dx\n"
    "4:	lodsb\n"
    "	test	%al, %al\n"
    "	jz	5f\n"
    "	out	%al, %dx\n"
    "	jmp	4b\n"
    "5:	ret\n"
    "real_timer:\n"
    "	push	%ax\n"
    "	incb	%cs:(real_ticks - real_start)\n"
    "	jmp	6f\n"
    "real_uart:\n"
    "	push	%ax\n"
    "	incb	%cs:(real_served - real_start)\n"
    "6:	mov	$0x20, %al\n"
    "	out	%al, $0x20\n"
    "	pop	%ax\n"
    "	iret\n"
    "real_ticks:	.byte 0\n"
    "real_served:	.byte 0\n"
    "real_t:	.asciz \"timer \"\n"
    "real_s:	.asciz \"serial\"\n"
    "real_end:\n"
    ".code64\n"
    ".popsection\n");
extern const u8 real_start[], real_end[];

/* ---- kvmtool ---- */

static bool capabilities(void)
{
	static const int need[] = {
		KVM_CAP_COALESCED_MMIO, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2, KVM_CAP_USER_MEMORY, KVM_CAP_IRQ_ROUTING,
		KVM_CAP_IRQCHIP, KVM_CAP_HLT, KVM_CAP_IRQ_INJECT_STATUS, KVM_CAP_EXT_CPUID,
	};
	unsigned int i;

	for (i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
		if (ioctl(sys, KVM_CHECK_EXTENSION, need[i]) <= 0)
			return tap_ok(false, "capability %d", need[i]);
	}
	return true;
}

static void create_vm(const char *node)
{
	struct kvm_pit_config pit = { .flags = 0 };

	sys = guest_must(open(node, O_RDWR));
	tap_eq(ioctl(sys, KVM_GET_API_VERSION, 0), KVM_API_VERSION, "the API's version");
	vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
	tap_ok(capabilities(), "all nine capabilities that it requires");
	guest_must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	/* The PIT comes before the chips that it is wired to. */
	tap_ok(!ioctl(vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2 before the interrupt controllers");
	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(ram, RAM, MADV_MERGEABLE);
	/* Its argument is whatever was in the register. */
	tap_ok(!ioctl(vm, KVM_CREATE_IRQCHIP, 0xdeadbeef), "KVM_CREATE_IRQCHIP");
}

static void add_ram(void)
{
	struct kvm_userspace_memory_region mem = { .memory_size = RAM, .userspace_addr = (u64)ram };

	guest_must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &mem));
}

static void create_vcpu(unsigned int id)
{
	struct kvm_lapic_state lapic;
	int size;

	vcpu[id] = guest_must(ioctl(vm, KVM_CREATE_VCPU, id));
	size = guest_must(ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0));
	run[id] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu[id], 0);
	if (run[id] == MAP_FAILED || ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO) != COALESCED)
		guest_die("the vCPU's pages");
	guest_must(ioctl(vcpu[id], KVM_GET_LAPIC, &lapic));
	*(u32 *)(lapic.regs + 0x350) = (*(u32 *)(lapic.regs + 0x350) & ~0x700) | 0x700;	/* LINT0 ExtINT */
	*(u32 *)(lapic.regs + 0x360) = (*(u32 *)(lapic.regs + 0x360) & ~0x700) | 0x400;	/* LINT1 NMI */
	guest_must(ioctl(vcpu[id], KVM_SET_LAPIC, &lapic));
}

static void add_route(struct kvm_irq_routing *r, u32 gsi, u32 chip, u32 pin)
{
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

static void set_routes(void)
{
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + 64 * sizeof(r->entries[0]));
	u32 i;

	for (i = 0; i < 16; i++) {
		if (i != 2)
			add_route(r, i, i / 8 ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER, i % 8);
	}
	for (i = 0; i < 24; i++) {
		if (i != 2)
			add_route(r, i, KVM_IRQCHIP_IOAPIC, i ? i : 2);
	}
	tap_ok(r->nr == 38 && !ioctl(vm, KVM_SET_GSI_ROUTING, r), "its 38 routes");
	/* MSI-X of a virtio device: the table again, with one more. */
	r->entries[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = 24, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee01004, .data = 0x21 },
	};
	tap_ok(!ioctl(vm, KVM_SET_GSI_ROUTING, r), "and one MSI");
	free(r);
}

static void set_cpuid(unsigned int id)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 100 * sizeof(c->entries[0]));
	u32 i;

	c->nent = 100;
	guest_must(ioctl(sys, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & ~(0xffu << 24)) | id << 24;
			e->ecx |= 1u << 31;
		} else if (e->function == 6) {
			e->ecx &= ~(1u << 3);
		} else if (e->function == 10) {
			e->eax = 0;
		}
	}
	guest_must(ioctl(vcpu[id], KVM_SET_CPUID2, c));
	free(c);
}

static void set_registers(unsigned int id)
{
	static const u32 index[] = { 0x174, 0x175, 0x176, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084, 0xc0000082, 0x10, 0x1a0 };
	struct { struct kvm_msrs h; struct kvm_msr_entry e[10]; } msrs = { .h.nmsrs = 10 };
	struct kvm_regs regs = { .rflags = 2, .rip = 0, .rsp = 0x8000, .rbp = 0x8000 };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct kvm_segment *seg[6];
	struct kvm_sregs s;
	unsigned int i;

	guest_must(ioctl(vcpu[id], KVM_GET_SREGS, &s));
	seg[0] = &s.cs, seg[1] = &s.ss, seg[2] = &s.ds, seg[3] = &s.es, seg[4] = &s.fs, seg[5] = &s.gs;
	for (i = 0; i < 6; i++) {
		seg[i]->selector = SELECTOR;
		seg[i]->base = SELECTOR * 16;
	}
	guest_must(ioctl(vcpu[id], KVM_SET_SREGS, &s));
	guest_must(ioctl(vcpu[id], KVM_SET_REGS, &regs));
	guest_must(ioctl(vcpu[id], KVM_SET_FPU, &fpu));
	for (i = 0; i < 10; i++)
		msrs.e[i] = (struct kvm_msr_entry){ .index = index[i], .data = index[i] == 0x1a0 };
	i = ioctl(vcpu[id], KVM_SET_MSRS, &msrs);
	if (id == 0)
		tap_eq(i, 10, "all of its ten MSRs are taken");
}

static void irq_line(u32 irq, u32 level)
{
	struct kvm_irq_level l = { .irq = irq, .level = level };

	guest_must(ioctl(vm, KVM_IRQ_LINE, &l));
}

static void handle_io(struct kvm_run *r)
{
	u8 *data = (u8 *)r + r->io.data_offset;
	u32 i;

	for (i = 0; i < r->io.count; i++, data += r->io.size) {
		if (r->io.direction == KVM_EXIT_IO_IN)
			memset(data, 0xff, r->io.size);
		else if (r->io.port == 0x3f8 && nr_serial < sizeof(serial) - 1)
			serial[nr_serial++] = *data;
		else if (r->io.port == 0x3f9)
			irq_line(4, 1), irq_line(4, 0);
		else if (r->io.port == 0x64 && *data == 0xfe)
			reset = true;
	}
}

/* Its vCPU thread's loop. */
static int run_vcpu(unsigned int id)
{
	while (!reset) {
		int r = ioctl(vcpu[id], KVM_RUN, 0);

		if (r < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		switch (r < 0 ? KVM_EXIT_INTR : run[id]->exit_reason) {
		case KVM_EXIT_INTR:
			if (id)
				return 0;
			break;
		case KVM_EXIT_IO:
			handle_io(run[id]);
			break;
		default:
			return run[id]->exit_reason;
		}
	}
	return 0;
}

static void nothing(int sig)
{
	(void)sig;
}

static void *second_thread(void *unused)
{
	set_cpuid(1);
	set_registers(1);
	return (void *)(long)run_vcpu(1) ?: unused;
}

static void optional(void)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = 0xd2000000, .size = 0x1000 };
	struct kvm_msi msi = { .address_lo = 0xfee01004, .data = 0x21 };
	struct kvm_ioeventfd io = { .addr = 0x6200 + 16, .len = 2, .datamatch = 1, .flags = 3, .fd = eventfd(0, 0) };

	tap_eq(ioctl(vm, KVM_UNREGISTER_COALESCED_MMIO, &zone), 0, "a zone that was never registered is unregistered");
	tap_ok(ioctl(vm, KVM_SIGNAL_MSI, &msi) == -1 && errno == EPERM, "KVM_SIGNAL_MSI to a vCPU whose APIC is off: not delivered");
	tap_ok(!ioctl(vm, KVM_IOEVENTFD, &io), "its ioeventfd on a port, two bytes, with datamatch");
	io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	tap_ok(!ioctl(vm, KVM_IOEVENTFD, &io), "and off again");
	tap_ok(ioctl(vm, KVM_KVMCLOCK_CTRL, 0) < 0 && errno == ENOTTY, "KVM_KVMCLOCK_CTRL on the VM: ENOTTY, which it ignores");
	close(io.fd);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = nothing };
	pthread_t second;
	void *ret;

	create_vm(tap_node(argc, argv));
	add_ram();
	create_vcpu(0);
	create_vcpu(1);
	set_routes();
	memcpy(ram + SELECTOR * 16, real_start, real_end - real_start);
	optional();

	/* It stops a vCPU with a real-time signal. */
	sigaction(SIGRTMIN, &act, NULL);
	pthread_create(&second, NULL, second_thread, NULL);
	set_cpuid(0);
	set_registers(0);
	tap_eq(run_vcpu(0), 0, "the guest runs until it resets");
	tap_ok(!strcmp(serial, "timer serial"), "it had its timer's and its serial port's interrupts");
	while (pthread_tryjoin_np(second, &ret)) {
		pthread_kill(second, SIGRTMIN);
		usleep(1000);
	}
	tap_ok(!ret, "a vCPU that waits to be started leaves at a signal");
	/* It closes the VM before the vCPUs. */
	tap_ok(!close(vm) && !close(vcpu[0]) && !close(vcpu[1]) && !close(sys), "everything is closed");
	return tap_done();
}
