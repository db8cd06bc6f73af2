// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_vmm_disks.c: disks of a guest that are taken away, with its consent and without: the image, the slot and the number
 * are free when they should be, not before, and the guest's driver never meets a device that is not there.
 *
 * LINK: userspace/vmm/disks.c userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
 * LINK: userspace/virtio/virtio_pci.c userspace/virtio/iothread.c userspace/virtio/virtio_blk.c userspace/virtio/blk_request.c userspace/virtio/blk_share.c userspace/board/share.c
 * LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c userspace/board/mem.c userspace/board/hotplug.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/common/thread.c
 * LINK: userspace/block/*.c userspace/vhd/*.c userspace/common/size.c
 * LIBS: -laio
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <unistd.h>

#include "../virtio/fake_board.h"
#include "vmm/disks.h"

#define V1 (1ULL << VIRTIO_F_VERSION_1)
#define SIZE (1 << 20)

static struct disks *disks;
static struct gdev g;
static struct err e;
static char dir[64], path[96];
static int quiet;	/* how often the vCPUs are stopped now */

static void quiesce(void *ctx, bool on)
{
	(void)ctx;
	quiet += on ? 1 : -1;
}

/* The main loop is turned by hand, in eject(). */
static void set_up(void)
{
	static const struct disks_ops ops = { .quiesce = quiesce };
	struct run_options o = { .cpus = 2 };
	int fd;

	fb_init();
	fb.board.hotplug = hotplug_create(&fb.pio, &fb.irq, &fb.pci, fb.board.loop, &e);
	ck_assert_ptr_nonnull(fb.board.hotplug);
	disks = disks_create(&fb.board, &o, &e);
	ck_assert_ptr_nonnull(disks);
	disks_set_ops(disks, &ops, NULL);
	strcpy(dir, "/tmp/lodge-disks-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk", dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert(fd >= 0 && !ftruncate(fd, SIZE));
	close(fd);
}

static void tear_down(void)
{
	for (unsigned int n = 0; n < RUN_DISKS_MAX; n++)
		ck_assert(!disks_has(disks, n));
	ck_assert_int_eq(quiet, 0);
	g_fini(&g);
	disks_destroy(disks);
	hotplug_destroy(fb.board.hotplug);
	fb_run();
	fb_fini();
	unlink(path);
	rmdir(dir);
}

static u32 port(u64 at)
{
	u32 v = 0;

	bus_read(&fb.pio, at, &v, 4);
	return v;
}

static void eject(unsigned int slot)
{
	u32 mask = 1U << slot;

	bus_write(&fb.pio, 0x618, &mask, 4);
	loop_run_once(fb.board.loop, 0);
}

/* Number n, in that slot; the guest is told of it. */
static void attach(unsigned int n, unsigned int slot)
{
	unsigned int number;
	char spec[112];

	snprintf(spec, sizeof(spec), "raw:%s", path);
	ck_assert_msg(!disks_attach(disks, "/", spec, &number, &e), "%s", e.msg);
	ck_assert_uint_eq(number, n);
	ck_assert_uint_eq(port(0x610), 1U << slot);
	ck_assert_uint_eq(g_cfg_read(slot, 0, 2), 0x1af4);
}

static void drive(unsigned int slot)
{
	g_fini(&g);
	g_probe(&g, slot);
	ck_assert(g_negotiate(&g, V1 | 1ULL << VIRTIO_BLK_F_FLUSH));
	g_queues(&g, 2);
	g_driver_ok(&g);
}

/* Writes a sector of that byte; the status. */
static u8 put(unsigned int q, u8 byte)
{
	struct virtio_blk_outhdr hdr = { VIRTIO_BLK_T_OUT, 0, 4 };
	u64 at = FB_BUF + 0x1000 * q;
	struct drv_seg s[3] = { { at, 16, false }, { at + 0x200, 512, false }, { at + 0xf00, 1, true } };
	u32 len;

	memcpy(fb_at(at, 16), &hdr, 16);
	memset(fb_at(at + 0x200, 512), byte, 512);
	*(u8 *)fb_at(at + 0xf00, 1) = 0xaa;
	ck_assert_int_ge(drv_add(&g.drv[q], s, 3, false), 0);
	g_kick(&g, q);
	ck_assert_msg(g_wait(&g, q, &len) >= 0, "no completion");
	return *(u8 *)fb_at(at + 0xf00, 1);
}

/* Whether somebody else can have the image to write to. */
static bool is_free(void)
{
	char spec[112], *why = NULL;
	struct block *b;

	snprintf(spec, sizeof(spec), "raw:%s", path);
	b = block_open(spec, 0, &why);
	free(why);
	block_close(b);
	return b;
}

static u8 stored(void)
{
	int fd = open(path, O_RDONLY);
	u8 byte = 0;

	ck_assert_int_eq(pread(fd, &byte, 1, 4 * 512), 1);
	close(fd);
	return byte;
}

START_TEST(asked_guest_keeps_the_disk_until_it_lets_go)
{
	struct disk_info i;

	set_up();
	attach(0, 1);
	drive(1);
	ck_assert_int_eq(disks_detach(disks, 0, false, &e), 0);
	ck_assert_uint_eq(port(0x614), 1U << 1);
	disks_info(disks, 0, &i);
	ck_assert(i.leaving && !i.gone && !disks_gone(disks, 0));
	ck_assert_uint_eq(put(0, 0x11), VIRTIO_BLK_S_OK);
	ck_assert(!is_free());
	eject(1);
	ck_assert(!disks_has(disks, 0));
	ck_assert(is_free());
	ck_assert_uint_eq(stored(), 0x11);
	tear_down();
}
END_TEST

START_TEST(force_frees_the_image_at_once_and_the_slot_when_the_guest_lets_go)
{
	struct disk_info i;

	set_up();
	attach(0, 1);
	drive(1);
	ck_assert_uint_eq(put(1, 0x22), VIRTIO_BLK_S_OK);
	/* Asked first, and impatient then. */
	if (_i)
		ck_assert_int_eq(disks_detach(disks, 0, false, &e), 0);
	ck_assert_msg(!disks_detach(disks, 0, true, &e), "%s", e.msg);
	ck_assert(is_free());
	ck_assert_uint_eq(stored(), 0x22);
	ck_assert(disks_has(disks, 0) && disks_gone(disks, 0));
	disks_info(disks, 0, &i);
	ck_assert(i.leaving && i.gone);
	ck_assert_str_eq(i.path, path);
	/* For the guest the device is there, and it is asked to let go of it. */
	ck_assert_uint_eq(port(0x610), 0);
	ck_assert_uint_eq(port(0x614), 1U << 1);
	ck_assert_uint_eq(g_status(&g), 0xf);
	ck_assert_uint_eq(put(0, 0x33), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(put(1, 0x33), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(g_read(g.config, 4), SIZE / 512);
	attach(1, 2);
	drive(2);
	ck_assert_uint_eq(put(0, 0x44), VIRTIO_BLK_S_OK);
	drive(1);
	ck_assert_uint_eq(put(0, 0x33), VIRTIO_BLK_S_IOERR);
	g_set_common(&g, 20, 1, 0);
	ck_assert_uint_eq(g_status(&g), 0);
	eject(1);
	ck_assert(!disks_has(disks, 0) && disks_has(disks, 1));
	ck_assert_uint_eq(g_cfg_read(1, 0, 4), 0xffffffff);
	ck_assert_uint_eq(stored(), 0x44);
	ck_assert_int_eq(disks_detach(disks, 1, true, &e), 0);
	attach(0, 1);
	drive(1);
	ck_assert_uint_eq(put(0, 0x55), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(stored(), 0x55);
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(2);
	eject(1);
	tear_down();
}
END_TEST

/* A guest without hot-plug keeps what is gone until its reset, and other disks beyond it. */
START_TEST(reset_takes_what_is_gone)
{
	struct hotplug *h;

	set_up();
	attach(0, 1);
	drive(1);
	h = fb.board.hotplug;
	fb.board.hotplug = NULL;
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), -ENOTSUP);
	ck_assert(!disks_gone(disks, 0) && !is_free());
	fb.board.hotplug = h;
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	attach(1, 2);
	ck_assert_uint_eq(put(0, 0x66), VIRTIO_BLK_S_IOERR);
	disks_reset(disks);
	ck_assert(!disks_has(disks, 0) && disks_has(disks, 1));
	ck_assert_uint_eq(g_cfg_read(1, 0, 4), 0xffffffff);
	drive(2);
	ck_assert_uint_eq(put(0, 0x77), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(disks_detach(disks, 1, true, &e), 0);
	disks_reset(disks);
	ck_assert(is_free());
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vmm_disks");
	TCase *t = tcase_create("disks");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, asked_guest_keeps_the_disk_until_it_lets_go);
	tcase_add_loop_test(t, force_frees_the_image_at_once_and_the_slot_when_the_guest_lets_go, 0, 2);
	tcase_add_test(t, reset_takes_what_is_gone);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
