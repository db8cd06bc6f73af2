// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_virtio_devices.c: transport, disk, console, entropy and balloon as a guest's driver sees them.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
 * LINK: userspace/virtio/virtio_pci.c userspace/virtio/iothread.c userspace/virtio/virtio_blk.c userspace/virtio/blk_request.c userspace/virtio/blk_share.c userspace/board/share.c userspace/virtio/virtio_rng.c
 * LINK: userspace/virtio/virtio_balloon.c userspace/virtio/virtio_console.c
 * LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c userspace/board/mem.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/common/thread.c userspace/block/throttle.c
 */
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <sys/mman.h>

#include "../virtio/fake_block.h"
#include "../virtio/fake_board.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_console.h"
#include "virtio/virtio_rng.h"

#define V1 (1ULL << VIRTIO_F_VERSION_1)
#define RINGS(i)                                                                                                    \
	(V1 | ((i) & 1 ? 1ULL << VIRTIO_F_RING_PACKED : 0) | ((i) & 2 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0) |       \
	 1ULL << VIRTIO_RING_F_INDIRECT_DESC)

static struct gdev g;
static struct block disk;
static struct virtio_dev *dev;

static void make_disk(unsigned int queues)
{
	struct virtio_blk_opts opts = { .queues = queues, .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct err e = ERR_INIT;

	dev = virtio_blk_create(&fb.board, &disk, &opts, &e);
	ck_assert_msg(dev, "%s", e.msg);
}

static void set_up_disk(void)
{
	fb_init();
	memset(&disk, 0, sizeof(disk));
	pthread_mutex_init(&disk.lock, NULL);
	make_disk(2);
	fb_run();
	g_probe(&g, 1);
}

static void tear_down(void)
{
	g_fini(&g);
	fb_fini();
}

static void start(u64 features, unsigned int queues)
{
	ck_assert(g_negotiate(&g, features));
	g_queues(&g, queues);
	g_driver_ok(&g);
}

/* One request with the header in two parts, as a mean driver would; answers the status byte. */
static u8 request(unsigned int q, u32 type, u64 sector, u64 data, u32 len, bool in, bool indirect)
{
	struct virtio_blk_outhdr hdr = { type, 0, sector };
	u64 at = FB_BUF + 0x10000 * q, status = at + 64;
	struct drv_seg s[5];
	unsigned int n = 0;
	u32 used;

	memcpy(fb_at(at, sizeof(hdr)), &hdr, sizeof(hdr));
	*(u8 *)fb_at(status, 1) = 0xaa;
	s[n++] = (struct drv_seg){ at, 4, false };
	s[n++] = (struct drv_seg){ at + 4, 12, false };
	if (len)
		s[n++] = (struct drv_seg){ data, len, in };
	s[n++] = (struct drv_seg){ status, 1, true };
	ck_assert_int_ge(drv_add(&g.drv[q], s, n, indirect), 0);
	g_kick(&g, q);
	ck_assert_msg(g_wait(&g, q, &used) >= 0, "no completion");
	return *(u8 *)fb_at(status, 1);
}

#define DATA (FB_BUF + 0x100000)

START_TEST(features_without_version_1_are_refused)
{
	set_up_disk();
	ck_assert(!g_negotiate(&g, 1ULL << VIRTIO_BLK_F_FLUSH));
	ck_assert(g_negotiate(&g, V1));
	tear_down();
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
	set_up_disk();
	ck_assert(!(g_offered(&g) & 1ULL << 60));
	ck_assert(!g_negotiate(&g, V1 | 1ULL << 60));
	tear_down();
}
END_TEST

START_TEST(driver_ok_without_features_ok_does_not_stick)
{
	set_up_disk();
	g_set_common(&g, 20, 1, 0);
	g_set_common(&g, 20, 1, 7);
	ck_assert_uint_eq(g_status(&g), 3);
	tear_down();
}
END_TEST

START_TEST(queue_registers_keep_what_is_written)
{
	set_up_disk();
	ck_assert_uint_eq(g_common(&g, 18, 2), 2);
	g_set_common(&g, 22, 2, 1);
	ck_assert_uint_eq(g_common(&g, 24, 2), 64);
	g_set_common(&g, 24, 2, 32);
	ck_assert_uint_eq(g_common(&g, 24, 2), 32);
	g_set_common(&g, 24, 2, 128);
	ck_assert_uint_eq(g_common(&g, 24, 2), 32);
	g_set_common(&g, 26, 2, 9);
	ck_assert_uint_eq(g_common(&g, 26, 2), PCI_MSIX_NO_VECTOR);
	g_set_common(&g, 32, 4, 0x11223344);
	g_set_common(&g, 36, 4, 0x55667788);
	ck_assert_uint_eq(g_common(&g, 32, 8), 0x5566778811223344);
	g_set_common(&g, 22, 2, 2);
	ck_assert_uint_eq(g_common(&g, 24, 2), 0);
	ck_assert_uint_eq(g_common(&g, 30, 2), 0);
	tear_down();
}
END_TEST

START_TEST(window_in_config_space_reaches_the_registers)
{
	set_up_disk();
	g_cfg_write(1, g.cfg_cap + 4, 1, 0);
	g_cfg_write(1, g.cfg_cap + 8, 4, 18);
	g_cfg_write(1, g.cfg_cap + 12, 4, 2);
	ck_assert_uint_eq(g_cfg_read(1, g.cfg_cap + 16, 2), 2);
	g_cfg_write(1, g.cfg_cap + 8, 4, 20);
	g_cfg_write(1, g.cfg_cap + 12, 4, 1);
	g_cfg_write(1, g.cfg_cap + 16, 1, 1);
	ck_assert_uint_eq(g_status(&g), 1);
	/* Nothing happens outside: no crash, no effect. */
	g_cfg_write(1, g.cfg_cap + 8, 4, 0xfffffffc);
	g_cfg_write(1, g.cfg_cap + 12, 4, 4);
	g_cfg_write(1, g.cfg_cap + 16, 4, 0);
	g_cfg_read(1, g.cfg_cap + 16, 4);
	ck_assert_uint_eq(g_status(&g), 1);
	tear_down();
}
END_TEST

START_TEST(without_msix_the_isr_register_and_the_pin_tell)
{
	struct virtio_blk_outhdr hdr = { VIRTIO_BLK_T_GET_ID, 0, 0 };
	struct drv_seg s[3] = { { FB_BUF, sizeof(hdr), false }, { FB_BUF + 64, 20, true }, { FB_BUF + 128, 1, true } };
	const unsigned int pin = 16 + 1;
	u32 used;

	set_up_disk();
	start(RINGS(0), 1);
	g_cfg_write(1, g.msix_cap + 2, 2, 0);
	g_read(g.isr, 1);
	memcpy(fb_at(FB_BUF, sizeof(hdr)), &hdr, sizeof(hdr));
	drv_enable_calls(&g.drv[0]);
	ck_assert_int_ge(drv_add(&g.drv[0], s, 3, false), 0);
	g_kick(&g, 0);
	ck_assert(g_line(pin));
	ck_assert_int_ge(drv_reap(&g.drv[0], &used), 0);
	ck_assert_uint_eq(g_cfg_read(1, 6, 2) & 8, 8);
	ck_assert_uint_eq(g_read(g.isr, 1), 1);
	ck_assert_uint_eq(fb.lines, 0);
	ck_assert_uint_eq(g_cfg_read(1, 6, 2) & 8, 0);
	ck_assert_uint_eq(g_read(g.isr, 1), 0);
	pthread_mutex_lock(&dev->lock);
	virtio_dev_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	ck_assert_uint_eq(fb.lines, 1u << pin);
	g_set_common(&g, 20, 1, 0);	/* a reset takes it back */
	ck_assert_uint_eq(fb.lines, 0);
	ck_assert_uint_eq(g_read(g.isr, 1), 0);
	tear_down();
}
END_TEST

START_TEST(registers_survive_any_access)
{
	set_up_disk();
	srand(3);
	for (int i = 0; i < 100000; i++) {
		static const unsigned int lens[] = { 1, 2, 4, 8 };
		unsigned int len = lens[rand() % 4];
		u64 off = (rand() % 3 ? rand() % 0x80 : rand() % 0x7ff8);

		if (rand() & 1)
			g_read(g.bar + off, len);
		else
			g_write(g.bar + off, len, (u64)rand() << 32 ^ rand());
	}
	g_set_common(&g, 20, 1, 0);
	ck_assert_uint_eq(g_status(&g), 0);
	tear_down();
}
END_TEST

START_TEST(disk_tells_its_capacity_and_limits)
{
	set_up_disk();
	ck_assert_uint_eq(g_read(g.config, 8), FAKE_SECTORS);
	ck_assert_uint_eq(g_read(g.config + 12, 4), 126);
	ck_assert_uint_eq(g_read(g.config + 20, 4), 512);
	ck_assert_uint_eq(g_read(g.config + 24, 1), 3);
	ck_assert_uint_eq(g_read(g.config + 34, 2), 2);
	tear_down();
}
END_TEST

START_TEST(disk_writes_read_back_on_every_queue)
{
	set_up_disk();
	start(RINGS(_i), 2);
	for (unsigned int k = 0; k < 200; k++) {
		unsigned int q = k & 1;
		u32 len = 512 * (1 + k % 16);
		u64 sector = (k * 37) % (FAKE_SECTORS - 16);

		memset(fb_at(DATA, len), k + 1, len);
		ck_assert_uint_eq(request(q, VIRTIO_BLK_T_OUT, sector, DATA, len, false, k & 2), VIRTIO_BLK_S_OK);
		ck_assert_mem_eq(disk.data + sector * 512, fb_at(DATA, len), len);
		memset(fb_at(DATA, len), 0, len);
		ck_assert_uint_eq(request(q, VIRTIO_BLK_T_IN, sector, DATA, len, true, k & 4), VIRTIO_BLK_S_OK);
		ck_assert_mem_eq(disk.data + sector * 512, fb_at(DATA, len), len);
	}
	tear_down();
}
END_TEST

START_TEST(disk_serves_a_full_ring_at_once)
{
	u32 len;

	set_up_disk();
	start(RINGS(_i), 2);
	for (int round = 0; round < 20; round++) {
		unsigned int n = 0;

		for (; n < 64; n++) {
			u64 at = FB_BUF + 0x1000 * n;
			struct virtio_blk_outhdr hdr = { VIRTIO_BLK_T_IN, 0, n };
			struct drv_seg s[3] = { { at, 16, false }, { at + 0x200, 512, true }, { at + 0x400, 1, true } };

			disk.data[n * 512] = n + round;
			memcpy(fb_at(at, 16), &hdr, 16);
			*(u8 *)fb_at(at + 0x400, 1) = 0xaa;
			ck_assert_int_ge(drv_add(&g.drv[0], s, 3, true), 0);
		}
		g_kick(&g, 0);
		for (n = 0; n < 64; n++) {
			ck_assert_int_ge(g_wait(&g, 0, &len), 0);
			ck_assert_uint_eq(len, 513);
		}
		for (n = 0; n < 64; n++) {
			ck_assert_uint_eq(*(u8 *)fb_at(FB_BUF + 0x1000 * n + 0x400, 1), 0);
			ck_assert_uint_eq(*(u8 *)fb_at(FB_BUF + 0x1000 * n + 0x200, 1), (u8)(n + round));
		}
	}
	tear_down();
}
END_TEST

START_TEST(disk_flushes_when_asked)
{
	set_up_disk();
	start(V1 | 1ULL << VIRTIO_BLK_F_FLUSH, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 512, false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.fua, 0);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.flushes, 1);
	tear_down();
}
END_TEST

START_TEST(disk_writes_through_without_the_flush_feature)
{
	set_up_disk();
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 512, false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.fua, 1);
	tear_down();
}
END_TEST

START_TEST(disk_writes_through_when_the_cache_is_switched_off)
{
	set_up_disk();
	start(V1 | 1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_CONFIG_WCE, 1);
	ck_assert_uint_eq(g_read(g.config + 32, 1), 1);
	g_write(g.config + 32, 1, 0);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 512, false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.fua, 1);
	g_write(g.config + 32, 1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 512, false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.fua, 1);
	tear_down();
}
END_TEST

START_TEST(disk_zeroes_and_discards_several_ranges)
{
	struct virtio_blk_discard_write_zeroes r[3] = { { 8, 8, 0 }, { 100, 1, 1 }, { 2040, 8, 0 } };

	set_up_disk();
	memset(disk.data, 0x55, sizeof(disk.data));
	start(V1, 1);
	memcpy(fb_at(DATA, sizeof(r)), r, sizeof(r));
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, sizeof(r), false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.zeroes, 3);
	ck_assert_uint_eq(disk.data[8 * 512], 0);
	ck_assert_uint_eq(disk.data[100 * 512], 0);
	ck_assert_uint_eq(disk.data[101 * 512], 0x55);
	ck_assert_uint_eq(disk.data[2047 * 512], 0);
	r[1].flags = 0;
	memcpy(fb_at(DATA, sizeof(r)), r, sizeof(r));
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_DISCARD, 0, DATA, sizeof(r), false, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk.discards, 3);
	tear_down();
}
END_TEST

START_TEST(disk_refuses_bad_ranges_as_a_whole)
{
	static const struct virtio_blk_discard_write_zeroes bad[] = {
		{ 2041, 8, 0 }, { ~0ULL, 1, 0 }, { 0, 0, 0 }, { 0, 0xffffffff, 0 }, { 0, 1, 2 },
	};

	set_up_disk();
	start(V1, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		memcpy(fb_at(DATA, 16), &bad[i], 16);
		ck_assert_uint_eq(request(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, DATA, 16, false, false),
				  VIRTIO_BLK_S_IOERR);
	}
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_DISCARD, 0, DATA, 17, false, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_DISCARD, 0, DATA, 17 * 16, false, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(disk.zeroes + disk.discards, 0);
	tear_down();
}
END_TEST

START_TEST(disk_answers_errors_with_a_status)
{
	set_up_disk();
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, FAKE_SECTORS, DATA, 512, true, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, ~0ULL, DATA, 512, true, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 100, true, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 513, false, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, 0, 0, true, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, 77, 1, DATA, 512, true, false), VIRTIO_BLK_S_UNSUPP);
	disk.fail = -EIO;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_IOERR);
	disk.fail = -EOPNOTSUPP;
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_FLUSH, 0, 0, 0, true, false), VIRTIO_BLK_S_UNSUPP);
	tear_down();
}
END_TEST

START_TEST(read_only_disk_says_so_and_refuses_writes)
{
	fb_init();
	memset(&disk, 0, sizeof(disk));
	pthread_mutex_init(&disk.lock, NULL);
	disk.readonly = true;
	make_disk(1);
	fb_run();
	g_probe(&g, 1);
	ck_assert(g_offered(&g) & 1ULL << VIRTIO_BLK_F_RO);
	start(V1 | 1ULL << VIRTIO_BLK_F_RO, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_OUT, 1, DATA, 512, false, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

START_TEST(disk_gives_its_serial)
{
	set_up_disk();
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_GET_ID, 0, DATA, 20, true, false), VIRTIO_BLK_S_OK);
	ck_assert_str_eq(fb_at(DATA, 20), "fake-serial");
	tear_down();
}
END_TEST

START_TEST(request_without_header_or_status_breaks_the_device)
{
	struct drv_seg small = { DATA, 8, false }, no_status = { DATA, 16, false };

	set_up_disk();
	start(RINGS(_i), 1);
	drv_add(&g.drv[0], _i & 1 ? &small : &no_status, 1, false);
	g_kick(&g, 0);
	ck_assert(g_broken(&g));
	usleep(20000);
	ck_assert_uint_eq(dev->faults, 1);
	/* The configuration interrupt told of it; a reset heals. */
	ck_assert_uint_eq(fb.calls[16], 1);
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

START_TEST(bad_ring_breaks_the_device_and_reset_heals)
{
	struct drv_seg wild = { 1ULL << 40, 512, false };

	set_up_disk();
	start(RINGS(_i), 1);
	drv_add(&g.drv[0], &wild, 1, false);
	g_kick(&g, 0);
	ck_assert(g_broken(&g));
	usleep(20000);
	ck_assert_int_eq(dev->last_fault, VIRTQ_BAD_ADDRESS);
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

START_TEST(ring_outside_ram_breaks_the_device)
{
	set_up_disk();
	ck_assert(g_negotiate(&g, V1));
	g_set_common(&g, 22, 2, 0);
	g_set_common(&g, 32, 8, 1ULL << 50);
	g_set_common(&g, 28, 2, 1);
	g_driver_ok(&g);
	ck_assert(g_broken(&g));
	tear_down();
}
END_TEST

static void *release_later(void *arg)
{
	usleep(50000);
	disk.hold = false;
	return arg;
}

START_TEST(reset_waits_for_requests_in_flight)
{
	u64 at = FB_BUF;
	struct virtio_blk_outhdr hdr = { VIRTIO_BLK_T_IN, 0, 3 };
	struct drv_seg s[3] = { { at, 16, false }, { at + 0x200, 512, true }, { at + 0x400, 1, true } };
	unsigned int before;
	pthread_t t;

	set_up_disk();
	start(RINGS(_i), 1);
	disk.hold = true;
	disk.data[3 * 512] = 0x77;
	memcpy(fb_at(at, 16), &hdr, 16);
	drv_add(&g.drv[0], s, 3, false);
	before = disk.taken;
	g_kick(&g, 0);
	ck_assert(fake_came(&disk, before));
	pthread_create(&t, NULL, release_later, NULL);
	g_set_common(&g, 20, 1, 0);
	/* Whatever the disk was doing in this memory is over. */
	ck_assert_uint_eq(*(u8 *)fb_at(at + 0x200, 1), 0x77);
	memset(fb_at(at + 0x200, 512), 0, 512);
	pthread_join(t, NULL);
	usleep(20000);
	ck_assert_uint_eq(*(u8 *)fb_at(at + 0x200, 1), 0);
	start(V1, 1);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

START_TEST(single_queue_can_be_reset_and_enabled_again)
{
	set_up_disk();
	start(V1 | 1ULL << 40, 2);
	ck_assert_uint_eq(request(1, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	g_set_common(&g, 22, 2, 1);
	g_set_common(&g, 58, 2, 1);
	ck_assert_uint_eq(g_common(&g, 58, 2), 0);
	ck_assert_uint_eq(g_common(&g, 28, 2), 0);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	drv_fini(&g.drv[1]);
	drv_init(&g.drv[1], &g.ram, FB_RINGS * 2, 64, 0);
	g_set_common(&g, 26, 2, 2);
	g_set_common(&g, 32, 8, g.drv[1].desc);
	g_set_common(&g, 40, 8, g.drv[1].avail);
	g_set_common(&g, 48, 8, g.drv[1].used);
	g_set_common(&g, 28, 2, 1);
	ck_assert_uint_eq(request(1, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

START_TEST(bus_reset_brings_the_device_back_to_power_on)
{
	struct err e = ERR_INIT;

	set_up_disk();
	start(RINGS(2), 2);
	ck_assert_uint_eq(request(0, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	pci_bus_unmap(&fb.pci);
	ck_assert(!pci_bus_reset(&fb.pci, &e));
	ck_assert_uint_eq(g_status(&g), 0);
	g_fini(&g);
	g_probe(&g, 1);
	start(RINGS(3), 2);
	ck_assert_uint_eq(request(1, VIRTIO_BLK_T_IN, 1, DATA, 512, true, false), VIRTIO_BLK_S_OK);
	tear_down();
}
END_TEST

/* ---- entropy ---- */

START_TEST(rng_fills_what_it_is_given)
{
	struct drv_seg s[2] = { { DATA, 100, true }, { DATA + 200, 28, true } };
	struct err e = ERR_INIT;
	u32 len;

	fb_init();
	ck_assert_ptr_nonnull(virtio_rng_create(&fb.board, VIRTIO_OPT_PACKED, &e));
	fb_run();
	g_probe(&g, 1);
	start(RINGS(_i), 1);
	memset(fb_at(DATA, 300), 0, 300);
	drv_add(&g.drv[0], s, 2, false);
	g_kick(&g, 0);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	ck_assert_uint_eq(len, 128);
	for (u32 i = 0, zeroes = 0; i < 100; i++) {
		zeroes += !*(u8 *)fb_at(DATA + i, 1);
		ck_assert_uint_lt(zeroes, 20);
	}
	ck_assert_uint_eq(*(u8 *)fb_at(DATA + 150, 1), 0);
	/* A readable-only request has no place for an answer. */
	s[0].write = false;
	drv_add(&g.drv[0], s, 1, false);
	g_kick(&g, 0);
	ck_assert(g_broken(&g));
	tear_down();
}
END_TEST

/* ---- balloon ---- */

static void set_up_balloon(int ring)
{
	struct err e = ERR_INIT;

	fb_init();
	dev = virtio_balloon_create(&fb.board, VIRTIO_OPT_PACKED, &e);
	ck_assert_ptr_nonnull(dev);
	fb_run();
	g_probe(&g, 1);
	start(RINGS(ring) | 1ULL << VIRTIO_BALLOON_F_STATS_VQ | 1ULL << VIRTIO_BALLOON_F_REPORTING, 4);
}

static bool resident(u64 gpa)
{
	unsigned char vec;

	ck_assert_int_eq(mincore(fb_at(gpa, 4096), 4096, &vec), 0);
	return vec & 1;
}

START_TEST(balloon_gives_inflated_pages_to_the_host)
{
	u32 *pfn, first = DATA >> 12, len;
	struct drv_seg s = { FB_BUF, 0, false };
	struct virtio_balloon_stats stats;

	set_up_balloon(_i);
	virtio_balloon_set_target(dev, 16 << 12);
	ck_assert_uint_eq(g_read(g.config, 4), 16);
	ck_assert_uint_eq(fb.calls[16], 1);
	memset(fb_at(DATA, 64 << 12), 1, 64 << 12);
	pfn = fb_at(FB_BUF, 4096);
	for (u32 i = 0; i < 8; i++) {
		pfn[i] = first + i;		/* upwards */
		pfn[8 + i] = first + 40 - i;	/* downwards */
	}
	pfn[16] = 0xffffffff;			/* nowhere */
	s.len = 17 * 4;
	drv_add(&g.drv[0], &s, 1, false);
	g_kick(&g, 0);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	for (u32 i = 0; i < 64; i++)
		ck_assert_int_eq(resident(DATA + (i << 12)), !(i < 8 || (i > 32 && i <= 40)));
	g_write(g.config + 4, 4, 16);
	virtio_balloon_stats(dev, &stats);
	ck_assert_uint_eq(stats.inflated_bytes, 16 << 12);
	ck_assert_uint_eq(stats.actual_bytes, 16 << 12);
	/* num_pages is the host's. */
	g_write(g.config, 4, 99);
	ck_assert_uint_eq(g_read(g.config, 4), 16);
	tear_down();
}
END_TEST

START_TEST(balloon_drops_reported_pages_and_only_whole_ones)
{
	struct drv_seg s[2] = { { DATA + 1, 3 * 4096, true }, { DATA + 16 * 4096, 4096, true } };
	u32 len;

	set_up_balloon(_i);
	memset(fb_at(DATA, 20 << 12), 1, 20 << 12);
	drv_add(&g.drv[3], s, 2, false);
	g_kick(&g, 3);
	ck_assert_int_ge(g_wait(&g, 3, &len), 0);
	ck_assert(resident(DATA));
	ck_assert(!resident(DATA + 4096));
	ck_assert(!resident(DATA + 2 * 4096));
	ck_assert(resident(DATA + 3 * 4096));
	ck_assert(!resident(DATA + 16 * 4096));
	tear_down();
}
END_TEST

START_TEST(balloon_asks_for_statistics)
{
	struct virtio_balloon_stat st[2] = { { VIRTIO_BALLOON_S_MEMFREE, 12345 }, { 99, 1 } };
	struct drv_seg s = { FB_BUF, sizeof(st), false };
	struct virtio_balloon_stats stats;
	u32 len;

	set_up_balloon(_i);
	memcpy(fb_at(FB_BUF, sizeof(st)), st, sizeof(st));
	drv_add(&g.drv[2], &s, 1, false);
	g_kick(&g, 2);
	usleep(50000);
	ck_assert_int_eq(drv_reap(&g.drv[2], &len), -1);
	virtio_balloon_poll(dev);
	ck_assert_int_ge(g_wait(&g, 2, &len), 0);
	st[0].val = 777;
	memcpy(fb_at(FB_BUF, sizeof(st)), st, sizeof(st));
	drv_add(&g.drv[2], &s, 1, false);
	g_kick(&g, 2);
	usleep(50000);
	virtio_balloon_stats(dev, &stats);
	ck_assert(stats.valid);
	ck_assert_uint_eq(stats.free_bytes, 777);
	ck_assert_uint_eq(stats.total_bytes, UINT64_MAX);
	tear_down();
}
END_TEST

/* ---- console ---- */

static struct {
	char out[2][4096];
	size_t len[2];
	size_t limit;		/* take no more than this at a time; 0: all */
	bool full;		/* take nothing */
	int opened[2];
	unsigned int rooms;
} host;

static size_t host_out(void *ctx, const void *buf, size_t len)
{
	int port = (intptr_t)ctx;

	if (host.full)
		return 0;
	if (host.limit && len > host.limit)
		len = host.limit;
	memcpy(host.out[port] + host.len[port], buf, len);
	__atomic_store_n(&host.len[port], host.len[port] + len, __ATOMIC_RELEASE);
	return len;
}

static void host_open(void *ctx, bool open)
{
	__atomic_store_n(&host.opened[(intptr_t)ctx], open, __ATOMIC_RELEASE);
}

static void host_room(void *ctx)
{
	(void)ctx;
	__atomic_fetch_add(&host.rooms, 1, __ATOMIC_RELEASE);
}

static const struct virtio_console_port_ops host_ops = { host_out, host_open, host_room };

static void set_up_console(int ring)
{
	static const struct virtio_console_port ports[2] = {
		{ NULL, &host_ops, (void *)0 },
		{ "org.lodge.test", &host_ops, (void *)1 },
	};
	struct err e = ERR_INIT;

	memset(&host, 0, sizeof(host));
	fb_init();
	dev = virtio_console_create(&fb.board, ports, 2, VIRTIO_OPT_PACKED, &e);
	ck_assert_msg(dev, "%s", e.msg);
	fb_run();
	g_probe(&g, 1);
	start(RINGS(ring) | 1ULL << VIRTIO_CONSOLE_F_MULTIPORT | 1ULL << VIRTIO_CONSOLE_F_SIZE, 6);
}

static void send_port(unsigned int q, const void *data, u32 len)
{
	struct drv_seg s = { FB_BUF + 0x1000 * q, len, false };

	memcpy(fb_at(s.gpa, len), data, len);
	ck_assert_int_ge(drv_add(&g.drv[q], &s, 1, false), 0);
	g_kick(&g, q);
}

static void control(u32 id, u16 event, u16 value)
{
	struct virtio_console_control c = { id, event, value };
	u32 len;

	send_port(3, &c, sizeof(c));
	ck_assert_int_ge(g_wait(&g, 3, &len), 0);
}

static void give_buffers(unsigned int q, unsigned int n, u32 len)
{
	for (unsigned int i = 0; i < n; i++) {
		struct drv_seg s = { FB_BUF + 0x100000 + 0x10000 * q + 0x100 * i, len, true };

		ck_assert_int_ge(drv_add(&g.drv[q], &s, 1, false), 0);
	}
	g_kick(&g, q);
}

/* Take the next control message, in the order of the buffers. */
static struct virtio_console_control *next_control(unsigned int i, u32 *len)
{
	ck_assert_msg(g_wait(&g, 2, len) >= 0, "no control message %u", i);
	return fb_at(FB_BUF + 0x100000 + 0x20000 + 0x100 * i, 0x100);
}

static void wait_for(size_t *what, size_t value)
{
	for (int i = 0; i < 5000 && __atomic_load_n(what, __ATOMIC_ACQUIRE) != value; i++)
		usleep(1000);
	ck_assert_uint_eq(*what, value);
}

START_TEST(console_introduces_its_ports)
{
	struct virtio_console_control *c;
	u32 len;

	set_up_console(_i);
	give_buffers(2, 16, 128);
	control(0xffffffff, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < 2; i++) {
		c = next_control(i, &len);
		ck_assert_uint_eq(c->id, i);
		ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_PORT_ADD);
	}
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	c = next_control(2, &len);
	ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_CONSOLE_PORT);
	c = next_control(3, &len);
	ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_PORT_OPEN);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	c = next_control(4, &len);
	ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_PORT_NAME);
	ck_assert_uint_eq(len, 8 + 14);
	ck_assert_mem_eq(c + 1, "org.lodge.test", 14);
	c = next_control(5, &len);
	ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_PORT_OPEN);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert(virtio_console_is_open(dev, 1));
	ck_assert(!virtio_console_is_open(dev, 0));
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	virtio_console_resize(dev, 132, 50);
	c = next_control(6, &len);
	ck_assert_uint_eq(c->event, VIRTIO_CONSOLE_RESIZE);
	ck_assert_uint_eq(((u16 *)(c + 1))[0], 50);
	ck_assert_uint_eq(((u16 *)(c + 1))[1], 132);
	ck_assert_uint_eq(g_read(g.config, 4), 132 | 50 << 16);
	/* Nonsense does no harm. */
	control(12345, VIRTIO_CONSOLE_PORT_READY, 1);
	control(0, 999, 1);
	g_set_common(&g, 20, 1, 0);
	for (int i = 0; i < 1000 && __atomic_load_n(&host.opened[1], __ATOMIC_ACQUIRE); i++)
		usleep(1000);
	ck_assert_int_eq(host.opened[1], 0);
	tear_down();
}
END_TEST

START_TEST(console_output_arrives_whole_under_back_pressure)
{
	char text[1000];
	u32 len;

	set_up_console(_i);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i * 7;
	send_port(1, "hello", 5);
	ck_assert_int_ge(g_wait(&g, 1, &len), 0);
	wait_for(&host.len[0], 5);
	ck_assert_mem_eq(host.out[0], "hello", 5);
	/* The host takes 300 bytes at a time, and must be resumed each time. */
	host.limit = 300;
	send_port(5, text, sizeof(text));
	for (size_t n = 300; n <= 900; n += 300) {
		wait_for(&host.len[1], n);
		ck_assert_int_eq(drv_reap(&g.drv[5], &len), -1);
		virtio_console_resume(dev, 1);
	}
	ck_assert_int_ge(g_wait(&g, 5, &len), 0);
	wait_for(&host.len[1], 1000);
	ck_assert_mem_eq(host.out[1], text, sizeof(text));
	tear_down();
}
END_TEST

START_TEST(console_input_waits_for_room)
{
	u32 len;

	set_up_console(_i);
	ck_assert_uint_eq(virtio_console_write(dev, 0, "abcdefgh", 8), 0);
	give_buffers(0, 2, 3);
	for (int i = 0; i < 1000 && !__atomic_load_n(&host.rooms, __ATOMIC_ACQUIRE); i++)
		usleep(1000);
	ck_assert_uint_eq(host.rooms, 1);
	ck_assert_uint_eq(virtio_console_write(dev, 0, "abcdefgh", 8), 6);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	ck_assert_uint_eq(len, 3);
	ck_assert_mem_eq(fb_at(FB_BUF + 0x100000, 3), "abc", 3);
	ck_assert_int_ge(g_wait(&g, 0, &len), 0);
	ck_assert_mem_eq(fb_at(FB_BUF + 0x100100, 3), "def", 3);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_devices");
	TCase *t = tcase_create("devices");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, features_without_version_1_are_refused);
	tcase_add_test(t, features_that_were_not_offered_are_refused);
	tcase_add_test(t, driver_ok_without_features_ok_does_not_stick);
	tcase_add_test(t, queue_registers_keep_what_is_written);
	tcase_add_test(t, window_in_config_space_reaches_the_registers);
	tcase_add_test(t, without_msix_the_isr_register_and_the_pin_tell);
	tcase_add_test(t, registers_survive_any_access);
	tcase_add_test(t, disk_tells_its_capacity_and_limits);
	tcase_add_loop_test(t, disk_writes_read_back_on_every_queue, 0, 4);
	tcase_add_loop_test(t, disk_serves_a_full_ring_at_once, 0, 4);
	tcase_add_test(t, disk_flushes_when_asked);
	tcase_add_test(t, disk_writes_through_without_the_flush_feature);
	tcase_add_test(t, disk_writes_through_when_the_cache_is_switched_off);
	tcase_add_test(t, disk_zeroes_and_discards_several_ranges);
	tcase_add_test(t, disk_refuses_bad_ranges_as_a_whole);
	tcase_add_test(t, disk_answers_errors_with_a_status);
	tcase_add_test(t, read_only_disk_says_so_and_refuses_writes);
	tcase_add_test(t, disk_gives_its_serial);
	tcase_add_loop_test(t, request_without_header_or_status_breaks_the_device, 0, 4);
	tcase_add_loop_test(t, bad_ring_breaks_the_device_and_reset_heals, 0, 4);
	tcase_add_test(t, ring_outside_ram_breaks_the_device);
	tcase_add_loop_test(t, reset_waits_for_requests_in_flight, 0, 2);
	tcase_add_test(t, single_queue_can_be_reset_and_enabled_again);
	tcase_add_test(t, bus_reset_brings_the_device_back_to_power_on);
	tcase_add_loop_test(t, rng_fills_what_it_is_given, 0, 4);
	tcase_add_loop_test(t, balloon_gives_inflated_pages_to_the_host, 0, 4);
	tcase_add_loop_test(t, balloon_drops_reported_pages_and_only_whole_ones, 0, 2);
	tcase_add_loop_test(t, balloon_asks_for_statistics, 0, 4);
	tcase_add_loop_test(t, console_introduces_its_ports, 0, 4);
	tcase_add_loop_test(t, console_output_arrives_whole_under_back_pressure, 0, 4);
	tcase_add_loop_test(t, console_input_waits_for_room, 0, 4);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
