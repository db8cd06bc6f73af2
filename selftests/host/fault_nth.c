// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything that allocates or copies, with the n-th allocation or copy of the call failing, for every n.
 *
 * The kernel's fault injection (/proc/thread-self/fail-nth) lets the n-th chance to fail of this thread fail.  A call is made
 * with n = 1, 2, ... until it gets through without having met its n-th chance.  Each failure must be a clean error; what the
 * call was to change is as before, which is seen by making it again without a failure.  Leaks are kmemleak's to find when the
 * box ends.
 *
 * NODES: lodge
 * TIMEOUT: 300
 */
#include <sys/eventfd.h>

#include "guest.h"
#include "tap.h"

#define RAM_GPA		0x40000000ul
#define RAM_SIZE	(4ul << 20)
#define STEPS_MAX	2000

static const char *node;
static struct guest g;
static u8 *ram;
static int nth_fd, event, event2;

/* ---- injection ---- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static void nth_set(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	/* A number that is still there may hit this very call. */
	if (pwrite(nth_fd, text, len, 0) != len && pwrite(nth_fd, text, len, 0) != len)
		tap_bail("fail-nth cannot be set");
}

/* Chances that were left: 0 if the failure took place. */
static int nth_left(void)
{
	char text[16] = {};

	if (pread(nth_fd, text, sizeof(text) - 1, 0) > 0)
		return atoi(text);
	if (errno != EFAULT)
		tap_bail("fail-nth cannot be read");
	return 1;	/* the last chance was this call's own copy */
}

static void prepare(void)
{
	static const char *const attrs[] = { "failslab", "fail_page_alloc", "fail_usercopy" };
	char path[96];
	unsigned int i;

	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		tap_skip_all("this kernel has no fault injection (make check-debug has)");
	for (i = 0; i < 3; i++) {
		/* No stack of each failure in the log; and those fail too that may wait for memory. */
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", attrs[i]);
		if (!put(path, "0"))
			tap_bail("%s cannot be set", path);
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait", attrs[i]);
		if (i < 2 && !put(path, "N"))
			tap_bail("%s cannot be set", path);
	}
	put("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	put("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
}

/* ---- a step: an action that can be made again after it failed, and its undoing ---- */

struct step {
	const char *name;
	long (*act)(void);
	void (*undo)(long result);
	void (*begin)(void), (*end)(void);	/* once around all tries */
	bool sure;				/* it must not fail at all: it takes things away */
};

static bool clean_error(int error)
{
	return error == ENOMEM || error == EFAULT;
}

static void step_run(const struct step *s)
{
	int n, left, error, failed = 0, bad = 0;
	long r;

	if (s->begin)
		s->begin();
	for (n = 1; n < STEPS_MAX; n++) {
		nth_set(n);
		errno = 0;
		r = s->act();
		error = errno;
		left = nth_left();
		nth_set(0);
		if (r < 0) {
			failed++;
			if (left || s->sure || !clean_error(error)) {
				if (!bad++)
					tap_note("%s: n = %d: errno %d (%s), %d chances left", s->name, n, error, strerror(error), left);
			}
			/* Again, with nothing in its way. */
			r = s->act();
			if (r < 0 && !bad++)
				tap_note("%s: n = %d: the second try: errno %d (%s)", s->name, n, errno, strerror(errno));
		}
		if (s->undo)
			s->undo(r);
		if (left)
			break;
	}
	if (s->end)
		s->end();
	errno = 0;
	tap_ok(!bad && n < STEPS_MAX, "%s: %d chances to fail, %d failures, all clean", s->name, n - 1, failed);
}

/* ---- the steps ---- */

static void undo_close(long fd)
{
	if (fd >= 0)
		close(fd);
}

static long act_open(void)
{
	return open(node, O_RDWR | O_CLOEXEC);
}

static long act_vm(void)
{
	return ioctl(g.sys, KVM_CREATE_VM, 0);
}

static int vm, vcpu, next_id;	/* those that the step works on */

static void begin_vm(void)
{
	vm = guest_must(ioctl(g.sys, KVM_CREATE_VM, 0));
	next_id = 0;
}

static void end_vm(void)
{
	close(vm);
}

static void begin_irqchip(void)
{
	begin_vm();
	guest_must(ioctl(vm, KVM_CREATE_IRQCHIP, 0));
}

static void begin_vcpu(void)
{
	begin_irqchip();
	vcpu = guest_must(ioctl(vm, KVM_CREATE_VCPU, 0));
}

static void end_vcpu(void)
{
	close(vcpu);
	end_vm();
}

/* vCPUs cannot be taken away: each try makes another. */
static long act_vcpu(void)
{
	return ioctl(vm, KVM_CREATE_VCPU, next_id);
}

static void undo_vcpu(long fd)
{
	undo_close(fd);
	next_id += fd >= 0;
}

/* Of these there can be one in a VM: each try has a VM of its own. */
static long act_irqchip(void)
{
	return ioctl(vm, KVM_CREATE_IRQCHIP, 0);
}

static long act_split(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };

	return ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static long act_pit(void)
{
	struct kvm_pit_config c = {};

	return ioctl(vm, KVM_CREATE_PIT2, &c);
}

static void undo_another_vm(long r)
{
	(void)r;
	end_vm();
	begin_vm();
}

static void undo_another_irqchip(long r)
{
	(void)r;
	end_vm();
	begin_irqchip();
}

static long region(u64 size, u32 flags, u64 gpa)
{
	struct kvm_userspace_memory_region m = { .slot = 5, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
						 .userspace_addr = (u64)ram };

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m);
}

static void undo_region(long r)
{
	if (!r)
		guest_must(region(0, 0, 0));
}

static long act_slot(void)
{
	return region(RAM_SIZE, 0, RAM_GPA);
}

static long act_slot_logged(void)
{
	return region(RAM_SIZE, KVM_MEM_LOG_DIRTY_PAGES, RAM_GPA);
}

static void begin_slot(void)
{
	begin_vm();
	guest_must(region(RAM_SIZE, 0, RAM_GPA));
}

static void undo_log(long r)
{
	if (!r)
		guest_must(region(RAM_SIZE, 0, RAM_GPA));
}

static u64 moved;

static long act_move(void)
{
	return region(RAM_SIZE, 0, RAM_GPA + (moved ? 0 : RAM_SIZE));
}

static void undo_move(long r)
{
	moved ^= !r;
}

static long act_delete(void)
{
	return region(0, 0, 0);
}

static void undo_delete(long r)
{
	if (!r)
		guest_must(region(RAM_SIZE, 0, RAM_GPA));
}

static long irqfd(u32 flags)
{
	struct kvm_irqfd f = { .fd = event, .gsi = 5, .flags = flags, .resamplefd = event2 };

	return ioctl(vm, KVM_IRQFD, &f);
}

static long act_irqfd(void)
{
	return irqfd(0);
}

static long act_irqfd_resample(void)
{
	return irqfd(KVM_IRQFD_FLAG_RESAMPLE);
}

static void undo_irqfd(long r)
{
	if (!r)
		guest_must(irqfd(KVM_IRQFD_FLAG_DEASSIGN));
}

static long ioeventfd(u32 flags)
{
	struct kvm_ioeventfd f = { .addr = 0x1000, .len = 4, .fd = event, .flags = flags };

	return ioctl(vm, KVM_IOEVENTFD, &f);
}

static long act_ioeventfd(void)
{
	return ioeventfd(0);
}

static void undo_ioeventfd(long r)
{
	if (!r)
		guest_must(ioeventfd(KVM_IOEVENTFD_FLAG_DEASSIGN));
}

static long act_routing(void)
{
	static u64 space[(sizeof(struct kvm_irq_routing) + 64 * sizeof(struct kvm_irq_routing_entry)) / 8];
	struct kvm_irq_routing *head = (void *)space;
	unsigned int i;

	head->nr = 64;
	for (i = 0; i < 64; i++) {
		head->entries[i].gsi = i;
		head->entries[i].type = KVM_IRQ_ROUTING_MSI;
		head->entries[i].u.msi.address_lo = 0xfee00000;
		head->entries[i].u.msi.data = 0x40 + i;
	}
	return ioctl(vm, KVM_SET_GSI_ROUTING, head);
}

static long act_vm_stats(void)
{
	return ioctl(vm, KVM_GET_STATS_FD, 0);
}

static long act_vcpu_stats(void)
{
	return ioctl(vcpu, KVM_GET_STATS_FD, 0);
}

static struct kvm_coalesced_mmio_zone zone = { .addr = 0xd0000000, .size = 64 };

static long act_zone(void)
{
	return ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
}

static void undo_zone(long r)
{
	if (!r)
		guest_must(ioctl(vm, KVM_UNREGISTER_COALESCED_MMIO, &zone));
}

static long act_filter(void)
{
	static u8 bits[64];
	struct kvm_msr_filter f = {};
	unsigned int i;

	for (i = 0; i < 3; i++)
		f.ranges[i] = (struct kvm_msr_filter_range){ KVM_MSR_FILTER_READ, 400, 0x100 * i, bits };
	return ioctl(vm, KVM_X86_SET_MSR_FILTER, &f);
}

static union {
	struct kvm_cpuid2 head;
	u8 space[sizeof(struct kvm_cpuid2) + 128 * sizeof(struct kvm_cpuid_entry2)];
} cpuid;

static long act_supported(void)
{
	cpuid.head.nent = 128;
	return ioctl(g.sys, KVM_GET_SUPPORTED_CPUID, &cpuid);
}

static long act_cpuid(void)
{
	return ioctl(vcpu, KVM_SET_CPUID2, &cpuid);
}

static long act_lapic(void)
{
	static struct kvm_lapic_state l;

	return ioctl(vcpu, KVM_GET_LAPIC, &l) ? -1 : ioctl(vcpu, KVM_SET_LAPIC, &l);
}

static long act_xsave(void)
{
	static struct kvm_xsave x;

	return ioctl(vcpu, KVM_GET_XSAVE, &x) ? -1 : ioctl(vcpu, KVM_SET_XSAVE, &x);
}

static long act_msrs(void)
{
	static u64 space[(sizeof(struct kvm_msrs) + 64 * sizeof(struct kvm_msr_entry)) / 8];
	struct kvm_msrs *m = (void *)space;
	unsigned int i;

	m->nmsrs = 64;
	for (i = 0; i < 64; i++)
		m->entries[i].index = 0x10;
	return ioctl(vcpu, KVM_GET_MSRS, m);
}

/* ---- a guest whose page tables cannot be had ---- */

static volatile u64 touched;

static GUEST void toucher(void)
{
	u64 i;

	for (;;) {
		for (i = 0; i < RAM_SIZE; i += 1 << 20)
			*(volatile u64 *)(RAM_GPA + i) = i;
		touched++;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static long act_run(void)
{
	return ioctl(g.vcpu[0], KVM_RUN, 0);
}

/* All translations and pages go, so that the next run begins from nothing. */
static void undo_run(long r)
{
	(void)r;
	madvise(ram, RAM_SIZE, MADV_DONTNEED);
}

/* What is closed or lost under a failing allocator goes all the same. */
static long act_close(void)
{
	struct kvm_userspace_memory_region m = { .slot = 5, .flags = KVM_MEM_LOG_DIRTY_PAGES, .guest_phys_addr = RAM_GPA,
						 .memory_size = RAM_SIZE, .userspace_addr = (u64)ram };
	int left = nth_left(), fd, cpu;
	struct kvm_irqfd f = { .fd = event, .gsi = 3 };
	struct kvm_ioeventfd io = { .addr = 0x2000, .len = 4, .fd = event };

	nth_set(0);
	fd = guest_must(ioctl(g.sys, KVM_CREATE_VM, 0));
	guest_must(ioctl(fd, KVM_CREATE_IRQCHIP, 0));
	cpu = guest_must(ioctl(fd, KVM_CREATE_VCPU, 0));
	guest_must(ioctl(fd, KVM_SET_USER_MEMORY_REGION, &m));
	guest_must(ioctl(fd, KVM_IRQFD, &f));
	guest_must(ioctl(fd, KVM_IOEVENTFD, &io));
	nth_set(left);
	close(fd);
	return close(cpu);
}

static const struct step steps[] = {
	{ .name = "open the device", .act = act_open, .undo = undo_close },
	{ .name = "make a VM", .act = act_vm, .undo = undo_close },
	{ .name = "make an irqchip", .act = act_irqchip, .undo = undo_another_vm, .begin = begin_vm, .end = end_vm },
	{ .name = "make a split irqchip", .act = act_split, .undo = undo_another_vm, .begin = begin_vm, .end = end_vm },
	{ .name = "make a PIT", .act = act_pit, .undo = undo_another_irqchip, .begin = begin_irqchip, .end = end_vm },
	{ .name = "make a vCPU", .act = act_vcpu, .undo = undo_vcpu, .begin = begin_vm, .end = end_vm },
	{ .name = "make a vCPU with a LAPIC", .act = act_vcpu, .undo = undo_vcpu, .begin = begin_irqchip, .end = end_vm },
	{ .name = "add a slot", .act = act_slot, .undo = undo_region, .begin = begin_vm, .end = end_vm },
	{ .name = "add a slot with a dirty log", .act = act_slot_logged, .undo = undo_region, .begin = begin_vm, .end = end_vm },
	{ .name = "give a slot a dirty log", .act = act_slot_logged, .undo = undo_log, .begin = begin_slot, .end = end_vm },
	{ .name = "move a slot", .act = act_move, .undo = undo_move, .begin = begin_slot, .end = end_vm },
	{ .name = "delete a slot", .act = act_delete, .undo = undo_delete, .begin = begin_slot, .end = end_vm },
	{ .name = "make an irqfd", .act = act_irqfd, .undo = undo_irqfd, .begin = begin_irqchip, .end = end_vm },
	{ .name = "make an irqfd that resamples", .act = act_irqfd_resample, .undo = undo_irqfd, .begin = begin_irqchip, .end = end_vm },
	{ .name = "make an ioeventfd", .act = act_ioeventfd, .undo = undo_ioeventfd, .begin = begin_vm, .end = end_vm },
	{ .name = "set routes", .act = act_routing, .begin = begin_irqchip, .end = end_vm },
	{ .name = "make a VM's statistics descriptor", .act = act_vm_stats, .undo = undo_close, .begin = begin_vm, .end = end_vm },
	{ .name = "make a vCPU's statistics descriptor", .act = act_vcpu_stats, .undo = undo_close, .begin = begin_vcpu, .end = end_vcpu },
	{ .name = "register a coalesced zone", .act = act_zone, .undo = undo_zone, .begin = begin_vm, .end = end_vm },
	{ .name = "set an MSR filter", .act = act_filter, .begin = begin_vm, .end = end_vm },
	{ .name = "ask for the supported CPUID", .act = act_supported },
	{ .name = "set CPUID", .act = act_cpuid, .begin = begin_vcpu, .end = end_vcpu },
	{ .name = "read and write the LAPIC", .act = act_lapic, .begin = begin_vcpu, .end = end_vcpu },
	{ .name = "read and write the FPU", .act = act_xsave, .begin = begin_vcpu, .end = end_vcpu },
	{ .name = "read MSRs", .act = act_msrs, .begin = begin_vcpu, .end = end_vcpu },
	{ .name = "run a guest into memory that it has not seen", .act = act_run, .undo = undo_run },
	{ .name = "close everything", .act = act_close, .sure = true },
};

int main(int argc, char **argv)
{
	unsigned int i;

	node = tap_node(argc, argv);
	prepare();
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	event = guest_must(eventfd(0, EFD_CLOEXEC));
	event2 = guest_must(eventfd(0, EFD_CLOEXEC));
	guest_create(&g, node, 0);
	guest_slot(&g, 5, 0, RAM_GPA, ram, RAM_SIZE);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, toucher);
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		step_run(&steps[i]);
	tap_ok(touched > 0, "the guest went on after every failure (%llu rounds)", (unsigned long long)touched);
	guest_destroy(&g);
	return tap_done();
}
