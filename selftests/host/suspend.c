// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host sleeps (ACPI S3) while guests run: its CPUs lose everything, virtualization included, and get it back.
 *
 * selftests/vm/life.c goes through the kernel's own suspend test; here the emulated machine's power really goes, and the clock
 * chip's alarm brings it back.
 *
 * NODES: lodge
 * BOX: --smp 2 --bzimage
 * HOST: box
 * TIMEOUT: 180
 */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "guest.h"
#include "tap.h"

#define CPUS	2
#define ROUNDS	2

static const char *node;
static volatile u64 beats[CPUS], ticks;
static volatile bool quit;
static struct guest g;

static GUEST void spin(void)
{
	for (;;)
		beats[0]++;
}

static GUEST void tick(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	ticks++;
	apic_write(0xb0, 0);
}

/* Halts, woken by its LAPIC's periodic timer. */
static GUEST void sleeper(void)
{
	guest_apic_on(false);
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 1 << 17 | 0x40);
	apic_write(0x380, 10000000);
	for (;;) {
		asm volatile("sti; hlt; cli");
		beats[1]++;
	}
}

static void nothing(int sig __attribute__((unused)))
{
}

static void *run_thread(void *arg)
{
	long id = (long)arg;

	while (!quit)
		if (ioctl(g.vcpu[id], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			return (void *)(long)errno;
	return NULL;
}

static bool beating(void)
{
	u64 a = beats[0], b = beats[1];
	int i;

	for (i = 0; i < 500 && (beats[0] == a || beats[1] == b); i++)
		usleep(10000);
	return i < 500;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static double clock_of(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * Sleep until the alarm; how long this machine was away, or -1.  An alarm that goes off before the machine is asleep wakes nobody,
 * and a slow machine takes seconds to get there.
 */
static double sleep_once(void)
{
	double away = clock_of(CLOCK_BOOTTIME) - clock_of(CLOCK_MONOTONIC);
	const char *stretch = getenv("STRETCH");
	char alarm[16];

	snprintf(alarm, sizeof(alarm), "+%d", 8 * (stretch ? atoi(stretch) : 1));
	put("/sys/class/rtc/rtc0/wakealarm", "0");
	if (!put("/sys/class/rtc/rtc0/wakealarm", alarm) || !put("/sys/power/state", "mem"))
		return -1;
	return clock_of(CLOCK_BOOTTIME) - clock_of(CLOCK_MONOTONIC) - away;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = nothing };
	int i, failed = 0, still = 0;
	pthread_t t[CPUS];
	long bad = 0, c;
	void *error;
	u64 before;

	node = tap_node(argc, argv);
	if (!put("/sys/power/mem_sleep", "deep"))
		tap_skip_all("this machine has no S3");
	sigaction(SIGUSR1, &act, NULL);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_irq[0x40] = tick;
	for (c = 0; c < CPUS; c++) {
		guest_vcpu(&g, c);
		guest_start64(&g, c, c ? sleeper : spin);
		pthread_create(&t[c], NULL, run_thread, (void *)c);
	}
	tap_ok(beating(), "one vCPU spins, another halts between its timer's ticks");
	for (i = 0; i < ROUNDS; i++) {
		double away = sleep_once();

		tap_note("away for %.1f s", away);
		failed += away < 1;
		still += beating();
	}
	tap_eq(failed, 0, "the machine sleeps, and its alarm wakes it");
	tap_eq(still, ROUNDS, "both go on afterwards");
	before = ticks;
	for (i = 0; i < 500 && ticks == before; i++)
		usleep(10000);
	tap_ok(ticks > before, "and the timer ticks");
	quit = true;
	for (c = 0; c < CPUS; c++) {
		g.run[c]->immediate_exit = 1;
		pthread_kill(t[c], SIGUSR1);
		pthread_join(t[c], &error);
		bad |= (long)error;
	}
	tap_eq(bad, 0, "no vCPU saw an error");
	guest_destroy(&g);
	return tap_done();
}
