// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/virtio/blk_share.c userspace/board/mem.c userspace/board/share.c userspace/block/*.c userspace/vhd/*.c
// LINK: userspace/board/kvm.c userspace/common/err.c userspace/common/log.c userspace/common/size.c userspace/common/rundir.c
// LIBS: -laio
/*
 * A disk's reads into shared memory, with a group that is a table of this test: guests get the bytes that their disks show,
 * however the reads are cut, whoever else reads, whatever the group refuses; and what the group holds is read once.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/blk_share.h"

#define DISK	(8u << 20)
#define RAM	(16u << 20)
#define BLOCKS	(DISK / SHARE_PAGE)
#define FLIGHT	12
#define GUESTS	2
#define IMAGES	4

/* ---- the group ---- */

struct held {
	u8 image[16];
	u8 *page[BLOCKS];
};

static struct held held[IMAGES];
static unsigned int offered, mapped, refusals;
static bool refuse;
static struct guest_mem ram[GUESTS];
static struct share_stage *stages[GUESTS];

static u8 **slot_of(const u8 image[16], u64 block)
{
	static const u8 none[16];

	ck_assert_uint_lt(block, BLOCKS);
	for (int i = 0; i < IMAGES; i++) {
		if (!memcmp(held[i].image, none, 16))
			memcpy(held[i].image, image, 16);
		if (!memcmp(held[i].image, image, 16))
			return &held[i].page[block];
	}
	ck_abort_msg("more images than there are");
	return NULL;
}

/* Files 100 and on are guests' memory, 200 and on their stages. */
static u8 *file_at(int file, u64 offset)
{
	ck_assert(!(offset % SHARE_PAGE));
	if (file < 200) {
		ck_assert_uint_lt(offset, RAM);
		return ram[file - 100].region[0].hva + offset;
	}
	ck_assert_uint_lt(offset, stages[file - 200]->size);
	return stages[file - 200]->hva + offset;
}

static u8 group_one(u32 op, u8 **slot, u8 *page)
{
	if (op == LODGE_BLOCKS_OFFER) {
		offered++;
		if (*slot) {
			ck_assert_msg(!memcmp(*slot, page, SHARE_PAGE), "a block was offered with other bytes");
			return LODGE_BLOCK_SHARED;
		}
		*slot = malloc(SHARE_PAGE);
		memcpy(*slot, page, SHARE_PAGE);
		return LODGE_BLOCK_SOURCE;
	}
	if (refuse && ++refusals % 5 == 0)
		return refusals % 2 ? LODGE_BLOCK_BUSY : LODGE_BLOCK_LOW;
	if (!*slot)
		return LODGE_BLOCK_ABSENT;
	mapped++;
	memcpy(page, *slot, SHARE_PAGE);
	return LODGE_BLOCK_MAPPED;
}

static int group_blocks(int file, u32 op, const u8 image[16], u64 block, const u64 *offset, u8 *state, unsigned int count)
{
	ck_assert(count && count <= LODGE_BLOCKS_MAX);
	if (refuse && ++refusals % 11 == 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++)
		state[i] = group_one(op, slot_of(image, block + i), file_at(file, offset[i]));
	return 0;
}

static int group_stage(struct share_stage *stage, const struct guest_mem *mem, u64 size, struct err *e)
{
	int guest = mem - ram;

	(void)e;
	*stage = (struct share_stage){ 200 + guest, aligned_alloc(SHARE_PAGE, size), size };
	stages[guest] = stage;
	return 0;
}

static void group_unstage(struct share_stage *stage)
{
	free(stage->hva);
}

static void group_clear(struct share_stage *stage, u64 offset, u64 len)
{
	ck_assert(offset + len <= stage->size);
	memset(stage->hva + offset, 0xee, len);
}

static const struct share_ops group = { group_stage, group_unstage, group_blocks, group_clear };

static void group_forget(void)
{
	for (int i = 0; i < IMAGES; i++)
		for (unsigned int k = 0; k < BLOCKS; k++)
			free(held[i].page[k]);
	memset(held, 0, sizeof(held));
	offered = mapped = refusals = 0;
}

/* ---- guests and their disks ---- */

struct reading {
	struct block_req req;
	struct iovec iov[20];
	u64 at;			/* of the first byte in guest memory */
	struct guest *guest;
	bool busy;
};

struct guest {
	struct block *block;
	struct block_queue *queue;
	struct blk_share *share;
	u8 *want;
	bool submitted;
	u64 shared_bytes;
	struct reading reading[FLIGHT];
};

static char dir[64];
static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static const char *file_name(int n)
{
	static char name[2][96];
	static int turn;

	turn ^= 1;
	snprintf(name[turn], sizeof(name[turn]), "%s/%d.vhd", dir, n);
	return name[turn];
}

/* Random pieces, most of them whole pages, into the image and into want. */
static void fill(int n, u8 *want, unsigned int pieces)
{
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;
	u8 *buf = malloc(256 << 10);

	ck_assert_msg(!vhd_open(file_name(n), 0, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 4);
	while (pieces--) {
		u32 unit = rnd(4) ? SHARE_PAGE : 512, len = (1 + rnd((256 << 10) / unit)) * unit;
		u64 at = (u64)rnd((DISK - len) / unit) * unit;

		for (u32 i = 0; i < len; i++)
			buf[i] = rnd(255) + 1;
		memcpy(want + at, buf, len);
		ck_assert(!vhd_pwrite(q, buf, len, at));
	}
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	free(buf);
}

static void guest_start(struct guest *g, int n, const u8 *base)
{
	struct vhd_params p = { .type = VHD_DIFF, .parent = file_name(0), .block_size = 65536 };
	char name[100], *why = NULL;
	struct err e = ERR_INIT;
	struct vhd_error err;

	ck_assert_msg(!vhd_create(file_name(1 + n), &p, &err), "%s", err.text);
	g->want = malloc(DISK);
	memcpy(g->want, base, DISK);
	fill(1 + n, g->want, 6);
	snprintf(name, sizeof(name), "%s", file_name(1 + n));
	g->block = block_open(name, 0, &why);
	ck_assert_msg(g->block != NULL, "%s", why);
	g->queue = block_queue_create(g->block, 16);
	ck_assert(!mem_init(&ram[n], RAM, &e));
	ram[n].file = 100 + n;
	g->share = blk_share_create(&ram[n], g->queue, &group, &g->submitted, &e);
	ck_assert(g->share != NULL);
}

static void guest_end(struct guest *g, int n)
{
	blk_share_destroy(g->share);
	block_queue_destroy(g->queue);
	ck_assert(!block_close(g->block));
	ram[n].file = -1;
	mem_fini(&ram[n]);
	free(g->want);
	ck_assert(!unlink(file_name(1 + n)));
}

static void reading_done(struct block_req *req, int error)
{
	struct reading *r = req->opaque;
	const u8 *want = r->guest->want + req->offset;

	ck_assert_int_eq(error, 0);
	for (int i = 0; i < req->iovcnt; i++) {
		ck_assert_msg(!memcmp(req->iov[i].iov_base, want, req->iov[i].iov_len), "read of %llu at %llu, segment %d",
			      (unsigned long long)req->length, (unsigned long long)req->offset, i);
		want += req->iov[i].iov_len;
	}
	r->busy = false;
}

/* One read: a share of guest memory of its own for each in flight, cut as drivers do, or as no driver does. */
static void reading_start(struct guest *g, int n, int slot)
{
	struct reading *r = &g->reading[slot];
	u32 kind = rnd(6), unit = kind ? SHARE_PAGE : 512, left;
	u8 *at = ram[n].region[0].hva + slot * (RAM / FLIGHT / SHARE_PAGE * SHARE_PAGE) + (kind == 1 ? 512 : 0);

	r->req = (struct block_req){ .op = BLOCK_READ, .iov = r->iov, .done = reading_done, .opaque = r };
	r->req.length = (1 + rnd((500 << 10) / unit)) * unit;
	r->req.offset = (u64)rnd((DISK - r->req.length) / unit + 1) * unit;
	for (left = r->req.length; left; r->req.iovcnt++) {
		u32 part = r->req.iovcnt == 19 || !rnd(3) ? left : (1 + rnd(left / unit)) * unit;

		memset(at, 0xaa, part);
		r->iov[r->req.iovcnt] = (struct iovec){ at, part };
		at += part + (rnd(2) ? SHARE_PAGE : 0);
		left -= part;
	}
	r->guest = g;
	r->busy = true;
	blk_share_read(g->share, &r->req, &g->shared_bytes);
}

static void guest_turn(struct guest *g)
{
	struct pollfd p = { block_queue_fd(g->queue), POLLIN, 0 };

	if (g->submitted)
		block_queue_kick(g->queue);
	g->submitted = false;
	if (poll(&p, 1, 0) > 0)
		block_queue_poll(g->queue);
}

static void guests_read(struct guest *g, unsigned int reads)
{
	bool busy = true;

	while (reads || busy) {
		busy = false;
		for (int n = 0; n < GUESTS; n++) {
			int slot = rnd(FLIGHT);

			if (reads && !g[n].reading[slot].busy) {
				reading_start(&g[n], n, slot);
				reads--;
			}
			guest_turn(&g[n]);
			for (int i = 0; i < FLIGHT; i++)
				busy |= g[n].reading[i].busy;
		}
	}
}

static u8 *gold_make(void)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	u8 *want = calloc(1, DISK);
	struct vhd_error err;

	ck_assert_msg(!vhd_create(file_name(0), &p, &err), "%s", err.text);
	fill(0, want, 60);
	return want;
}

START_TEST(guests_see_their_disks)
{
	static struct guest g[GUESTS];
	u8 *base;

	memset(g, 0, sizeof(g));
	seed = 11 + _i;
	refuse = _i & 1;
	base = gold_make();
	for (int n = 0; n < GUESTS; n++)
		guest_start(&g[n], n, base);
	guests_read(g, 1500);
	ck_assert_uint_gt(mapped, offered);
	for (int n = 0; n < GUESTS; n++) {
		ck_assert(g[n].shared_bytes);
		guest_end(&g[n], n);
	}
	group_forget();
	unlink(file_name(0));
	free(base);
}
END_TEST

/* One guest after the other reads the whole disk: the second finds all of the gold image, and reads none of it. */
START_TEST(the_second_reads_nothing)
{
	static struct guest g[GUESTS];
	unsigned int first;
	u8 *base;

	memset(g, 0, sizeof(g));
	seed = 3;
	refuse = false;
	base = gold_make();
	for (int n = 0; n < GUESTS; n++)
		guest_start(&g[n], n, base);
	for (int n = 0; n < GUESTS; n++) {
		first = offered;
		for (u64 at = 0; at < DISK; at += 128 << 10) {
			struct reading *r = &g[n].reading[0];

			r->iov[0] = (struct iovec){ ram[n].region[0].hva, 128 << 10 };
			r->req = (struct block_req){ .op = BLOCK_READ, .offset = at, .length = 128 << 10, .iov = r->iov, .iovcnt = 1,
						     .done = reading_done, .opaque = r };
			r->guest = &g[n];
			r->busy = true;
			blk_share_read(g[n].share, &r->req, &g[n].shared_bytes);
			while (r->busy)
				guest_turn(&g[n]);
		}
	}
	/* But for what only the first one had covered with writes of its own. */
	ck_assert_uint_gt(first, BLOCKS / 4);
	ck_assert_uint_lt(offered - first, first / 2);
	ck_assert_uint_gt(g[1].shared_bytes / SHARE_PAGE, first / 2);
	for (int n = 0; n < GUESTS; n++)
		guest_end(&g[n], n);
	group_forget();
	unlink(file_name(0));
	free(base);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_share");
	TCase *t = tcase_create("share");
	SRunner *r;
	int bad;

	strcpy(dir, "/dev/shm/lodge-share-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, guests_see_their_disks, 0, 4);
	tcase_add_test(t, the_second_reads_nothing);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	rmdir(dir);
	return bad != 0;
}
