// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_virtio_blk_hold.c: requests of a disk that do not end at once: failed ones by each policy, and those of a limited
 * disk; and those of a disk that loses its image. Whatever happens meanwhile, each comes back once.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
 * LINK: userspace/virtio/virtio_pci.c userspace/virtio/iothread.c userspace/virtio/virtio_blk.c userspace/virtio/blk_request.c userspace/virtio/blk_share.c userspace/board/share.c
 * LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c userspace/board/mem.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/common/thread.c userspace/block/throttle.c
 */
#include <linux/virtio_blk.h>

#include "../virtio/fake_block.h"
#include "../virtio/fake_board.h"
#include "virtio/virtio_blk.h"

#define V1 (1ULL << VIRTIO_F_VERSION_1)
#define SLOT(k) (FB_BUF + 0x1000 * (k))

static struct gdev g;
static struct block disk;
static struct virtio_dev *dev;
static unsigned int stops;	/* atomic */

static void stopped(void *ctx)
{
	__atomic_fetch_add((unsigned int *)ctx, 1, __ATOMIC_RELEASE);
}

static void set_up(enum block_on_error on_error)
{
	struct virtio_blk_opts opts = { .queues = 2, .queue_size = 64, .stopped = stopped, .ctx = &stops };
	struct err e = ERR_INIT;

	fb_init();
	memset(&disk, 0, sizeof(disk));
	pthread_mutex_init(&disk.lock, NULL);
	disk.on_error = on_error;
	stops = 0;
	dev = virtio_blk_create(&fb.board, &disk, &opts, &e);
	ck_assert_msg(dev, "%s", e.msg);
	fb_run();
	g_probe(&g, 1);
	ck_assert(g_negotiate(&g, V1 | 1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << 40));
	g_queues(&g, 2);
	g_driver_ok(&g);
}

static void tear_down(void)
{
	g_fini(&g);
	fb_fini();
}

static void send(unsigned int q, unsigned int slot, u32 type, u64 sector, u32 len)
{
	struct virtio_blk_outhdr hdr = { type, 0, sector };
	bool in = type == VIRTIO_BLK_T_IN;
	struct drv_seg s[3] = { { SLOT(slot), 16, false }, { SLOT(slot) + 0x200, len, in }, { SLOT(slot) + 0xf00, 1, true } };

	memcpy(fb_at(SLOT(slot), 16), &hdr, 16);
	*(u8 *)fb_at(SLOT(slot) + 0xf00, 1) = 0xaa;
	if (!len)
		s[1] = s[2];
	ck_assert_int_ge(drv_add(&g.drv[q], s, len ? 3 : 2, false), 0);
	g_kick(&g, q);
}

static u8 status(unsigned int slot)
{
	return *(u8 *)fb_at(SLOT(slot) + 0xf00, 1);
}

static u8 request(unsigned int slot, u32 type, u64 sector, u32 len)
{
	u32 used;

	send(0, slot, type, sector, len);
	ck_assert_msg(g_wait(&g, 0, &used) >= 0, "no completion");
	return status(slot);
}

static void wait_for_stops(unsigned int n)
{
	for (int i = 0; i < 5000 && __atomic_load_n(&stops, __ATOMIC_ACQUIRE) < n; i++)
		usleep(1000);
	ck_assert_uint_eq(__atomic_load_n(&stops, __ATOMIC_ACQUIRE), n);
}

START_TEST(report_tells_the_guest)
{
	set_up(BLOCK_ERROR_REPORT);
	disk.fail = -ENOSPC;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_IOERR);
	disk.fail = -EIO;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(stops, 0);
	tear_down();
}
END_TEST

START_TEST(ignore_says_all_went_well_and_reads_zeroes)
{
	struct virtio_blk_stats st;

	set_up(BLOCK_ERROR_IGNORE);
	memset(disk.data, 0x55, sizeof(disk.data));
	disk.fail = -EIO;
	memset(fb_at(SLOT(0) + 0x200, 512), 0x77, 512);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, 512), VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 512; i++)
		ck_assert_uint_eq(*(u8 *)fb_at(SLOT(0) + 0x200 + i, 1), 0);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.data[512], 0x55);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	virtio_blk_stats(dev, &st);
	ck_assert_uint_eq(st.ignored, 3);
	/* The guest's own mistakes are told whatever the policy. */
	disk.fail = 0;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, FAKE_SECTORS, 512), VIRTIO_BLK_S_IOERR);
	tear_down();
}
END_TEST

/* Requests of both queues, of every kind, are held; a retry that fails holds them again; one that does not answers all. */
START_TEST(stop_holds_requests_until_a_retry_succeeds)
{
	struct virtio_blk_failure f;
	u32 used;

	set_up(BLOCK_ERROR_STOP);
	ck_assert(!virtio_blk_failure(dev, &f));
	memset(disk.data + 5 * 512, 0x11, 512);
	memset(fb_at(SLOT(0) + 0x200, 512), 0xab, 512);
	disk.fail = -EIO;
	send(0, 0, VIRTIO_BLK_T_OUT, 9, 512);
	send(0, 1, VIRTIO_BLK_T_FLUSH, 0, 0);
	send(1, 2, VIRTIO_BLK_T_IN, 5, 512);
	wait_for_stops(3);
	ck_assert(virtio_blk_failure(dev, &f));
	ck_assert_int_eq(f.error, -EIO);
	virtio_blk_retry(dev);
	wait_for_stops(6);
	for (unsigned int k = 0; k < 3; k++)
		ck_assert_uint_eq(status(k), 0xaa);
	pthread_mutex_lock(&disk.lock);
	disk.fail = 0;
	pthread_mutex_unlock(&disk.lock);
	virtio_blk_retry(dev);
	ck_assert_int_ge(g_wait(&g, 0, &used), 0);
	ck_assert_int_ge(g_wait(&g, 0, &used), 0);
	ck_assert_int_ge(g_wait(&g, 1, &used), 0);
	for (unsigned int k = 0; k < 3; k++)
		ck_assert_uint_eq(status(k), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.data[9 * 512], 0xab);
	ck_assert_uint_eq(*(u8 *)fb_at(SLOT(2) + 0x200, 1), 0x11);
	ck_assert_uint_eq(disk.flushes, 1);
	ck_assert(!virtio_blk_failure(dev, &f));
	tear_down();
}
END_TEST

START_TEST(enospc_stops_for_want_of_space_alone)
{
	u32 used;

	set_up(BLOCK_ERROR_ENOSPC);
	disk.fail = -EIO;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_IOERR);
	disk.fail = -ENOSPC;
	send(0, 0, VIRTIO_BLK_T_OUT, 1, 512);
	wait_for_stops(1);
	/* The policy may change while a request is held: the retry goes by the new one. */
	virtio_blk_set_on_error(dev, BLOCK_ERROR_REPORT);
	virtio_blk_retry(dev);
	ck_assert_int_ge(g_wait(&g, 0, &used), 0);
	ck_assert_uint_eq(status(0), VIRTIO_BLK_S_IOERR);
	tear_down();
}
END_TEST

/* A reset, of the device or of a queue, does not wait for what is held or waits. */
START_TEST(reset_brings_everything_back)
{
	static const struct throttle_limits slow = { .iops = 1, .iops_burst = 1 };
	struct virtio_blk_failure f;
	struct throttle t;

	set_up(BLOCK_ERROR_STOP);
	throttle_init(&t, &slow);
	disk.fail = -EIO;
	send(1, 0, VIRTIO_BLK_T_OUT, 1, 512);
	send(0, 1, VIRTIO_BLK_T_OUT, 1, 512);
	wait_for_stops(2);
	virtio_blk_set_throttle(dev, &t);
	for (unsigned int k = 2; k < 10; k++)
		send(0, k, VIRTIO_BLK_T_IN, k, 512);
	usleep(20000);
	if (_i) {
		g_set_common(&g, 22, 2, 1);
		g_set_common(&g, 58, 2, 1);	/* queue_reset of the second */
		ck_assert_uint_eq(g_common(&g, 58, 2), 0);
	}
	g_set_common(&g, 20, 1, 0);
	ck_assert_uint_eq(g_status(&g), 0);
	ck_assert(!virtio_blk_failure(dev, &f));
	virtio_blk_set_throttle(dev, NULL);
	disk.fail = 0;
	g_fini(&g);
	g_probe(&g, 1);
	ck_assert(g_negotiate(&g, V1));
	g_queues(&g, 1);
	g_driver_ok(&g);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_OK);
	tear_down();
	throttle_fini(&t);
}
END_TEST

static u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

START_TEST(limited_disk_serves_all_and_takes_its_time)
{
	struct throttle_limits l = { .iops = 100, .iops_burst = 1 };
	struct virtio_blk_stats st;
	struct throttle t;
	u64 from;
	u32 used;

	set_up(BLOCK_ERROR_STOP);
	throttle_init(&t, &l);
	virtio_blk_set_throttle(dev, &t);
	from = now_ms();
	for (unsigned int k = 0; k < 31; k++)
		send(k & 1, k, VIRTIO_BLK_T_IN, k, 512);
	for (unsigned int k = 0; k < 31; k++)
		ck_assert_int_ge(g_wait(&g, k & 1, &used), 0);
	ck_assert_uint_ge(now_ms() - from, 290);
	virtio_blk_stats(dev, &st);
	ck_assert_uint_ge(st.throttled, 20);
	/* What waits at one request in 100 s goes at once when the limit is lifted. */
	l = (struct throttle_limits){ .bps = 5, .bps_burst = 1 };
	throttle_set(&t, &l, (now_ms() + 1) * 1000000);
	virtio_blk_set_throttle(dev, &t);
	from = now_ms();
	for (unsigned int k = 0; k < 8; k++)
		send(0, k, VIRTIO_BLK_T_IN, k, 512);
	usleep(50000);
	ck_assert_int_eq(drv_reap(&g.drv[0], &used) >= 0 && drv_reap(&g.drv[0], &used) >= 0, 0);
	virtio_blk_set_throttle(dev, NULL);
	for (unsigned int k = 0; k < 50 && status(7) == 0xaa; k++)
		usleep(10000);
	for (unsigned int k = 0; k < 8; k++)
		ck_assert_uint_eq(status(k), VIRTIO_BLK_S_OK);
	tear_down();
	throttle_fini(&t);
}
END_TEST

static void answered(unsigned int q)
{
	u32 used;

	ck_assert_int_ge(g_wait(&g, q, &used), 0);
}

/* What is held or waits fails, what is in flight ends; then everything fails, at once, also for a driver that comes later. */
START_TEST(lost_disk_is_a_broken_one)
{
	static const u32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
				     VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, 77 };
	static const struct throttle_limits slow = { .iops = 1, .iops_burst = 1 };
	struct virtio_blk_failure f;
	struct err e = ERR_INIT;
	static struct block empty;
	struct throttle t;

	set_up(BLOCK_ERROR_STOP);
	throttle_init(&t, &slow);
	disk.fail = -EIO;
	send(0, 0, VIRTIO_BLK_T_OUT, 1, 512);
	wait_for_stops(1);
	pthread_mutex_lock(&disk.lock);
	disk.hold = true;
	pthread_mutex_unlock(&disk.lock);
	send(1, 1, VIRTIO_BLK_T_OUT, 2, 512);
	usleep(20000);
	virtio_blk_set_throttle(dev, &t);
	for (unsigned int k = 2; k < 8; k++)
		send(0, k, VIRTIO_BLK_T_IN, k, 512);
	usleep(20000);
	/* Without memory nothing has happened but that those who waited do not any more. */
	ck_assert_int_eq(virtio_blk_lose(dev, NULL, &e), -ENOMEM);
	ck_assert_uint_eq(status(1), 0xaa);
	ck_assert_int_eq(virtio_blk_lose(dev, &empty, &e), 0);
	for (unsigned int k = 0; k < 8; k++)
		answered(k == 1);
	for (unsigned int k = 0; k < 8; k++)
		ck_assert_uint_eq(status(k), VIRTIO_BLK_S_IOERR);
	ck_assert(!virtio_blk_failure(dev, &f));
	ck_assert_uint_eq(stops, 1);
	ck_assert_uint_eq(g_status(&g), 0xf);
	for (unsigned int again = 0; again < 2; again++) {
		for (unsigned int k = 0; k < ARRAY_SIZE(types); k++) {
			send(k & 1, k, types[k], 1, types[k] == VIRTIO_BLK_T_FLUSH ? 0 : 512);
			answered(k & 1);
			ck_assert_uint_eq(status(k), VIRTIO_BLK_S_IOERR);
		}
		ck_assert_uint_eq(g_read(g.config, 4), FAKE_SECTORS);
		g_set_common(&g, 20, 1, 0);
		ck_assert_uint_eq(g_status(&g), 0);
		g_fini(&g);
		g_probe(&g, 1);
		ck_assert(g_negotiate(&g, V1));
		g_queues(&g, 2);
		g_driver_ok(&g);
	}
	ck_assert_uint_eq(disk.late, 0);
	tear_down();
	throttle_fini(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_blk_hold");
	TCase *t = tcase_create("hold");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, report_tells_the_guest);
	tcase_add_test(t, ignore_says_all_went_well_and_reads_zeroes);
	tcase_add_test(t, stop_holds_requests_until_a_retry_succeeds);
	tcase_add_test(t, enospc_stops_for_want_of_space_alone);
	tcase_add_loop_test(t, reset_brings_everything_back, 0, 2);
	tcase_add_test(t, limited_disk_serves_all_and_takes_its_time);
	tcase_add_test(t, lost_disk_is_a_broken_one);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
