// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio
/*
 * Chains of images up to the deepest that is allowed: every level writes its
 * own pieces, and the topmost then shows the newest of each sector, whatever
 * the order and size of reads. With one block size throughout, with blocks of
 * different sizes, with disks that grew on the way, and on a raw file.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lodge/vhd.h>

#define DISK	(3u << 20)
#define FLIGHT	16
#define PIECES	24

enum shape { UNIFORM, MIXED, GROWING, ON_RAW };

static char dir[64];
static uint8_t *want;
static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static const char *name_of(int level)
{
	static char name[2][96];
	static int turn;

	turn ^= 1;
	snprintf(name[turn], sizeof(name[turn]), "%s/%d.vhd", dir, level);
	return name[turn];
}

static uint64_t size_at(enum shape shape, int level)
{
	return shape == GROWING ? DISK / 2 + (uint64_t)level * 512 * 37 : DISK;
}

static void level_write(int level, enum shape shape)
{
	uint64_t size = size_at(shape, level);
	struct vhd_error err;
	struct vhd_queue *q;
	uint8_t buf[64 * 512];
	struct vhd *v;
	int i;

	ck_assert_msg(!vhd_open(name_of(level), VHD_O_RAW_PARENT, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 4);
	for (i = 0; i < PIECES; i++) {
		uint32_t length = (1 + rnd(64)) * 512, at = rnd((size - length) / 512) * 512;

		memset(buf, 1 + rnd(255), length);
		memcpy(want + at, buf, length);
		ck_assert_int_eq(vhd_pwrite(q, buf, length, at), 0);
	}
	/* A piece of a whole block goes, and with it what the levels below say of it. */
	ck_assert_int_eq(vhd_write_zeroes(q, (level % 20) * 65536, 65536, VHD_F_UNMAP), 0);
	memset(want + (level % 20) * 65536, 0, 65536);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(v), 0);
}

static void chain_make(int depth, enum shape shape, bool fill)
{
	struct vhd_error err;
	int i, fd;

	for (i = 0; i < depth; i++) {
		struct vhd_params p = { .type = i ? VHD_DIFF : VHD_DYNAMIC, .size = size_at(shape, i) };

		p.block_size = shape == MIXED && i % 3 == 1 ? 16384 : 65536;
		p.parent = i ? name_of(i - 1) : NULL;
		if (shape == ON_RAW && !i) {
			fd = open(name_of(0), O_RDWR | O_CREAT, 0600);
			memset(want, 0x77, DISK);
			ck_assert(write(fd, want, DISK) == DISK && !close(fd));
			continue;
		}
		p.parent_raw = shape == ON_RAW && i == 1;
		ck_assert_msg(!vhd_create(name_of(i), &p, &err), "%s", err.text);
		if (fill)
			level_write(i, shape);
	}
}

struct reading {
	struct vhd_request req;
	struct iovec iov;
	bool busy;
	uint8_t buf[96 * 512];
};

static void reading_done(struct vhd_request *req, int error)
{
	struct reading *r = req->opaque;

	ck_assert_int_eq(error, 0);
	ck_assert_msg(!memcmp(r->buf, want + req->offset, req->length), "at %llu, %llu bytes", (unsigned long long)req->offset,
		      (unsigned long long)req->length);
	r->busy = false;
}

static void chain_read(struct vhd *v, uint64_t size)
{
	struct reading *r = calloc(FLIGHT, sizeof(*r));
	struct vhd_queue *q[2] = { vhd_queue_create(v, 8), vhd_queue_create(v, 3) };
	int i, n;

	for (n = 0; n < 3000; n++) {
		i = rnd(FLIGHT);
		if (!r[i].busy) {
			r[i].req = (struct vhd_request){ .op = VHD_READ, .length = (1 + rnd(96)) * 512, .iov = &r[i].iov,
							 .iovcnt = 1, .done = reading_done, .opaque = &r[i] };
			r[i].req.offset = rnd((size - r[i].req.length) / 512 + 1) * 512;
			r[i].iov = (struct iovec){ r[i].buf, r[i].req.length };
			r[i].busy = true;
			vhd_submit(q[i & 1], &r[i].req);
		}
		if (n % 5 == 0)
			vhd_queue_kick(q[n & 1]);
		if (n % 7 == 0)
			vhd_queue_poll(q[n & 1]);
	}
	for (i = 0; i < 2; i++) {
		vhd_queue_drain(q[i]);
		vhd_queue_destroy(q[i]);
	}
	for (i = 0; i < FLIGHT; i++)
		ck_assert(!r[i].busy);
	free(r);
}

static void located(struct vhd_request *req, int error)
{
	int *answer = req->opaque;

	*answer = error ? error : 1;
}

/* What lies at @at of the disk, said by the queue at once or later. */
static struct vhd_found locate(struct vhd_queue *q, uint64_t at, uint64_t length)
{
	int answer = 0;
	struct vhd_request req = { .offset = at, .length = length, .done = located, .opaque = &answer };

	if (!vhd_locate(q, &req)) {
		vhd_queue_drain(q);
		ck_assert_int_eq(answer, 1);
	}
	ck_assert(req.found.length && req.found.length <= length);
	return req.found;
}

/* Reads [at, at + length) as @from shows it. */
static int read_from(struct vhd_queue *q, struct vhd *from, uint8_t *buf, uint64_t length, uint64_t at)
{
	struct iovec iov = { buf, length };
	int answer = 0;
	struct vhd_request req = { .op = VHD_READ, .offset = at, .length = length, .iov = &iov, .iovcnt = 1, .from = from,
				   .done = located, .opaque = &answer };

	vhd_submit(q, &req);
	vhd_queue_drain(q);
	return answer;
}

static void chain_remove(int depth)
{
	while (depth--)
		ck_assert_int_eq(unlink(name_of(depth)), 0);
}

START_TEST(every_level_shows)
{
	static const struct {
		enum shape shape;
		int depth;
	} chains[] = { { UNIFORM, 2 }, { UNIFORM, 3 }, { UNIFORM, VHD_MAX_CHAIN }, { MIXED, 9 }, { GROWING, 9 }, { ON_RAW, 9 } };
	enum shape shape = chains[_i].shape;
	int depth = chains[_i].depth;
	struct vhd_error err;
	struct vhd_info info;
	struct vhd *v;

	seed = 1 + _i;
	want = calloc(1, DISK);
	chain_make(depth, shape, true);
	ck_assert_msg(!vhd_open(name_of(depth - 1), VHD_O_RDONLY | VHD_O_RAW_PARENT, &v, &err), "%s", err.text);
	vhd_get_info(v, &info);
	ck_assert_uint_eq(info.depth, depth);
	chain_read(v, size_at(shape, depth - 1));
	ck_assert_int_eq(vhd_close(v), 0);
	/* The same with a writer's handle, after more writes. */
	level_write(depth - 1, shape);
	ck_assert_msg(!vhd_open(name_of(depth - 1), VHD_O_RAW_PARENT, &v, &err), "%s", err.text);
	chain_read(v, size_at(shape, depth - 1));
	ck_assert_int_eq(vhd_close(v), 0);
	chain_remove(depth);
	free(want);
}
END_TEST

START_TEST(one_more_is_too_deep)
{
	struct vhd_params p = { .type = VHD_DIFF };
	struct vhd_error err;

	want = calloc(1, DISK);
	chain_make(VHD_MAX_CHAIN, UNIFORM, false);
	p.parent = name_of(VHD_MAX_CHAIN - 1);
	ck_assert_int_eq(vhd_create(name_of(VHD_MAX_CHAIN), &p, &err), -ELOOP);
	ck_assert_msg(strstr(err.text, "coalesce some"), "%s", err.text);
	chain_remove(VHD_MAX_CHAIN);
	free(want);
}
END_TEST

/* What a child discards is its own or its parent's no more than once: zeros stay zeros. */
START_TEST(discard_in_a_child_gives_space_back)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	struct vhd_info before, after;
	uint8_t buf[65536];
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;
	int i, turn;

	want = calloc(1, DISK);
	ck_assert(!vhd_create(name_of(0), &p, &err));
	level_write(0, UNIFORM);
	p.type = VHD_DIFF;
	p.parent = name_of(0);
	ck_assert(!vhd_create(name_of(1), &p, &err));
	ck_assert(!vhd_open(name_of(1), 0, &v, &err));
	q = vhd_queue_create(v, 4);
	memset(buf, 0x33, sizeof(buf));
	for (i = 0; i < 32; i++)
		ck_assert(!vhd_pwrite(q, buf, sizeof(buf), i * 65536));
	ck_assert(!vhd_flush(q));
	vhd_get_info(v, &before);
	ck_assert(!vhd_discard(q, 0, 24 * 65536));
	ck_assert(!vhd_flush(q));
	vhd_get_info(v, &after);
	ck_assert_msg(after.allocated + 20 * 65536 <= before.allocated, "%llu bytes are %llu after a discard of 24 blocks",
		      (unsigned long long)before.allocated, (unsigned long long)after.allocated);
	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < 32; i++) {
			ck_assert(!vhd_pread(q, buf, sizeof(buf), i * 65536));
			ck_assert_uint_eq(buf[0], i < 24 ? 0 : 0x33);
			ck_assert(!memcmp(buf, buf + 1, sizeof(buf) - 1));
		}
		vhd_queue_destroy(q);
		ck_assert(!vhd_close(v));
		ck_assert(!vhd_open(name_of(1), 0, &v, &err));
		q = vhd_queue_create(v, 4);
	}
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	chain_remove(2);
	free(want);
}
END_TEST

/* A disk and a clone of its parent name the same content alike, their own not at all, and a copy's otherwise. */
START_TEST(clones_name_what_they_share)
{
	struct vhd_params p = { .type = VHD_DIFF, .block_size = 65536 };
	uint64_t at, shared = 0, own = 0;
	struct vhd *v[2], *found = NULL;
	struct vhd_queue *q[2];
	struct vhd_error err;
	char copy[300];
	uint8_t *buf;
	int i;

	want = calloc(1, DISK);
	buf = malloc(DISK);
	seed = 7;
	chain_make(4, _i ? MIXED : UNIFORM, true);
	p.parent = name_of(2);
	ck_assert(!vhd_create(name_of(4), &p, &err));
	for (i = 0; i < 2; i++) {
		ck_assert_msg(!vhd_open(name_of(3 + i), 0, &v[i], &err), "%s", err.text);
		q[i] = vhd_queue_create(v[i], 4);
	}
	for (at = 0; at < DISK;) {
		struct vhd_found a = locate(q[0], at, DISK - at), b = locate(q[1], at, a.length);

		if (a.from) {
			/* The disk of level 3 leaves it to an ancestor: so does the clone. */
			ck_assert(b.from && b.from != a.from && !memcmp(a.image, b.image, 16));
			ck_assert_int_eq(read_from(q[0], a.from, buf, b.length, at), 1);
			ck_assert(!memcmp(buf, want + at, b.length));
			ck_assert_int_eq(read_from(q[1], b.from, buf + b.length, b.length, at), 1);
			ck_assert(!memcmp(buf, buf + b.length, b.length));
			found = b.from;
			shared += b.length;
			at += b.length;
		} else {
			own += a.length;
			at += a.length;
		}
	}
	ck_assert(shared > DISK / 16 && own > DISK / 64);
	/* Another disk's image is none to read from, nor is anything to write to. */
	ck_assert_int_eq(read_from(q[0], found, buf, 512, 0), -ESTALE);
	for (i = 0; i < 2; i++) {
		vhd_queue_destroy(q[i]);
		ck_assert_int_eq(vhd_close(v[i]), 0);
	}
	/* The same bytes and unique id in another file are another image. */
	snprintf(copy, sizeof(copy), "cp %s %s/copy && mv %s/copy %s", name_of(0), dir, dir, name_of(0));
	ck_assert_msg(!vhd_open(name_of(3), VHD_O_RDONLY, &v[0], &err), "%s", err.text);
	ck_assert_int_eq(system(copy), 0);
	ck_assert_msg(!vhd_open(name_of(4), VHD_O_RDONLY, &v[1], &err), "%s", err.text);
	for (i = 0; i < 2; i++)
		q[i] = vhd_queue_create(v[i], 4);
	for (at = 0, shared = 0, own = 0; at < DISK; at += 512) {
		struct vhd_found a = locate(q[0], at, 512), b = locate(q[1], at, 512);
		bool same = a.from && b.from && !memcmp(a.image, b.image, 16);

		shared += same;
		own += a.from && b.from && !same;
	}
	ck_assert(shared && own);
	for (i = 0; i < 2; i++) {
		vhd_queue_destroy(q[i]);
		ck_assert_int_eq(vhd_close(v[i]), 0);
	}
	chain_remove(5);
	free(want);
	free(buf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_chain");
	TCase *t = tcase_create("chain");
	SRunner *r;
	int bad;

	/* In memory: a chain of 64 takes several hundred syncs. */
	strcpy(dir, "/dev/shm/lodge-chain-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, every_level_shows, 0, 6);
	tcase_add_test(t, one_more_is_too_deep);
	tcase_add_test(t, discard_in_a_child_gives_space_back);
	tcase_add_loop_test(t, clones_name_what_they_share, 0, 2);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	rmdir(dir);
	return bad != 0;
}
