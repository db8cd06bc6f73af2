// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio
/*
 * Snapshots of an image that is in use: taken with writes in flight on two
 * queues, again and again, each must hold what had been submitted until then
 * and nothing later, and the disk goes on. One that fails leaves the disk as
 * it was, and so does one of several, at each of the steps. And a disk that becomes larger, or another, while it is in use.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lodge/vhd.h>

#define DISK	(2u << 20)
#define WRITES	24
#define ROUNDS	6

struct write {
	struct vhd_request req;
	struct iovec iov;
	bool done;
	uint8_t buf[40 * 512];
};

static char dir[64], disk[96];
static uint8_t want[ROUNDS + 1][DISK];
static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static const char *snapshot_name(int n)
{
	static char name[112];

	snprintf(name, sizeof(name), "%s/s%d.vhd", dir, n);
	return name;
}

static void write_done(struct vhd_request *req, int error)
{
	struct write *w = req->opaque;

	ck_assert_int_eq(error, 0);
	w->done = true;
}

/* Writes that do not overlap, submitted and left in flight. */
static struct write *submit(struct vhd_queue **q, uint8_t *state)
{
	struct write *w = calloc(WRITES, sizeof(*w));
	int i;

	for (i = 0; i < WRITES; i++) {
		uint32_t length = (1 + rnd(40)) * 512, at = i * (DISK / WRITES / 512) * 512 + rnd(40) * 512;
		bool zero = rnd(5) == 0;

		memset(w[i].buf, zero ? 0 : 1 + rnd(255), length);
		memcpy(state + at, w[i].buf, length);
		w[i].iov = (struct iovec){ w[i].buf, length };
		w[i].req = (struct vhd_request){ .op = zero ? VHD_WRITE_ZEROES : VHD_WRITE, .offset = at, .length = length,
						 .iov = zero ? NULL : &w[i].iov, .iovcnt = !zero, .flags = VHD_F_UNMAP,
						 .done = write_done, .opaque = &w[i] };
		vhd_submit(q[i & 1], &w[i].req);
		if (rnd(3) == 0)
			vhd_queue_kick(q[i & 1]);
	}
	return w;
}

static void written(struct write *w)
{
	int i;

	for (i = 0; i < WRITES; i++)
		ck_assert(w[i].done);
	free(w);
}

static struct vhd *child_make(const char *temporary, const char *snapshot)
{
	struct vhd_params p = { .type = VHD_DIFF, .parent = snapshot, .parent_live = true, .block_size = 65536 };
	struct vhd_error err;
	struct vhd *child;

	ck_assert_msg(!vhd_create(temporary, &p, &err), "%s", err.text);
	ck_assert_msg(!vhd_open(temporary, VHD_O_OWN, &child, &err), "%s", err.text);
	return child;
}

static void same(const char *path, const uint8_t *state)
{
	static uint8_t buf[DISK];
	struct vhd_check c = { .bitmaps = true };
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;

	ck_assert_msg(!vhd_open(path, VHD_O_RDONLY, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 8);
	ck_assert(!vhd_pread(q, buf, DISK, 0));
	ck_assert_msg(!memcmp(buf, state, DISK), "%s has other contents", path);
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	ck_assert(!vhd_check(path, &c, &err));
	ck_assert_msg(!c.corruptions && !c.leaks, "%s does not check clean", path);
}

static void begin(enum vhd_type type, struct vhd **v, struct vhd_queue **q)
{
	struct vhd_params p = { .type = type, .size = DISK, .block_size = type == VHD_FIXED ? 0 : 65536 };
	struct vhd_error err;

	strcpy(dir, "/dev/shm/lodge-branch-XXXXXX");
	ck_assert(mkdtemp(dir));
	snprintf(disk, sizeof(disk), "%s/disk.vhd", dir);
	memset(want, 0, sizeof(want));
	ck_assert(!vhd_create(disk, &p, &err));
	ck_assert(!vhd_open(disk, 0, v, &err));
	q[0] = vhd_queue_create(*v, 6);
	q[1] = vhd_queue_create(*v, 16);
}

static void end(struct vhd *v, struct vhd_queue **q)
{
	vhd_queue_destroy(q[0]);
	vhd_queue_destroy(q[1]);
	ck_assert_int_eq(vhd_close(v), 0);
}

static void remove_all(int snapshots)
{
	while (snapshots--)
		ck_assert(!unlink(snapshot_name(snapshots)));
	ck_assert(!unlink(disk) && !rmdir(dir));
}

static int branch(struct vhd *v, struct vhd *child, const char *name, const char *snapshot, struct vhd_queue **q,
		  unsigned int n, struct vhd_error *err)
{
	struct vhd_branch b = { .v = v, .child = child, .disk = name, .snapshot = snapshot, .q = q, .n = n };
	int ret = vhd_branch_prepare(&b, 1, err);

	if (!ret)
		ret = vhd_branch_switch(&b, 1, err);
	return ret ? ret : vhd_branch_finish(&b, 1, err);
}

START_TEST(each_holds_what_was_submitted)
{
	struct vhd_queue *q[2];
	struct vhd_error err;
	char temporary[128];
	struct vhd *v, *child;
	struct write *w;
	int i;

	seed = 7 + _i;
	begin(_i ? VHD_FIXED : VHD_DYNAMIC, &v, q);
	snprintf(temporary, sizeof(temporary), "%s/t.vhd", dir);
	for (i = 0; i < ROUNDS; i++) {
		w = submit(q, want[i]);
		ck_assert(!link(disk, snapshot_name(i)));
		child = child_make(temporary, snapshot_name(i));
		ck_assert_msg(!branch(v, child, disk, snapshot_name(i), q, 2, &err), "%s", err.text);
		written(w);
		v = child;
		memcpy(want[i + 1], want[i], DISK);
		/* Readers may have the snapshot at once, writers never. */
		same(snapshot_name(i), want[i]);
		ck_assert_int_lt(vhd_open(snapshot_name(i), 0, &child, &err), 0);
	}
	w = submit(q, want[ROUNDS]);
	end(v, q);
	written(w);
	for (i = 0; i < ROUNDS; i++)
		same(snapshot_name(i), want[i]);
	same(disk, want[ROUNDS]);
	remove_all(ROUNDS);
}
END_TEST

START_TEST(one_that_fails_changes_nothing)
{
	struct vhd_queue *q[2];
	struct vhd_error err;
	char temporary[128];
	struct vhd *v, *child, *other;
	struct write *w;

	seed = 70;
	begin(VHD_DYNAMIC, &v, q);
	snprintf(temporary, sizeof(temporary), "%s/t.vhd", dir);
	w = submit(q, want[0]);
	child = child_make(temporary, disk);
	ck_assert_int_eq(branch(v, child, "/dev/shm/is/not/there", snapshot_name(0), q, 2, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "/dev/shm/is/not/there"), "%s", err.text);
	ck_assert(!vhd_close(child) && !unlink(temporary));
	written(w);
	ck_assert_int_lt(vhd_open(disk, 0, &other, &err), 0);
	w = submit(q, want[0]);
	end(v, q);
	written(w);
	same(disk, want[0]);
	/* Not marked: it can be written to. */
	ck_assert_msg(!vhd_open(disk, 0, &v, &err), "%s", err.text);
	ck_assert(!vhd_close(v));
	remove_all(0);
}
END_TEST

/* The second of two disks cannot be renamed: the first gets its name back, and both go on. */
START_TEST(two_fail_together)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	char other[128], temporary[2][128], kept[2][128];
	struct vhd_queue *q[2], *oq;
	struct vhd_branch b[2];
	struct vhd *v[2], *third;
	struct vhd_error err;
	struct write *w;
	int i;

	seed = 71;
	begin(VHD_DYNAMIC, &v[0], q);
	snprintf(other, sizeof(other), "%s/other.vhd", dir);
	ck_assert(!vhd_create(other, &p, &err) && !vhd_open(other, 0, &v[1], &err));
	oq = vhd_queue_create(v[1], 4);
	for (i = 0; i < 2; i++) {
		snprintf(temporary[i], sizeof(temporary[i]), "%s/t%d.vhd", dir, i);
		snprintf(kept[i], sizeof(kept[i]), "%s/s%d.vhd", dir, i);
		ck_assert(!link(i ? other : disk, kept[i]));
		b[i] = (struct vhd_branch){ v[i], child_make(temporary[i], kept[i]), i ? other : disk, kept[i], i ? &oq : q, i ? 1 : 2,
					    { NULL } };
	}
	w = submit(q, want[0]);
	ck_assert(!vhd_branch_prepare(b, 2, &err));
	ck_assert(!unlink(temporary[1]));
	ck_assert_int_eq(vhd_branch_switch(b, 2, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, other), "%s", err.text);
	written(w);
	for (i = 0; i < 2; i++)
		ck_assert(!vhd_close(b[i].child));
	/* The first child has its own name again, and the disk's name is a second one of what is in use. */
	ck_assert(!unlink(temporary[0]) && !unlink(kept[0]) && !unlink(kept[1]));
	ck_assert_int_lt(vhd_open(disk, 0, &third, &err), 0);
	w = submit(q, want[0]);
	ck_assert(!vhd_pwrite(oq, want[0], 4096, 0) && !vhd_flush(oq));
	vhd_queue_destroy(oq);
	ck_assert_int_eq(vhd_close(v[1]), 0);
	end(v[0], q);
	written(w);
	same(disk, want[0]);
	ck_assert_msg(!vhd_open(disk, 0, &third, &err), "%s", err.text);
	ck_assert(!vhd_close(third) && !unlink(other));
	remove_all(0);
}
END_TEST

START_TEST(a_stranger_is_no_child)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK };
	struct vhd_queue *q[2];
	struct vhd_error err;
	char temporary[128];
	struct vhd *v, *child;

	begin(VHD_DYNAMIC, &v, q);
	snprintf(temporary, sizeof(temporary), "%s/t.vhd", dir);
	ck_assert(!vhd_create(temporary, &p, &err));
	ck_assert(!vhd_open(temporary, VHD_O_OWN, &child, &err));
	ck_assert_int_eq(branch(v, child, disk, snapshot_name(0), q, 2, &err), -ESTALE);
	ck_assert(!vhd_close(child) && !unlink(temporary));
	end(v, q);
	remove_all(0);
}
END_TEST

/*
 * A disk becomes larger with writes in flight, and others go on through the same queues: contents stay, new space is zero.
 * Then another image takes its place, and it comes back.
 */
START_TEST(a_disk_grows_and_changes_under_its_queues)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 2 << 20 };
	static uint8_t buf[DISK], other_state[DISK];
	struct vhd *v, *was, *other;
	struct vhd_error err;
	struct vhd_queue *q[2];
	struct write *w;
	uint64_t size = DISK;
	int round;

	seed = 77 + _i;
	begin(_i ? VHD_FIXED : VHD_DYNAMIC, &v, q);
	for (round = 0; round < ROUNDS; round++) {
		w = submit(q, want[0]);
		size += (1 + rnd(5000)) * 512;
		ck_assert_msg(!vhd_grow(v, size, q, 2, &v, &err), "%s", err.text);
		written(w);
		ck_assert_uint_eq(vhd_size(v), size);
		ck_assert(!vhd_pread(q[0], buf, DISK, 0) && !memcmp(buf, want[0], DISK));
		memset(buf, 1, 512);
		ck_assert(!vhd_pread(q[1], buf, 512, size - 512) && !buf[0] && !memcmp(buf, buf + 1, 511));
		memset(buf, 7, 512);
		ck_assert(!vhd_pwrite(q[1], buf, 512, size - 512) && !vhd_write_zeroes(q[0], size - 512, 512, 0));
	}
	ck_assert_int_eq(vhd_grow(v, size - 512, q, 2, &v, &err), -EINVAL);
	ck_assert_int_eq(vhd_grow(v, size + 1, q, 2, &v, &err), -EINVAL);
	ck_assert_int_eq(vhd_grow(v, VHD_MAX_SIZE + 512, q, 2, &v, &err), -EFBIG);
	ck_assert_uint_eq(vhd_size(v), size);
	was = v;
	ck_assert(!vhd_create(snapshot_name(0), &p, &err));
	ck_assert(!vhd_open(snapshot_name(0), 0, &other, &err));
	w = submit(q, want[0]);
	ck_assert_msg(!vhd_switch(was, other, q, 2, &err), "%s", err.text);
	written(w);
	w = submit(q, other_state);
	ck_assert_msg(!vhd_switch(other, was, q, 2, &err), "%s", err.text);
	written(w);
	ck_assert(!vhd_pread(q[0], buf, DISK, 0) && !memcmp(buf, want[0], DISK));
	vhd_queue_destroy(q[0]);
	vhd_queue_destroy(q[1]);
	ck_assert_int_eq(vhd_close(other), 0);
	ck_assert_int_eq(vhd_close(was), 0);
	same(snapshot_name(0), other_state);
	ck_assert_msg(!vhd_open(disk, 0, &v, &err), "%s", err.text);
	ck_assert_uint_eq(vhd_size(v), size);
	q[0] = vhd_queue_create(v, 8);
	ck_assert(!vhd_pread(q[0], buf, DISK, 0) && !memcmp(buf, want[0], DISK));
	vhd_queue_destroy(q[0]);
	vhd_close(v);
	unlink(snapshot_name(0));
	ck_assert(!unlink(disk) && !rmdir(dir));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_branch");
	TCase *t = tcase_create("branch");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, each_holds_what_was_submitted, 0, 2);
	tcase_add_test(t, one_that_fails_changes_nothing);
	tcase_add_test(t, two_fail_together);
	tcase_add_loop_test(t, a_disk_grows_and_changes_under_its_queues, 0, 2);
	tcase_add_test(t, a_stranger_is_no_child);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
