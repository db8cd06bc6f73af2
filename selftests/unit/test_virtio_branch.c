// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
// LINK: userspace/virtio/virtio_pci.c userspace/virtio/iothread.c userspace/virtio/virtio_blk.c userspace/virtio/blk_request.c userspace/virtio/blk_share.c userspace/board/share.c
// LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c userspace/board/mem.c
// LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/common/thread.c
// LINK: userspace/block/*.c userspace/vhd/*.c userspace/common/size.c
// LIBS: -laio
/*
 * test_virtio_branch.c: snapshots of a disk while a guest's driver uses both its queues: no request is lost or answered
 * twice, each snapshot holds what was flushed before it, and the disk goes on with all of its contents. And snapshots of two
 * disks at one moment: what they hold together is what was written first, in the order of writing.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <unistd.h>

#include "../virtio/fake_board.h"
#include "virtio/virtio_blk.h"

#define DISK (8u << 20)
#define SNAPSHOTS 5
#define BATCH 20		/* of three descriptors, in a ring of 64 */
#define V1 (1ULL << VIRTIO_F_VERSION_1)

static struct gdev g;
static struct block *disk;
static struct virtio_dev *dev;
static char dir[64], path[96];
static u32 flushed;			/* atomic: the round that is on the platter */
static bool over;			/* atomic */
static u32 before[SNAPSHOTS];

static const char *snapshot_name(unsigned int n)
{
	static char name[112];

	snprintf(name, sizeof(name), "%s/s%u.vhd", dir, n);
	return name;
}

/* A batch of requests on queue q; each must come back once, and well. */
static void batch(unsigned int q, u32 type, u32 round)
{
	unsigned int n = type == VIRTIO_BLK_T_FLUSH ? 1 : BATCH, k;
	u32 len;

	for (k = 0; k < n; k++) {
		u64 at = FB_BUF + 0x100000 * q + 0x1000 * k;
		u64 sector = type == VIRTIO_BLK_T_FLUSH ? 0 : (u64)(2 * k + q) * 300;
		struct virtio_blk_outhdr hdr = { type, 0, sector };
		bool in = type == VIRTIO_BLK_T_IN;
		struct drv_seg s[3] = { { at, 16, false }, { at + 0x200, 512, in }, { at + 0x400, 1, true } };

		memcpy(fb_at(at, 16), &hdr, 16);
		if (!in)
			memset(fb_at(at + 0x200, 512), 0, 512);
		if (!in)
			memcpy(fb_at(at + 0x200, 4), &round, 4);
		*(u8 *)fb_at(at + 0x400, 1) = 0xaa;
		if (type == VIRTIO_BLK_T_FLUSH)
			s[1] = s[2];
		ck_assert_int_ge(drv_add(&g.drv[q], s, type == VIRTIO_BLK_T_FLUSH ? 2 : 3, false), 0);
	}
	g_kick(&g, q);
	for (k = 0; k < n; k++)
		ck_assert_msg(g_wait(&g, q, &len) >= 0, "round %u: request %u was not answered", round, k);
	for (k = 0; k < n; k++) {
		u64 at = FB_BUF + 0x100000 * q + 0x1000 * k;
		u32 value;

		ck_assert_uint_eq(*(u8 *)fb_at(at + 0x400, 1), VIRTIO_BLK_S_OK);
		memcpy(&value, fb_at(at + 0x200, 4), 4);
		ck_assert_uint_eq(value, type == VIRTIO_BLK_T_FLUSH ? value : round);
	}
}

static void *take_snapshots(void *arg)
{
	char temporary[112];
	unsigned int i;
	u64 ns;

	snprintf(temporary, sizeof(temporary), "%s/t.vhd", dir);
	for (i = 0; i < SNAPSHOTS; i++) {
		struct vhd_params p = { .type = VHD_DIFF, .parent = snapshot_name(i), .parent_live = true };
		u32 was = __atomic_load_n(&flushed, __ATOMIC_ACQUIRE);
		struct err e = ERR_INIT;
		struct vhd_error err;

		while (__atomic_load_n(&flushed, __ATOMIC_ACQUIRE) < was + 3)
			usleep(100);
		ck_assert(!link(path, snapshot_name(i)));
		ck_assert_msg(!vhd_create(temporary, &p, &err), "%s", err.text);
		before[i] = __atomic_load_n(&flushed, __ATOMIC_ACQUIRE);
		ck_assert_msg(!virtio_blk_branch(&(struct virtio_blk_branch){ dev, temporary, snapshot_name(i) }, 1, &ns, &e),
			      "%s", e.msg);
		printf("# snapshot %u after round %u: the disk stood still for %llu us\n", i, before[i],
		       (unsigned long long)ns / 1000);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	return arg;
}

static u32 value_in(const char *name, u64 sector)
{
	struct vhd_error err;
	struct vhd_queue *q;
	u8 buf[512];
	struct vhd *v;
	u32 value;

	ck_assert_msg(!vhd_open(name, VHD_O_RDONLY | VHD_O_NOLOCK, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 2);
	ck_assert(!vhd_pread(q, buf, 512, sector * 512));
	vhd_queue_destroy(q);
	vhd_close(v);
	memcpy(&value, buf, 4);
	return value;
}

START_TEST(snapshots_hold_what_was_flushed)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	struct virtio_blk_opts opts = { .queues = 2, .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct err e = ERR_INIT;
	struct vhd_error err;
	pthread_t t;
	u32 round;

	strcpy(dir, "/var/tmp/lodge-branch-XXXXXX");
	ck_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk.vhd", dir);
	ck_assert_msg(!vhd_create(path, &p, &err), "%s", err.text);
	disk = block_open(path, 0, NULL);
	ck_assert(disk);
	fb_init();
	dev = virtio_blk_create(&fb.board, disk, &opts, &e);
	ck_assert_msg(dev, "%s", e.msg);
	fb_run();
	g_probe(&g, 1);
	ck_assert(g_negotiate(&g, V1 | 1ULL << VIRTIO_BLK_F_FLUSH | (_i ? 1ULL << VIRTIO_F_RING_PACKED : 0)));
	g_queues(&g, 2);
	g_driver_ok(&g);
	pthread_create(&t, NULL, take_snapshots, NULL);
	for (round = 1; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); round++) {
		batch(0, VIRTIO_BLK_T_OUT, round);
		batch(1, VIRTIO_BLK_T_OUT, round);
		batch(0, VIRTIO_BLK_T_FLUSH, round);
		__atomic_store_n(&flushed, round, __ATOMIC_RELEASE);
		batch(1, VIRTIO_BLK_T_IN, round);
		batch(0, VIRTIO_BLK_T_IN, round);
	}
	pthread_join(t, NULL);
	g_fini(&g);
	fb_fini();
	ck_assert_int_eq(block_close(disk), 0);
	for (unsigned int k = 0; k < 2 * BATCH; k++) {
		for (unsigned int i = 0; i < SNAPSHOTS; i++) {
			u32 value = value_in(snapshot_name(i), k * 300);

			ck_assert_msg(value >= before[i] && value < round, "snapshot %u has round %u, %u was flushed", i, value,
				      before[i]);
		}
		ck_assert_uint_eq(value_in(path, k * 300), round - 1);
	}
	for (unsigned int i = 0; i < SNAPSHOTS; i++)
		unlink(snapshot_name(i));
	ck_assert(!unlink(path) && !rmdir(dir));
}
END_TEST

/* ---- two disks ---- */

#define RECORDS (512u << 10)	/* a sector each, the even ones on the first disk */

static struct gdev pair[2];
static struct block *pair_block[2];
static struct virtio_dev *pair_dev[2];

static const char *pair_name(unsigned int k, int snapshot)
{
	static char name[16][112];
	static unsigned int turn;
	char *s = name[turn++ % 16];

	if (snapshot < 0)
		snprintf(s, sizeof(name[0]), "%s/%s%u.vhd", dir, snapshot == -1 ? "disk" : "t", k);
	else
		snprintf(s, sizeof(name[0]), "%s/s%d-%u.vhd", dir, snapshot, k);
	return s;
}

static void pair_request(unsigned int k, u32 type, u32 record)
{
	struct virtio_blk_outhdr hdr = { type, 0, type == VIRTIO_BLK_T_FLUSH ? 0 : record };
	u64 at = FB_BUF + 0x100000 * k;
	struct drv_seg s[3] = { { at, 16, false }, { at + 0x200, 512, false }, { at + 0x400, 1, true } };
	u32 value = record + 1, len;

	memcpy(fb_at(at, 16), &hdr, 16);
	memcpy(fb_at(at + 0x200, 4), &value, 4);
	*(u8 *)fb_at(at + 0x400, 1) = 0xaa;
	if (type == VIRTIO_BLK_T_FLUSH)
		s[1] = s[2];
	ck_assert_int_ge(drv_add(&pair[k].drv[0], s, type == VIRTIO_BLK_T_FLUSH ? 2 : 3, false), 0);
	g_kick(&pair[k], 0);
	ck_assert_msg(g_wait(&pair[k], 0, &len) >= 0, "record %u was not answered", record);
	ck_assert_uint_eq(*(u8 *)fb_at(at + 0x400, 1), VIRTIO_BLK_S_OK);
}

static int pair_snapshot(int snapshot, struct err *e)
{
	struct virtio_blk_branch b[2];
	struct vhd_error err;
	unsigned int k;
	u64 ns;
	int r;

	for (k = 0; k < 2; k++) {
		struct vhd_params p = { .type = VHD_DIFF, .parent = pair_name(k, snapshot), .parent_live = true };

		ck_assert(!link(pair_name(k, -1), p.parent));
		ck_assert_msg(!vhd_create(pair_name(k, -2), &p, &err), "%s", err.text);
		b[k] = (struct virtio_blk_branch){ pair_dev[k], pair_name(k, -2), pair_name(k, snapshot) };
	}
	/* The second disk is given what is no child of it. */
	if (e)
		b[1].child = pair_name(0, -1);
	else
		before[snapshot] = __atomic_load_n(&flushed, __ATOMIC_ACQUIRE);
	r = virtio_blk_branch(b, 2, &ns, e ? e : &(struct err)ERR_INIT);
	if (!r)
		printf("# snapshots %d after record %u: the disks stood still for %llu us\n", snapshot, before[snapshot],
		       (unsigned long long)ns / 1000);
	return r;
}

static void *take_pairs(void *arg)
{
	struct err e = ERR_INIT;
	int i;

	for (i = 0; i < SNAPSHOTS; i++) {
		u32 was = __atomic_load_n(&flushed, __ATOMIC_ACQUIRE);

		while (__atomic_load_n(&flushed, __ATOMIC_ACQUIRE) < was + 20)
			usleep(100);
		ck_assert_int_lt(pair_snapshot(i, &e), 0);
		for (unsigned int k = 0; k < 2; k++)
			ck_assert(!unlink(pair_name(k, -2)) && !unlink(pair_name(k, i)));
		ck_assert_int_eq(pair_snapshot(i, NULL), 0);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	return arg;
}

/* How many records there are, of which no earlier one may be missing. */
static u32 pair_records(int snapshot, u32 max)
{
	struct vhd_queue *q[2];
	struct vhd_error err;
	struct vhd *v[2];
	u32 n, have = 0, value;
	bool gap = false;
	u8 buf[512];

	for (unsigned int k = 0; k < 2; k++) {
		ck_assert_msg(!vhd_open(pair_name(k, snapshot), VHD_O_RDONLY, &v[k], &err), "%s", err.text);
		q[k] = vhd_queue_create(v[k], 2);
	}
	for (n = 0; n < max; n++) {
		ck_assert(!vhd_pread(q[n & 1], buf, 512, n * 512ULL));
		memcpy(&value, buf, 4);
		ck_assert_msg(!value || !gap, "snapshots %d have record %u, and not %u before it", snapshot, n, have);
		ck_assert(!value || value == n + 1);
		gap |= !value;
		have += !!value;
	}
	for (unsigned int k = 0; k < 2; k++) {
		vhd_queue_destroy(q[k]);
		vhd_close(v[k]);
	}
	return have;
}

/* Each record is written when the one before it, on the other disk, was answered; with _i, flushed too. */
START_TEST(snapshots_of_two_disks_are_of_one_moment)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = RECORDS * 512ULL, .block_size = 65536 };
	struct virtio_blk_opts opts = { .queues = 1, .queue_size = 64 };
	struct err e = ERR_INIT;
	struct vhd_error err;
	pthread_t t;
	unsigned int k;
	u32 n;

	strcpy(dir, "/var/tmp/lodge-branch-XXXXXX");
	ck_assert(mkdtemp(dir));
	fb_init();
	for (k = 0; k < 2; k++) {
		ck_assert_msg(!vhd_create(pair_name(k, -1), &p, &err), "%s", err.text);
		pair_block[k] = block_open(pair_name(k, -1), 0, NULL);
		ck_assert(pair_block[k]);
		pair_dev[k] = virtio_blk_create(&fb.board, pair_block[k], &opts, &e);
		ck_assert_msg(pair_dev[k], "%s", e.msg);
	}
	fb_run();
	for (k = 0; k < 2; k++) {
		g_probe(&pair[k], k + 1);
		pair[k].rings += 8 * k * FB_RINGS;
		ck_assert(g_negotiate(&pair[k], V1 | 1ULL << VIRTIO_BLK_F_FLUSH));
		g_queues(&pair[k], 1);
		g_driver_ok(&pair[k]);
	}
	pthread_create(&t, NULL, take_pairs, NULL);
	for (n = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); n++) {
		ck_assert_uint_lt(n, RECORDS);
		pair_request(n & 1, VIRTIO_BLK_T_OUT, n);
		if (_i)
			pair_request(n & 1, VIRTIO_BLK_T_FLUSH, n);
		__atomic_store_n(&flushed, n + 1, __ATOMIC_RELEASE);
	}
	pthread_join(t, NULL);
	for (k = 0; k < 2; k++)
		g_fini(&pair[k]);
	fb_fini();
	for (k = 0; k < 2; k++)
		ck_assert_int_eq(block_close(pair_block[k]), 0);
	for (int i = 0; i < SNAPSHOTS; i++) {
		u32 have = pair_records(i, n);

		ck_assert_msg(have >= before[i] && have <= n, "snapshots %d have %u records, %u were there", i, have, before[i]);
	}
	ck_assert_uint_eq(pair_records(-1, n), n);
	for (k = 0; k < 2; k++)
		for (int i = -1; i < SNAPSHOTS; i++)
			ck_assert(!unlink(pair_name(k, i)));
	ck_assert(!rmdir(dir));
}
END_TEST

/* A drive: empty, then with a medium, which grows, and empty again; each time the guest is told. */
START_TEST(a_drive_changes_its_medium)
{
	struct virtio_blk_opts opts = { .queues = 2, .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct err e = ERR_INIT;
	struct block *other;
	char name[112];
	u64 ns;

	strcpy(dir, "/var/tmp/lodge-branch-XXXXXX");
	ck_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/medium", dir);
	ck_assert_int_eq(close(open(path, O_CREAT | O_RDWR, 0600)) | truncate(path, DISK), 0);
	disk = block_open("removable=on", 0, NULL);
	ck_assert(disk && block_removable(disk) && !block_capacity(disk));
	fb_init();
	dev = virtio_blk_create(&fb.board, disk, &opts, &e);
	ck_assert_msg(dev, "%s", e.msg);
	fb_run();
	g_probe(&g, 1);
	ck_assert(g_negotiate(&g, V1));
	g_queues(&g, 2);
	g_driver_ok(&g);
	ck_assert_uint_eq(g_read(g.config, 8), 0);
	snprintf(name, sizeof(name), "raw:%s", path);
	other = block_open(name, 0, NULL);
	ck_assert(other);
	ck_assert_msg(!virtio_blk_exchange(dev, other, &e), "%s", e.msg);
	ck_assert_int_eq(block_close(other), 0);
	ck_assert_uint_eq(g_read(g.config, 8), DISK / 512);
	batch(0, VIRTIO_BLK_T_OUT, 7);
	batch(1, VIRTIO_BLK_T_OUT, 7);
	ck_assert_msg(!virtio_blk_grow(dev, 2 * DISK, &ns, &e), "%s", e.msg);
	ck_assert_uint_eq(g_read(g.config, 8), DISK / 256);
	batch(0, VIRTIO_BLK_T_IN, 7);
	other = block_open_empty("removable=on", NULL);
	ck_assert_msg(!virtio_blk_exchange(dev, other, &e), "%s", e.msg);
	ck_assert_int_eq(block_close(other), 0);
	ck_assert_uint_eq(g_read(g.config, 8), 0);
	g_fini(&g);
	fb_fini();
	ck_assert_int_eq(block_close(disk), 0);
	ck_assert(!unlink(path) && !rmdir(dir));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_branch");
	TCase *t = tcase_create("branch");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 240);
	tcase_add_loop_test(t, snapshots_hold_what_was_flushed, 0, 2);
	tcase_add_loop_test(t, snapshots_of_two_disks_are_of_one_moment, 0, 2);
	tcase_add_test(t, a_drive_changes_its_medium);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
