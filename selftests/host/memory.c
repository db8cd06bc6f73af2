// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guests and the host's memory: what a VM costs is charged to its control group, a group's limit kills its guests and nobody
 * else, and so does the end of the host's memory.
 *
 * NODES: lodge
 * BOX: --mem 1G
 * HOST: box
 * TIMEOUT: 240
 */
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guest.h"
#include "tap.h"

#define GROUP		"/sys/fs/cgroup/lodge-test"
#define GPA		0x40000000ul
#define LARGE		(2ul << 20)
#define ROUNDS		3

static const char *node;
static volatile u64 beats, reached, limit, step;

/* ---- guests ---- */

static GUEST void spin(void)
{
	for (;;)
		beats++;
}

/* A byte every @step bytes, @limit bytes in all. */
static GUEST void eat(void)
{
	for (reached = 0; reached < limit; reached += step)
		*(volatile u8 *)(GPA + reached) = 1;
	guest_exit();
}

/* ---- the host ---- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* The number behind @key in a file of the group, or the first one. */
static u64 number(const char *file, const char *key)
{
	char path[128], line[128];
	u64 v = 0;
	FILE *f;

	snprintf(path, sizeof(path), GROUP "/%s", file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (!key || (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ' ')) {
			v = strtoull(line + (key ? strlen(key) + 1 : 0), NULL, 10);
			break;
		}
	}
	if (f)
		fclose(f);
	return v;
}

static bool group_make(const char *max)
{
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		return false;
	put(GROUP "/memory.swap.max", "0");
	return put(GROUP "/memory.max", max);
}

static void group_enter(void)
{
	if (!put(GROUP "/cgroup.procs", "0"))
		_exit(100);
}

/* In a child: a guest that touches @bytes of memory. */
static void eater(u64 bytes)
{
	u8 *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct guest g;

	put("/proc/self/oom_score_adj", "1000");
	if (p == MAP_FAILED)
		_exit(101);
	madvise(p, bytes, MADV_HUGEPAGE);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_slot(&g, 9, 0, GPA, p, bytes);
	limit = bytes;
	step = 4096;
	guest_start64(&g, 0, eat);
	guest_run(&g, 0);
	_exit(0);
}

static int status_of(pid_t pid)
{
	int status = 0;

	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static volatile bool quit;

static void *spinner(void *arg)
{
	struct guest *g = arg;

	while (!quit)
		if (ioctl(g->vcpu[0], KVM_RUN, 0) < 0 && errno != EINTR)
			return (void *)(long)errno;
	return NULL;
}

static bool beating(void)
{
	u64 b = beats;
	int i;

	for (i = 0; i < 300 && beats == b; i++)
		usleep(10000);
	return i < 300;
}

static void charged(void)
{
	int i, fds[8], ready[2], go[2];
	u64 before, with;
	struct guest g;
	pid_t pid;
	char c;

	if (!group_make("max") || pipe(ready) || pipe(go)) {
		tap_skip("a VM is charged to its control group", "no cgroup v2 with memory");
		return;
	}
	pid = fork();
	if (!pid) {
		group_enter();
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		g.sys = open(node, O_RDWR);
		for (i = 0; i < 8; i++) {
			fds[i] = guest_must(ioctl(g.sys, KVM_CREATE_VM, 0));
			guest_must(ioctl(fds[i], KVM_CREATE_IRQCHIP, 0));
			guest_must(ioctl(fds[i], KVM_CREATE_VCPU, 0));
		}
		if (write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	guest_must(read(ready[0], &c, 1));
	before = number("memory.stat", "kernel");
	guest_must(write(go[1], "x", 1));
	guest_must(read(ready[0], &c, 1));
	with = number("memory.stat", "kernel");
	tap_note("kernel memory of the group: %llu bytes, with eight VMs %llu", (unsigned long long)before, (unsigned long long)with);
	/* The pages alone that a VM with a vCPU must have: stage 2's root, VMCB, permission map, run and I/O pages, registers. */
	tap_ok(with >= before + 8 * 8 * 4096, "a VM is charged to its control group");
	guest_must(write(go[1], "x", 1));
	tap_eq(status_of(pid), 0, "and its process ends well");
}

/* The group's kernel memory without the host's own page tables. */
static u64 without_tables(void)
{
	return number("memory.stat", "kernel") - number("memory.stat", "pagetables");
}

static void tables_charged(void)
{
	u64 before;
	pid_t pid;

	if (!group_make("max")) {
		tap_skip("stage-2 tables are charged as well", "no cgroup v2 with memory");
		return;
	}
	pid = fork();
	if (!pid) {
		u64 size = 1024ul << 20;
		u8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		struct guest g;

		group_enter();
		madvise(p, size, MADV_NOHUGEPAGE);
		guest_create(&g, node, 0);
		guest_vcpu(&g, 0);
		guest_slot(&g, 9, 0, GPA, p, size);
		before = without_tables();
		limit = size;
		step = LARGE;
		guest_start64(&g, 0, eat);
		if (guest_run(&g, 0) != GUEST_DONE)
			_exit(2);
		/* One small page in each of 512 tables.  The group's counters lag by some dozens of pages. */
		_exit(without_tables() < before + 300 * 4096);
	}
	tap_eq(status_of(pid), 0, "stage-2 tables are charged as well");
}

static void group_limit(void)
{
	int i, r, killed = 0;
	u64 kills;

	if (!group_make("48M")) {
		tap_skip("a group's limit kills its guest", "no cgroup v2 with memory");
		return;
	}
	kills = number("memory.events", "oom_kill");
	for (i = 0; i < ROUNDS; i++) {
		pid_t pid = fork();

		if (!pid) {
			group_enter();
			eater(256ul << 20);
		}
		r = status_of(pid);
		killed += r == -SIGKILL;
		if (r != -SIGKILL)
			tap_note("round %d: status %d", i, r);
	}
	tap_eq(killed, ROUNDS, "a group's limit kills its guests");
	tap_ok(number("memory.events", "oom_kill") >= kills + ROUNDS, "by the group's own OOM killer");
	tap_ok(beating(), "a guest outside of it goes on");
}

static void host_limit(void)
{
	pid_t pid = fork();

	/* Two and a half times what this machine has, in large pages, which go fast. */
	if (!pid)
		eater(2560ul << 20);
	tap_eq(status_of(pid), -SIGKILL, "at the end of the host's memory the guest that eats it is killed");
	tap_ok(beating(), "and another goes on");
}

static void nothing(int sig __attribute__((unused)))
{
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = nothing };
	struct guest g;
	pthread_t t;
	void *error;

	node = tap_node(argc, argv);
	sigaction(SIGUSR1, &act, NULL);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, spin);
	pthread_create(&t, NULL, spinner, &g);
	tap_ok(beating(), "a guest runs beside all that");
	put("/proc/self/oom_score_adj", "-1000");
	charged();
	tables_charged();
	group_limit();
	host_limit();
	rmdir(GROUP);
	quit = true;
	g.run[0]->immediate_exit = 1;
	pthread_kill(t, SIGUSR1);
	pthread_join(t, &error);
	tap_eq((long)error, 0, "to the end, without an error");
	guest_destroy(&g);
	return tap_done();
}
