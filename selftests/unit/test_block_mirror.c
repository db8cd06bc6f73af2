// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_block_mirror.c: a disk in use is copied to a new image and goes over to it. Whatever is written while, the new image shows
 * what the disk shows, the old one what it showed at that moment; and whatever fails or is broken off, the disk is what it was
 * and nothing is left of the new image.
 *
 * LINK: userspace/block/*.c userspace/vhd/*.c userspace/common/err.c userspace/common/size.c
 * LIBS: -laio
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"

#define SIZE (24u << 20)
#define GRAIN 4096u
#define FLIGHT 8

enum source { RAW, DYNAMIC, DIFF, SOURCES };

struct flight {
	struct block_req req;
	struct iovec iov;
	unsigned char *buf;
	bool busy;
};

static char dir[64], path[96], parent[96], target[96];
static struct block *disk;
static struct block_queue *q[2];
static struct block_mirror *m;
static unsigned char *want;	/* what the disk shows */
static struct flight flight[FLIGHT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* the queues' */
static pthread_t poller;
static atomic_bool polling;
static unsigned int seed;

/* What the guest does whenever the copying asks whether to go on, so often in all. */
static unsigned int calls, stop_at, nap_ms;
static unsigned int writes;	/* each time, at most this many all the time */
static unsigned int sweep;	/* so many MiB of the disk, one after the other */
static bool was_behind;
static bool held;		/* the queues are not the guest's now */

static unsigned int any(unsigned int n)
{
	return rand_r(&seed) % n;
}

/* ---- the guest ---- */

static void done(struct block_req *req, int error)
{
	struct flight *f = req->opaque;

	ck_assert_int_eq(error, 0);
	f->busy = false;
}

static bool touches(const struct flight *f, uint64_t offset, uint64_t length)
{
	return f->busy && f->req.offset < offset + length && offset < f->req.offset + f->req.length;
}

static void poll_all(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < 2; i++) {
		block_queue_kick(q[i]);
		block_queue_poll(q[i]);
	}
	pthread_mutex_unlock(&lock);
}

/* What the copying reads may wait for what the guest has in flight. */
static void *poller_main(void *arg)
{
	while (atomic_load(&polling)) {
		poll_all();
		usleep(200);
	}
	return arg;
}

static void guest_rests(void)
{
	bool busy = true;

	while (busy) {
		poll_all();
		pthread_mutex_lock(&lock);
		busy = false;
		for (unsigned int i = 0; i < FLIGHT; i++)
			busy |= flight[i].busy;
		pthread_mutex_unlock(&lock);
	}
}

/* False: not now. The order of two that overlap would not be known. */
static bool submit_locked(enum block_op op, uint64_t offset, uint64_t length)
{
	struct flight *f = &flight[any(FLIGHT)];
	struct block_queue *to = q[any(2)];

	if (f->busy)
		return false;
	for (unsigned int i = 0; i < FLIGHT; i++)
		if (touches(&flight[i], offset, length))
			return false;
	*f = (struct flight){ .buf = f->buf, .busy = true };
	f->buf = realloc(f->buf, length);
	memset(f->buf, 1 + any(255), length);
	f->iov = (struct iovec){ f->buf, length };
	f->req = (struct block_req){ .op = op, .offset = offset, .length = length, .done = done, .opaque = f };
	if (op == BLOCK_WRITE) {
		f->req.iov = &f->iov;
		f->req.iovcnt = 1;
		f->req.flags = any(4) ? 0 : BLOCK_F_FUA;
		memcpy(want + offset, f->buf, length);
	} else {
		f->req.flags = BLOCK_F_UNMAP;
		memset(want + offset, 0, length);
	}
	block_queue_submit(to, &f->req);
	block_queue_kick(to);
	return true;
}

static bool submit(enum block_op op, uint64_t offset, uint64_t length)
{
	bool ok;

	pthread_mutex_lock(&lock);
	ok = submit_locked(op, offset, length);
	pthread_mutex_unlock(&lock);
	return ok;
}

/* They stay in flight for a while. Of discards only the disk knows what is there afterwards, so there are none of data. */
static void guest_writes(void)
{
	uint64_t offset = (uint64_t)any(SIZE / GRAIN - 64) * GRAIN, length = (1 + any(63)) * GRAIN;

	if (!any(8))
		submit(BLOCK_WRITE_ZEROES, 2 * (1 + any(10)) << 20, 2 << 20);
	else
		submit(any(5) ? BLOCK_WRITE : BLOCK_WRITE_ZEROES, offset, length);
}

static bool go_on(void *opaque, uint64_t bytes)
{
	ck_assert_ptr_eq(opaque, &calls);
	ck_assert_uint_le(bytes, SIZE);
	if (nap_ms)
		usleep(nap_ms * 1000);
	was_behind |= block_mirror_behind(m);
	if (held)
		return ++calls != stop_at;
	if (writes) {
		writes--;
		guest_writes();
	}
	for (unsigned int i = 0; i < 16 && sweep; i++)
		if (submit(BLOCK_WRITE, sweep % (SIZE >> 20) << 20, 1 << 20))
			sweep--;
	return ++calls != stop_at;
}

/* ---- images ---- */

static void fill(const char *name, bool raw, uint64_t from, uint64_t step)
{
	char spec[128], *why = NULL;
	struct block *b;

	snprintf(spec, sizeof(spec), "%s:%s", raw ? "raw" : "vhd", name);
	b = block_open(spec, 0, &why);
	ck_assert_msg(b, "%s", why);
	q[0] = q[1] = block_queue_create(b, 16);
	while (from < SIZE)
		if (submit(BLOCK_WRITE, from, GRAIN * 3))
			from += step;
		else
			guest_rests();
	guest_rests();
	block_queue_destroy(q[0]);
	ck_assert_int_eq(block_close(b), 0);
}

static void disk_open(void)
{
	char *why = NULL;

	disk = block_open(path, 0, &why);
	ck_assert_msg(disk, "%s", why);
	for (unsigned int i = 0; i < 2; i++)
		q[i] = block_queue_create(disk, 32);
	atomic_store(&polling, true);
	ck_assert(!pthread_create(&poller, NULL, poller_main, NULL));
}

static void set_up(enum source kind)
{
	struct vhd_params p = { .type = kind == RAW ? VHD_RAW : VHD_DYNAMIC, .size = SIZE };
	struct vhd_error err;

	seed = 1 + kind;
	calls = stop_at = nap_ms = writes = sweep = 0;
	was_behind = false;
	want = calloc(1, SIZE);
	strcpy(dir, "/tmp/lodge-mirror-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk.%s", dir, kind == RAW ? "img" : "vhd");
	snprintf(parent, sizeof(parent), "%s/parent.vhd", dir);
	snprintf(target, sizeof(target), "%s/target.%s", dir, kind == DYNAMIC ? "img" : "vhd");
	if (kind == DIFF) {
		ck_assert_msg(!vhd_create(parent, &p, &err), "%s", err.text);
		fill(parent, false, 0, 5 << 20);
		p = (struct vhd_params){ .type = VHD_DIFF, .parent = parent };
	}
	ck_assert_msg(!vhd_create(path, &p, &err), "%s", err.text);
	fill(path, kind == RAW, 1 << 20, 7 << 20);
	disk_open();
}

static unsigned int files(void)
{
	struct dirent *e;
	unsigned int n = 0;
	DIR *d = opendir(dir);

	while ((e = readdir(d)))
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	closedir(d);
	return n;
}

static void disk_close(void)
{
	guest_rests();
	atomic_store(&polling, false);
	pthread_join(poller, NULL);
	for (unsigned int i = 0; i < 2; i++)
		block_queue_destroy(q[i]);
	ck_assert_int_eq(block_close(disk), 0);
}

static void tear_down(void)
{
	unlink(path);
	unlink(parent);
	unlink(target);
	ck_assert_msg(!rmdir(dir), "something else was left in %s", dir);
	for (unsigned int i = 0; i < FLIGHT; i++) {
		free(flight[i].buf);
		flight[i] = (struct flight){ 0 };
	}
	free(want);
}

static void shows(const char *name, const unsigned char *content)
{
	unsigned char *have = malloc(SIZE);
	char *why = NULL;
	struct block *b = block_open(name, BLOCK_O_RDONLY, &why);
	struct block_queue *r;
	struct flight f = { .busy = true, .iov = { have, SIZE } };

	ck_assert_msg(b, "%s", why);
	ck_assert_uint_eq(block_capacity(b), SIZE);
	r = block_queue_create(b, 16);
	f.req = (struct block_req){ .op = BLOCK_READ, .length = SIZE, .iov = &f.iov, .iovcnt = 1, .done = done, .opaque = &f };
	block_queue_submit(r, &f.req);
	block_queue_drain(r);
	ck_assert(!f.busy);
	for (uint64_t at = 0; at < SIZE; at += GRAIN)
		ck_assert_msg(!memcmp(have + at, content + at, GRAIN), "%s differs at %llu", name, (unsigned long long)at);
	block_queue_destroy(r);
	block_close(b);
	free(have);
}

/* ---- the copying ---- */

static void watch(bool on)
{
	pthread_mutex_lock(&lock);
	block_mirror_watch(m, on);
	pthread_mutex_unlock(&lock);
}

static void begin(void)
{
	char *why = NULL;

	m = block_mirror_begin(disk, dir, strrchr(target, '/') + 1, &why);
	ck_assert_msg(m, "%s", why);
	ck_assert_str_eq(block_mirror_path(m), target);
	ck_assert_int_ne(access(target, F_OK), 0);
	watch(true);
}

static int change_over(char **why)
{
	int r;

	pthread_mutex_lock(&lock);
	held = true;
	r = block_mirror_switch(m, q, 2, why);
	held = false;
	pthread_mutex_unlock(&lock);
	return r;
}

static int copy(void)
{
	char *why = NULL;
	int r = 0;

	do {
		r = block_mirror_run(m, go_on, &calls, &why);
		if (!r)
			r = change_over(&why);
	} while (r == -EAGAIN);
	ck_assert_msg(!r == !why, "%d %s", r, why ? why : "without a word");
	free(why);
	return r;
}

static void end(void)
{
	char *why = NULL;

	watch(false);
	ck_assert_msg(!block_mirror_end(m, &why), "%s", why);
	m = NULL;
}

/* The disk has gone over: both images are right. */
static void check_after(void)
{
	unsigned char *then = malloc(SIZE);

	ck_assert_str_eq(block_path(disk), target);
	memcpy(then, want, SIZE);
	end();
	shows(path, then);
	for (unsigned int i = 0; i < 20; i++)
		guest_writes();
	disk_close();
	shows(path, then);
	shows(target, want);
	free(then);
}

START_TEST(disk_goes_over_while_it_is_written_to)
{
	set_up(_i % SOURCES);
	seed += _i;
	for (unsigned int i = 0; i < 6; i++)
		guest_writes();
	begin();
	writes = 40;
	sweep = _i < 2 * SOURCES ? 0 : SIZE >> 20;
	ck_assert_int_eq(copy(), 0);
	check_after();
	tear_down();
}
END_TEST

START_TEST(what_is_empty_takes_no_space)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = SIZE };
	struct stat st;

	set_up(_i ? DYNAMIC : RAW);
	disk_close();
	unlink(path);
	p.type = _i ? VHD_DYNAMIC : VHD_RAW;
	ck_assert(!vhd_create(path, &p, NULL));
	memset(want, 0, SIZE);
	disk_open();
	begin();
	ck_assert_int_eq(copy(), 0);
	guest_rests();
	end();
	ck_assert_int_eq(stat(target, &st), 0);
	ck_assert_int_lt(st.st_blocks * 512, 128 << 10);
	disk_close();
	tear_down();
}
END_TEST

/* The n-th time that it asks it is told to end. */
START_TEST(broken_off_the_disk_is_what_it_was)
{
	unsigned int n = 1;
	int r;

	set_up(_i);
	do {
		begin();
		writes = 8;
		calls = 0;
		stop_at = n;
		n += 1 + n / 2;
		r = copy();
		if (!r)
			break;
		ck_assert_int_eq(r, -EINTR);
		ck_assert_str_eq(block_path(disk), path);
		end();
		ck_assert_uint_eq(files(), 1 + (_i == DIFF));
		guest_writes();
		if (n % 3)
			continue;
		disk_close();
		shows(path, want);
		disk_open();
	} while (n < 1000);
	ck_assert_uint_gt(n, 5);
	check_after();
	tear_down();
}
END_TEST

/* No file may become larger than that. */
START_TEST(target_that_fails_is_deleted)
{
	static const unsigned int limits[] = { 1, 512, 2000, 4096, 100000, 1 << 20, 3 << 20, 9 << 20, 20 << 20 };
	struct rlimit all, some;
	char *why = NULL;
	int r;

	signal(SIGXFSZ, SIG_IGN);
	set_up(_i);
	ck_assert(!getrlimit(RLIMIT_FSIZE, &all));
	for (unsigned int i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		some = (struct rlimit){ limits[i], all.rlim_max };
		ck_assert(!setrlimit(RLIMIT_FSIZE, &some));
		m = block_mirror_begin(disk, dir, target, &why);
		r = m ? 0 : -1;
		if (m) {
			watch(true);
			r = copy();
			ck_assert(r || limits[i] > 4 << 20);
			ck_assert(!r || r == -EFBIG);
		}
		ck_assert(!setrlimit(RLIMIT_FSIZE, &all));
		free(why);
		why = NULL;
		if (!r)
			break;
		if (m)
			end();
		ck_assert_uint_eq(files(), 1 + (_i == DIFF));
		guest_writes();
		guest_rests();
	}
	if (r) {
		begin();
		ck_assert_int_eq(copy(), 0);
	}
	check_after();
	tear_down();
}
END_TEST

START_TEST(name_that_somebody_takes_meanwhile_stays_theirs)
{
	struct stat st;
	int fd;

	set_up(_i);
	begin();
	fd = open(target, O_CREAT | O_WRONLY | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(copy(), -EEXIST);
	ck_assert_str_eq(block_path(disk), path);
	end();
	ck_assert(!stat(target, &st) && !st.st_size);
	ck_assert_uint_eq(files(), 2 + (_i == DIFF));
	guest_writes();
	disk_close();
	shows(path, want);
	tear_down();
}
END_TEST

/* The naps make the copying slow: seconds for the whole disk, which is written anew all the time, and then no more. */
START_TEST(guest_that_writes_faster_keeps_its_disk)
{
	set_up(RAW);
	begin();
	nap_ms = 150;
	sweep = 100000;
	stop_at = 70;
	ck_assert_int_eq(block_mirror_run(m, go_on, &calls, NULL), -EINTR);
	ck_assert(was_behind);
	ck_assert_str_eq(block_path(disk), path);
	nap_ms = sweep = stop_at = 0;
	ck_assert_int_eq(copy(), 0);
	check_after();
	tear_down();
}
END_TEST

/* It takes longer than it should, which is found out when the disk stands still already. */
START_TEST(pause_is_bounded)
{
	char *why = NULL;

	set_up(DYNAMIC);
	begin();
	ck_assert_int_eq(block_mirror_run(m, go_on, &calls, &why), 0);
	for (unsigned int i = 0; i < 30; i++) {
		guest_writes();
		guest_rests();
	}
	nap_ms = 1100;
	ck_assert_int_eq(change_over(&why), -EAGAIN);
	ck_assert_ptr_null(why);
	ck_assert_str_eq(block_path(disk), path);
	nap_ms = 0;
	guest_writes();
	ck_assert_int_eq(copy(), 0);
	check_after();
	tear_down();
}
END_TEST

static void refused(const char *spec, const char *word)
{
	char *why = NULL;

	ck_assert_ptr_null(block_mirror_begin(disk, dir, spec, &why));
	ck_assert_msg(why && strstr(why, word), "%s: %s", spec, why);
	free(why);
	ck_assert_uint_eq(files(), 1);
}

START_TEST(targets_that_cannot_be)
{
	char *why = NULL, spec[128];

	set_up(DYNAMIC);
	refused(path, "exists already");
	refused("disk.vhd", "exists already");
	refused("/dev/null", "exists already");
	refused("none/target.vhd", "No such file");
	refused("", "names no file");
	refused("x/", "no name");
	refused("t.vhd,readonly=on", "target takes");
	refused("t.vhd,error=stop", "target takes");
	refused("t.vhd,iops=5", "target takes");
	refused("t.vhd,group=a", "target takes");
	refused("removable=on", "target takes");
	refused("t.vhd,key=/dev/zero", "not encrypted");
	refused("t.vhd,size=5", "not known");
	disk_close();
	snprintf(spec, sizeof(spec), "%s,readonly=on", path);
	disk = block_open(spec, 0, &why);
	ck_assert_msg(disk, "%s", why);
	refused("t.vhd", "read-only");
	block_close(disk);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("block_mirror");
	TCase *t = tcase_create("mirror");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, disk_goes_over_while_it_is_written_to, 0, 4 * SOURCES);
	tcase_add_loop_test(t, what_is_empty_takes_no_space, 0, 2);
	tcase_add_loop_test(t, broken_off_the_disk_is_what_it_was, 0, SOURCES);
	tcase_add_loop_test(t, target_that_fails_is_deleted, 0, SOURCES);
	tcase_add_loop_test(t, name_that_somebody_takes_meanwhile_stays_theirs, 0, SOURCES);
	tcase_add_test(t, guest_that_writes_faster_keeps_its_disk);
	tcase_add_test(t, pause_is_bounded);
	tcase_add_test(t, targets_that_cannot_be);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
