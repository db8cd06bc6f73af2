// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/block/*.c userspace/vhd/*.c userspace/common/size.c userspace/common/err.c
// LIBS: -laio
/*
 * Disks on real files: specifications, locks, queues in threads, alignment,
 * and that what was flushed survives the death of the process.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "block/spec.h"

#define DISK	(64u << 20)	/* more than 1000 * 64 KiB */

static char dir[256];

static const char *file(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void dir_make(const char *where)
{
	snprintf(dir, sizeof(dir), "%s/lodge-block-XXXXXX", where);
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void setup(void)
{
	dir_make("/var/tmp");
}

static void teardown(void)
{
	char cmd[300];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void make(const char *name, enum vhd_type type)
{
	struct vhd_params p = { .type = type, .size = DISK };
	struct vhd_error err;

	ck_assert_msg(!vhd_create(file(name), &p, &err), "%s", err.text);
}

static struct block *open_ok(const char *spec)
{
	char *err = NULL;
	struct block *b = block_open(spec, 0, &err);

	ck_assert_msg(b != NULL, "%s", err ? err : "?");
	return b;
}

START_TEST(specifications_are_taken_apart)
{
	struct block_spec s;

	ck_assert_int_eq(block_spec_parse("/a/b.vhd", &s, NULL), 0);
	ck_assert(s.vhd && !s.readonly && !strcmp(s.path, "/a/b.vhd"));
	ck_assert_int_eq(block_spec_parse("/a/b.img,readonly=on", &s, NULL), 0);
	ck_assert(!s.vhd && s.readonly);
	ck_assert_int_eq(block_spec_parse("vhd:/a/b.img", &s, NULL), 0);
	ck_assert(s.vhd && !strcmp(s.path, "/a/b.img"));
	ck_assert_int_eq(block_spec_parse("format=raw,path=x,,y.vhd,cache=host,discard=off", &s, NULL), 0);
	ck_assert(!s.vhd && s.buffered && s.nodiscard && !strcmp(s.path, "x,y.vhd"));
	ck_assert_int_eq(block_spec_parse("a=b.raw", &s, NULL), 0);
	ck_assert_str_eq(s.path, "a=b.raw");
	ck_assert_int_eq(block_spec_parse("x,error=stop,iops=500,bps=20M,bps-burst=1G,group=slow", &s, NULL), 0);
	ck_assert(s.on_error == BLOCK_ERROR_STOP && s.limits.iops == 500 && s.limits.bps == 20 << 20);
	ck_assert(!s.limits.iops_burst && s.limits.bps_burst == 1 << 30 && !strcmp(s.group, "slow"));
	ck_assert_int_eq(block_spec_parse("x", &s, NULL), 0);
	ck_assert(s.on_error == BLOCK_ERROR_ENOSPC && !throttle_limited(&s.limits) && !*s.group);
	ck_assert_int_lt(block_spec_parse("x,error=panic", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,error", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,iops=-1", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,bps=8192T", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,group=a/b", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,group=a234567890123456789012345678901x", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,format=qcow2", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,what=1", &s, NULL), 0);
	ck_assert_int_lt(block_spec_parse("x,readonly=maybe", &s, NULL), 0);
}
END_TEST

START_TEST(a_second_writer_is_refused)
{
	struct block *b;
	char *err = NULL;

	make("a.vhd", VHD_DYNAMIC);
	b = open_ok(file("a.vhd"));
	ck_assert_ptr_null(block_open(file("a.vhd"), 0, &err));
	ck_assert_ptr_nonnull(strstr(err, "in use"));
	free(err);
	err = NULL;
	ck_assert_ptr_null(block_open(file("a.vhd"), BLOCK_O_RDONLY, &err));
	free(err);
	block_close(b);
	b = block_open(file("a.vhd"), BLOCK_O_RDONLY, NULL);
	ck_assert_ptr_nonnull(b);
	block_close(block_open(file("a.vhd"), BLOCK_O_RDONLY, NULL));
	ck_assert_ptr_null(block_open(file("a.vhd"), 0, NULL));
	block_close(b);
}
END_TEST

START_TEST(raw_contents_are_never_taken_for_vhd)
{
	struct block *b;

	make("a.vhd", VHD_DYNAMIC);
	ck_assert_int_eq(rename(file("a.vhd"), strcat(strcpy((char[512]){ 0 }, dir), "/a.img")), 0);
	b = open_ok(file("a.img"));
	ck_assert_str_eq(block_format(b), "raw");
	block_close(b);
}
END_TEST

struct shot {
	struct block_req req;
	int error;
	bool over;
};

static void shot_done(struct block_req *req, int error)
{
	struct shot *s = (struct shot *)req;

	s->error = error;
	s->over = true;
}

static int shoot(struct block_queue *q, enum block_op op, uint64_t offset, uint64_t length,
		 const struct iovec *iov, int iovcnt, uint32_t flags)
{
	struct shot s = { .req = { .op = op, .offset = offset, .length = length, .iov = iov,
				   .iovcnt = iovcnt, .flags = flags, .done = shot_done } };

	block_queue_submit(q, &s.req);
	block_queue_kick(q);
	block_queue_drain(q);
	ck_assert(s.over);
	return s.error;
}

START_TEST(wrong_requests_get_errors)
{
	uint8_t buf[1024];
	struct iovec iov = { buf, 1024 };
	struct block_queue *q;
	struct block *b;

	make("a.vhd", VHD_DYNAMIC);
	b = open_ok(file("a.vhd"));
	q = block_queue_create(b, 8);
	ck_assert_int_lt(shoot(q, BLOCK_READ, DISK, 1024, &iov, 1, 0), 0);
	ck_assert_int_lt(shoot(q, BLOCK_READ, ~0ull - 511, 1024, &iov, 1, 0), 0);
	ck_assert_int_lt(shoot(q, BLOCK_READ, 1, 1024, &iov, 1, 0), 0);
	ck_assert_int_lt(shoot(q, BLOCK_READ, 0, 512, &iov, 1, 0), 0);
	ck_assert_int_lt(shoot(q, (enum block_op)77, 0, 0, NULL, 0, 0), 0);
	ck_assert_int_eq(shoot(q, BLOCK_READ, 0, 1024, &iov, 1, 0), 0);
	ck_assert_int_eq(shoot(q, BLOCK_WRITE, 0, 1024, &iov, 1, BLOCK_F_FUA), 0);
	block_queue_destroy(q);
	ck_assert_int_eq(block_close(b), 0);
	b = block_open(file("a.vhd"), BLOCK_O_RDONLY, NULL);
	q = block_queue_create(b, 8);
	ck_assert_int_eq(shoot(q, BLOCK_WRITE, 0, 1024, &iov, 1, 0), -EROFS);
	block_queue_destroy(q);
	block_close(b);
}
END_TEST

START_TEST(odd_memory_reads_what_was_written)
{
	static const enum vhd_type types[] = { VHD_RAW, VHD_FIXED, VHD_DYNAMIC };
	uint8_t *a = malloc(1 << 20), *c = malloc(1 << 20);
	const char *name = _i ? "a.vhd" : "a.raw";
	struct block_queue *q;
	struct iovec iov[40];
	struct block *b;
	size_t i, at = 0;

	make(name, types[_i]);
	b = open_ok(file(name));
	q = block_queue_create(b, 4);
	for (i = 0; i < 1 << 20; i++)
		a[i] = i * 7 + i / 511;
	for (i = 0; i < 40; i++) {
		size_t part = i == 39 ? 1048576 - 4096 - at : 1 + i * 913;

		iov[i] = (struct iovec){ a + at, part };
		at += part;
	}
	ck_assert_int_eq(shoot(q, BLOCK_WRITE, 3 * 512, at, iov, 40, 0), 0);
	iov[0] = (struct iovec){ c + 3, at };
	ck_assert_int_eq(shoot(q, BLOCK_READ, 3 * 512, at, iov, 1, 0), 0);
	ck_assert_mem_eq(a, c + 3, at);
	ck_assert_int_eq(shoot(q, BLOCK_WRITE_ZEROES, 4 * 512, 5 * 512, NULL, 0, 0), 0);
	ck_assert_int_eq(shoot(q, BLOCK_READ, 3 * 512, at, iov, 1, 0), 0);
	memset(a + 512, 0, 5 * 512);
	ck_assert_mem_eq(a, c + 3, at);
	ck_assert_int_eq(shoot(q, BLOCK_DISCARD, 0, DISK, NULL, 0, 0), 0);
	ck_assert_int_eq(shoot(q, BLOCK_FLUSH, 0, 0, NULL, 0, 0), 0);
	block_queue_destroy(q);
	ck_assert_int_eq(block_close(b), 0);
	free(a);
	free(c);
}
END_TEST

/* A thread per queue, each in its own part of every block of the disk. */
struct worker {
	struct block *block;
	int number;
	int errors;
	pthread_t thread;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct block_queue *q = block_queue_create(w->block, 16);
	struct shot shots[16];
	struct iovec iov[16];
	uint64_t *mem, i, k;

	if (posix_memalign((void **)&mem, 4096, 16 * 4096))
		return NULL;
	for (i = 0; i < 40 * 16; i += 16) {
		for (k = 0; k < 16; k++) {
			uint64_t *p = mem + k * 512, n;

			for (n = 0; n < 512; n++)
				p[n] = (i + k) << 32 | w->number;
			iov[k] = (struct iovec){ p, 4096 };
			shots[k] = (struct shot){ .req = { .op = BLOCK_WRITE, .iov = &iov[k], .iovcnt = 1,
							   .offset = ((i + k) * 4 + w->number) * 4096 * 5 % DISK,
							   .length = 4096, .done = shot_done } };
			block_queue_submit(q, &shots[k].req);
		}
		block_queue_kick(q);
		if (i % 64 == 0)
			w->errors += !!shoot(q, BLOCK_FLUSH, 0, 0, NULL, 0, 0);
		block_queue_drain(q);
		for (k = 0; k < 16; k++)
			w->errors += !shots[k].over || shots[k].error;
	}
	for (i = 0; i < 40 * 16; i++) {
		iov[0] = (struct iovec){ mem, 4096 };
		w->errors += !!shoot(q, BLOCK_READ, (i * 4 + w->number) * 4096 * 5 % DISK, 4096, iov, 1, 0);
		w->errors += mem[0] != (i << 32 | w->number) || mem[511] != mem[0];
	}
	block_queue_destroy(q);
	free(mem);
	return NULL;
}

static void workers(const char *spec)
{
	struct worker w[4];
	struct block *b = open_ok(spec);
	int i;

	for (i = 0; i < 4; i++) {
		w[i] = (struct worker){ b, i, 0, 0 };
		pthread_create(&w[i].thread, NULL, worker_run, &w[i]);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].errors, 0);
	}
	ck_assert_int_eq(block_close(b), 0);
}

START_TEST(queues_in_four_threads_share_an_image)
{
	struct vhd_check c = { 0 };

	make("a.vhd", VHD_DYNAMIC);
	workers(file("a.vhd"));
	ck_assert_int_eq(vhd_check(file("a.vhd"), &c, NULL), 0);
	ck_assert(!c.corruptions && !c.leaks);
}
END_TEST

START_TEST(the_page_cache_serves_as_well)
{
	char spec[600];

	make("a.vhd", VHD_DYNAMIC);
	snprintf(spec, sizeof(spec), "%s,cache=host", file("a.vhd"));
	workers(spec);
}
END_TEST

START_TEST(a_file_system_without_direct_io_serves_as_well)
{
	teardown();
	dir_make("/dev/shm");
	make("a.vhd", VHD_DYNAMIC);
	workers(file("a.vhd"));
}
END_TEST

/* Writes and flushes for ever; tells the last flushed round through the pipe. */
static void victim(const char *path, int pipe)
{
	char *err = NULL;
	struct block *b = block_open(path, 0, &err);
	struct block_queue *q = b ? block_queue_create(b, 8) : NULL;
	uint64_t *mem, round, n;
	struct iovec iov;

	if (!q || posix_memalign((void **)&mem, 4096, 65536))
		_exit(1);
	iov = (struct iovec){ mem, 65536 };
	for (round = 1;; round++) {
		struct shot s = { .req = { .op = BLOCK_WRITE, .iov = &iov, .iovcnt = 1, .length = 65536,
					   .offset = round * 37 % 1000 * 65536, .done = shot_done } };
		struct shot f = { .req = { .op = BLOCK_FLUSH, .done = shot_done } };

		for (n = 0; n < 8192; n++)
			mem[n] = round;
		block_queue_submit(q, &s.req);
		block_queue_drain(q);
		if (round % 3)
			continue;
		block_queue_submit(q, &f.req);
		block_queue_drain(q);
		if (s.error || f.error || write(pipe, &round, 8) != 8)
			_exit(1);
	}
}

START_TEST(what_was_flushed_survives_kill_9)
{
	uint64_t flushed = 0, value, round, mem[64];
	struct iovec iov = { mem, 512 };
	struct block_queue *q;
	struct block *b;
	int p[2], status;
	pid_t pid;

	make("a.vhd", VHD_DYNAMIC);
	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	if (!pid)
		victim(file("a.vhd"), p[1]);
	close(p[1]);
	while (flushed < 20u + _i * 97 && read(p[0], &value, 8) == 8)
		flushed = value;
	kill(pid, SIGKILL);
	while (read(p[0], &value, 8) == 8)
		flushed = value;
	close(p[0]);
	waitpid(pid, &status, 0);
	ck_assert_uint_gt(flushed, 19);
	b = open_ok(file("a.vhd"));
	q = block_queue_create(b, 8);
	for (round = flushed > 900 ? flushed - 900 : 1; round <= flushed; round++) {
		ck_assert_int_eq(shoot(q, BLOCK_READ, round * 37 % 1000 * 65536, 512, &iov, 1, 0), 0);
		ck_assert_uint_eq(mem[0], round);
		ck_assert_uint_eq(mem[63], round);
	}
	block_queue_destroy(q);
	ck_assert_int_eq(block_close(b), 0);
	ck_assert_int_eq(vhd_check(file("a.vhd"), &(struct vhd_check){ 0 }, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("block");
	TCase *t = tcase_create("block");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, specifications_are_taken_apart);
	tcase_add_test(t, a_second_writer_is_refused);
	tcase_add_test(t, raw_contents_are_never_taken_for_vhd);
	tcase_add_test(t, wrong_requests_get_errors);
	tcase_add_loop_test(t, odd_memory_reads_what_was_written, 0, 3);
	tcase_add_test(t, queues_in_four_threads_share_an_image);
	tcase_add_test(t, the_page_cache_serves_as_well);
	tcase_add_test(t, a_file_system_without_direct_io_serves_as_well);
	tcase_add_loop_test(t, what_was_flushed_survives_kill_9, 0, 6);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
