// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio
/*
 * Random operations on an image, against what a disk must do.
 *
 * Every sector that is written carries its number and a value that is never
 * used again. The reference keeps for each sector the values that a read may
 * show: one, while nothing unusual happens; after a discard the old one and
 * zero; after a power cut every value since the last flush that covers it.
 * What is then read becomes the only one. Requests in flight never overlap,
 * so there is no other freedom.
 *
 * LODGE_MODEL_OPS and LODGE_SEED override the length and the seed.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

#define DISK_BYTES	(6u << 20)
#define SECTORS		(DISK_BYTES / 512)
#define ROOM		(240u << 20)
#define FLIGHT		24
#define CANDIDATES	8
#define QUEUES		2
#define MAX_SECTORS	600

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return below ? (seed >> 11) % below : 0;
}

/* Values a sector may show, oldest first; the last is the newest. */
struct sector {
	uint8_t count;
	bool fuzzy;		/* any of them, not only the newest */
	bool busy;
	uint32_t value[CANDIDATES];
	bool maybe[CANDIDATES];		/* a discard or failed write: may have done nothing */
	uint64_t when[CANDIDATES];	/* completion stamp */
};

struct op {
	struct vhd_request req;
	bool active;
	uint32_t first, count;
	uint32_t value;
	uint64_t stamp;		/* FLUSH: completions before it */
	uint8_t *buf;
	struct iovec iov[5];
};

struct model {
	struct memdisk *disk;
	struct vhd *v;
	struct vhd_queue *q[QUEUES];
	struct sector *s;
	struct op op[FLIGHT];
	uint32_t next_value;
	uint64_t stamp;
	bool dead;
	bool diff;
	bool may_fail;
	uint64_t failures;
	struct memdisk *parent_disk;
	struct vhd_keys *keys;
	uint64_t cuts, flushes;
};

static void sector_fill(uint8_t *p, uint32_t n, uint32_t value)
{
	uint32_t w[2] = { n ^ 0x5a5a5a5a, value };
	int i;

	if (!value) {
		memset(p, 0, 512);
		return;
	}
	for (i = 0; i < 512; i += 8)
		memcpy(p + i, w, 8);
}

/* The value in @p, or ~0 if the sector is not whole. */
static uint32_t sector_value(const uint8_t *p, uint32_t n)
{
	uint8_t want[512];
	uint32_t value;

	memcpy(&value, p + 4, 4);
	sector_fill(want, n, value);
	return memcmp(p, want, 512) ? ~0u : value;
}

static void settle(struct sector *s, uint32_t value)
{
	s->count = 1;
	s->fuzzy = false;
	s->value[0] = value;
	s->maybe[0] = false;
	s->when[0] = 0;
}

static void sector_add(struct model *m, struct sector *s, uint32_t value)
{
	if (s->count == CANDIDATES) {
		/* Too many unflushed values: forget none that could be read. */
		ck_abort_msg("model: a sector has too many candidates");
	}
	s->value[s->count] = value;
	s->maybe[s->count] = false;
	s->when[s->count] = m->stamp;
	s->count++;
}

static void sector_check(struct model *m, uint32_t n, const uint8_t *p)
{
	struct sector *s = &m->s[n];
	uint32_t value = sector_value(p, n);
	int i;

	if (!s->fuzzy) {
		ck_assert_msg(value == s->value[s->count - 1],
			      "sector %u reads value %u, should be %u", n, value,
			      s->value[s->count - 1]);
		return;
	}
	for (i = 0; i < s->count; i++)
		if (s->value[i] == value)
			break;
	ck_assert_msg(i < s->count, "sector %u reads value %u, none of the %u it may show (newest %u, oldest %u)",
		      n, value, s->count, s->value[s->count - 1], s->value[0]);
	/* What the last discard or failed write has come to is known now. */
	s->value[s->count - 1] = value;
	s->maybe[s->count - 1] = false;
	s->fuzzy = false;
}

static void op_done(struct vhd_request *req, int error)
{
	struct op *op = (struct op *)req;
	struct model *m = req->opaque;
	uint32_t i;

	op->active = false;
	if (!m->dead && error && !m->may_fail)
		ck_abort_msg("an operation failed with %d", error);
	if (error)
		m->failures++;
	m->stamp++;
	for (i = 0; i < op->count; i++) {
		struct sector *s = &m->s[op->first + i];

		s->busy = false;
		if (m->dead)
			continue;
		switch (req->op) {
		case VHD_READ:
			if (!error)
				sector_check(m, op->first + i, op->buf + i * 512);
			break;
		case VHD_WRITE:
		case VHD_WRITE_ZEROES:
		case VHD_DISCARD:
			/* Entered as a candidate at submission; complete now. */
			s->when[s->count - 1] = m->stamp;
			s->fuzzy = error || req->op == VHD_DISCARD;
			s->maybe[s->count - 1] = s->fuzzy;
			break;
		default:
			break;
		}
	}
	if (req->op == VHD_FLUSH && !error && !m->dead) {
		m->flushes++;
		for (i = 0; i < SECTORS; i++) {
			struct sector *s = &m->s[i];
			int last = s->count - 1, j;

			/* A value that a read may still turn out to be is kept. */
			if (s->fuzzy || s->busy)
				continue;
			while (last > 0 && (s->when[last] > op->stamp || s->maybe[last]))
				last--;
			for (j = 0; j + last < s->count; j++) {
				s->value[j] = s->value[j + last];
				s->when[j] = s->when[j + last];
				s->maybe[j] = s->maybe[j + last];
			}
			s->count -= last;
		}
	}
	free(op->buf);
	op->buf = NULL;
}

static void poll_all(struct model *m)
{
	int i;

	for (i = 0; i < QUEUES; i++)
		vhd_queue_poll(m->q[i]);
}

static void drain(struct model *m)
{
	int rounds = 0, i;

	for (;;) {
		for (i = 0; i < QUEUES; i++)
			if (m->q[i]->inflight || m->q[i]->housekeeping)
				break;
		if (i == QUEUES)
			return;
		poll_all(m);
		ck_assert_msg(rounds++ < 100000, "requests hang");
	}
}

static struct store *parent_store(struct model *m)
{
	return memdisk_open(m->parent_disk, true);
}

static void model_open(struct model *m)
{
	struct vhd_error err = { 0 };
	int i;

	ck_assert_msg(!image_open_store_keys(memdisk_open(m->disk, false), "disk",
					     m->diff ? VHD_O_NOPARENT : 0, m->keys, &m->v, &err),
		      "cannot open: %s", err.text);
	if (m->diff) {
		ck_assert(!image_open_store(parent_store(m), "parent", VHD_O_RAW | VHD_O_RDONLY,
					    &m->v->parent, &err));
		m->v->no_parent = false;
	}
	for (i = 0; i < QUEUES; i++) {
		m->q[i] = vhd_queue_create(m->v, i ? 3 : 16);
		ck_assert_ptr_nonnull(m->q[i]);
	}
}

static void model_close(struct model *m)
{
	int i;

	drain(m);
	for (i = 0; i < QUEUES; i++)
		vhd_queue_destroy(m->q[i]);
	ck_assert_int_eq(vhd_close(m->v), 0);
	/* Closing is a flush. */
	for (i = 0; i < (int)SECTORS; i++) {
		struct sector *s = &m->s[i];

		if (!s->fuzzy)
			settle(s, s->value[s->count - 1]);
	}
}

/* @final: what is read is stable, nothing else can show up later. */
static void read_everything(struct model *m, bool final)
{
	uint8_t *buf = malloc(DISK_BYTES);
	uint32_t i;

	ck_assert_int_eq(vhd_pread(m->q[0], buf, DISK_BYTES, 0), 0);
	for (i = 0; i < SECTORS; i++) {
		sector_check(m, i, buf + i * 512);
		if (final)
			settle(&m->s[i], sector_value(buf + i * 512, i));
	}
	free(buf);
}

static void model_cut(struct model *m)
{
	int i;

	memdisk_cut(m->disk);
	m->cuts++;
	m->dead = true;
	for (i = 0; i < FLIGHT; i++) {
		struct op *op = &m->op[i];
		uint32_t k;

		if (!op->active)
			continue;
		op->active = false;
		for (k = 0; k < op->count; k++)
			m->s[op->first + k].busy = false;
		free(op->buf);
		op->buf = NULL;
	}
	for (i = 0; i < QUEUES; i++)
		queue_abandon(m->q[i]);
	m->v->readonly = true;
	vhd_close(m->v);
	m->dead = false;
	for (i = 0; i < (int)SECTORS; i++)
		m->s[i].fuzzy = true;
	model_open(m);
	read_everything(m, true);
}

static struct op *op_idle(struct model *m)
{
	int i;

	for (i = 0; i < FLIGHT; i++)
		if (!m->op[i].active)
			return &m->op[i];
	return NULL;
}

static bool claim(struct model *m, struct op *op, bool changes)
{
	uint32_t spb = m->v->spb ? m->v->spb : 128, i;

	op->count = 1 + rnd(rnd(4) ? 16 : MAX_SECTORS);
	op->first = rnd(SECTORS - op->count);
	if (!rnd(3)) {
		/* Whole blocks: what frees and fills them. */
		op->first = op->first / spb * spb;
		op->count = spb * (1 + rnd(2));
		if (op->first + op->count > SECTORS)
			op->count = SECTORS - op->first;
		if (op->count > 20 * MAX_SECTORS)
			return false;
	}
	for (i = 0; i < op->count; i++)
		if (m->s[op->first + i].busy ||
		    (changes && m->s[op->first + i].count > CANDIDATES - 2))
			return false;
	for (i = 0; i < op->count; i++)
		m->s[op->first + i].busy = true;
	return true;
}

static void cut_buffer(struct op *op)
{
	uint64_t left = (uint64_t)op->count * 512;
	uint8_t *p = op->buf;
	int i, n = 1 + rnd(5);

	for (i = 0; i < n; i++) {
		uint64_t part = i == n - 1 ? left : rnd(left + 1);

		op->iov[i] = (struct iovec){ p, part };
		p += part;
		left -= part;
	}
	op->req.iov = op->iov;
	op->req.iovcnt = n;
}

static void submit(struct model *m, struct op *op, enum vhd_op what)
{
	uint32_t i;

	memset(&op->req, 0, sizeof(op->req));
	op->req.op = what;
	op->req.done = op_done;
	op->req.opaque = m;
	op->count = what == VHD_FLUSH ? 0 : op->count;
	op->req.offset = (uint64_t)op->first * 512;
	op->req.length = (uint64_t)op->count * 512;
	op->req.flags = rnd(2) ? VHD_F_UNMAP : 0;
	op->stamp = m->stamp;
	op->active = true;
	if (what == VHD_READ || what == VHD_WRITE) {
		op->buf = malloc(op->req.length);
		cut_buffer(op);
	}
	for (i = 0; i < op->count && what != VHD_READ; i++) {
		struct sector *s = &m->s[op->first + i];
		uint32_t value = what == VHD_WRITE ? m->next_value : 0;

		if (what == VHD_WRITE)
			sector_fill(op->buf + i * 512, op->first + i, value);
		sector_add(m, s, value);
		s->when[s->count - 1] = ~0ull;
	}
	if (what == VHD_WRITE)
		m->next_value++;
	vhd_submit(m->q[rnd(QUEUES)], &op->req);
}

static void one_operation(struct model *m)
{
	static const enum vhd_op mix[] = { VHD_READ, VHD_READ, VHD_READ, VHD_WRITE, VHD_WRITE,
					   VHD_WRITE, VHD_WRITE, VHD_WRITE_ZEROES, VHD_DISCARD,
					   VHD_FLUSH };
	struct op *op = op_idle(m);
	enum vhd_op what = mix[rnd(sizeof(mix) / sizeof(mix[0]))];

	if (!op)
		return;
	op->first = op->count = 0;
	if (what == VHD_FLUSH && rnd(3))
		return;
	if (what == VHD_FLUSH || claim(m, op, what != VHD_READ))
		submit(m, op, what);
}

static struct store *fresh_disk(struct model *m, const char *kind, uint32_t block_size)
{
	bool device = strstr(kind, "device");

	m->disk = memdisk_create(device ? 40u << 20 : 0, ROOM, device, rnd(~0ull));
	(void)block_size;
	return memdisk_open(m->disk, false);
}

/*
 * As another tool would have left it: a block that is not aligned, whose
 * bitmap has gaps.
 */
static void make_foreign(struct model *m, uint32_t block_size)
{
	struct vhd_error err;
	struct store *s = memdisk_open(m->disk, false);
	struct layout l;
	uint8_t *b = memdisk_bytes(m->disk), footer[512];
	uint64_t at;
	uint32_t spb = block_size / 512, i, bm = vhd_bitmap_bytes(block_size);
	__be32 entry;

	ck_assert(!layout_read(s, &l, &err));
	at = l.table_end;
	memcpy(footer, b + l.footer_at, 512);
	memset(b + at, 0, bm + block_size);
	for (i = 0; i < spb; i += 3) {
		vhd_bit_set(b + at, i, 1);
		if (i < SECTORS) {
			sector_fill(b + at + bm + i * 512, i, 7);
			settle(&m->s[i], 7);
		}
	}
	entry = __builtin_bswap32(at / 512);
	memcpy(b + l.header.table_offset, &entry, 4);
	memcpy(b + at + bm + block_size, footer, 512);
	memdisk_resize(m->disk, at + bm + block_size + 512);
	s->ops->close(s);
}

static void make_parent(struct model *m)
{
	uint32_t i;

	m->parent_disk = memdisk_create(DISK_BYTES / 2, DISK_BYTES, false, 1);
	for (i = 0; i < SECTORS / 2; i++) {
		if (i % 5 == 4)
			continue;
		sector_fill(memdisk_bytes(m->parent_disk) + i * 512, i, 3);
		settle(&m->s[i], 3);
	}
}

/* Makes a child without opening a parent by name. */
static void make_diff(struct model *m)
{
	uint8_t *b = memdisk_bytes(m->disk);
	struct vhd_footer f;
	struct vhd_error err;
	struct store *s = memdisk_open(m->disk, false);
	struct layout l;

	ck_assert(!layout_read(s, &l, &err));
	f = l.footer;
	f.type = VHD_DIFF;
	vhd_footer_encode(&f, b);
	vhd_footer_encode(&f, b + l.footer_at);
	memdisk_resize(m->disk, memdisk_size(m->disk));
	s->ops->close(s);
}

static void model_make(struct model *m, const char *kind, uint32_t block_size)
{
	struct vhd_params p = { .size = DISK_BYTES, .block_size = block_size };
	struct vhd_error err = { 0 };
	struct store *s;
	uint32_t i;

	memset(m, 0, sizeof(*m));
	m->next_value = 100;
	m->s = calloc(SECTORS, sizeof(*m->s));
	m->diff = strstr(kind, "diff");
	for (i = 0; i < SECTORS; i++)
		settle(&m->s[i], 0);
	if (strstr(kind, "keyed")) {
		m->keys = vhd_keys_create();
		ck_assert(!vhd_keys_add(m->keys, "a key is as many bytes as this: 0123456789 0123456789 0123456789", 64, &err));
		p.keys = m->keys;
	}
	p.type = strstr(kind, "fixed") ? VHD_FIXED : VHD_DYNAMIC;
	s = fresh_disk(m, kind, block_size);
	ck_assert_msg(!create_on_store(s, "disk", &p, &err), "cannot create: %s", err.text);
	s->ops->close(s);
	if (m->diff) {
		make_parent(m);
		make_diff(m);
	}
	if (strstr(kind, "foreign"))
		make_foreign(m, block_size);
	if (strstr(kind, "fixed") && strstr(kind, "device"))
		for (i = 0; i < SECTORS; i++)
			settle(&m->s[i], 0);
	model_open(m);
}

static void model_free(struct model *m)
{
	memdisk_destroy(m->disk);
	if (m->parent_disk)
		memdisk_destroy(m->parent_disk);
	vhd_keys_free(m->keys);
	free(m->s);
}

static void model_run(const char *kind, uint32_t block_size, uint64_t ops)
{
	struct model m;
	uint64_t i;

	if (getenv("LODGE_MODEL_OPS"))
		ops = strtoull(getenv("LODGE_MODEL_OPS"), NULL, 0);
	seed = getenv("LODGE_SEED") ? strtoull(getenv("LODGE_SEED"), NULL, 0) :
				      (uint64_t)time(NULL) * 2654435761u ^ block_size;
	seed |= 1;
	printf("# %s, block %u: LODGE_SEED=%llu\n", kind, block_size, (unsigned long long)seed);
	fflush(stdout);
	model_make(&m, kind, block_size);
	for (i = 0; i < ops; i++) {
		one_operation(&m);
		if (!rnd(3))
			poll_all(&m);
		if (!rnd(1500)) {
			model_cut(&m);
		} else if (!rnd(2500)) {
			model_close(&m);
			model_open(&m);
		} else if (!rnd(2000)) {
			drain(&m);
			read_everything(&m, false);
		}
	}
	drain(&m);
	read_everything(&m, false);
	model_close(&m);
	model_open(&m);
	read_everything(&m, false);
	model_close(&m);
	printf("# %s, block %u: %llu cuts, %llu flushes, file of %llu\n", kind, block_size,
	       (unsigned long long)m.cuts, (unsigned long long)m.flushes,
	       (unsigned long long)memdisk_size(m.disk));
	model_free(&m);
}

START_TEST(dynamic_image_behaves_as_a_disk)
{
	model_run("dynamic", 65536, 10000);
	model_run("dynamic", 8192, 10000);
	model_run("dynamic", 512, 1500);
	model_run("dynamic", 2u << 20, 5000);
}
END_TEST

START_TEST(foreign_layout_behaves_as_a_disk)
{
	model_run("dynamic foreign", 65536, 7500);
	model_run("dynamic foreign", 4096, 5000);
}
END_TEST

START_TEST(differencing_image_behaves_as_a_disk)
{
	model_run("diff", 65536, 7500);
	model_run("diff", 8192, 7500);
	model_run("diff foreign", 32768, 7500);
}
END_TEST

START_TEST(image_on_a_device_behaves_as_a_disk)
{
	model_run("dynamic device", 65536, 7500);
	model_run("diff device", 16384, 7500);
}
END_TEST

START_TEST(encrypted_image_behaves_as_a_disk)
{
	model_run("dynamic keyed", 65536, 2500);
	model_run("dynamic keyed", 8192, 2000);
	model_run("dynamic keyed device", 32768, 2000);
	model_run("diff keyed", 65536, 2500);
}
END_TEST

START_TEST(fixed_image_behaves_as_a_disk)
{
	model_run("fixed", 65536, 5000);
}
END_TEST

/* The N-th storage operation fails: an error comes back, nothing hangs, nothing flushed is lost. */
static void fail_run(const char *kind, uint64_t n, uint64_t count)
{
	struct model m;
	int i, ops = 150;

	seed = 88172645463325252ull;
	model_make(&m, kind, 16384);
	m.may_fail = true;
	memdisk_fail(m.disk, n, count);
	for (i = 0; i < ops; i++) {
		one_operation(&m);
		if (!rnd(3))
			poll_all(&m);
	}
	drain(&m);
	memdisk_fail(m.disk, 0, 0);
	for (i = 0; i < QUEUES; i++)
		vhd_queue_destroy(m.q[i]);
	/* Fails rightly if a sync has failed before. */
	vhd_close(m.v);
	memdisk_cut(m.disk);
	for (i = 0; i < (int)SECTORS; i++)
		m.s[i].fuzzy = true;
	m.may_fail = false;
	model_open(&m);
	read_everything(&m, true);
	model_close(&m);
	model_free(&m);
}

static const char *const fail_kinds[] = { "dynamic", "diff", "dynamic keyed" };

START_TEST(every_single_failed_operation_is_survived)
{
	uint64_t n = 1 + (uint64_t)time(NULL) % 8;

	printf("# %s: every eighth, from number %llu\n", fail_kinds[_i], (unsigned long long)n);
	fflush(stdout);
	for (; n < 260; n += 8)
		fail_run(fail_kinds[_i], n, 1);
}
END_TEST

START_TEST(a_disk_that_keeps_failing_is_survived)
{
	uint64_t n = 1 + (uint64_t)time(NULL) % 10;

	printf("# %s: every tenth, from number %llu\n", fail_kinds[_i], (unsigned long long)n);
	fflush(stdout);
	for (; n < 200; n += 10)
		fail_run(fail_kinds[_i], n, ~0ull >> 1);
}
END_TEST

START_TEST(reads_of_unallocated_space_touch_no_disk)
{
	uint8_t *buf = malloc(1 << 20);
	struct model m;
	uint64_t before;

	seed = 1;
	model_make(&m, "dynamic", 65536);
	before = memdisk_reads(m.disk);
	ck_assert_int_eq(vhd_pread(m.q[0], buf, 1 << 20, 4096), 0);
	ck_assert_uint_eq(memdisk_reads(m.disk), before);
	model_close(&m);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(freed_blocks_are_used_again)
{
	uint8_t *buf = calloc(1, 1 << 20);
	struct model m;
	uint64_t size = 0;
	int i;

	seed = 1;
	model_make(&m, "dynamic", 65536);
	for (i = 0; i < 40; i++) {
		ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 1 << 20, (i % 4) << 20), 0);
		ck_assert_int_eq(vhd_flush(m.q[0]), 0);
		ck_assert_int_eq(vhd_discard(m.q[0], (i % 4) << 20, 1 << 20), 0);
		ck_assert_int_eq(vhd_flush(m.q[0]), 0);
		drain(&m);
		ck_assert_int_eq(vhd_flush(m.q[0]), 0);
		if (i == 4)
			size = m.v->alloc.next;
	}
	ck_assert_uint_eq(m.v->alloc.next, size);
	model_close(&m);
	model_free(&m);
	free(buf);
}
END_TEST

static void check_disk(struct model *m, struct vhd_check *c)
{
	struct store *s = memdisk_open(m->disk, true);
	struct vhd_error err;

	memset(c, 0, sizeof(*c));
	ck_assert_int_eq(check_on_store(s, "disk", c, &err), 0);
	s->ops->close(s);
}

START_TEST(space_freed_before_a_reopen_is_used_again)
{
	uint8_t *buf = malloc(1 << 20), *back = malloc(1 << 20);
	struct vhd_check c;
	struct model m;
	uint64_t size;

	seed = 1;
	memset(buf, 0x77, 1 << 20);
	model_make(&m, _i ? "dynamic device" : "dynamic", 65536);
	ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 1 << 20, 0), 0);
	ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 65536, 4 << 20), 0);
	ck_assert_int_eq(vhd_discard(m.q[0], 65536, 10 * 65536), 0);
	model_close(&m);
	check_disk(&m, &c);
	ck_assert(!c.corruptions && !c.leaks);
	ck_assert_uint_ge(c.free_bytes, 10 * 65536);
	model_open(&m);
	size = m.v->alloc.next;
	/* The first commit lets go of them, the second makes sure that they are zero. */
	ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 512, 0), 0);
	ck_assert_int_eq(vhd_flush(m.q[0]), 0);
	drain(&m);
	ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 512, 0), 0);
	ck_assert_int_eq(vhd_flush(m.q[0]), 0);
	drain(&m);
	ck_assert_int_eq(vhd_pwrite(m.q[0], buf, 512, 2 << 20), 0);
	ck_assert_int_eq(vhd_pread(m.q[0], back, 65536, 2 << 20), 0);
	ck_assert_mem_eq(back, buf, 512);
	ck_assert_uint_eq(back[512] | back[65535], 0);
	ck_assert_uint_eq(m.v->alloc.next, size);
	model_close(&m);
	check_disk(&m, &c);
	ck_assert(!c.corruptions && !c.leaks);
	model_free(&m);
	free(buf);
	free(back);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, const TTest *test)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, 600);
	if (test)
		tcase_add_test(t, test);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("vhd_model");
	TCase *t = tcase_create("simple");
	SRunner *r = srunner_create(s);
	int failed;

	suite_add_tcase(s, t);
	tcase_add_test(t, reads_of_unallocated_space_touch_no_disk);
	tcase_add_test(t, freed_blocks_are_used_again);
	tcase_add_loop_test(t, space_freed_before_a_reopen_is_used_again, 0, 2);
	tcase_add_test(t, fixed_image_behaves_as_a_disk);
	add_case(s, "dynamic", dynamic_image_behaves_as_a_disk);
	add_case(s, "foreign", foreign_layout_behaves_as_a_disk);
	add_case(s, "diff", differencing_image_behaves_as_a_disk);
	add_case(s, "keyed", encrypted_image_behaves_as_a_disk);
	add_case(s, "device", image_on_a_device_behaves_as_a_disk);
	t = add_case(s, "fail", NULL);
	tcase_add_loop_test(t, every_single_failed_operation_is_survived, 0, 3);
	tcase_add_loop_test(t, a_disk_that_keeps_failing_is_survived, 0, 3);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
