// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_virtio_queue.c: both ring formats against an independent driver, in random traffic, and one test for each rule that
 * a hostile driver can break.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "../virtio/driver.h"
#include "virtio/queue.h"

#define RAM_GPA		0x100000
#define RAM_SIZE	(4u << 20)
#define BUF		(2u << 20)		/* where payload lies in RAM */
#define SEGS		32

struct world {
	struct drv_ram ram;
	struct virtq_mem mem;
	struct drv drv;
	struct virtq q;
	struct iovec iov[SEGS];
	struct virtq_elem e;
	unsigned int added;	/* by the last traffic() */
};

static struct world w;

static unsigned int rnd_state;

static unsigned int rnd(unsigned int n)
{
	rnd_state = rnd_state * 1103515245 + 12345;
	return (rnd_state >> 8) % n;
}

static void set_up(uint16_t size, unsigned int vflags)
{
	unsigned int dflags = 0;

	memset(&w, 0, sizeof(w));
	w.ram.base = calloc(1, RAM_SIZE);
	w.ram.gpa = RAM_GPA;
	w.ram.size = RAM_SIZE;
	w.mem.map = drv_ram_map;
	w.mem.opaque = &w.ram;
	w.e.iov = w.iov;
	if (vflags & VIRTQ_F_PACKED)
		dflags |= DRV_PACKED;
	if (vflags & VIRTQ_F_EVENT_IDX)
		dflags |= DRV_EVENT_IDX;
	drv_init(&w.drv, &w.ram, RAM_GPA, size, dflags);
	ck_assert_int_eq(virtq_init(&w.q, &w.mem, vflags, size, SEGS, w.drv.desc, w.drv.avail, w.drv.used), 0);
}

static void tear_down(void)
{
	drv_fini(&w.drv);
	free(w.ram.base);
}

static void patch_desc(uint16_t i, uint64_t addr, uint32_t len, uint16_t a, uint16_t b)
{
	drv_put_desc(&w.drv, w.drv.desc + 16 * (uint64_t)i, addr, len, a, b);
}

static void expect_fault(enum virtq_fault fault)
{
	ck_assert_int_eq(virtq_pop(&w.q, &w.e), -EPROTO);
	ck_assert_str_eq(virtq_fault_name(w.q.fault), virtq_fault_name(fault));
	ck_assert_int_eq(virtq_pop(&w.q, &w.e), -EPROTO);
	ck_assert(!virtq_pending(&w.q));
	tear_down();
}

/* One random run: every chain's readable bytes arrive, every written byte comes back, no wake-up is lost. */
struct flight {
	bool live;
	uint8_t tag;
	uint64_t in_gpa;
	uint32_t in_len;
	uint32_t written;
};

static struct {
	uint16_t size;
	unsigned int vflags;
	struct flight *by_id;
	struct virtq_elem held[64];
	struct iovec held_iov[64][SEGS];
	unsigned int num_held, added, reaped;
	bool device_sleeps, driver_sleeps;
	uint8_t tag;
} t;

/* The driver adds a batch. */
static void driver_adds(void)
{
	bool any = false;

	for (unsigned int k = rnd(5); k; k--) {
		struct drv_seg seg[8];
		unsigned int n = 1 + rnd(t.size < 8 ? t.size : 8), outs = rnd(n + 1);
		uint64_t at;
		int id;

		t.tag++;
		at = RAM_GPA + BUF + (uint64_t)(t.added % 4096) * 256;
		for (unsigned int i = 0; i < n; i++) {
			seg[i].gpa = at + i * 32;
			seg[i].len = 1 + rnd(32);
			seg[i].write = i >= outs;
			if (!seg[i].write)
				memset(drv_at(&w.drv, seg[i].gpa, seg[i].len), t.tag, seg[i].len);
		}
		id = drv_add(&w.drv, seg, n, (t.vflags & VIRTQ_F_INDIRECT) && rnd(2));
		if (id < 0)
			break;
		ck_assert(!t.by_id[id].live);
		t.by_id[id] = (struct flight){ .live = true, .tag = t.tag };
		if (outs < n) {
			t.by_id[id].in_gpa = seg[outs].gpa;
			t.by_id[id].in_len = seg[outs].len;
		}
		t.added++;
		any = true;
	}
	if (any && drv_wants_kick(&w.drv))
		t.device_sleeps = false;
	else if (any)
		ck_assert_msg(!t.device_sleeps, "a kick was lost");
}

/* The device pops. */
static void device_pops(void)
{
	virtq_disable_kicks(&w.q);
	while (t.num_held < 64) {
		struct virtq_elem *e = &t.held[t.num_held];

		e->iov = t.held_iov[t.num_held];
		if (virtq_pop(&w.q, e) != 1)
			break;
		if (!rnd(8)) {
			virtq_unpop(&w.q, e);
			continue;
		}
		for (unsigned int i = 0; i < e->out_num; i++)
			for (size_t b = 0; b < e->iov[i].iov_len; b++)
				ck_assert_uint_eq(((uint8_t *)e->iov[i].iov_base)[b], t.by_id[e->id].tag);
		t.num_held++;
	}
	ck_assert_int_eq(w.q.fault, VIRTQ_OK);
	if (t.num_held < 64 && !virtq_enable_kicks(&w.q))
		t.device_sleeps = true;
}

/* The device completes some, in any order. */
static void device_completes(void)
{
	for (unsigned int k = 1 + rnd(t.num_held); k; k--) {
		unsigned int i = rnd(t.num_held);
		struct virtq_elem e = t.held[i];
		struct flight *f = &t.by_id[e.id];
		uint8_t fill[256];

		e.iov = t.held_iov[i];
		f->written = f->in_len ? rnd(f->in_len + 1) : 0;
		memset(fill, f->tag + 1, sizeof(fill));
		ck_assert_uint_eq(virtq_elem_write(&e, 0, fill, f->written), f->written);
		virtq_fill(&w.q, &e, f->written);
		t.num_held--;
		if (i != t.num_held) {
			t.held[i] = t.held[t.num_held];
			memcpy(t.held_iov[i], t.held_iov[t.num_held], sizeof(t.held_iov[i]));
		}
	}
	virtq_flush(&w.q);
	if (virtq_needs_call(&w.q))
		t.driver_sleeps = false;
	else
		ck_assert_msg(!t.driver_sleeps, "an interrupt was lost");
}

/* The driver reaps all and sleeps. */
static void driver_reaps(void)
{
	uint32_t len;
	int id;

	drv_disable_calls(&w.drv);
	while ((id = drv_reap(&w.drv, &len)) >= 0) {
		struct flight *f = &t.by_id[id];

		ck_assert(f->live);
		ck_assert_uint_eq(len, f->written);
		for (uint32_t b = 0; b < len; b++)
			ck_assert_uint_eq(*(uint8_t *)drv_at(&w.drv, f->in_gpa + b, 1),
					  (uint8_t)(f->tag + 1));
		f->live = false;
		t.reaped++;
	}
	drv_enable_calls(&w.drv);
	t.driver_sleeps = true;
}

static void traffic(uint16_t size, unsigned int vflags, unsigned int rounds, uint16_t first)
{
	set_up(size, vflags);
	if (first) {
		/* A split ring whose indices have run that far. */
		w.q.state.next_avail = w.q.state.next_used = first;
		w.drv.next_avail = w.drv.next_used = first;
		drv_w16(&w.drv, w.drv.avail + 2, first);
		drv_w16(&w.drv, w.drv.used + 2, first);
		drv_w16(&w.drv, w.drv.used + 4 + 8 * size, first);
		drv_w16(&w.drv, w.drv.avail + 4 + 2 * size, first);
	}
	memset(&t, 0, sizeof(t));
	t.size = size;
	t.vflags = vflags;
	t.by_id = calloc(size, sizeof(*t.by_id));
	for (unsigned int step = 0; step < rounds || t.reaped < t.added; step++) {
		unsigned int what = rnd(4);

		if (what == 0 && step < rounds)
			driver_adds();
		else if (what == 1 && !t.device_sleeps)
			device_pops();
		else if (what == 2 && t.num_held)
			device_completes();
		else if (what == 3 && !t.driver_sleeps)
			driver_reaps();
	}
	ck_assert_uint_eq(t.reaped, t.added);
	ck_assert_uint_gt(t.added, size);
	w.added = t.added;
	ck_assert_uint_eq(w.q.state.in_flight, 0);
	free(t.by_id);
	tear_down();
}

#define ALL_WAYS 8

static unsigned int way_flags(int i)
{
	return (i & 1 ? VIRTQ_F_PACKED : 0) | (i & 2 ? VIRTQ_F_EVENT_IDX : 0) | (i & 4 ? VIRTQ_F_INDIRECT : 0);
}

START_TEST(random_traffic_keeps_data_and_wakes_sleepers)
{
	static const uint16_t sizes[] = { 8, 16, 64, 256 };

	rnd_state = 42 + _i;
	for (unsigned int s = 0; s < 4; s++)
		traffic(sizes[s], way_flags(_i), 3000, 0);
}
END_TEST

START_TEST(packed_ring_takes_sizes_that_are_no_power_of_two)
{
	rnd_state = 7;
	traffic(13, VIRTQ_F_PACKED | VIRTQ_F_EVENT_IDX, 8000, 0);
	traffic(100, VIRTQ_F_PACKED | VIRTQ_F_INDIRECT, 8000, 0);
}
END_TEST

START_TEST(split_indices_wrap_past_65535)
{
	rnd_state = 9;
	traffic(16, VIRTQ_F_EVENT_IDX, 5000, 65500);
	traffic(16, 0, 5000, 65535);
	ck_assert_uint_gt(w.added, 200);
}
END_TEST

START_TEST(init_refuses_bad_sizes_and_places)
{
	struct virtq q;
	uint64_t end = RAM_GPA + RAM_SIZE;

	set_up(16, 0);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 0, 8, RAM_GPA, RAM_GPA, RAM_GPA), -EINVAL);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 12, 8, RAM_GPA, RAM_GPA, RAM_GPA), -EINVAL);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 2048, 8, RAM_GPA, RAM_GPA, RAM_GPA), -EINVAL);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 16, 8, RAM_GPA + 8, RAM_GPA, RAM_GPA), -EINVAL);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 16, 8, end - 128, RAM_GPA, RAM_GPA), -EFAULT);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 16, 8, RAM_GPA, end - 32, RAM_GPA), -EFAULT);
	ck_assert_int_eq(virtq_init(&q, &w.mem, 0, 16, 8, RAM_GPA, RAM_GPA, ~0ull & ~3ull), -EFAULT);
	ck_assert_int_eq(virtq_pop(&q, &w.e), 0);
	ck_assert_int_eq(virtq_init(&q, &w.mem, VIRTQ_F_PACKED, 16, 8, RAM_GPA, end - 2, RAM_GPA), -EINVAL);
	ck_assert_int_eq(virtq_init(&q, &w.mem, VIRTQ_F_PACKED, 16, 8, RAM_GPA, end, RAM_GPA), -EFAULT);
	tear_down();
}
END_TEST

static const struct drv_seg one_out = { RAM_GPA + BUF, 16, false };

START_TEST(split_avail_index_far_ahead_breaks)
{
	set_up(16, 0);
	drv_w16(&w.drv, w.drv.avail + 2, 17);
	expect_fault(VIRTQ_BAD_AVAIL_INDEX);
}
END_TEST

START_TEST(split_head_out_of_range_breaks)
{
	set_up(16, 0);
	drv_w16(&w.drv, w.drv.avail + 4, 16);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	expect_fault(VIRTQ_BAD_HEAD);
}
END_TEST

START_TEST(split_next_out_of_range_breaks)
{
	set_up(16, 0);
	patch_desc(0, RAM_GPA + BUF, 16, 1, 16);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	expect_fault(VIRTQ_BAD_NEXT);
}
END_TEST

START_TEST(split_descriptor_loop_breaks)
{
	set_up(16, 0);
	patch_desc(0, RAM_GPA + BUF, 16, 1, 1);
	patch_desc(1, RAM_GPA + BUF, 16, 1, 0);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	expect_fault(VIRTQ_BAD_LOOP);
}
END_TEST

START_TEST(loop_longer_than_the_segment_limit_breaks)
{
	set_up(64, 0);
	patch_desc(0, RAM_GPA + BUF, 16, 1, 0);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	expect_fault(VIRTQ_TOO_MANY_SEGMENTS);
}
END_TEST

START_TEST(zero_length_segment_breaks)
{
	struct drv_seg s = one_out;

	set_up(16, way_flags(_i));
	s.len = 0;
	drv_add(&w.drv, &s, 1, w.q.flags & VIRTQ_F_INDIRECT);
	expect_fault(VIRTQ_BAD_LENGTH);
}
END_TEST

START_TEST(address_outside_ram_breaks)
{
	static const struct drv_seg bad[] = {
		{ 0, 16, false },
		{ RAM_GPA - 1, 16, true },
		{ RAM_GPA + RAM_SIZE - 15, 16, false },
		{ ~0ull - 7, 16, true },
		{ RAM_GPA, 0xffffffff, true },
	};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set_up(16, way_flags(_i));
		drv_add(&w.drv, &bad[i], 1, w.q.flags & VIRTQ_F_INDIRECT);
		expect_fault(VIRTQ_BAD_ADDRESS);
	}
}
END_TEST

START_TEST(write_before_read_breaks)
{
	struct drv_seg s[2] = { one_out, one_out };

	set_up(16, way_flags(_i));
	s[0].write = true;
	drv_add(&w.drv, s, 2, w.q.flags & VIRTQ_F_INDIRECT);
	expect_fault(VIRTQ_BAD_ORDER);
}
END_TEST

START_TEST(indirect_when_not_negotiated_breaks)
{
	set_up(16, way_flags(_i) & ~VIRTQ_F_INDIRECT);
	drv_add(&w.drv, &one_out, 1, true);
	expect_fault(VIRTQ_BAD_INDIRECT);
}
END_TEST

START_TEST(indirect_within_indirect_breaks)
{
	uint64_t table;
	int id;

	set_up(16, way_flags(_i) | VIRTQ_F_INDIRECT);
	id = drv_add(&w.drv, &one_out, 1, true);
	table = w.drv.indirect + (uint64_t)id * DRV_TABLE * 16;
	/* flags are the last word of a packed entry, the last but one of a split entry */
	drv_w16(&w.drv, table + (w.q.flags & VIRTQ_F_PACKED ? 14 : 12), 4);
	expect_fault(VIRTQ_BAD_INDIRECT);
}
END_TEST

START_TEST(indirect_of_odd_length_breaks)
{
	set_up(16, way_flags(_i) | VIRTQ_F_INDIRECT);
	drv_add(&w.drv, &one_out, 1, true);
	*(uint32_t *)drv_at(&w.drv, w.drv.desc + 16 * (_i & 1 ? 0 : w.drv.free[15]) + 8, 4) = 17;
	expect_fault(VIRTQ_BAD_INDIRECT);
}
END_TEST

START_TEST(indirect_with_next_breaks)
{
	set_up(16, VIRTQ_F_INDIRECT);
	patch_desc(0, w.drv.indirect, 16, 4 | 1, 1);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	expect_fault(VIRTQ_BAD_INDIRECT);
}
END_TEST

START_TEST(split_chain_may_end_in_an_indirect_table)
{
	set_up(16, VIRTQ_F_INDIRECT);
	patch_desc(0, RAM_GPA + BUF, 16, 1, 1);
	patch_desc(1, w.drv.indirect, 32, 4, 0);
	drv_put_desc(&w.drv, w.drv.indirect, RAM_GPA + BUF, 8, 1, 1);
	drv_put_desc(&w.drv, w.drv.indirect + 16, RAM_GPA + BUF, 4, 2, 0);
	drv_w16(&w.drv, w.drv.avail + 2, 1);
	ck_assert_int_eq(virtq_pop(&w.q, &w.e), 1);
	ck_assert_uint_eq(w.e.out_num, 2);
	ck_assert_uint_eq(w.e.out_len, 24);
	ck_assert_uint_eq(w.e.in_len, 4);
	tear_down();
}
END_TEST

START_TEST(chain_above_the_segment_limit_breaks)
{
	struct drv_seg s[SEGS + 1];

	for (int i = 0; i <= SEGS; i++)
		s[i] = one_out;
	set_up(64, way_flags(_i));
	drv_add(&w.drv, s, SEGS + 1, w.q.flags & VIRTQ_F_INDIRECT);
	expect_fault(VIRTQ_TOO_MANY_SEGMENTS);
}
END_TEST

START_TEST(sum_of_lengths_above_4_gib_breaks)
{
	/* Within the limit of segments only a huge RAM gets there: a map that says yes to all. */
	struct drv_seg s[2] = { one_out, one_out };

	set_up(16, way_flags(_i));
	w.ram.size = 1ull << 40;
	s[0].len = 0xffffffff;
	s[1].len = 1;
	drv_add(&w.drv, s, 2, false);
	expect_fault(VIRTQ_BAD_LENGTH);
}
END_TEST

START_TEST(more_in_flight_than_descriptors_breaks)
{
	set_up(8, 0);
	for (int i = 0; i < 8; i++) {
		drv_add(&w.drv, &one_out, 1, false);
		ck_assert_int_eq(virtq_pop(&w.q, &w.e), 1);
	}
	drv_w16(&w.drv, w.drv.avail + 2, 9);
	expect_fault(VIRTQ_TOO_MANY_IN_FLIGHT);
}
END_TEST

START_TEST(packed_slot_reused_while_in_flight_breaks)
{
	set_up(8, VIRTQ_F_PACKED);
	for (int i = 0; i < 8; i++) {
		drv_add(&w.drv, &one_out, 1, false);
		ck_assert_int_eq(virtq_pop(&w.q, &w.e), 1);
	}
	drv_w16(&w.drv, w.drv.desc + 14, 1u << 15);	/* available in the second lap */
	expect_fault(VIRTQ_TOO_MANY_IN_FLIGHT);
}
END_TEST

START_TEST(packed_endless_chain_breaks)
{
	set_up(16, VIRTQ_F_PACKED);
	for (int i = 0; i < 16; i++)
		patch_desc(i, RAM_GPA + BUF, 4, 0, 1 | (1u << 7));
	expect_fault(VIRTQ_BAD_LOOP);
}
END_TEST

START_TEST(batch_is_invisible_before_the_flush)
{
	struct virtq_elem e[3];
	struct iovec iov[3][SEGS];
	uint32_t len;

	set_up(16, way_flags(_i));
	for (int i = 0; i < 3; i++) {
		drv_add(&w.drv, &one_out, 1, false);
		e[i].iov = iov[i];
		ck_assert_int_eq(virtq_pop(&w.q, &e[i]), 1);
	}
	for (int i = 0; i < 3; i++) {
		virtq_fill(&w.q, &e[i], 0);
		ck_assert_int_eq(drv_reap(&w.drv, &len), -1);
	}
	virtq_flush(&w.q);
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(drv_reap(&w.drv, &len), 0);
	tear_down();
}
END_TEST

START_TEST(calls_are_suppressed_when_the_driver_says_so)
{
	set_up(16, way_flags(_i));
	if (w.q.flags & VIRTQ_F_PACKED)
		drv_disable_calls(&w.drv);
	else if (w.q.flags & VIRTQ_F_EVENT_IDX)
		drv_w16(&w.drv, w.drv.avail + 4 + 2 * 16, 100);
	else
		drv_disable_calls(&w.drv);
	drv_add(&w.drv, &one_out, 1, false);
	ck_assert_int_eq(virtq_pop(&w.q, &w.e), 1);
	virtq_fill(&w.q, &w.e, 0);
	virtq_flush(&w.q);
	ck_assert(!virtq_needs_call(&w.q));
	tear_down();
}
END_TEST

START_TEST(kicks_are_suppressed_while_the_device_is_awake)
{
	set_up(16, way_flags(_i));
	ck_assert(!virtq_enable_kicks(&w.q));
	drv_add(&w.drv, &one_out, 1, false);
	ck_assert(drv_wants_kick(&w.drv));
	virtq_disable_kicks(&w.q);
	drv_add(&w.drv, &one_out, 1, false);
	ck_assert(!drv_wants_kick(&w.drv));
	ck_assert(virtq_enable_kicks(&w.q));
	tear_down();
}
END_TEST

START_TEST(elem_read_and_write_cross_segments)
{
	struct drv_seg s[4] = {
		{ RAM_GPA + BUF, 3, false }, { RAM_GPA + BUF + 100, 5, false },
		{ RAM_GPA + BUF + 200, 2, true }, { RAM_GPA + BUF + 300, 7, true },
	};
	char out[16] = "";

	set_up(16, 0);
	memcpy(drv_at(&w.drv, s[0].gpa, 3), "abc", 3);
	memcpy(drv_at(&w.drv, s[1].gpa, 5), "defgh", 5);
	drv_add(&w.drv, s, 4, false);
	ck_assert_int_eq(virtq_pop(&w.q, &w.e), 1);
	ck_assert_uint_eq(virtq_elem_read(&w.e, 2, out, 15), 6);
	ck_assert_str_eq(out, "cdefgh");
	ck_assert_uint_eq(virtq_elem_write(&w.e, 1, "0123456789", 10), 8);
	ck_assert_mem_eq(drv_at(&w.drv, s[2].gpa + 1, 1), "0", 1);
	ck_assert_mem_eq(drv_at(&w.drv, s[3].gpa, 7), "1234567", 7);
	tear_down();
}
END_TEST

/* Two threads, one ring: the device's thread and the driver's really sleep, so a lost wake-up or a missing barrier hangs. */
struct pair {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool kicked, called;
};

static void pair_wait(struct pair *p, bool *flag)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 20;
	pthread_mutex_lock(&p->lock);
	while (!*flag)
		ck_assert_msg(!pthread_cond_timedwait(&p->cond, &p->lock, &ts), "a side slept for ever");
	*flag = false;
	pthread_mutex_unlock(&p->lock);
}

static void pair_post(struct pair *p, bool *flag)
{
	pthread_mutex_lock(&p->lock);
	*flag = true;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

#define PAIR_CHAINS 2000

static struct pair pair = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false };

static void *pair_device(void *arg)
{
	unsigned int done = 0;
	uint32_t word;

	(void)arg;
	while (done < PAIR_CHAINS) {
		virtq_disable_kicks(&w.q);
		while (virtq_pop(&w.q, &w.e) == 1) {
			ck_assert_uint_eq(virtq_elem_read(&w.e, 0, &word, 4), 4);
			ck_assert_uint_eq(word, done);
			word = ~word;
			virtq_elem_write(&w.e, 0, &word, 4);
			virtq_fill(&w.q, &w.e, 4);
			virtq_flush(&w.q);
			done++;
		}
		if (virtq_needs_call(&w.q))
			pair_post(&pair, &pair.called);
		if (!virtq_enable_kicks(&w.q) && done < PAIR_CHAINS)
			pair_wait(&pair, &pair.kicked);
	}
	return NULL;
}

START_TEST(two_threads_exchange_without_losing_a_wake_up)
{
	unsigned int added = 0, reaped = 0;
	pthread_t thread;
	uint32_t len;

	pair.kicked = false;
	pair.called = false;
	set_up(16, way_flags(_i));
	pthread_create(&thread, NULL, pair_device, NULL);
	while (reaped < PAIR_CHAINS) {
		bool any = false;

		while (added < PAIR_CHAINS) {
			uint64_t at = RAM_GPA + BUF + 8ull * (added % 64);
			struct drv_seg s[2] = { { at, 4, false }, { at + 4, 4, true } };

			memcpy(drv_at(&w.drv, at, 4), &added, 4);
			if (drv_add(&w.drv, s, 2, w.q.flags & VIRTQ_F_INDIRECT) < 0)
				break;
			added++;
		}
		/* The driver's barrier between its publication and its question. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (drv_wants_kick(&w.drv))
			pair_post(&pair, &pair.kicked);
		while (drv_reap(&w.drv, &len) >= 0) {
			uint32_t word;

			memcpy(&word, drv_at(&w.drv, RAM_GPA + BUF + 8ull * (reaped % 64) + 4, 4), 4);
			ck_assert_uint_eq(word, ~reaped);
			reaped++;
			any = true;
		}
		if (any || reaped == PAIR_CHAINS)
			continue;
		drv_enable_calls(&w.drv);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (w.drv.flags & DRV_PACKED ? drv_used_packed(&w.drv) :
		    drv_r16(&w.drv, w.drv.used + 2) != w.drv.next_used)
			continue;
		pair_wait(&pair, &pair.called);
	}
	pthread_join(thread, NULL);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtio_queue");
	TCase *t = tcase_create("queue");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, random_traffic_keeps_data_and_wakes_sleepers, 0, ALL_WAYS);
	tcase_add_test(t, packed_ring_takes_sizes_that_are_no_power_of_two);
	tcase_add_test(t, split_indices_wrap_past_65535);
	tcase_add_test(t, init_refuses_bad_sizes_and_places);
	tcase_add_test(t, split_avail_index_far_ahead_breaks);
	tcase_add_test(t, split_head_out_of_range_breaks);
	tcase_add_test(t, split_next_out_of_range_breaks);
	tcase_add_test(t, split_descriptor_loop_breaks);
	tcase_add_test(t, loop_longer_than_the_segment_limit_breaks);
	tcase_add_loop_test(t, zero_length_segment_breaks, 0, ALL_WAYS);
	tcase_add_loop_test(t, address_outside_ram_breaks, 0, ALL_WAYS);
	tcase_add_loop_test(t, write_before_read_breaks, 0, ALL_WAYS);
	tcase_add_loop_test(t, indirect_when_not_negotiated_breaks, 0, 2);
	tcase_add_loop_test(t, indirect_within_indirect_breaks, 0, 2);
	tcase_add_loop_test(t, indirect_of_odd_length_breaks, 0, 2);
	tcase_add_test(t, indirect_with_next_breaks);
	tcase_add_test(t, split_chain_may_end_in_an_indirect_table);
	tcase_add_loop_test(t, chain_above_the_segment_limit_breaks, 0, ALL_WAYS);
	tcase_add_loop_test(t, sum_of_lengths_above_4_gib_breaks, 0, 2);
	tcase_add_test(t, more_in_flight_than_descriptors_breaks);
	tcase_add_test(t, packed_slot_reused_while_in_flight_breaks);
	tcase_add_test(t, packed_endless_chain_breaks);
	tcase_add_loop_test(t, batch_is_invisible_before_the_flush, 0, ALL_WAYS);
	tcase_add_loop_test(t, calls_are_suppressed_when_the_driver_says_so, 0, ALL_WAYS);
	tcase_add_loop_test(t, kicks_are_suppressed_while_the_device_is_awake, 0, ALL_WAYS);
	tcase_add_test(t, elem_read_and_write_cross_segments);
	tcase_add_loop_test(t, two_threads_exchange_without_losing_a_wake_up, 0, ALL_WAYS);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
