// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest time: the TSC and what sets it, kvmclock, KVM_GET/SET_CLOCK, steal time.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <pthread.h>
#include <time.h>

#include "guest.h"
#include "tap.h"

#define TSC		0x10
#define TSC_ADJUST	0x3b
#define WALL_CLOCK	0x4b564d00
#define SYSTEM_TIME	0x4b564d01
#define STEAL_TIME	0x4b564d03
#define CPUS		2

struct pvclock { u32 version, pad; u64 tsc, ns; u32 mul; int8_t shift; u8 flags, pad2[2]; };
struct wall { u32 version, sec, nsec; };
struct steal { u64 ns; u32 version, flags; u8 preempted, pad[47]; };

static const char *node;
static struct guest g;
static volatile struct pvclock page[CPUS] __attribute__((aligned(64)));
static volatile struct wall wall __attribute__((aligned(64)));
static volatile struct steal steal __attribute__((aligned(64)));
static volatile u64 in, a, b, c, d;
static volatile bool stop;

/* Time by @p's page, as the guest side of the interface computes it. */
GUEST_INLINE u64 clock_read(volatile struct pvclock *p)
{
	u64 ns, delta;
	u32 version;

	do {
		version = p->version & ~1u;
		asm volatile("lfence" : : : "memory");
		delta = rdtsc_() - p->tsc;
		delta = p->shift < 0 ? delta >> -p->shift : delta << p->shift;
		ns = p->ns + (u64)((unsigned __int128)delta * p->mul >> 32);
		asm volatile("lfence" : : : "memory");
	} while (version != p->version);
	return ns;
}

static GUEST void read_tsc(void)
{
	for (;;) {
		a = rdtsc_();
		b = rdmsr_(TSC);
		c = rdtsc_();
		d = rdmsr_(TSC_ADJUST);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void write_tsc(void)
{
	for (;;) {
		wrmsr_(TSC, in);
		a = rdtsc_();
		d = rdmsr_(TSC_ADJUST);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void write_adjust(void)
{
	for (;;) {
		b = rdtsc_();
		wrmsr_(TSC_ADJUST, in);
		a = rdtsc_();
		d = rdmsr_(TSC_ADJUST);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void clock_on(void)
{
	wrmsr_(SYSTEM_TIME, (u64)&page[0] | 1);
	wrmsr_(WALL_CLOCK, (u64)&wall);
	outb(GUEST_EXIT_PORT, 0);
	for (;;) {
		a = clock_read(&page[0]);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void clock_off(void)
{
	wrmsr_(SYSTEM_TIME, 0);
	outb(GUEST_EXIT_PORT, 0);
}

static GUEST void bad_msrs(void)
{
	wrmsr_(STEAL_TIME, (u64)&steal | 3);
	outb(GUEST_EXIT_PORT, 0);
}

static GUEST void steal_on(void)
{
	wrmsr_(STEAL_TIME, (u64)&steal | 1);
	for (;;)
		outb(GUEST_EXIT_PORT, 0);
}

static volatile u64 faults;

static GUEST void on_gp(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	faults++;
	frame[0] += 2;
}

static void run(unsigned int cpu, void (*fn)(void))
{
	guest_start64(&g, cpu, fn);
	if (guest_run(&g, cpu) != GUEST_DONE)
		guest_die("the guest did not finish");
}

static void again(unsigned int cpu)
{
	if (guest_run(&g, cpu) != GUEST_DONE)
		guest_die("the guest did not finish");
}

static void begin(unsigned int cpus)
{
	guest_create(&g, node, GUEST_IRQCHIP);
	for (unsigned int i = 0; i < cpus; i++)
		guest_vcpu(&g, i);
	guest_irq[13] = on_gp;
}

static void set_msr(unsigned int cpu, u32 index, u64 v)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = { .head.nmsrs = 1, .e = { .index = index, .data = v } };

	if (ioctl(g.vcpu[cpu], KVM_SET_MSRS, &m) != 1)
		guest_die("MSR %x", index);
}

static u64 get_msr(unsigned int cpu, u32 index)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = { .head.nmsrs = 1, .e = { .index = index } };

	if (ioctl(g.vcpu[cpu], KVM_GET_MSRS, &m) != 1)
		guest_die("MSR %x", index);
	return m.e.data;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Is @x in [@lo, @lo + @span)? */
static bool near(u64 x, u64 lo, u64 span)
{
	return x - lo < span;
}

static void tsc(void)
{
	u64 khz, hz, before, t0, t1;

	begin(2);
	khz = guest_must(ioctl(g.vcpu[0], KVM_GET_TSC_KHZ, 0));
	hz = khz * 1000;
	tap_ok(khz > 1000, "the vCPU's TSC has a rate (%llu kHz)", (unsigned long long)khz);
	tap_ok(ioctl(g.vcpu[0], KVM_SET_TSC_KHZ, khz) == 0, "which may be set as it is");
	run(0, read_tsc);
	tap_ok(a <= b && b <= c, "RDTSC and RDMSR show the same counter");
	before = c;
	again(0);
	tap_ok(a > before, "which goes on over exits");
	tap_ok(a < 300 * hz, "and began near zero when the vCPU was made");
	run(1, read_tsc);
	t0 = c;
	again(0);
	t1 = a;
	again(1);
	tap_ok(t0 < t1 && t1 < a, "the counters of two vCPUs agree");

	set_msr(0, TSC, 0);
	set_msr(1, TSC, 0);
	again(0);
	t0 = c;
	again(1);
	t1 = a;
	again(0);
	tap_ok(t0 < t1 && t1 < a, "and still do after user space has set both to zero");

	in = 1ull << 50;
	run(0, write_tsc);
	tap_ok(near(a, in, 100 * hz), "a guest's write sets the counter");
	tap_ok(d != 0, "and shows in TSC_ADJUST");
	in = d + (1ull << 40);
	before = a;
	run(0, write_adjust);
	tap_ok(near(a - b, 1ull << 40, 100 * hz), "a write of TSC_ADJUST moves the counter by the difference");
	tap_eq(d, in, "and is read back");
	before = a;
	set_msr(0, TSC_ADJUST, 5);
	run(0, read_tsc);
	tap_ok(near(a, before, 100 * hz) && d == 5, "user space's write of TSC_ADJUST does not");
	tap_eq(get_msr(0, TSC_ADJUST), 5, "and is read back");
	guest_destroy(&g);
}

static void offset_attribute(void)
{
	u64 off = 0, other;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (u64)&off };

	begin(1);
	tap_ok(ioctl(g.vcpu[0], KVM_HAS_DEVICE_ATTR, &attr) == 0, "the TSC offset is an attribute of the vCPU");
	tap_ok(ioctl(g.vcpu[0], KVM_GET_DEVICE_ATTR, &attr) == 0, "it can be read");
	run(0, read_tsc);
	other = a;
	off += 1ull << 52;
	tap_ok(ioctl(g.vcpu[0], KVM_SET_DEVICE_ATTR, &attr) == 0, "and set");
	again(0);
	tap_ok(near(a - other, 1ull << 52, 1ull << 42), "which moves the guest's counter");
	attr.attr = 77;
	tap_ok(ioctl(g.vcpu[0], KVM_HAS_DEVICE_ATTR, &attr) < 0 && errno == ENXIO, "an unknown attribute: ENXIO");
	guest_destroy(&g);
}

static void kvmclock(void)
{
	struct kvm_clock_data data = { 0 };
	u64 h0, h1, g0, g1;
	struct timespec real;

	begin(1);
	tap_ok(ioctl(g.vcpu[0], KVM_KVMCLOCK_CTRL, 0) < 0 && errno == EINVAL, "KVMCLOCK_CTRL without kvmclock: EINVAL");
	run(0, clock_on);
	tap_ok(!(page[0].version & 1) && page[0].version && page[0].mul, "the page is filled when the MSR is written");
	again(0);
	h0 = now_ns();
	g0 = a;
	usleep(300000);
	again(0);
	h1 = now_ns();
	g1 = a;
	tap_ok(g0 < 100000000000ull, "the clock began with the VM");
	tap_note("host %llu ns, guest %llu ns", (unsigned long long)(h1 - h0), (unsigned long long)(g1 - g0));
	/* MTTCG's virtual TSC and clocks may be a little apart */
	tap_ok(g1 - g0 > (h1 - h0) / 2 && g1 - g0 < (h1 - h0) * 2, "and runs as fast as the host's");
	clock_gettime(CLOCK_REALTIME, &real);
	tap_ok(near(wall.sec + g1 / 1000000000 + 30, real.tv_sec, 60), "wall clock plus clock is the time of day");
	tap_ok(ioctl(g.vm, KVM_GET_CLOCK, &data) == 0 && near(data.clock, g1, 20000000000ull), "KVM_GET_CLOCK gives the same clock");
	data.clock = 5000000000000ull;
	data.flags = 0;
	tap_ok(ioctl(g.vm, KVM_SET_CLOCK, &data) == 0, "KVM_SET_CLOCK is taken");
	again(0);
	tap_ok(near(a, 5000000000000ull, 20000000000ull), "and the guest follows at once");
	data.flags = 0x100;
	tap_ok(ioctl(g.vm, KVM_SET_CLOCK, &data) < 0 && errno == EINVAL, "an unknown flag: EINVAL");
	tap_ok(!(page[0].flags & 2), "nobody says that the guest was stopped");
	tap_ok(ioctl(g.vcpu[0], KVM_KVMCLOCK_CTRL, 0) == 0, "KVMCLOCK_CTRL with kvmclock");
	again(0);
	tap_ok(page[0].flags & 2, "tells the guest that it was stopped");
	run(0, clock_off);
	g0 = page[0].version;
	guest_must(ioctl(g.vm, KVM_SET_CLOCK, &(struct kvm_clock_data){ .clock = 1 }));
	run(0, read_tsc);
	tap_eq(page[0].version, g0, "switched off, the page is left alone");
	guest_destroy(&g);
}

/* ---- two vCPUs in step ---- */

static volatile u64 last, backwards, reads;
static volatile int turn;

/* By turns, so that every read is after the other's last one. */
GUEST_INLINE void ping(int cpu)
{
	wrmsr_(SYSTEM_TIME, (u64)&page[cpu] | 1);
	outb(GUEST_EXIT_PORT, 0);
	while (!stop) {
		u64 t;

		while (turn != cpu && !stop)
			asm volatile("pause");
		t = clock_read(&page[cpu]);
		if (t + 1000000 < last)	/* a millisecond: unstable hosts only promise about that */
			backwards++;
		last = t;
		reads++;
		turn = !cpu;
	}
	guest_exit();
}

static GUEST void ping0(void)
{
	ping(0);
}

static GUEST void ping1(void)
{
	ping(1);
}

static void *vcpu_thread(void *arg)
{
	again((unsigned long)arg);
	return NULL;
}

static void in_step(void)
{
	pthread_t t[CPUS];
	unsigned long i;

	begin(CPUS);
	run(0, ping0);
	run(1, ping1);
	for (i = 0; i < CPUS; i++)
		pthread_create(&t[i], NULL, vcpu_thread, (void *)i);
	sleep(2);
	stop = true;
	for (i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
	tap_note("%llu reads", (unsigned long long)reads);
	tap_ok(reads > 10, "two vCPUs read the clock by turns");
	tap_eq(backwards, 0, "and it never falls back between them");
	if (page[0].flags & 1)
		tap_ok(page[0].ns == page[1].ns && page[0].tsc == page[1].tsc, "a stable clock is the same on all pages");
	else
		tap_skip("a stable clock is the same on all pages", "the host's clock source is not the TSC");
	guest_destroy(&g);
}

static void steal_time(void)
{
	u64 before;
	u32 version;

	begin(1);
	run(0, bad_msrs);
	tap_eq(faults, 1, "reserved bits of the steal time MSR are #GP");
	run(0, steal_on);
	again(0);
	tap_ok(steal.version && !(steal.version & 1), "steal time is filled");
	tap_eq(steal.preempted, 0, "a running vCPU is not preempted");
	before = steal.ns;
	version = steal.version;
	again(0);
	tap_ok(steal.ns >= before && steal.version >= version, "and never shrinks");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	tsc();
	offset_attribute();
	kvmclock();
	in_step();
	steal_time();
	return tap_done();
}
