// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio -lcrypto
// TIMEOUT: 300
/*
 * An image in the middle of a chain is merged into its parent while the disk
 * on top is written, zeroed, read and flushed at random; the disk always shows
 * what was written to it. On simulated disks the power is cut at operations
 * of all of the work: of three images, at one moment. The chain then opens
 * through whichever parent the disk's header names, shows every flushed sector, checks without
 * damage, and a second coalesce completes the work.
 *
 * LODGE_CUTS=all cuts at every operation; else at a sample.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/coalesce.h"
#include "../vhd/memstore.h"

#define DISK	(1u << 20)
#define SECTORS	(DISK / 512)
#define ROOM	(72u << 20)
#define SLOTS	8
#define REGION	(SECTORS / SLOTS)
#define MOST	24		/* sectors of a write */
#define VALUES	60

enum { A, B, C, IMAGES };

/* Names in headers are of files that exist. */
static const char *const names[IMAGES] = { "/etc/passwd", "/etc/group", "/bin/sh" };
static const uint32_t block_sizes[IMAGES] = { 65536, 32768, 65536 };

struct write {
	struct vhd_request req;
	struct iovec iov;
	struct guest *guest;
	bool busy;
	uint8_t buf[MOST * 512];
};

/* What a sector may show: the last flushed value and all since, the last being what it shows without a cut. */
struct sector {
	uint8_t n, value[VALUES];
};

struct guest {
	struct vhd *v;
	struct vhd_queue *q[2];		/* of writes in flight, and of all that is waited for */
	struct write w[SLOTS];		/* each in its own region */
	struct sector s[SECTORS];
	unsigned int calls, stop_at;
	bool off;			/* the power */
};

struct machine {
	struct memdisk *disk[IMAGES];
	struct vhd *v[IMAGES];
	struct guest g;
};

static uint32_t seed;
static uint64_t cuts, merged_before;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void may(struct guest *g, uint32_t first, uint32_t count, uint8_t value)
{
	for (uint32_t i = first; i < first + count; i++) {
		struct sector *s = &g->s[i];

		if (s->n == VALUES)
			ck_abort_msg("sector %u was written too often between flushes", i);
		s->value[s->n++] = value;
	}
}

static void write_done(struct vhd_request *req, int error)
{
	struct write *w = req->opaque;

	w->guest->off |= error != 0;
	w->busy = false;
}

static void guest_write(struct guest *g, unsigned int slot)
{
	uint32_t count = 1 + rnd(MOST), first = slot * REGION + rnd(REGION - count);
	bool zero = rnd(4) == 0;
	struct write *w = &g->w[slot];
	uint8_t value = zero ? 0 : 1 + rnd(255);

	memset(w->buf, value, count * 512);
	w->busy = true;
	w->guest = g;
	w->iov = (struct iovec){ w->buf, count * 512 };
	w->req = (struct vhd_request){ .op = zero ? VHD_WRITE_ZEROES : VHD_WRITE, .offset = first * 512, .length = count * 512,
				       .iov = zero ? NULL : &w->iov, .iovcnt = !zero, .flags = VHD_F_UNMAP,
				       .done = write_done, .opaque = w };
	may(g, first, count, value);
	vhd_submit(g->q[0], &w->req);
	vhd_queue_kick(g->q[0]);
}

static void look(struct guest *g, uint32_t first, uint32_t count)
{
	static uint8_t buf[DISK];
	int ret = vhd_pread(g->q[1], buf, count * 512, first * 512);

	g->off |= ret != 0;
	for (uint32_t i = 0; !ret && i < count; i++) {
		const struct sector *s = &g->s[first + i];
		const uint8_t *p = buf + i * 512;

		if (p[0] != s->value[s->n - 1] || memcmp(p, p + 1, 511))
			ck_abort_msg("sector %u shows %u, not %u", first + i, p[0], s->value[s->n - 1]);
	}
}

static void collapse(struct guest *g)
{
	for (uint32_t i = 0; i < SECTORS; i++) {
		g->s[i].value[0] = g->s[i].value[g->s[i].n - 1];
		g->s[i].n = 1;
	}
}

/* Everything that was written is stable when it returns, unless the power went. */
static void guest_flush(struct guest *g)
{
	vhd_queue_drain(g->q[0]);
	if (vhd_flush(g->q[1]))
		g->off = true;
	else if (!g->off)
		collapse(g);
}

/* The guest's share of the time. */
static bool guest_runs(void *opaque, uint64_t done)
{
	struct guest *g = opaque;
	unsigned int slot = rnd(SLOTS);

	(void)done;
	if (++g->calls == g->stop_at)
		return false;
	vhd_queue_poll(g->q[0]);
	if (g->off)
		return true;
	if (!g->w[slot].busy && rnd(3))
		guest_write(g, slot);
	slot = rnd(SLOTS);
	if (!g->w[slot].busy)
		look(g, slot * REGION, REGION);
	if (g->calls % 8 == 0)
		guest_flush(g);
	return true;
}

static void guest_begin(struct guest *g, struct vhd *v)
{
	g->v = v;
	g->q[0] = vhd_queue_create(v, 6);
	g->q[1] = vhd_queue_create(v, 8);
	g->calls = g->stop_at = 0;
	g->off = false;
}

static int guest_end(struct guest *g)
{
	vhd_queue_destroy(g->q[0]);
	vhd_queue_destroy(g->q[1]);
	return vhd_close(g->v);
}

static void memory_make(struct machine *m, unsigned int i)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = block_sizes[i], .timestamp = 5, .uuid = { 1 + i } };
	struct edit_parent parent = { .uuid = { i }, .timestamp = 5, .size = DISK };
	struct vhd_error err = { 0 };
	struct store *s;
	uint8_t raw[512];
	struct layout l;

	m->disk[i] = memdisk_create(0, ROOM, false, seed + i);
	if (i)
		memdisk_join(m->disk[i], m->disk[A]);
	s = memdisk_open(m->disk[i], false);
	ck_assert_msg(!create_on_store(s, names[i], &p, &err), "%s", err.text);
	if (i) {
		parent.name = names[i - 1];
		ck_assert(!layout_read(s, &l, &err));
		l.footer.type = VHD_DIFF;
		l.footer.hidden = i < C;
		vhd_footer_encode(&l.footer, raw);
		ck_assert(!s->ops->pwrite(s, raw, 512, 0) && !s->ops->pwrite(s, raw, 512, l.footer_at));
		ck_assert_msg(!edit_parent(s, names[i], &parent, &err), "%s", err.text);
	}
	s->ops->close(s);
}

static struct vhd *memory_open(struct machine *m, unsigned int i, bool readonly)
{
	struct vhd_error err = { 0 };
	struct vhd *v = NULL;

	ck_assert_msg(!image_open_store(memdisk_open(m->disk[i], readonly), names[i],
					VHD_O_OWN | VHD_O_INTERNAL | (readonly ? VHD_O_RDONLY : 0), &v, &err), "%s", err.text);
	return v;
}

/* The chain as headers tell it, with the image @top to be written. True: it leads through B. */
static bool chain_open(struct machine *m, unsigned int top)
{
	bool through = false;
	struct vhd *v = NULL, *above = NULL;

	for (unsigned int i = top;; i = v->header.parent_uuid[0] - 1) {
		v = memory_open(m, i, i != top);
		if (above)
			above->parent = v;
		else
			m->v[top] = v;
		above = v;
		through |= i == B;
		if (v->type != VHD_DIFF)
			break;
	}
	flat_renew(m->v[top]);
	return through;
}

/* Each image in turn is the guest's disk for a while. */
static void memory_fill(struct machine *m)
{
	for (unsigned int i = A; i <= C; i++) {
		memory_make(m, i);
		chain_open(m, i);
		guest_begin(&m->g, m->v[i]);
		if (i == A)
			may(&m->g, 0, SECTORS, 0);
		for (unsigned int k = 0; k < 60; k++)
			guest_runs(&m->g, 0);
		guest_flush(&m->g);
		/* A whole block of the parent's: merging frees it there. */
		if (i == B) {
			ck_assert(!vhd_write_zeroes(m->g.q[1], 3 * 65536, 65536, 0));
			may(&m->g, 3 * 128, 128, 0);
			guest_flush(&m->g);
		}
		ck_assert_int_eq(guest_end(&m->g), 0);
	}
}

/* The whole of it; false if the power went, or the guest stopped it. */
static bool coalesce(struct machine *m)
{
	struct vhd_error err = { 0 };
	struct vhd_coalesce *c;
	bool good;

	ck_assert_msg(!coalesce_find(m->v[C], 1, &c, &err), "%s", err.text);
	c->own = memory_open(m, B, true);
	c->target = memory_open(m, A, false);
	good = !coalesce_fill(c, guest_runs, &m->g, &err);
	ck_assert_msg(good || err.code == EIO || err.code == EINTR, "%s", err.text);
	m->g.off |= !good && err.code == EIO;
	/* With writes in flight. */
	for (unsigned int slot = 0; good && !m->g.off && slot < SLOTS; slot++)
		if (!m->g.w[slot].busy)
			guest_write(&m->g, slot);
	if (good) {
		good = !vhd_coalesce_switch(c, m->g.q, 2, &err);
		ck_assert_msg(good || m->g.off || err.code == EIO, "%s", err.text);
		m->g.off |= !good;
	}
	if (good) {
		ck_assert_ptr_eq(m->v[C]->parent, c->target);
		ck_assert(!c->target->parent);
	}
	if (vhd_coalesce_end(c, &err))
		m->g.off = true;
	return good && !m->g.off;
}

/* But that a child's file holds no image: it is in none. */
static void tell(void *opaque, enum vhd_severity severity, const char *text)
{
	ck_assert_msg(severity != VHD_CORRUPT || strstr(text, "no VHD footer"), "%s: %s", (const char *)opaque, text);
}

static void memory_check(struct machine *m, unsigned int i)
{
	struct vhd_check c = { .bitmaps = true, .found = tell, .opaque = (void *)names[i] };
	struct store *s = memdisk_open(m->disk[i], true);
	struct vhd_error err = { 0 };

	ck_assert(!check_on_store(s, names[i], &c, &err));
	s->ops->close(s);
}

/* Every sector has a value that it may have, and that one it keeps. */
static void settle(struct guest *g)
{
	static uint8_t buf[DISK];

	ck_assert(!vhd_pread(g->q[1], buf, DISK, 0));
	for (uint32_t i = 0; i < SECTORS; i++) {
		struct sector *s = &g->s[i];
		const uint8_t *p = buf + i * 512;

		if (!memchr(s->value, p[0], s->n) || memcmp(p, p + 1, 511))
			ck_abort_msg("sector %u shows %u, not %u", i, p[0], s->value[s->n - 1]);
		s->value[0] = p[0];
		s->n = 1;
	}
}

/* Cut at operation @cut of the work, 0: not at all; then through to the end. The number of operations. */
static uint64_t life(uint32_t which, uint64_t cut, unsigned int stop_at)
{
	static struct machine m;
	uint64_t begun, all;
	bool whole, through;

	memset(&m, 0, sizeof(m));
	seed = which;
	memory_fill(&m);
	ck_assert(chain_open(&m, C));
	guest_begin(&m.g, m.v[C]);
	m.g.stop_at = stop_at;
	begun = memdisk_operations(m.disk[A]);
	memdisk_fail(m.disk[A], cut, UINT64_MAX - (begun + cut));
	whole = coalesce(&m);
	all = memdisk_operations(m.disk[A]) - begun;
	ck_assert(whole || cut || stop_at);
	if (!cut) {
		for (unsigned int i = 0; i < 40; i++)
			guest_runs(&m.g, 0);
		guest_flush(&m.g);
		look(&m.g, 0, SECTORS);
	}
	ck_assert(guest_end(&m.g) == 0 || cut);
	memdisk_fail(m.disk[A], 0, 0);
	for (unsigned int i = A; cut && i <= C; i++)
		memdisk_cut(m.disk[i]);
	for (unsigned int i = A; i <= C; i++)
		memory_check(&m, i);
	through = chain_open(&m, C);
	ck_assert(through || whole || cut);
	ck_assert(!through || !whole || cut);
	merged_before += !through;
	guest_begin(&m.g, m.v[C]);
	settle(&m.g);
	if (through)
		ck_assert(coalesce(&m));
	guest_flush(&m.g);
	look(&m.g, 0, SECTORS);
	ck_assert_int_eq(guest_end(&m.g), 0);
	ck_assert(!chain_open(&m, C));
	guest_begin(&m.g, m.v[C]);
	look(&m.g, 0, SECTORS);
	ck_assert_int_eq(guest_end(&m.g), 0);
	for (unsigned int i = A; i <= C; i++)
		memory_check(&m, i);
	for (unsigned int i = A; i <= C; i++)
		memdisk_destroy(m.disk[i]);
	return all;
}

START_TEST(a_disk_in_use_shows_the_same)
{
	for (uint32_t which = 1; which <= 5; which++)
		ck_assert_uint_gt(life(which, 0, 0), 100);
}
END_TEST

START_TEST(stopped_and_taken_up_again)
{
	for (uint32_t which = 30; which < 35; which++)
		life(which, 0, 1 + which % 7);
}
END_TEST

START_TEST(cut_at_any_operation)
{
	const char *all = getenv("LODGE_CUTS");
	bool every = all && !strcmp(all, "all");

	for (uint32_t which = 100; which < (every ? 106 : 103); which++) {
		uint64_t n = life(which, 0, 0), step = every ? 1 : 1 + n / 12;

		for (uint64_t cut = 1 + which % step; cut <= n; cut += step, cuts++)
			life(which, cut, 0);
		/* The end, where the headers change, whole. */
		for (uint64_t cut = n > 60 ? n - 60 : 1; !every && cut <= n; cut += 3, cuts++)
			life(which, cut, 0);
	}
	printf("# %llu cuts, %llu of them after the step\n", (unsigned long long)cuts, (unsigned long long)merged_before);
	ck_assert_uint_gt(merged_before, 10);
}
END_TEST

static char dir[64];

static const char *file(const char *name)
{
	static char path[4][128];
	static unsigned int n;
	char *out = path[n++ % 4];

	snprintf(out, sizeof(path[0]), "%s/%s.vhd", dir, name);
	return out;
}

static void file_make(const char *name, const char *parent, uint64_t size)
{
	struct vhd_params p = { .type = parent ? VHD_DIFF : VHD_DYNAMIC, .size = size, .block_size = 65536 };
	struct vhd_error err;

	p.parent = parent ? file(parent) : NULL;
	ck_assert_msg(!vhd_create(file(name), &p, &err), "%s", err.text);
}

static void file_open(struct guest *g, const char *name)
{
	struct vhd_error err;
	struct vhd *v;

	ck_assert_msg(!vhd_open(file(name), 0, &v, &err), "%s", err.text);
	guest_begin(g, v);
}

/* Four images of a disk, a to d, each written to while it was on top. */
static void files_make(struct guest *g)
{
	static const char *const name[] = { "a", "b", "c", "d" };

	strcpy(dir, "/dev/shm/lodge-coalesce-XXXXXX");
	ck_assert(mkdtemp(dir));
	memset(g, 0, sizeof(*g));
	may(g, 0, SECTORS, 0);
	for (unsigned int i = 0; i < 4; i++) {
		file_make(name[i], i ? name[i - 1] : NULL, DISK);
		file_open(g, name[i]);
		for (unsigned int k = 0; k < 50; k++)
			guest_runs(g, 0);
		guest_flush(g);
		ck_assert_int_eq(guest_end(g), 0);
	}
	file_open(g, "d");
}

static void files_remove(void)
{
	static const char *const name[] = { "a", "b", "c", "d", "e" };

	for (unsigned int i = 0; i < 5; i++)
		unlink(file(name[i]));
	ck_assert(!rmdir(dir));
}

static void file_coalesce(struct guest *g, unsigned int depth, const char *parent)
{
	struct vhd_coalesce *c;
	struct vhd_error err;
	struct vhd *other;

	ck_assert_msg(!vhd_coalesce_begin(g->v, depth, NULL, &c, &err), "%s", err.text);
	/* What is being changed cannot be looked at. */
	ck_assert_int_eq(vhd_open(file(parent), VHD_O_RDONLY, &other, &err), -EBUSY);
	ck_assert_int_eq(vhd_coalesce_switch(c, g->q, 2, &err), -EINVAL);
	ck_assert_msg(!vhd_coalesce_copy(c, guest_runs, g, &err), "%s", err.text);
	for (unsigned int slot = 0; slot < SLOTS; slot++)
		if (!g->w[slot].busy)
			guest_write(g, slot);
	ck_assert_msg(!vhd_coalesce_switch(c, g->q, 2, &err), "%s", err.text);
	ck_assert_msg(!vhd_coalesce_end(c, &err), "%s", err.text);
	for (unsigned int i = 0; i < 40; i++)
		guest_runs(g, 0);
	guest_flush(g);
	look(g, 0, SECTORS);
}

static void file_check(const char *name)
{
	struct vhd_check c = { .bitmaps = true };
	struct vhd_error err;

	ck_assert(!vhd_check(file(name), &c, &err));
	ck_assert_msg(!c.corruptions && !c.leaks, "%s does not check clean", name);
}

/* b goes, then c, whose child is the disk; or the other way round. */
START_TEST(files_of_a_chain)
{
	static struct guest g;
	struct vhd_info info;
	struct vhd *other;
	struct vhd_error err;

	seed = 900 + _i;
	files_make(&g);
	file_coalesce(&g, _i ? 1 : 2, _i ? "b" : "a");
	ck_assert(access(_i ? file("c") : file("b"), F_OK) && !access(_i ? file("b") : file("c"), F_OK));
	vhd_get_info(g.v, &info);
	ck_assert_uint_eq(info.depth, 3);
	/* Readers may have the parent again, writers not. */
	ck_assert_msg(!vhd_open(file("a"), VHD_O_RDONLY, &other, &err), "%s", err.text);
	vhd_close(other);
	ck_assert_int_eq(vhd_open(file("a"), VHD_O_INTERNAL, &other, &err), -EBUSY);
	file_check("a");
	if (_i)
		ck_assert_int_eq(vhd_coalesce_begin(g.v, 2, NULL, &(struct vhd_coalesce *){ NULL }, &err), -EINVAL);
	file_coalesce(&g, 1, "a");
	vhd_get_info(g.v, &info);
	ck_assert_uint_eq(info.depth, 2);
	ck_assert_int_eq(guest_end(&g), 0);
	file_check("a");
	file_check("d");
	file_open(&g, "d");
	look(&g, 0, SECTORS);
	ck_assert_int_eq(guest_end(&g), 0);
	files_remove();
}
END_TEST

/* The disk's image is called @snapshot from now on, and another one takes its place and name. */
static void file_branch(struct guest *g, const char *snapshot)
{
	struct vhd_params p = { .type = VHD_DIFF, .parent_live = true, .block_size = 65536 };
	struct vhd_branch b = { .v = g->v, .q = g->q, .n = 2 };
	struct vhd_error err;

	p.parent = file(snapshot);
	ck_assert(!link(file("d"), p.parent));
	ck_assert_msg(!vhd_create(file("e"), &p, &err) && !vhd_open(file("e"), VHD_O_OWN, &b.child, &err), "%s", err.text);
	b.disk = file("d");
	b.snapshot = file(snapshot);
	ck_assert_msg(!vhd_branch_prepare(&b, 1, &err) && !vhd_branch_switch(&b, 1, &err) && !vhd_branch_finish(&b, 1, &err), "%s",
		      err.text);
	g->v = b.child;
}

/* What the queues were made with is merged, or merged into, and closed; they go on. */
START_TEST(images_that_were_the_disk)
{
	static struct guest g;
	struct vhd_info info;

	seed = 930 + _i;
	files_make(&g);
	file_branch(&g, "s");
	for (unsigned int k = 0; k < 50; k++)
		guest_runs(&g, 0);
	if (_i) {
		guest_flush(&g);
		file_branch(&g, "t");
		file_coalesce(&g, 1, "s");
	}
	file_coalesce(&g, 1, "c");
	ck_assert(access(file("s"), F_OK) && access(file("t"), F_OK));
	vhd_get_info(g.v, &info);
	ck_assert_uint_eq(info.depth, 4);
	ck_assert_int_eq(guest_end(&g), 0);
	file_check("c");
	file_check("d");
	files_remove();
}
END_TEST

static void refused(struct guest *g, unsigned int depth, int code, const char *word)
{
	struct vhd_coalesce *c = NULL;
	struct vhd_error err;

	ck_assert_int_eq(vhd_coalesce_begin(g->v, depth, NULL, &c, &err), -code);
	ck_assert_msg(strstr(err.text, word), "%s", err.text);
	ck_assert_ptr_null(c);
}

START_TEST(what_cannot_be_merged)
{
	struct vhd_coalesce *c;
	static struct guest g;
	struct vhd_error err;
	struct vhd *other;

	seed = 950;
	files_make(&g);
	refused(&g, 0, EINVAL, "no such image");
	refused(&g, 3, EINVAL, "no parent");
	refused(&g, 4, EINVAL, "no such image");
	refused(&g, 77, EINVAL, "no such image");
	/* Somebody reads the parent. */
	ck_assert(!vhd_open(file("b"), VHD_O_RDONLY, &other, &err));
	refused(&g, 1, EBUSY, "in use by another process");
	vhd_close(other);
	/* It has another child; so has the middle. */
	file_make("e", "b", DISK);
	refused(&g, 1, EBUSY, "e.vhd");
	refused(&g, 2, EBUSY, "e.vhd");
	ck_assert(!unlink(file("e")));
	/* After all of these the lock is as it was. */
	ck_assert_int_eq(vhd_open(file("b"), VHD_O_INTERNAL, &other, &err), -EBUSY);
	/* Stopped at once; and then done. */
	ck_assert(!vhd_coalesce_begin(g.v, 1, NULL, &c, &err));
	g.stop_at = g.calls + 1;
	ck_assert_int_eq(vhd_coalesce_copy(c, guest_runs, &g, &err), -EINTR);
	ck_assert(!vhd_coalesce_end(c, &err));
	file_check("b");
	ck_assert_int_eq(vhd_open(file("b"), VHD_O_INTERNAL, &other, &err), -EBUSY);
	file_coalesce(&g, 1, "b");
	ck_assert_int_eq(guest_end(&g), 0);
	file_check("d");
	files_remove();
}
END_TEST

/* Whoever comes to the merged image while it is merged keeps it. */
START_TEST(somebody_comes_meanwhile)
{
	struct vhd_coalesce *c;
	static struct guest g;
	struct vhd_error err;
	struct vhd *other;

	seed = 970;
	files_make(&g);
	for (unsigned int depth = 2; depth; depth--) {
		const char *middle = depth == 2 ? "b" : "c";

		ck_assert_msg(!vhd_coalesce_begin(g.v, depth, NULL, &c, &err), "%s", err.text);
		ck_assert_msg(!vhd_coalesce_copy(c, guest_runs, &g, &err), "%s", err.text);
		if (depth == 1)
			ck_assert(!vhd_open(file(middle), VHD_O_RDONLY | VHD_O_OWN, &other, &err));
		else
			file_make("e", middle, DISK);
		ck_assert_msg(!vhd_coalesce_switch(c, g.q, 2, &err), "%s", err.text);
		ck_assert_int_eq(vhd_coalesce_end(c, &err), -EBUSY);
		ck_assert_msg(strstr(err.text, depth == 1 ? "in use" : "e.vhd") && strstr(err.text, "not deleted"), "%s", err.text);
		ck_assert(!access(file(middle), F_OK));
		if (depth == 1)
			vhd_close(other);
		else
			ck_assert(!unlink(file("e")) && !unlink(file("b")));
		for (unsigned int i = 0; i < 40; i++)
			guest_runs(&g, 0);
		guest_flush(&g);
		look(&g, 0, SECTORS);
		file_check("a");
	}
	ck_assert_int_eq(guest_end(&g), 0);
	file_check("c");
	file_check("d");
	files_remove();
}
END_TEST

/* A disk that became larger has parents of two sizes; and one on a raw file. */
START_TEST(sizes_and_kinds)
{
	struct vhd_params p = { .type = VHD_RAW, .size = DISK };
	static struct guest g;
	struct vhd_error err;
	struct vhd *v;
	char raw[128];

	strcpy(dir, "/dev/shm/lodge-coalesce-XXXXXX");
	ck_assert(mkdtemp(dir));
	file_make("a", NULL, DISK);
	file_make("b", "a", DISK);
	ck_assert(!vhd_resize(file("b"), 2 * DISK, 0, 0, &err));
	file_make("c", "b", 0);
	file_open(&g, "c");
	refused(&g, 1, EINVAL, "resized");
	ck_assert_int_eq(guest_end(&g), 0);
	snprintf(raw, sizeof(raw), "%s/raw", dir);
	ck_assert(!vhd_create(raw, &p, &err));
	ck_assert(!vhd_set_parent(file("b"), raw, true, &err));
	ck_assert(!vhd_open(file("c"), VHD_O_RAW_PARENT, &v, &err));
	guest_begin(&g, v);
	refused(&g, 1, EINVAL, "raw");
	ck_assert_int_eq(guest_end(&g), 0);
	ck_assert(!vhd_open(file("c"), VHD_O_RAW_PARENT | VHD_O_RDONLY, &v, &err));
	guest_begin(&g, v);
	refused(&g, 1, EINVAL, "raw");
	ck_assert_int_eq(guest_end(&g), 0);
	ck_assert(!unlink(raw));
	files_remove();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_coalesce");
	TCase *t = tcase_create("coalesce");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 280);
	tcase_add_test(t, a_disk_in_use_shows_the_same);
	tcase_add_test(t, stopped_and_taken_up_again);
	tcase_add_test(t, cut_at_any_operation);
	tcase_add_loop_test(t, files_of_a_chain, 0, 2);
	tcase_add_loop_test(t, images_that_were_the_disk, 0, 2);
	tcase_add_test(t, what_cannot_be_merged);
	tcase_add_test(t, somebody_comes_meanwhile);
	tcase_add_test(t, sizes_and_kinds);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
