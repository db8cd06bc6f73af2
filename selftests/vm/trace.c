// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Trace points: each event of events/lodge, alone, over the same short life of a guest, says what happened; and nothing when it
 * is off again.
 *
 * What the lines must be is known from the guest: addresses of its instructions are labels, values are those that it read.
 *
 * CFLAGS: -mno-red-zone
 * NODES: lodge
 */
#include <dirent.h>

#include "guest.h"
#include "tap.h"

#define TRACING	"/sys/kernel/tracing/"
#define EVENTS	TRACING "events/lodge/"
#define DEVICE	0xe0000000ul	/* nobody's memory */
#define FRESH	0xa0000000ul	/* a page that stage 2 has not */
#define IOAPIC	0xfec00000ul
#define STEP	0x90		/* port: what the host shall do */
#define ASK	0x91

static const char *node;
static struct guest g;
static u8 *fresh;
static volatile u64 at_mmio, regs[4], adjust;
extern const char at_cpuid[], after_cpuid[];

GUEST_INLINE void cpuid_here(void)
{
	u32 eax = 0x80000000, ebx, ecx = 0, edx;

	asm volatile(".globl at_cpuid, after_cpuid\nat_cpuid: cpuid\nafter_cpuid:"
		     : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	regs[0] = eax;
	regs[1] = ebx;
	regs[2] = ecx;
	regs[3] = edx;
}

static GUEST void on_gp(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	frame[0] += 2;		/* RDMSR */
}

static GUEST void on_irq(u64 vector, u64 *frame, u64 error)
{
	(void)frame, (void)error;
	if (vector == 2)
		return;
	if (vector == 0x75)
		outb(STEP, 2);
	wrmsr_(0x80b, 0);
}

static GUEST void body(void)
{
	u64 nr = 0x7777, rip;

	guest_apic_on(true);
	cpuid_here();
	adjust = rdmsr_(0x3b);
	wrmsr_(0x3b, 0x1234);
	rdmsr_(0xdead);
	asm volatile("vmmcall" : "+a"(nr) : "b"(1ul), "c"(2ul), "d"(3ul), "S"(4ul) : "memory");
	inl(ASK);
	*(volatile u32 *)DEVICE = 0xcafe;
	asm volatile("lea 1f(%%rip), %0\n1: addl $1, (%1)" : "=&r"(rip) : "r"(DEVICE + 16) : "memory");
	at_mmio = rip;
	*(volatile u8 *)(FRESH + 8) = 1;
	asm volatile("sti");
	wrmsr_(0x830, 0x40061);		/* to itself */
	asm volatile("nop; cli");
	*(volatile u32 *)IOAPIC = 0x39;
	*(volatile u32 *)(IOAPIC + 16) = 0;
	*(volatile u32 *)IOAPIC = 0x38;
	*(volatile u32 *)(IOAPIC + 16) = 1 << 15 | 0x75;	/* pin 20: level */
	outb(STEP, 1);
	asm volatile("sti; nop; nop; cli");
	wrmsr_(0x832, 2 << 17 | 0x53);
	wrmsr_(0x6e0, rdtsc_() + 50000000);
	asm volatile("sti; hlt; nop; cli");
	guest_exit();
}

static void line(u32 level)
{
	struct kvm_irq_level irq = { .irq = 20, .level = level };

	guest_must(ioctl(g.vm, KVM_IRQ_LINE, &irq));
}

static void step(u8 what)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x62 };

	if (what == 1) {
		guest_must(ioctl(g.vcpu[0], KVM_NMI));
		guest_must(ioctl(g.vm, KVM_SIGNAL_MSI, &msi));
		line(1);
	} else {
		line(0);
	}
}

/* One life of the guest; false if it did not come to its end. */
static bool life(void)
{
	struct kvm_enable_cap poll = { .cap = KVM_CAP_HALT_POLL, .args = { 2000000000 } };
	struct kvm_run *run;
	int r, exits = 0;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_must(ioctl(g.vm, KVM_ENABLE_CAP, &poll));
	guest_slot(&g, 5, 0, FRESH, fresh, 4096);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, body);
	run = g.run[0];
	while ((r = guest_run(&g, 0)) != GUEST_DONE && exits++ < 20) {
		if (r == KVM_EXIT_IO && run->io.port == STEP)
			step(*((u8 *)run + run->io.data_offset));
		else if (r != KVM_EXIT_MMIO && (r != KVM_EXIT_IO || run->io.port != ASK))
			break;
	}
	madvise(fresh, 4096, MADV_DONTNEED);
	guest_destroy(&g);
	return r == GUEST_DONE;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static bool enable(const char *event, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), EVENTS "%s/enable", event);
	return put(path, on ? "1" : "0");
}

/* Lines of the trace that are @event's and, after its name, begin with @want; *all: lines of any event. */
static unsigned int hits(const char *event, const char *want, unsigned int *all)
{
	FILE *f = fopen(TRACING "trace", "r");
	char text[1024], tag[64], sample[1024] = "", *at;
	unsigned int n = 0, lines = 0;

	if (!f)
		tap_bail("no trace");
	snprintf(tag, sizeof(tag), " %s: ", event);
	while (fgets(text, sizeof(text), f)) {
		if (text[0] == '#')
			continue;
		lines++;
		at = strstr(text, tag);
		strcpy(sample, at ? text : sample);
		if (at && !strncmp(at + strlen(tag), want, strlen(want)))
			n++;
	}
	fclose(f);
	if (!n && *want)
		tap_note("none is '%.*s', the last is %s", (int)strcspn(want, "\n"), want, sample);
	*all = lines;
	return n;
}

/* Names are those of the folder. */
static struct { const char *event; char want[160]; } rows[] = {
	{ "lodge_halt_poll", "vcpu 0 halt_poll_ns 10000 (grown from 0)\n" },
	{ "lodge_hypercall", "vcpu 0 nr 0x7777 (0x1, 0x2, 0x3, 0x4)\n" },
	{ "lodge_inj_exception", "vcpu 0 vector 13 error 0x0\n" },
	{ "lodge_inj_nmi", "vcpu 0\n" },
	{ "lodge_inj_virq", "vcpu 0 vector 0x75\n" },
	{ "lodge_inj_virq", "vcpu 0 vector 0x53\n" },
	{ "lodge_ioapic", "pin 20 entry 0x8075\n" },
	{ "lodge_ack_irq", "chip 2 pin 20\n" },
	{ "lodge_eoi", "vcpu 0 vector 0x75\n" },
	{ "lodge_lapic_accept", "vcpu 0 vector 0x75 level\n" },
	{ "lodge_lapic_accept", "vcpu 0 vector 0x62 edge\n" },
	{ "lodge_lapic_ipi", "vcpu 0 icr 0x40061\n" },
	{ "lodge_msi", "address 0xfee00000 data 0x62\n" },
	{ "lodge_set_irq", "gsi 20 level 1 source 0\n" },
	{ "lodge_set_irq", "gsi 20 level 0 source 0\n" },
	{ "lodge_mmio", "write len 4 gpa 0xe0000000 val 0xcafe\n" },
	{ "lodge_mmio", "read len 4 gpa 0xe0000010 val 0x0\n" },
	{ "lodge_msr", "wrmsr 0x3b = 0x1234\n" },
	{ "lodge_msr", "rdmsr 0xdead = 0x0 #GP\n" },
	{ "lodge_msr", "wrmsr 0x830 = 0x40061\n" },
	{ "lodge_page_fault", "vcpu 0 gpa 0xa0000008 access 0x2\n" },
	{ "lodge_pio", "out port 0x90 size 1 count 1 val 0x1\n" },
	{ "lodge_pio", "in port 0x91 size 4 count 1 val 0x0\n" },
	{ "lodge_userspace_exit", "vcpu 0 exit_reason 2 ret 0\n" },
	{ "lodge_userspace_exit", "vcpu 0 exit_reason 6 ret 0\n" },
	{ "lodge_vcpu_wakeup", "vcpu 0 slept " },
	{ "lodge_cpuid", "" }, { "lodge_emulate_insn", "" }, { "lodge_entry", "" }, { "lodge_exit", "" }, { "lodge_msr", "" },
	{ "lodge_invalidate", "" }, { "lodge_invalidate", "" },
};

#define N (sizeof(rows) / sizeof(rows[0]))

/* The first row with this event and without text. */
static void __attribute__((format(printf, 2, 3))) want(const char *event, const char *fmt, ...)
{
	unsigned int i;
	va_list ap;

	for (i = 0; i < N && (strcmp(rows[i].event, event) || rows[i].want[0]); i++)
		;
	if (i == N)
		tap_bail("no row for %s", event);
	va_start(ap, fmt);
	vsnprintf(rows[i].want, sizeof(rows[i].want), fmt, ap);
	va_end(ap);
}

static void wants(void)
{
	enum { EXIT_CPUID = 6 };	/* kmod/x86/exit.h */

	want("lodge_cpuid", "0x80000000.0: 0x%x 0x%x 0x%x 0x%x\n", (u32)regs[0], (u32)regs[1], (u32)regs[2], (u32)regs[3]);
	want("lodge_emulate_insn", "vcpu 0 rip %#llx\n", (unsigned long long)at_mmio);
	want("lodge_entry", "vcpu 0 rip %#lx\n", (unsigned long)after_cpuid);
	want("lodge_exit", "vcpu 0 reason %u rip %#lx info 0x0\n", EXIT_CPUID, (unsigned long)at_cpuid);
	want("lodge_msr", "rdmsr 0x3b = 0x%llx\n", (unsigned long long)adjust);
	want("lodge_invalidate", "begin hva %#lx-%#lx\n", (unsigned long)fresh, (unsigned long)fresh + 4096);
	want("lodge_invalidate", "end hva %#lx-%#lx\n", (unsigned long)fresh, (unsigned long)fresh + 4096);
}

static void each(const char *event)
{
	unsigned int i, all = 0, of_it = 0, rows_seen = 0;

	put(TRACING "trace", "\n");
	TAP_REQUIRE(enable(event, true), "%s can be enabled", event);
	tap_ok(life(), "%s is on, and the guest comes through", event);
	tap_ok(enable(event, false), "%s is off", event);
	for (i = 0; i < N; i++) {
		if (strcmp(rows[i].event, event))
			continue;
		rows_seen++;
		tap_ok(hits(event, rows[i].want, &all) > 0, "%s: %.*s", event, (int)strcspn(rows[i].want, "\n#"), rows[i].want);
	}
	tap_ok(rows_seen && hits(event, "", &of_it) == all, "%s: no other event is there", event);
	put(TRACING "trace", "\n");
}

int main(int argc, char **argv)
{
	struct dirent *d;
	unsigned int all;
	DIR *dir;

	node = tap_node(argc, argv);
	(void)!system("mount -t tracefs none /sys/kernel/tracing 2>/dev/null");
	dir = opendir(EVENTS);
	if (!dir)
		tap_skip_all("the kernel has no trace points");
	fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fresh == MAP_FAILED)
		tap_bail("mmap");
	guest_irq[2] = guest_irq[0x53] = guest_irq[0x61] = guest_irq[0x62] = guest_irq[0x75] = on_irq;
	guest_irq[13] = on_gp;
	if (!life())
		tap_bail("the guest does not come through");
	wants();
	while ((d = readdir(dir)))
		if (!strncmp(d->d_name, "lodge_", 6))
			each(d->d_name);
	closedir(dir);
	tap_ok(life() && !hits("lodge_exit", "", &all) && !all, "with all of them off, nothing is traced");
	return tap_done();
}
