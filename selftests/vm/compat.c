// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * compat - a 32-bit VMM: the ABI's structures as such a program lays them out, with pointers of four bytes.
 *
 * It is a program without a C library (none for 32 bits need be installed), which speaks to the kernel through int 80h.  Where a
 * pointer shares a union with 64 bits the upper half is filled with rubbish: a 32-bit program does not have to clear it.
 *
 * CFLAGS: -m32 -ffreestanding -nostdlib -fno-pie -no-pie -fno-stack-protector -fno-builtin -fcf-protection=none -I /usr/include/x86_64-linux-gnu
 */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

_Static_assert(sizeof(void *) == 4, "this is a 32-bit program");

enum { SYS_exit = 1, SYS_read = 3, SYS_write = 4, SYS_open = 5, SYS_setitimer = 104, SYS_ioctl = 54, SYS_rt_sigaction = 174,
	SYS_rt_sigprocmask = 175, SYS_mmap2 = 192, SYS_eventfd2 = 328 };
enum { EINTR = 4, E2BIG = 7, EAGAIN = 11, EFAULT = 14, EINVAL = 22, SIGALRM = 14 };

#define PAGES		64
#define GPA		0x10000
#define PORT		0x99
#define IOEVENT_PORT	0x9a
#define MSR		0x174		/* SYSENTER_CS */

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	long outer[2] = { nr, f };
	long ret;

	/* The sixth argument goes into EBP, which is found through EAX: with it or ESP changed no operand could be addressed. */
	asm volatile("push %%ebp\n\tmov 4(%%eax), %%ebp\n\tmov (%%eax), %%eax\n\tint $0x80\n\tpop %%ebp"
		     : "=a"(ret) : "a"(outer), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return ret;
}

static long ioctl(int fd, unsigned long cmd, const void *arg)
{
	return call(SYS_ioctl, fd, cmd, (long)arg, 0, 0, 0);
}

/* The compiler calls these by itself. */
void *memset(void *to, int v, size_t n);
void *memcpy(void *to, const void *from, size_t n);

void *memset(void *to, int v, size_t n)
{
	void *d = to;

	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

/* ---- results ---- */

static int tests, failed;

static void text(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	call(SYS_write, 1, (long)s, n, 0, 0, 0);
}

static void number(long v)
{
	char buf[12], *p = buf + sizeof(buf) - 1;
	unsigned int u = v < 0 ? -v : v;

	*p = 0;
	do {
		*--p = '0' + u % 10;
		u /= 10;
	} while (u);
	if (v < 0)
		*--p = '-';
	text(p);
}

static bool ok(bool good, const char *name)
{
	tests++;
	failed += !good;
	text(good ? "ok " : "not ok ");
	number(tests);
	text(" - ");
	text(name);
	text("\n");
	return good;
}

static void eq(long got, long want, const char *name)
{
	if (ok(got == want, name))
		return;
	text("# got ");
	number(got);
	text(", want ");
	number(want);
	text("\n");
}

static void __attribute__((noreturn)) quit(int status)
{
	for (;;)
		call(SYS_exit, status, 0, 0, 0, 0, 0);
}

static int must(long r, const char *what)
{
	if (r >= 0)
		return r;
	text("Bail out! ");
	text(what);
	text(" ");
	number(r);
	text("\n");
	quit(2);
}

/* ---- the guest ---- */

static int sys, vm, vcpu;
static struct kvm_run *run;
static u8 *ram;

static void *map(int fd, size_t size, int flags)
{
	long p = call(SYS_mmap2, 0, size, 3, flags, fd, 0);

	if ((unsigned long)p > -4096ul)
		must(p, "mmap");
	return (void *)p;
}

static void create(const char *node)
{
	struct kvm_userspace_memory_region low = { .slot = 0, .guest_phys_addr = GPA, .memory_size = PAGES * 4096 };

	sys = must(call(SYS_open, (long)node, 2, 0, 0, 0, 0), "open");
	eq(ioctl(sys, KVM_GET_API_VERSION, NULL), 12, "KVM_GET_API_VERSION");
	vm = must(ioctl(sys, KVM_CREATE_VM, NULL), "KVM_CREATE_VM");
	must(ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000), "KVM_SET_TSS_ADDR");
	must(ioctl(vm, KVM_CREATE_IRQCHIP, NULL), "KVM_CREATE_IRQCHIP");
	ram = map(-1, PAGES * 4096, 0x22);
	low.flags = KVM_MEM_LOG_DIRTY_PAGES;
	low.userspace_addr = (unsigned long)ram;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &low), "KVM_SET_USER_MEMORY_REGION");
	vcpu = must(ioctl(vm, KVM_CREATE_VCPU, NULL), "KVM_CREATE_VCPU");
	run = map(vcpu, must(ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, NULL), "size"), 1);
}

/* Real mode, CS and DS based at GPA. */
static long go(const void *code, size_t n)
{
	struct kvm_sregs s;
	struct kvm_regs r;
	long ret;

	memcpy(ram, code, n);
	must(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs.base = s.ds.base = s.ss.base = GPA;
	s.cs.selector = s.ds.selector = s.ss.selector = GPA >> 4;
	must(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	memset(&r, 0, sizeof(r));
	r.rflags = 2;
	r.rsp = 0x8000;
	r.rcx = MSR;
	must(ioctl(vcpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
	do {
		ret = ioctl(vcpu, KVM_RUN, NULL);
	} while (ret == -EAGAIN);
	return ret;
}

static void runs(void)
{
	/* movb $0x5a, 0x2000; mov $0x77, %al; out %al, $PORT */
	static const u8 code[] = { 0xc6, 0x06, 0x00, 0x20, 0x5a, 0xb0, 0x77, 0xe6, PORT };
	struct kvm_regs r;

	eq(go(code, sizeof(code)), 0, "KVM_RUN");
	ok(run->exit_reason == KVM_EXIT_IO && run->io.port == PORT && *((u8 *)run + run->io.data_offset) == 0x77,
	   "kvm_run's port output");
	ok(ram[0x2000] == 0x5a, "the guest writes memory above its caller's pointers' width");
	must(ioctl(vcpu, KVM_GET_REGS, &r), "KVM_GET_REGS");
	ok((r.rax & 0xff) == 0x77, "KVM_GET_REGS");
}

static void dirty(void)
{
	u64 bits = ~0ull, mask = 4;
	struct kvm_dirty_log log = { .slot = 0 };
	struct kvm_clear_dirty_log clear = { .slot = 0, .num_pages = PAGES };
	struct kvm_enable_cap manual = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { 1 } };

	log.padding2 = 0xdeadbeef00000000ull | (unsigned long)&bits;
	eq(ioctl(vm, KVM_GET_DIRTY_LOG, &log), 0, "KVM_GET_DIRTY_LOG, rubbish above the pointer");
	ok(bits & 4, "KVM_GET_DIRTY_LOG has the page that the guest wrote");
	must(ioctl(vm, KVM_ENABLE_CAP, &manual), "KVM_ENABLE_CAP");
	runs();
	must(ioctl(vm, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
	ok(bits & 4, "KVM_GET_DIRTY_LOG with manual protection");
	clear.padding2 = 0xdeadbeef00000000ull | (unsigned long)&mask;
	eq(ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear), 0, "KVM_CLEAR_DIRTY_LOG, rubbish above the pointer");
	must(ioctl(vm, KVM_GET_DIRTY_LOG, &log), "KVM_GET_DIRTY_LOG");
	ok(!(bits & 4), "KVM_CLEAR_DIRTY_LOG clears the page");
	log.padding2 = 0xdeadbeef00000001ull;
	eq(ioctl(vm, KVM_GET_DIRTY_LOG, &log), -EFAULT, "KVM_GET_DIRTY_LOG into nothing: EFAULT");
}

static void on_alarm(int nr)
{
	(void)nr;
}

asm("restore: mov $173, %eax\n\tint $0x80");	/* rt_sigreturn */
extern char restore[];

static void signal_mask(void)
{
	static const u8 spin[] = { 0xfa, 0xeb, 0xfd };	/* cli; jmp to it: see guest_spin() in guest.h */
	struct { void (*fn)(int); unsigned long flags; void *restore; u64 mask; } action = { on_alarm, 0x04000000, restore, 0 };
	struct { long interval[2], value[2]; } soon = { { 0, 0 }, { 0, 200000 } };
	struct { u32 len; u8 set[8]; } __attribute__((packed)) mask = { .len = 8 };
	u64 alarm = 1ull << (SIGALRM - 1);

	must(call(SYS_rt_sigaction, SIGALRM, (long)&action, 0, 8, 0, 0), "sigaction");
	must(call(SYS_rt_sigprocmask, 0, (long)&alarm, 0, 8, 0, 0), "sigprocmask");
	mask.len = 4;
	eq(ioctl(vcpu, KVM_SET_SIGNAL_MASK, &mask), -EINVAL, "KVM_SET_SIGNAL_MASK of four bytes: EINVAL");
	mask.len = 8;
	eq(ioctl(vcpu, KVM_SET_SIGNAL_MASK, &mask), 0, "KVM_SET_SIGNAL_MASK of eight");
	must(call(SYS_setitimer, 0, (long)&soon, 0, 0, 0, 0), "setitimer");
	eq(go(spin, sizeof(spin)), -EINTR, "a signal that is blocked outside ends KVM_RUN");
	eq(run->exit_reason, KVM_EXIT_INTR, "with KVM_EXIT_INTR");
	must(ioctl(vcpu, KVM_SET_SIGNAL_MASK, NULL), "KVM_SET_SIGNAL_MASK");
}

/* The structure of the filter is smaller than that of a 64-bit program, and so has a command number of its own. */
static void msr_filter(void)
{
	static const u8 code[] = { 0x0f, 0x32, 0xe6, PORT };	/* rdmsr; out */
	struct kvm_enable_cap user = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { KVM_MSR_EXIT_REASON_FILTER } };
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };
	u8 bits[8] = { 0 };

	must(ioctl(vm, KVM_ENABLE_CAP, &user), "KVM_ENABLE_CAP");
	go(code, sizeof(code));
	ok(run->exit_reason == KVM_EXIT_IO, "without a filter the guest reads the MSR");
	f.ranges[0].flags = KVM_MSR_FILTER_READ;
	f.ranges[0].base = MSR;
	f.ranges[0].nmsrs = 1;
	f.ranges[0].bitmap = bits;
	eq(ioctl(vm, KVM_X86_SET_MSR_FILTER, &f), 0, "KVM_X86_SET_MSR_FILTER");
	go(code, sizeof(code));
	ok(run->exit_reason == KVM_EXIT_X86_RDMSR && run->msr.index == MSR, "and it filters");
	run->msr.error = 0;
	run->msr.data = 0x42;
	must(ioctl(vcpu, KVM_RUN, NULL), "KVM_RUN");
	ok(run->exit_reason == KVM_EXIT_IO && *((u8 *)run + run->io.data_offset) == 0x42, "kvm_run's MSR answer arrives");
	f.ranges[0].bitmap = (u8 *)1;
	eq(ioctl(vm, KVM_X86_SET_MSR_FILTER, &f), -EFAULT, "KVM_X86_SET_MSR_FILTER with a bad pointer: EFAULT");
}

static void cpuid(void)
{
	static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[256]; } table;

	table.head.nent = 256;
	ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &table) == 0 && table.head.nent > 10, "KVM_GET_SUPPORTED_CPUID");
	eq(ioctl(vcpu, KVM_SET_CPUID2, &table), 0, "KVM_SET_CPUID2");
}

static void lists(void)
{
	static struct { struct kvm_msr_list head; u32 index[512]; } list;
	struct { struct kvm_msrs head; struct kvm_msr_entry e[2]; } msrs = { .head = { .nmsrs = 2 } };

	eq(ioctl(sys, KVM_GET_MSR_INDEX_LIST, &list), -E2BIG, "KVM_GET_MSR_INDEX_LIST without room: E2BIG");
	ok(list.head.nmsrs > 10 && ioctl(sys, KVM_GET_MSR_INDEX_LIST, &list) == 0 && list.index[0], "KVM_GET_MSR_INDEX_LIST");
	msrs.e[0].index = MSR;
	msrs.e[0].data = 0x1234;
	msrs.e[1].index = 0xc0000082;
	msrs.e[1].data = 0x123456789abcull;
	eq(ioctl(vcpu, KVM_SET_MSRS, &msrs), 2, "KVM_SET_MSRS");
	msrs.e[0].data = msrs.e[1].data = 0;
	ok(ioctl(vcpu, KVM_GET_MSRS, &msrs) == 2 && msrs.e[0].data == 0x1234 && msrs.e[1].data == 0x123456789abcull, "KVM_GET_MSRS");
}

static void events(void)
{
	static const u8 code[] = { 0xe6, IOEVENT_PORT, 0xe6, PORT };
	struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry e[1]; } routes = { .head = { .nr = 1 } };
	int fd = must(call(SYS_eventfd2, 0, 0x800, 0, 0, 0, 0), "eventfd");
	struct kvm_ioeventfd io = { .addr = IOEVENT_PORT, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO };
	struct kvm_irqfd irq = { .fd = fd, .gsi = 5 };
	u64 count = 0;

	eq(ioctl(vm, KVM_IOEVENTFD, &io), 0, "KVM_IOEVENTFD");
	go(code, sizeof(code));
	call(SYS_read, fd, (long)&count, 8, 0, 0, 0);
	ok(run->exit_reason == KVM_EXIT_IO && run->io.port == PORT && count == 1, "an ioeventfd is signalled");
	routes.e[0].gsi = 5;
	routes.e[0].type = KVM_IRQ_ROUTING_MSI;
	routes.e[0].u.msi.address_lo = 0xfee00000;
	routes.e[0].u.msi.data = 0x55;
	eq(ioctl(vm, KVM_SET_GSI_ROUTING, &routes), 0, "KVM_SET_GSI_ROUTING");
	eq(ioctl(vm, KVM_IRQFD, &irq), 0, "KVM_IRQFD");
}

static void states(void)
{
	static struct kvm_xsave xsave;
	struct kvm_vcpu_events ev;
	struct kvm_debugregs debug;
	struct kvm_clock_data clock;
	static struct kvm_lapic_state lapic;

	ok(ioctl(vcpu, KVM_GET_VCPU_EVENTS, &ev) == 0 && ioctl(vcpu, KVM_SET_VCPU_EVENTS, &ev) == 0, "KVM_GET/SET_VCPU_EVENTS");
	ok(ioctl(vcpu, KVM_GET_DEBUGREGS, &debug) == 0 && ioctl(vcpu, KVM_SET_DEBUGREGS, &debug) == 0, "KVM_GET/SET_DEBUGREGS");
	ok(ioctl(vcpu, KVM_GET_XSAVE, &xsave) == 0 && ioctl(vcpu, KVM_SET_XSAVE, &xsave) == 0, "KVM_GET/SET_XSAVE");
	ok(ioctl(vcpu, KVM_GET_LAPIC, &lapic) == 0 && ioctl(vcpu, KVM_SET_LAPIC, &lapic) == 0, "KVM_GET/SET_LAPIC");
	ok(ioctl(vm, KVM_GET_CLOCK, &clock) == 0 && clock.clock > 0, "KVM_GET_CLOCK");
}

static void __attribute__((used, noreturn)) program(char **argv)
{
	create(argv[1] ? argv[1] : "/dev/lodge");
	cpuid();
	runs();
	dirty();
	signal_mask();
	lists();
	msr_filter();
	events();
	states();
	text("1..");
	number(tests);
	text("\n");
	quit(failed || !tests);
}

int main(int argc, char **argv);

int main(int argc, char **argv)
{
	(void)argc;
	program(argv);
}

/* The kernel leaves argc and then the arguments' addresses on the stack. */
asm(".globl _start\n_start:\n\tmov (%esp), %eax\n\tlea 4(%esp), %edx\n\tand $-16, %esp\n\tsub $8, %esp\n\tpush %edx\n\tpush %eax\n\tcall main\n");
