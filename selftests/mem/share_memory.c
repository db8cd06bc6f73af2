// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * share_memory - breaks without memory: a process at its control group's limit writes to shared pages.  It uses what its
 * group has left, then the reserve, then it waits and can be killed; nobody is killed for it, no byte is wrong, and when
 * the limit goes up it goes on.  The only user of a page needs no memory at all.
 *
 * TIMEOUT: 120
 */
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guest_mem.h"

#define CGROUP	"/sys/fs/cgroup"
#define GROUP	CGROUP "/share-memory"
#define PAGES	512u
#define LEFT	(128ul << 10)	/* what the group may use beyond what it does */
#define SHARE	LODGE_GUEST_FILE_SHARE

static int dev;
static int patience;	/* tenths of a second: 20 s, times STRETCH */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long v = -1;

	if (f && fscanf(f, "%ld", &v) != 1)
		v = -1;
	if (f)
		fclose(f);
	return v;
}

static void limit(bool on)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", number(GROUP "/memory.current") + (long)LEFT);
	if (!put(GROUP "/memory.max", on ? text : "max"))
		tap_bail("memory.max");
}

/* In the group: reads all of @m, says so, is told to go on, writes all, checks all. */
static void writer(const struct mem *m, int in, int out)
{
	unsigned int i;
	bool good = put(GROUP "/cgroup.procs", "0");
	char c = 0;

	for (i = 0; i < PAGES; i++)
		good = good && mem_is(m->at + i * PAGE, i);
	if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
		_exit(3);
	for (i = 0; i < PAGES; i++)
		*(volatile uint64_t *)(m->at + i * PAGE) ^= 1;
	for (i = 0; i < PAGES; i++) {
		*(volatile uint64_t *)(m->at + i * PAGE) ^= 1;
		good = good && mem_is(m->at + i * PAGE, i);
	}
	_exit(!good);
}

struct child {
	pid_t pid;
	int in, out;
};

/* The child stands before its first write, at its limit. */
static struct child start(const struct mem *m)
{
	struct child ch;
	int to[2], from[2];
	char c;

	if (pipe(to) || pipe(from))
		tap_bail("pipe");
	limit(false);
	fflush(stdout);
	ch.pid = fork();
	if (!ch.pid)
		writer(m, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	if (read(from[0], &c, 1) != 1)
		tap_bail("the child did not start");
	limit(true);
	ch.in = to[1];
	ch.out = from[0];
	if (write(ch.in, &c, 1) != 1)
		tap_bail("the child does not listen");
	return ch;
}

/* Its wait status, or -1 when it has not ended. */
static int end(struct child *ch)
{
	int status = -1, i;

	for (i = 0; i < patience && waitpid(ch->pid, &status, WNOHANG) == 0; i++)
		usleep(100000);
	close(ch->in);
	close(ch->out);
	return i < patience ? status : -1;
}

static bool waits(const struct mem *m)
{
	uint64_t before = mem_stats(m).breaks_waited;
	int i;

	for (i = 0; i < patience && mem_stats(m).breaks_waited < before + 2; i++)
		usleep(100000);
	return i < patience;
}

static void map_all(const struct mem *m)
{
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += mem_block(m, LODGE_BLOCKS_MAP, 1, i, i * PAGE) == LODGE_BLOCK_MAPPED;
	if (n != PAGES)
		tap_bail("%u of %u blocks are mapped", n, PAGES);
}

static bool intact(const struct mem *m)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		if (!mem_is(m->at + i * PAGE, i))
			return false;
	return true;
}

int main(int argc, char **argv)
{
	struct lodge_guest_file_stats st;
	struct mem a, b;
	struct pollfd p;
	struct child ch;
	unsigned int i;

	patience = 200 * (getenv("STRETCH") ? atoi(getenv("STRETCH")) : 1);
	dev = open(tap_node(argc, argv), O_RDWR);
	if (dev < 0)
		tap_bail("the node");
	put(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		tap_bail("mkdir " GROUP);
	if (number(GROUP "/memory.current") < 0)
		tap_skip_all("no memory controller in the unified cgroup hierarchy");
	put(GROUP "/memory.swap.max", "0");
	a = mem_create(dev, PAGES * PAGE, SHARE, 0);
	b = mem_create(dev, PAGES * PAGE, SHARE, 0);
	for (i = 0; i < PAGES; i++) {
		mem_fill(a.at + i * PAGE, i);
		mem_block(&a, LODGE_BLOCKS_OFFER, 1, i, i * PAGE);
	}
	map_all(&b);
	st = mem_stats(&b);
	tap_ok(st.reserve_wanted > 0 && st.reserve_frames >= st.reserve_wanted, "%llu frames are in reserve for %llu that are saved",
	       (unsigned long long)st.reserve_frames, (unsigned long long)st.group_users - st.group_frames);

	ch = start(&b);
	tap_ok(waits(&b), "a writer at its group's limit uses up the reserve and waits");
	st = mem_stats(&b);
	tap_note("%llu breaks, %llu of them with frames of the reserve", (unsigned long long)st.breaks, (unsigned long long)st.breaks_reserve);
	tap_ok(st.breaks_reserve > 0 && st.owned_pages == st.breaks_reserve && st.reserve_frames == 0, "what it took is counted");
	p = (struct pollfd){ .fd = a.fd, .events = POLLPRI };
	tap_ok(poll(&p, 1, 0) == 1 && (p.revents & POLLPRI), "poll tells that the reserve is low");
	tap_ok(waitpid(ch.pid, NULL, WNOHANG) == 0, "nobody was killed");
	tap_ok(intact(&a), "the other file's bytes are right");
	limit(false);
	tap_eq(end(&ch), 0, "with its limit lifted it ends, and every byte is right");
	st = mem_stats(&b);
	tap_ok(st.shared_pages == 0 && st.breaks == PAGES, "all is broken");
	p.revents = 0;
	tap_ok(poll(&p, 1, 0) == 0, "poll is silent again");

	map_all(&b);
	tap_ok(mem_stats(&b).owned_pages == 0 && intact(&b), "mapping over owned pages gives these back");
	ch = start(&b);
	tap_ok(waits(&b), "another writer waits");
	kill(ch.pid, SIGKILL);
	tap_ok(end(&ch) == SIGKILL, "and can be killed");
	tap_ok(intact(&a), "the other file's bytes are right");
	limit(false);
	put(GROUP "/memory.max", "max");

	for (i = 0; i < PAGES; i++)
		mem_fill(b.at + i * PAGE, i);
	map_all(&b);
	mem_destroy(&a);
	ch = start(&b);
	tap_eq(end(&ch), 0, "the only user of its pages writes them all at its limit");
	st = mem_stats(&b);
	tap_ok(st.owned_pages > 0 && st.group_frames == 0, "for it keeps %llu frames", (unsigned long long)st.owned_pages);
	tap_ok(!madvise(b.at, b.size, MADV_REMOVE) && mem_stats(&b).owned_pages == 0 && mem_is_zero(b.at + 500 * PAGE), "which a hole gives back");
	mem_destroy(&b);
	rmdir(GROUP);
	return tap_done();
}
