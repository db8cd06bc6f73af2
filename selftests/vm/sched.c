// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sched - vCPUs and the host's scheduler: steal time is the time that the thread waited, the preempted flag is right while it
 * waits, and a halted vCPU is polled for as long as the VM or the guest allows.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <linux/kvm_para.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "binstats.h"
#include "tap.h"

#define STEAL_MSR	0x4b564d03
#define POLL_MSR	0x4b564d05
#define HALTS		60

struct steal { u64 ns; u32 version, flags; u8 preempted, pad[47]; };

static const char *node;
static volatile struct steal steal __attribute__((aligned(64)));
static volatile u64 stop, started, seen_preempted, looks, taken;
static volatile u64 result[4];

/* ---- steal time ---- */

static GUEST void spinner(void)
{
	wrmsr_(STEAL_MSR, (u64)&steal | 1);
	started = 1;
	while (!stop) {
		seen_preempted += steal.preempted & 1;
		looks++;
		guest_spin();
	}
	wrmsr_(STEAL_MSR, 0);
	guest_exit();
}

static volatile pid_t runner;

static void *run_thread(void *arg)
{
	runner = syscall(SYS_gettid);
	return (void *)(long)guest_run(arg, 0);
}

/* How long the thread has waited for a CPU, ns. */
static u64 waited(pid_t tid)
{
	char path[64], text[96] = { 0 };
	unsigned long long ran, wait = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", tid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%llu %llu", &ran, &wait) != 2)
		tap_note("no %s", path);
	close(fd);
	return wait;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void stolen(void)
{
	u64 host0, host1, steal0, steal1, until, was_set = 0, samples = 0, diff, tolerance;
	cpu_set_t one, all;
	struct guest g;
	pthread_t t;
	void *ret;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, spinner);
	sched_setaffinity(0, sizeof(one), &one);
	pthread_create(&t, NULL, run_thread, &g);
	while (!started)
		usleep(1000);
	host0 = waited(runner);
	steal0 = steal.ns;
	/* This thread and the vCPU's have one CPU between them: while this one runs the other waits. */
	until = now_ns() + 1500000000;
	while (now_ns() < until) {
		was_set += steal.preempted & 1;
		samples++;
	}
	usleep(50000);
	host1 = waited(runner);
	steal1 = steal.ns;
	stop = 1;
	pthread_join(t, &ret);
	sched_setaffinity(0, sizeof(all), &all);
	diff = host1 - host0 > steal1 - steal0 ? host1 - host0 - (steal1 - steal0) : steal1 - steal0 - (host1 - host0);
	tolerance = (host1 - host0) / 5 + 20000000;
	tap_note("waited %lu ms, stolen %lu ms; flag set in %lu of %lu looks from outside, %lu of %lu from inside",
		 (long)((host1 - host0) / 1000000), (long)((steal1 - steal0) / 1000000), (long)was_set, (long)samples,
		 (long)seen_preempted, (long)looks);
	tap_ok((long)ret == GUEST_DONE && host1 - host0 > 200000000, "a vCPU shares its CPU with a busy thread");
	tap_ok(diff <= tolerance, "steal time is the time that its thread waited");
	tap_ok(!(steal.version & 1), "its version is even");
	tap_ok(was_set > samples / 10 * 9, "the preempted flag is set while it waits");
	tap_ok(looks && seen_preempted <= looks / 100, "and never while it runs");
	guest_destroy(&g);
}

/* ---- halt polling ---- */

static GUEST void on_timer(u64 vector __attribute__((unused)), u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	taken++;
	wrmsr_(0x80b, 0);
}

/* Halts for some 200 us, again and again. */
static GUEST void halter(void)
{
	u64 i;

	guest_apic_on(true);
	wrmsr_(POLL_MSR, result[0]);
	result[1] = rdmsr_(POLL_MSR);
	wrmsr_(0x83e, 0xb);
	wrmsr_(0x832, 0x50);
	for (i = 0; i < HALTS; i++) {
		wrmsr_(0x838, 200000);		/* 1 GHz */
		asm volatile("sti; hlt; cli" : : : "memory");
	}
	guest_exit();
}

struct polls { u64 attempted, successful; };

static struct polls halts(long max_ns, u64 allowed)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HALT_POLL, .args = { max_ns } };
	struct polls p = { 0 };
	struct guest g;

	taken = 0;
	result[0] = allowed;
	guest_irq[0x50] = on_timer;
	guest_create(&g, node, GUEST_IRQCHIP);
	if (max_ns >= 0)
		guest_must(ioctl(g.vm, KVM_ENABLE_CAP, &cap));
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, halter);
	if (guest_run(&g, 0) == GUEST_DONE && taken == HALTS && result[1] == allowed) {
		p.attempted = stat_of(g.vcpu[0], "halt_attempted_poll");
		p.successful = stat_of(g.vcpu[0], "halt_successful_poll");
	} else {
		tap_ok(false, "the guest halts %d times", HALTS);
	}
	tap_note("poll up to %ld ns, guest %s: %lu polls, %lu successful", max_ns, allowed ? "allows" : "forbids", (long)p.attempted,
		 (long)p.successful);
	guest_destroy(&g);
	return p;
}

static void polling(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HALT_POLL };
	struct polls p;
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	tap_ok(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_HALT_POLL) > 0, "KVM_CAP_HALT_POLL is there");
	cap.flags = 1;
	tap_ok(ioctl(g.vm, KVM_ENABLE_CAP, &cap) < 0 && errno == EINVAL, "KVM_CAP_HALT_POLL with flags: EINVAL");
	cap.flags = 0;
	cap.args[0] = 1ull << 32;
	tap_ok(ioctl(g.vm, KVM_ENABLE_CAP, &cap) < 0 && errno == EINVAL, "KVM_CAP_HALT_POLL beyond 32 bits: EINVAL");
	guest_destroy(&g);
	p = halts(0, 1);
	tap_eq(p.attempted, 0, "KVM_CAP_HALT_POLL 0: no halt is polled");
	/* A poll ends when another task wants the CPU, as on a busy host one always may. */
	for (int i = 0; i < 20; i++) {
		p = halts(20000000, 1);
		if (p.successful)
			break;
	}
	tap_ok(p.attempted > 0 && p.successful > 0, "KVM_CAP_HALT_POLL of 20 ms: short halts are polled, and end there");
	p = halts(20000000, 0);
	tap_eq(p.attempted, 0, "a guest that polls itself (MSR 4b564d05) is not polled");
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	stolen();
	polling();
	return tap_done();
}
