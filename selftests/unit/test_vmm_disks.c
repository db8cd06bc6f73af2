// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_vmm_disks.c: disks of a guest that are taken away, with its consent and without: the image, the slot and the number
 * are free when they should be, not before, and the guest's driver never meets a device that is not there.
 *
 * LINK: userspace/vmm/disks.c userspace/vmm/disk_job.c userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
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
#include "vmm/disk_job.h"
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

/* ---- jobs ---- */

#define CHAIN 4
#define CHAIN_SIZE (128ULL << 20)

static char image[CHAIN][112];

static void chain_make(void)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = CHAIN_SIZE };
	static u8 buf[1 << 20];
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;

	for (unsigned int i = 0; i < CHAIN; i++) {
		snprintf(image[i], sizeof(image[i]), "%s/%u.vhd", dir, i);
		ck_assert_msg(!vhd_create(image[i], &p, &err), "%s", err.text);
		p = (struct vhd_params){ .type = VHD_DIFF, .parent = image[i] };
		if (!i)
			continue;
		ck_assert_msg(!vhd_open(image[i], 0, &v, &err), "%s", err.text);
		q = vhd_queue_create(v, 4);
		memset(buf, i, sizeof(buf));
		for (u64 at = i << 20; at < CHAIN_SIZE; at += 2 << 20)
			ck_assert(!vhd_pwrite(q, buf, sizeof(buf), at));
		vhd_queue_destroy(q);
		ck_assert(!vhd_close(v));
	}
}

static void chain_remove(void)
{
	for (unsigned int i = 0; i < CHAIN; i++)
		unlink(image[i]);
}

static void chain_attach(void)
{
	unsigned int n;

	ck_assert_msg(!disks_attach(disks, "/", image[CHAIN - 1], &n, &e), "%s", e.msg);
	ck_assert_uint_eq(n, 0);
	drive(1);
}

/* A mark of every image where no later one was written. */
static void chain_shows(unsigned int below)
{
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;
	u8 byte[512];

	ck_assert_msg(!vhd_open(image[CHAIN - 1], VHD_O_RDONLY, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 4);
	for (u64 at = 4; at < CHAIN_SIZE >> 20; at++) {
		ck_assert(!vhd_pread(q, byte, 512, at << 20));
		ck_assert_uint_eq(byte[0], at % 2 ? 3 : 2);
	}
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	ck_assert_int_eq(access(image[below], F_OK), -1);
}

static void job_wait(struct disk_job_info *i)
{
	for (unsigned int k = 0; k < 6000; k++) {
		loop_run_once(fb.board.loop, 0);
		ck_assert(disks_job(disks, 0, i));
		if (!i->running)
			return;
		usleep(5000);
	}
	ck_abort_msg("the job does not end");
}

static void job_refused(const char *what, const char *word)
{
	struct disk_job_info i;
	unsigned int job;

	ck_assert_int_eq(disks_coalesce(disks, 0, what, &job, &e), 0);
	job_wait(&i);
	ck_assert_uint_eq(i.number, job);
	ck_assert_int_ne(i.e.code, 0);
	ck_assert_msg(strstr(i.e.msg, word), "%s", i.e.msg);
	ck_assert_str_eq(i.image, "");
}

START_TEST(images_are_merged_while_the_guest_writes)
{
	struct disk_job_info i;
	unsigned int job;

	set_up();
	chain_make();
	chain_attach();
	ck_assert(!disks_job(disks, 0, &i));
	job_refused(image[3], "what the guest writes to");
	job_refused(image[0], "no parent");
	job_refused("/bin/sh", "no image below");
	job_refused("/no/such/file", "cannot find");
	for (unsigned int middle = 1; middle <= 2; middle++) {
		ck_assert_int_eq(disks_coalesce(disks, 0, middle == 1 ? image[1] : NULL, &job, &e), 0);
		for (u8 k = 0; k < 20; k++)
			ck_assert_uint_eq(put(k % 2, k), VIRTIO_BLK_S_OK);
		job_wait(&i);
		ck_assert_msg(!i.e.code, "%s", i.e.msg);
		ck_assert_uint_eq(i.number, job);
		ck_assert_str_eq(i.image, image[middle]);
		ck_assert_str_eq(i.into, image[0]);
		ck_assert_uint_eq(i.total, CHAIN_SIZE);
		ck_assert_uint_gt(i.pause_ns, 0);
		ck_assert_uint_eq(put(0, 0x40 + middle), VIRTIO_BLK_S_OK);
	}
	job_refused(NULL, "no parent");
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(1);
	chain_shows(2);
	chain_remove();
	tear_down();
}
END_TEST

/* 0: cancelled; 1: the disk is taken by force; 2: the guest lets go of it; 3: the end of all. */
START_TEST(a_job_ends_before_its_time)
{
	struct disk_job_info i;
	u64 pause_ns;
	unsigned int job;

	set_up();
	chain_make();
	chain_attach();
	ck_assert_int_eq(disks_coalesce(disks, 0, NULL, &job, &e), 0);
	ck_assert_int_eq(disks_coalesce(disks, 0, NULL, &job, &e), -EBUSY);
	ck_assert_int_eq(disks_grow(disks, 0, 2 * CHAIN_SIZE, &pause_ns, &e), -EBUSY);
	ck_assert_int_eq(disks_branch(disks, &(struct disks_branch){ 0, "/a", "/b" }, 1, &pause_ns, &e), -EBUSY);
	ck_assert_msg(strstr(e.msg, "is being merged"), "%s", e.msg);
	if (!_i) {
		disks_job_cancel(disks, 0);
		job_wait(&i);
		ck_assert_int_eq(i.e.code, EINTR);
		ck_assert_uint_eq(put(0, 0x55), VIRTIO_BLK_S_OK);
	} else if (_i == 3) {
		disks_jobs_end(disks);
	}
	if (_i != 2)
		ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(1);
	ck_assert(!disks_has(disks, 0));
	/* It was too early for anything to go; what was begun is done by the next. */
	chain_attach();
	ck_assert_int_eq(disks_coalesce(disks, 0, image[2], &job, &e), 0);
	job_wait(&i);
	ck_assert_msg(!i.e.code, "%s", i.e.msg);
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(1);
	chain_shows(2);
	chain_remove();
	tear_down();
}
END_TEST

static void mirror_shows(const char *name, unsigned int q)
{
	struct vhd_error err;
	u8 byte[512];
	struct vhd_queue *r;
	struct vhd *v;

	ck_assert_msg(!vhd_open(name, VHD_O_RDONLY, &v, &err), "%s", err.text);
	r = vhd_queue_create(v, 4);
	ck_assert(!vhd_pread(r, byte, 512, 4 * 512));
	ck_assert_uint_eq(byte[0], q);
	for (u64 at = 4; at < CHAIN_SIZE >> 20; at++) {
		ck_assert(!vhd_pread(r, byte, 512, at << 20));
		ck_assert_uint_eq(byte[0], at % 2 ? 3 : 2);
	}
	vhd_queue_destroy(r);
	ck_assert(!vhd_close(v));
}

START_TEST(disk_goes_over_to_a_mirror)
{
	struct disk_job_info i;
	struct disk_info info;
	char target[112];
	u64 pause_ns;
	unsigned int job;

	set_up();
	chain_make();
	chain_attach();
	snprintf(target, sizeof(target), "%s/mirror.vhd", dir);
	ck_assert_int_lt(disks_mirror(disks, 0, dir, "3.vhd", &job, &e), 0);
	ck_assert_msg(strstr(e.msg, "exists already"), "%s", e.msg);
	ck_assert(!disks_job(disks, 0, &i));
	ck_assert_int_eq(disks_mirror(disks, 0, dir, "mirror.vhd", &job, &e), 0);
	for (u8 k = 0; k < 20; k++)
		ck_assert_uint_eq(put(k % 2, k), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(disks_mirror(disks, 0, dir, "mirror.vhd", &job, &e), -EBUSY);
	ck_assert_int_eq(disks_coalesce(disks, 0, NULL, &job, &e), -EBUSY);
	ck_assert_int_eq(disks_grow(disks, 0, 2 * CHAIN_SIZE, &pause_ns, &e), -EBUSY);
	ck_assert_msg(strstr(e.msg, "is being mirrored"), "%s", e.msg);
	job_wait(&i);
	ck_assert_msg(!i.e.code, "%s", i.e.msg);
	ck_assert_int_eq(i.kind, DISK_JOB_MIRROR);
	ck_assert_str_eq(i.image, image[3]);
	ck_assert_str_eq(i.into, target);
	ck_assert_uint_eq(i.done, CHAIN_SIZE);
	ck_assert_uint_gt(i.pause_ns, 0);
	ck_assert_str_eq(disks_path(disks, 0), target);
	disks_info(disks, 0, &info);
	ck_assert_str_eq(info.format, "vhd-dynamic");
	ck_assert_uint_eq(put(1, 0x44), VIRTIO_BLK_S_OK);
	/* The old one is free: it can be written to. */
	ck_assert_int_eq(vhd_resize(image[3], CHAIN_SIZE, 0, 0, NULL), 0);
	mirror_shows(image[3], 19);
	ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(1);
	mirror_shows(target, 0x44);
	unlink(target);
	chain_remove();
	tear_down();
}
END_TEST

/* 0: cancelled; 1: the disk is taken by force; 2: the guest lets go of it; 3: the end of all. The main loop had no time meanwhile. */
START_TEST(a_mirroring_ends_before_its_time)
{
	struct disk_job_info i;
	char mirror[96];
	unsigned int job;

	set_up();
	chain_make();
	chain_attach();
	ck_assert_int_eq(disks_mirror(disks, 0, dir, "mirror.img", &job, &e), 0);
	/* It has come as far as it could, or not. */
	usleep(_i >= 4 ? 1000000 : 1000);
	if (_i % 4 == 0) {
		disks_job_cancel(disks, 0);
		job_wait(&i);
		ck_assert_int_eq(i.e.code, EINTR);
		ck_assert_str_eq(disks_path(disks, 0), image[3]);
		ck_assert_uint_eq(put(0, 0x55), VIRTIO_BLK_S_OK);
	} else if (_i % 4 == 3) {
		disks_jobs_end(disks);
	}
	if (_i % 4 != 2)
		ck_assert_int_eq(disks_detach(disks, 0, true, &e), 0);
	eject(1);
	ck_assert(!disks_has(disks, 0));
	chain_remove();
	/* What the guest lets go of by itself may have gone over just before. */
	if (_i % 4 == 2) {
		snprintf(mirror, sizeof(mirror), "%s/mirror.img", dir);
		unlink(mirror);
	}
	/* Which finds the directory empty but for its own. */
	tear_down();
	ck_assert_int_eq(access(dir, F_OK), -1);
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
	tcase_add_test(t, images_are_merged_while_the_guest_writes);
	tcase_add_loop_test(t, a_job_ends_before_its_time, 0, 4);
	tcase_add_test(t, disk_goes_over_to_a_mirror);
	tcase_add_loop_test(t, a_mirroring_ends_before_its_time, 0, 8);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
