// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CPUID tables and MSRs: the ioctls' counting rules, what the guest reads, filters, and exits to user space.
 *
 * CFLAGS: -mno-red-zone
 */
#include <stddef.h>

#include "guest.h"
#include "tap.h"

#define UNKNOWN_MSR	0x4b564eff

static const char *node;
static struct guest g;
static volatile u32 leaf, subleaf, out[4];
static volatile u64 msr, msr_value;
static volatile u64 faults;

struct cpuid { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[300]; };
struct msrs { struct kvm_msrs head; struct kvm_msr_entry e[300]; };
struct list { struct kvm_msr_list head; u32 index[300]; };

static GUEST void do_cpuid(void)
{
	for (;;) {
		u32 a = leaf, b, c = subleaf, d;

		asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		out[0] = a;
		out[1] = b;
		out[2] = c;
		out[3] = d;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static u32 xcr0;

static GUEST void set_osxsave(void)
{
	u64 cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	asm volatile("mov %1, %%cr4\n\txgetbv" : "=a"(xcr0) : "r"(cr4 | 1 << 18), "c"(0) : "edx");
	do_cpuid();
}

static GUEST void do_rdmsr(void)
{
	for (;;) {
		msr_value = rdmsr_(msr);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void do_wrmsr(void)
{
	for (;;) {
		wrmsr_(msr, msr_value);
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* #GP of RDMSR or WRMSR: count it, step over the two bytes. */
static GUEST void on_gp(u64 vector, u64 *frame, u64 error)
{
	(void)vector;
	faults += error == 0;
	frame[0] += 2;
}

static void run(void (*fn)(void))
{
	guest_start64(&g, 0, fn);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
}

static void begin(void)
{
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_irq[13] = on_gp;
	faults = 0;
}

static const struct kvm_cpuid_entry2 *find(const struct cpuid *c, u32 function, u32 index)
{
	for (u32 i = 0; i < c->head.nent; i++)
		if (c->e[i].function == function &&
		    (!(c->e[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || c->e[i].index == index))
			return &c->e[i];
	return NULL;
}

static void supported(void)
{
	static struct cpuid c, again;
	const struct kvm_cpuid_entry2 *e;
	int sys = open(node, O_RDWR);
	u32 n;

	c.head.nent = 0;
	tap_ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c) < 0 && errno == E2BIG, "no room: E2BIG");
	c.head.nent = 1;
	tap_ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c) < 0 && errno == E2BIG, "room for one: E2BIG");
	c.head.nent = 300;
	tap_ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c) == 0, "more room than any table needs");
	n = c.head.nent;
	tap_ok(n > 10 && n <= 80, "the table has at most 80 entries (%u)", n);
	again.head.nent = n;
	tap_ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &again) == 0 && again.head.nent == n, "just enough room");
	again.head.nent = n - 1;
	tap_ok(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &again) < 0 && errno == E2BIG, "one too few: E2BIG");
	e = find(&c, 0x40000000, 0);
	tap_ok(e && e->ebx == 0x4b4d564b && e->ecx == 0x564b4d56 && e->edx == 0x4d, "the signature is KVMKVMKVM");
	e = find(&c, 0x40000001, 0);
	tap_ok(e && (e->eax & 9) == 9, "kvmclock is offered, old and new");
	e = find(&c, 1, 0);
	tap_ok(e && (e->ecx & 1 << 21) && !(e->ecx & 1 << 27), "x2APIC is offered, OSXSAVE is the guest's own");
	tap_ok(e && !(e->ecx & 1 << 5), "VMX is not");
	tap_ok(find(&c, 0x80000000, 0) && find(&c, 0x80000001, 0) && find(&c, 0x80000005, 0) &&
	       find(&c, 0x80000006, 0) && find(&c, 0x80000008, 0) && find(&c, 7, 0), "leaves that VMMs insist on");
	close(sys);
}

static void executed(void)
{
	static struct cpuid c, got;
	u32 i, wrong = 0;

	begin();
	c.head.nent = 300;
	guest_must(ioctl(g.sys, KVM_GET_SUPPORTED_CPUID, &c));
	/* an entry that no processor has, to be told from the real CPUID */
	c.e[c.head.nent++] = (struct kvm_cpuid_entry2){ .function = 0x8000003f, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4 };
	guest_must(ioctl(g.vcpu[0], KVM_SET_CPUID2, &c));
	got.head.nent = 300;
	guest_must(ioctl(g.vcpu[0], KVM_GET_CPUID2, &got));
	/* the stock module leaves nent as it was */
	tap_ok(got.e[0].function == c.e[0].function && got.e[0].ebx == c.e[0].ebx, "KVM_GET_CPUID2 gives what was set");
	got.head.nent = 3;
	tap_ok(ioctl(g.vcpu[0], KVM_GET_CPUID2, &got) < 0 && errno == E2BIG, "with too little room: E2BIG");
	for (i = 0; i < c.head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c.e[i];

		if (e->function == 1 || e->function == 0xd || e->function == 7)
			continue;	/* these have bits that follow the state */
		leaf = e->function;
		subleaf = e->index;
		run(do_cpuid);
		if (out[0] != e->eax || out[1] != e->ebx || out[2] != e->ecx || out[3] != e->edx) {
			tap_note("leaf %x.%x: %x %x %x %x, want %x %x %x %x", leaf, subleaf, out[0], out[1], out[2], out[3],
				 e->eax, e->ebx, e->ecx, e->edx);
			wrong++;
		}
	}
	tap_eq(wrong, 0, "the guest reads the entries");
	leaf = 0x8000003e;
	run(do_cpuid);
	tap_ok(!out[0] && !out[1] && !out[2] && !out[3], "and zeros where AMD's processors have nothing");
	leaf = 1;
	run(do_cpuid);
	tap_ok(!(out[2] & 1 << 27), "OSXSAVE follows CR4: off");
	if (find(&c, 1, 0)->ecx & 1 << 26) {
		run(set_osxsave);
		tap_ok(out[2] & 1 << 27, "OSXSAVE follows CR4: on");
		tap_eq(xcr0, 1, "and the next instruction reads the guest's XCR0, not the host's");
	} else {
		tap_skip("OSXSAVE follows CR4: on", "no XSAVE");
		tap_skip("and the next instruction reads the guest's XCR0, not the host's", "no XSAVE");
	}
	tap_ok(out[3] & 1 << 9, "the APIC bit follows the APIC base: on");
	msr = 0x1b;
	msr_value = 0xfee00000;
	run(do_wrmsr);
	run(do_cpuid);
	tap_ok(!(out[3] & 1 << 9), "the APIC bit follows the APIC base: off");
	got.head.nent = 300;
	guest_must(ioctl(g.vcpu[0], KVM_GET_CPUID2, &got));
	got.head.nent = c.head.nent;
	tap_ok(ioctl(g.vcpu[0], KVM_SET_CPUID2, &got) == 0, "after running, the same table may be set again");
	got.e[0].ebx ^= 1;
	tap_ok(ioctl(g.vcpu[0], KVM_SET_CPUID2, &got) < 0 && errno == EINVAL, "another one may not: EINVAL");
	guest_destroy(&g);
}

/* ---- MSRs ---- */

static void lists(void)
{
	static struct list l;
	static struct msrs m;
	int sys = open(node, O_RDWR);
	u32 i, n, bad = 0;

	l.head.nmsrs = 0;
	tap_ok(ioctl(sys, KVM_GET_MSR_INDEX_LIST, &l) < 0 && errno == E2BIG && l.head.nmsrs, "MSR list without room: E2BIG and the number");
	n = l.head.nmsrs;
	tap_ok(n <= 256, "at most 256 of them (%u)", n);
	tap_ok(ioctl(sys, KVM_GET_MSR_INDEX_LIST, &l) == 0 && l.head.nmsrs == n, "with room: the list");
	begin();
	for (i = 0; i < n; i++) {
		m.head.nmsrs = 1;
		m.e[0].index = l.index[i];
		if (ioctl(g.vcpu[0], KVM_GET_MSRS, &m) != 1 || ioctl(g.vcpu[0], KVM_SET_MSRS, &m) != 1) {
			tap_note("MSR %x is listed, but cannot be read and written back", l.index[i]);
			bad++;
		}
	}
	/* the stock module lists a few that depend on features which are off here */
	tap_ok(bad <= (strstr(node, "kvm") ? 50 : 0), "every listed MSR can be read and written back");
	m.head.nmsrs = 3;
	m.e[0].index = 0x174;
	m.e[1].index = UNKNOWN_MSR;
	m.e[2].index = 0x175;
	tap_eq(ioctl(g.vcpu[0], KVM_GET_MSRS, &m), 1, "KVM_GET_MSRS stops at the first unknown and says where");
	tap_eq(ioctl(g.vcpu[0], KVM_SET_MSRS, &m), 1, "so does KVM_SET_MSRS");
	m.head.nmsrs = 0;
	tap_eq(ioctl(g.vcpu[0], KVM_GET_MSRS, &m), 0, "none at all is none");
	guest_destroy(&g);

	l.head.nmsrs = 300;
	tap_ok(ioctl(sys, KVM_GET_MSR_FEATURE_INDEX_LIST, &l) == 0 && l.head.nmsrs, "there are feature MSRs");
	m.head.nmsrs = n = l.head.nmsrs;
	for (i = 0; i < n; i++)
		m.e[i].index = l.index[i];
	tap_eq(ioctl(sys, KVM_GET_MSRS, &m), n, "each can be read from the system descriptor");
	close(sys);
}

/* What kvmtool, Firecracker and Cloud Hypervisor set before the first instruction. */
static void boot_set(void)
{
	static const u32 index[] = { 0x174, 0x175, 0x176, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084, 0xc0000082, 0x10,
				     0x1a0, 0x2ff };
	static struct msrs m;
	u32 i, n = sizeof(index) / sizeof(index[0]);

	begin();
	m.head.nmsrs = n;
	for (i = 0; i < n; i++) {
		m.e[i].index = index[i];
		m.e[i].data = index[i] == 0x1a0 ? 1 : index[i] == 0x2ff ? 0x806 : 0;
	}
	tap_eq(ioctl(g.vcpu[0], KVM_SET_MSRS, &m), n, "the MSRs that VMMs set at boot are all taken");
	m.head.nmsrs = 32 * 4;
	for (i = 0; i < 128; i++)
		m.e[i].index = 0x400 + i;
	tap_eq(ioctl(g.vcpu[0], KVM_GET_MSRS, &m), 128, "32 machine-check banks can be read without set-up");
	guest_destroy(&g);
}

static u64 guest_rdmsr(u32 index)
{
	msr = index;
	msr_value = 0xdead;
	run(do_rdmsr);
	return msr_value;
}

static void guest_wrmsr(u32 index, u64 v)
{
	msr = index;
	msr_value = v;
	run(do_wrmsr);
}

static void guest_side(void)
{
	begin();
	guest_wrmsr(0x277, 0x0007010600070106);
	tap_eq(guest_rdmsr(0x277), 0x0007010600070106, "PAT is kept");
	guest_wrmsr(0x277, 0x0207010600070106);
	tap_eq(faults, 1, "a type that does not exist is #GP");
	guest_wrmsr(0x200, 0x80000006);
	guest_wrmsr(0x2ff, 0xc06);
	tap_ok(guest_rdmsr(0x200) == 0x80000006 && guest_rdmsr(0x2ff) == 0xc06, "MTRRs are kept");
	guest_wrmsr(0x2ff, 0xc02);
	tap_eq(faults, 2, "a default type that does not exist is #GP");
	guest_wrmsr(0xc0000082, 0xffffffff81000000);
	tap_eq(guest_rdmsr(0xc0000082), 0xffffffff81000000, "LSTAR is kept");
	guest_rdmsr(UNKNOWN_MSR);
	tap_eq(faults, 3, "reading an MSR that does not exist is #GP");
	guest_wrmsr(UNKNOWN_MSR, 0);
	tap_eq(faults, 4, "writing it too");
	guest_wrmsr(0xc0000080, 0x501 | 1ull << 40);
	tap_eq(faults, 5, "a reserved bit of EFER is #GP");
	tap_eq(guest_rdmsr(0xc0000080) & 0xd01, 0x501, "and EFER keeps its value");
	guest_wrmsr(0xfe, 0);
	tap_eq(faults, 6, "a read-only MSR cannot be written");
	guest_destroy(&g);
}

static void platform_info(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MSR_PLATFORM_INFO };
	static struct msrs m = { .head.nmsrs = 1, .e[0] = { .index = 0xce, .data = 0xff00 } };

	begin();
	tap_ok(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_MSR_PLATFORM_INFO) == 1, "PLATFORM_INFO can be hidden");
	tap_eq(ioctl(g.vcpu[0], KVM_SET_MSRS, &m), 1, "the VMM sets it");
	tap_ok(guest_rdmsr(0xce) == 0xff00 && !faults, "the guest reads what the VMM has set");
	guest_wrmsr(0xce, 0xff00);
	tap_eq(faults, 1, "it cannot write it");
	tap_ok(!ioctl(g.vm, KVM_ENABLE_CAP, &cap), "it is hidden");
	guest_rdmsr(0xce);
	tap_eq(faults, 2, "then reading it is #GP");
	m.e[0].data = 0;
	tap_ok(ioctl(g.vcpu[0], KVM_GET_MSRS, &m) == 1 && m.e[0].data == 0xff00, "but the VMM still can");
	cap.args[0] = 1;
	tap_ok(!ioctl(g.vm, KVM_ENABLE_CAP, &cap) && guest_rdmsr(0xce) == 0xff00 && faults == 2, "and it can be shown again");
	guest_destroy(&g);
}

static void user_exits(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER } };
	static u8 deny[1], allow[1] = { 0xff };
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges = { { .flags = KVM_MSR_FILTER_READ, .base = 0x174, .nmsrs = 1, .bitmap = deny },
			    { .flags = KVM_MSR_FILTER_WRITE, .base = 0x174, .nmsrs = 1, .bitmap = allow } },
	};
	struct kvm_run *r;

	begin();
	r = g.run[0];
	guest_must(ioctl(g.vm, KVM_ENABLE_CAP, &cap));
	msr = UNKNOWN_MSR;
	guest_start64(&g, 0, do_rdmsr);
	tap_ok(guest_run(&g, 0) == KVM_EXIT_X86_RDMSR && r->msr.index == UNKNOWN_MSR &&
	       r->msr.reason == KVM_MSR_EXIT_REASON_UNKNOWN, "an unknown MSR is the VMM's to read");
	r->msr.data = 0x123456789abcdef0;
	r->msr.error = 0;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && msr_value == 0x123456789abcdef0, "and the guest gets its answer");
	guest_start64(&g, 0, do_rdmsr);
	guest_run(&g, 0);
	r->msr.error = 1;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && faults == 1, "or #GP if it says so");
	msr_value = 0x55;
	guest_start64(&g, 0, do_wrmsr);
	tap_ok(guest_run(&g, 0) == KVM_EXIT_X86_WRMSR && r->msr.data == 0x55, "an unknown MSR is the VMM's to write");
	r->msr.error = 0;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && faults == 1, "and the guest goes on");

	tap_ok(ioctl(g.vm, KVM_X86_SET_MSR_FILTER, &filter) == 0, "a filter is taken");
	msr = 0x174;
	guest_start64(&g, 0, do_rdmsr);
	tap_ok(guest_run(&g, 0) == KVM_EXIT_X86_RDMSR && r->msr.reason == KVM_MSR_EXIT_REASON_FILTER, "a filtered read exits");
	r->msr.data = 7;
	r->msr.error = 0;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && msr_value == 7, "with the VMM's answer");
	msr_value = 8;
	run(do_wrmsr);
	tap_eq(faults, 1, "a write that the filter allows goes through");
	filter.flags = 2;
	tap_ok(ioctl(g.vm, KVM_X86_SET_MSR_FILTER, &filter) < 0 && errno == EINVAL, "unknown flags: EINVAL");
	memset(&filter, 0, sizeof(filter));
	tap_ok(ioctl(g.vm, KVM_X86_SET_MSR_FILTER, &filter) == 0, "an empty filter takes it away");
	msr = 0x174;
	run(do_rdmsr);
	tap_eq(msr_value, 8, "and the register itself is read again");
	guest_destroy(&g);
}

static void mce(void)
{
	u64 supported = 0, setup = 0x100010a;
	struct kvm_x86_mce e = { .status = 1ull << 63, .addr = 0x1234, .bank = 3 };
	static struct msrs m;

	begin();
	tap_ok(ioctl(g.sys, KVM_X86_GET_MCE_CAP_SUPPORTED, &supported) == 0 && supported, "machine checks: capabilities");
	tap_ok(ioctl(g.vcpu[0], KVM_X86_SETUP_MCE, &setup) == 0, "ten banks are set up");
	tap_eq(guest_rdmsr(0x179) & 0x1ff, setup & 0x1ff, "the guest reads MCG_CAP");
	m.head.nmsrs = 2;
	m.e[0] = (struct kvm_msr_entry){ .index = 0x17a };
	m.e[1] = (struct kvm_msr_entry){ .index = 0x17b, .data = ~0ull };
	tap_eq(ioctl(g.vcpu[0], KVM_SET_MSRS, &m), 2, "MCG_STATUS and MCG_CTL are taken");
	tap_ok(ioctl(g.vcpu[0], KVM_X86_SET_MCE, &e) == 0, "a corrected error is put into a bank");
	tap_ok(guest_rdmsr(0x400 + 3 * 4 + 1) >> 63 && guest_rdmsr(0x400 + 3 * 4 + 2) == 0x1234, "where the guest finds it");
	e.bank = 10;
	tap_ok(ioctl(g.vcpu[0], KVM_X86_SET_MCE, &e) < 0 && errno == EINVAL, "a bank that is not there: EINVAL");
	setup = 0x100;
	tap_ok(ioctl(g.vcpu[0], KVM_X86_SETUP_MCE, &setup) < 0 && errno == EINVAL, "no banks: EINVAL");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	supported();
	executed();
	lists();
	boot_set();
	guest_side();
	platform_info();
	user_exits();
	mce();
	return tap_done();
}
