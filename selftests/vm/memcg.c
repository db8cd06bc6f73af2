// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * memcg - the page tables of stage 2 are the guest's own memory: charged to the VMM's cgroup, given back with the VM, and a
 * limit stops that VMM alone.
 *
 * One page of the host stands behind hundreds of slots that lie 2 MiB apart: each costs a page table of its own, and next to
 * nothing else.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <limits.h>
#include <signal.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guest.h"
#include "tap.h"

#define CGROUP	"/sys/fs/cgroup"
#define GROUP	CGROUP "/memcg-test"
#define FIRST	16
#define SLOTS	1024
#define GPA	0x100000000ul
#define STEP	0x200000ul

static const char *node;
static volatile u64 count, sum;
static u64 dir[4][512] __attribute__((aligned(4096)));

static GUEST void reader(void)
{
	u64 i;

	for (i = 0; i < count; i++)
		sum += *(volatile u64 *)(GPA + i * STEP);
	guest_exit();
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static long get(const char *path)
{
	char text[64] = { 0 };
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	close(fd);
	return atol(text);
}

/* A VM whose guest reads @n slots.  0, or the errno of KVM_RUN. */
static int reads(struct guest *g, void *page, u64 n)
{
	unsigned int i, j;
	int r = 0;

	for (i = 0; i < 4; i++) {
		for (j = 0; j < 512; j++)
			dir[i][j] = (GPA + ((u64)i << 30 | (u64)j << 21)) | 0xe7;
		guest_pdpt[4 + i] = (u64)dir[i] | 0x27;
	}
	guest_create(g, node, GUEST_IRQCHIP);
	guest_vcpu(g, 0);
	guest_start64(g, 0, reader);
	for (i = 0; i < n; i++)
		guest_slot(g, FIRST + i, 0, GPA + i * STEP, page, 4096);
	count = n;
	while (ioctl(g->vcpu[0], KVM_RUN, 0) < 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		r = errno;
		break;
	}
	return r;
}

/* In a child of its own, in the group: what happens to the group's use with @n slots, told through @pipe. */
struct told {
	long before, after, gone;
	int error;
};

static void child(int pipe, u64 n)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct told t = { 0 };
	struct guest g;

	if (!put(GROUP "/cgroup.procs", "0"))
		_exit(3);
	*(volatile char *)page = 1;
	t.error = reads(&g, page, 1);
	guest_destroy(&g);
	usleep(200000);
	t.before = get(GROUP "/memory.current");
	if (!t.error)
		t.error = reads(&g, page, n);
	t.after = get(GROUP "/memory.current");
	guest_destroy(&g);
	usleep(500000);
	t.gone = get(GROUP "/memory.current");
	_exit(write(pipe, &t, sizeof(t)) != sizeof(t));
}

/* The wait status. */
static int in_group(u64 n, struct told *t)
{
	int fd[2], status = 0;
	pid_t pid;

	memset(t, 0, sizeof(*t));
	guest_must(pipe(fd));
	fflush(stdout);
	pid = fork();
	if (!pid)
		child(fd[1], n);
	close(fd[1]);
	if (read(fd[0], t, sizeof(*t)) != sizeof(*t))
		t->error = -1;
	close(fd[0]);
	waitpid(pid, &status, 0);
	return status;
}

/*
 * Reads and empties the kernel's log.  Its report about a task that it kills for want of memory has a stack trace, as a warning has,
 * and is what we ask for: no other test nor its judge shall take it for one.
 */
static bool log_is_harmless(void)
{
	static const char *const bad[] = { "WARNING:", "BUG:", "Oops", "KASAN", "general protection fault" };
	static char log[1 << 20];
	unsigned int i;

	if (klogctl(4, log, sizeof(log) - 1) < 0)
		return false;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (strstr(log, bad[i]))
			return false;
	return true;
}

int main(int argc, char **argv)
{
	long tables = SLOTS * 4096l;
	struct told t;
	struct guest g;
	char limit[32];
	void *page;
	int status;

	node = tap_node(argc, argv);
	put(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		tap_bail("mkdir " GROUP);
	if (get(GROUP "/memory.current") < 0)
		tap_skip_all("no memory controller in the unified cgroup hierarchy");
	status = in_group(SLOTS, &t);
	tap_ok(status == 0 && t.error == 0, "a guest in a cgroup reads %d slots", SLOTS);
	tap_note("%ld KiB before, %ld KiB with %d page tables, %ld KiB afterwards", t.before / 1024, t.after / 1024, SLOTS, t.gone / 1024);
	tap_ok(t.after - t.before >= tables, "its page tables are charged to the cgroup");
	tap_ok(t.gone - t.before < tables / 4, "and given back with the VM");
	snprintf(limit, sizeof(limit), "%ld", t.before + tables / 2);
	if (!put(GROUP "/memory.max", limit) || !put(GROUP "/memory.swap.max", "0"))
		tap_note("memory.swap.max could not be set");
	if (!put("/proc/sys/kernel/printk", "1"))
		tap_note("the console's log level stays");
	status = in_group(SLOTS, &t);
	put("/proc/sys/kernel/printk", "5");
	tap_ok(log_is_harmless(), "the kernel's log has nothing worse than the killing");
	tap_note("with %s bytes: wait status %#x, error %d", limit, status, t.error);
	tap_ok((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || t.error == ENOMEM,
	       "beyond the cgroup's limit the VMM is killed, or gets ENOMEM");
	put(GROUP "/memory.max", "max");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	tap_eq(reads(&g, page, SLOTS), 0, "another VMM beside it runs on");
	guest_destroy(&g);
	rmdir(GROUP);
	return tap_done();
}
