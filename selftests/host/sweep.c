// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every MSR and every port, tried by a guest, against the lists below: nothing else answers, and what they list does.
 *
 * An MSR that is missing from the permission map's intercepts would give the guest the host's own register; one that the
 * module forgot to refuse is a promise that nobody made.  Each MSR is read, and what was read (0 if nothing) is written back;
 * the guest notes what did not fault.  While it writes, the host's own copies of the registers that matter are compared.
 *
 * For ports the question is which the module answers itself: all others must come out to the VMM, byte by byte.
 *
 * NODES: lodge
 * BOX: --modprobe msr
 * TIMEOUT: 240
 */
#include <sched.h>

#include "guest.h"
#include "tap.h"

enum { R = 1, W = 2, MAYBE = 4 };	/* MAYBE: as the CPU or the clock has it */

struct allowed {
	u32 first, last;
	u8 may;
};

static const struct allowed msrs[] = {
	{ 0x0, 0x1, R },				/* P5_MC_ADDR, P5_MC_TYPE: 0 */
	{ 0x10, 0x10, R | W },			/* TSC */
	{ 0x11, 0x12, R | W },			/* kvmclock, the old numbers */
	{ 0x17, 0x17, R },			/* PLATFORM_ID */
	{ 0x1b, 0x1b, R | W },			/* APIC_BASE */
	{ 0x2a, 0x2a, R | W },			/* EBL_CR_POWERON: 0 */
	{ 0x34, 0x34, R },			/* SMI_COUNT */
	{ 0x3a, 0x3a, R },			/* FEAT_CTL */
	{ 0x3b, 0x3b, R | W | MAYBE },		/* TSC_ADJUST */
	{ 0x48, 0x48, R | W | MAYBE },		/* SPEC_CTRL */
	{ 0x49, 0x49, W | MAYBE },		/* PRED_CMD */
	{ 0x79, 0x79, R | W },			/* UCODE_WRITE: ignored */
	{ 0x8b, 0x8b, R | W },			/* UCODE_REV */
	{ 0xc1, 0xc2, R | W },			/* PERFCTR: 0 */
	{ 0xce, 0xce, R },			/* PLATFORM_INFO */
	{ 0xfe, 0xfe, R },			/* MTRRcap */
	{ 0x10a, 0x10a, R | MAYBE },		/* ARCH_CAPABILITIES */
	{ 0x11e, 0x11e, R | W },		/* BBL_CR_CTL3: 0 */
	{ 0x140, 0x140, R | W },		/* MISC_FEATURES_ENABLES: 0 */
	{ 0x174, 0x176, R | W },		/* SYSENTER */
	{ 0x179, 0x179, R },			/* MCG_CAP */
	{ 0x17a, 0x17a, R | W },		/* MCG_STATUS */
	{ 0x17b, 0x17b, R | W | MAYBE },	/* MCG_CTL */
	{ 0x186, 0x187, R | W },		/* EVNTSEL: 0 */
	{ 0x198, 0x198, R },			/* PERF_STATUS: 0 */
	{ 0x1a0, 0x1a0, R | W },		/* MISC_ENABLE */
	{ 0x1d9, 0x1d9, R | W },		/* DEBUGCTL: 0 */
	{ 0x1db, 0x1de, R },			/* last branch: 0 */
	{ 0x1fc, 0x1fc, R | W },		/* POWER_CTL */
	{ 0x200, 0x20f, R | W },		/* MTRRs, variable */
	{ 0x250, 0x250, R | W },
	{ 0x258, 0x259, R | W },
	{ 0x268, 0x26f, R | W },
	{ 0x277, 0x277, R | W },		/* PAT */
	{ 0x2ff, 0x2ff, R | W },		/* MTRRdefType */
	{ 0x400, 0x47f, R | W },		/* machine check banks */
	{ 0x6e0, 0x6e0, R | W },		/* TSC_DEADLINE */
	{ 0xda0, 0xda0, R | W | MAYBE },	/* XSS: 0 */
	{ 0x4b564d00, 0x4b564d01, R | W },	/* kvmclock */
	{ 0x4b564d02, 0x4b564d02, R | W },	/* asynchronous page faults */
	{ 0x4b564d03, 0x4b564d03, R | W | MAYBE },	/* steal time */
	{ 0x4b564d04, 0x4b564d04, R | W },	/* PV EOI */
	{ 0x4b564d05, 0x4b564d05, R | W | MAYBE },	/* poll control */
	{ 0x4b564d06, 0x4b564d07, R | W },	/* asynchronous page faults: the interrupt, its acknowledgement */
	{ 0xc0000080, 0xc0000080, R | W },	/* EFER */
	{ 0xc0000081, 0xc0000084, R | W },	/* system calls */
	{ 0xc0000100, 0xc0000102, R | W },	/* FS, GS, KERNEL_GS */
	{ 0xc0000103, 0xc0000103, R | W | MAYBE },	/* TSC_AUX */
	{ 0xc0010000, 0xc0010007, R | W },	/* K7 counters: 0 */
	{ 0xc0010010, 0xc0010010, R | W },	/* SYSCFG: 0 */
	{ 0xc0010015, 0xc0010015, R | W },	/* HWCR */
	{ 0xc001001a, 0xc001001a, R },		/* TOP_MEM: 0 */
	{ 0xc001001d, 0xc001001d, R },		/* TOP_MEM2: 0 */
	{ 0xc001001f, 0xc001001f, R | W },	/* NB_CFG: 0 */
	{ 0xc0010020, 0xc0010020, W },		/* PATCH_LOADER: ignored */
	{ 0xc0010055, 0xc0010055, R | W },	/* INT_PENDING: 0 */
	{ 0xc0010058, 0xc0010058, R },		/* MMIO_CONF_BASE: 0 */
	{ 0xc0010112, 0xc0010113, R },		/* TSEG: 0 */
	{ 0xc0010114, 0xc0010114, R },		/* VM_CR: 0 */
	{ 0xc0010115, 0xc0010115, R | W },	/* IGNNE: 0 */
	{ 0xc0010117, 0xc0010117, R | W },	/* VM_HSAVE_PA: stored */
	{ 0xc0010140, 0xc0010141, R | MAYBE },	/* OSVW */
	{ 0xc0011022, 0xc0011022, R | W },	/* DC_CFG: 0 */
	{ 0xc0011029, 0xc0011029, R | W },	/* DE_CFG */
	{ 0xc001102a, 0xc001102a, R | W },	/* BU_CFG2: 0 */
};

/* With the LAPIC in x2APIC mode (SDM 3A table 11-6): EOI, self IPI are write-only; a command may fail for its value. */
static const struct allowed x2apic[] = {
	{ 0x802, 0x803, R },			/* ID, version */
	{ 0x808, 0x808, R | W },		/* TPR */
	{ 0x80a, 0x80a, R },			/* PPR */
	{ 0x80b, 0x80b, W },			/* EOI */
	{ 0x80d, 0x80d, R },			/* LDR */
	{ 0x80f, 0x80f, R | W },		/* SVR */
	{ 0x810, 0x827, R },			/* ISR, TMR, IRR */
	{ 0x828, 0x828, R | W },		/* ESR: 0 */
	{ 0x82f, 0x82f, R | W | MAYBE },	/* LVT CMCI */
	{ 0x830, 0x830, R | W },		/* ICR */
	{ 0x832, 0x838, R | W },		/* LVTs, initial count */
	{ 0x839, 0x839, R },			/* current count */
	{ 0x83e, 0x83e, R | W },		/* divider */
	{ 0x83f, 0x83f, W },			/* self IPI */
};

static const struct allowed ports[] = {
	{ 0x20, 0x21, R | W }, { 0x40, 0x43, R | W }, { 0x61, 0x61, R | W }, { 0xa0, 0xa1, R | W }, { 0x4d0, 0x4d1, R | W },
};

static const struct { u32 first, count; } ranges[] = {
	{ 0, 0x2000 }, { 0x40000000, 0x100 }, { 0x4b564d00, 0x100 }, { 0xc0000000, 0x2000 }, { 0xc0010000, 0x2000 },
};

/* ---- the guest ---- */

static volatile u64 first, count, at;
static volatile bool faulted;
static volatile u8 seen[0x10000];
static struct guest g;
static const char *node;

/* RDMSR, WRMSR and MSRs of a VM that is not there: two bytes long, skipped. */
static GUEST void skip(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	faulted = true;
	frame[0] += 2;
}

static GUEST void msr_sweep(void)
{
	u64 i, v;

	for (i = 0; i < count; i++) {
		u32 msr = first + i;
		u8 got = 0;

		faulted = false;
		v = rdmsr_(msr);
		if (!faulted)
			got |= R;
		else
			v = 0;
		faulted = false;
		wrmsr_(msr, v);
		if (!faulted)
			got |= W;
		seen[i] = got;
	}
	guest_exit();
}

static GUEST void port_sweep(void)
{
	for (at = 0; at < 0x10000; at++)
		if (at != GUEST_EXIT_PORT && at != GUEST_EXIT_PORT + 1)
			inb(at);
	for (at = 0; at < 0x10000; at++)
		if (at != GUEST_EXIT_PORT && at != GUEST_EXIT_PORT + 1)
			outb(at, at == 0x21 || at == 0xa1 ? 0xff : 0);
	guest_exit();
}

/* ---- the host ---- */

static u8 may(const struct allowed *list, unsigned int n, u32 what)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (what >= list[i].first && what <= list[i].last)
			return list[i].may;
	return 0;
}

/* How many of [@start, @start + @n) differ from the list. */
static unsigned int compare(const char *kind, const struct allowed *list, unsigned int len, u32 start, u32 n)
{
	unsigned int i, bad = 0;

	for (i = 0; i < n; i++) {
		u8 want = may(list, len, start + i), got = seen[i];

		if ((got & ~want) || (!(want & MAYBE) && got != want)) {
			if (bad++ < 40)
				tap_note("%s %#x: %s%s, expected %s%s", kind, start + i, got & R ? "r" : "-", got & W ? "w" : "-",
					 want & R ? "r" : "-", want & W ? "w" : "-");
		}
	}
	return bad;
}

/* Of the host itself, on CPU 0: what a guest's write must not reach. */
static const u32 host_msrs[] = { 0x1b, 0x174, 0x175, 0x176, 0x277, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
				 0xc0010117 };
#define HOST_MSRS	(sizeof(host_msrs) / sizeof(host_msrs[0]))

static bool host_read(u64 v[HOST_MSRS])
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY);
	unsigned int i;
	bool good = fd >= 0;

	for (i = 0; good && i < HOST_MSRS; i++)
		good = pread(fd, &v[i], 8, host_msrs[i]) == 8;
	if (fd >= 0)
		close(fd);
	return good;
}

static void sweep_range(u32 start, u32 n, const struct allowed *list, unsigned int len)
{
	u64 before[HOST_MSRS], after[HOST_MSRS];
	bool known = host_read(before);

	first = start;
	count = n;
	guest_start64(&g, 0, msr_sweep);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the guest did not get through");
	tap_eq(compare("MSR", list, len, start, n), 0, "MSRs answer as the list says");
	tap_note("from %#x, %u of them", start, n);
	if (!known || !host_read(after))
		tap_skip("the host's own are untouched", "there is no /dev/cpu/0/msr");
	else
		tap_ok(!memcmp(before, after, sizeof(before)), "the host's own are untouched");
}

static void sweep_msrs(void)
{
	struct kvm_mp_state up = { KVM_MP_STATE_RUNNABLE };
	unsigned int i;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_irq[13] = skip;
	for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		sweep_range(ranges[i].first, ranges[i].count, msrs, sizeof(msrs) / sizeof(msrs[0]));
	ioctl(g.vcpu[0], KVM_SET_MP_STATE, &up);
	guest_destroy(&g);
}

static GUEST void x2apic_sweep(void)
{
	guest_apic_on(true);
	msr_sweep();
}

static void sweep_x2apic(void)
{
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	first = 0x800;
	count = 0x100;
	guest_start64(&g, 0, x2apic_sweep);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the guest did not get through");
	tap_eq(compare("x2APIC MSR", x2apic, sizeof(x2apic) / sizeof(x2apic[0]), 0x800, 0x100), 0,
	       "x2APIC registers answer as the list says");
	guest_destroy(&g);
}

static void sweep_ports(void)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_run *run;
	u64 strange = 0;
	int why;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_must(ioctl(g.vm, KVM_CREATE_PIT2, &pit));
	guest_vcpu(&g, 0);
	run = g.run[0];
	memset((void *)seen, R | W, sizeof(seen));
	seen[GUEST_EXIT_PORT] = seen[GUEST_EXIT_PORT + 1] = 0;
	guest_start64(&g, 0, port_sweep);
	while ((why = guest_run(&g, 0)) == KVM_EXIT_IO) {
		if (run->io.port != at || run->io.size != 1 || run->io.count != 1)
			strange++;
		/* It came out: the module does not answer it. */
		seen[run->io.port] &= run->io.direction == KVM_EXIT_IO_IN ? ~R : ~W;
	}
	tap_eq(why, GUEST_DONE, "a guest tries every port");
	tap_eq(strange, 0, "each that comes out is the one that was tried, one byte");
	tap_eq(compare("port", ports, sizeof(ports) / sizeof(ports[0]), 0, 0x10000), 0,
	       "the module answers the ports of the list, no other");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	cpu_set_t cpu0;

	node = tap_node(argc, argv);
	CPU_ZERO(&cpu0);
	CPU_SET(0, &cpu0);
	sched_setaffinity(0, sizeof(cpu0), &cpu0);
	sweep_msrs();
	sweep_x2apic();
	sweep_ports();
	return tap_done();
}
