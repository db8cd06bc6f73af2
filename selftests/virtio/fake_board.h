/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake_board.h: a board without a hypervisor, and a guest's virtio-pci driver for it.
 *
 * The real buses, PCI code and guest memory are linked; only the few kvm_* functions are replaced, so that a message
 * interrupt becomes a count per vector that a test can wait for. The driver reaches the device as a guest would: capability
 * list through ECAM, registers through the BAR's addresses, doorbells as writes. Requires LINK of userspace/board/{bus,pci,
 * msix,intx,irq,mem}.c and userspace/common/{err,log,loop,thread}.c.
 */
#ifndef SELFTESTS_VIRTIO_FAKE_BOARD_H
#define SELFTESTS_VIRTIO_FAKE_BOARD_H

#include <check.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <time.h>

#include "../virtio/driver.h"
#include "board/board.h"
#include "common/thread.h"
#include "virtio/device.h"

#define FB_RAM		(32u << 20)
#define FB_RINGS	(1u << 20)	/* rings from here on, 1 MiB each */
#define FB_BUF		(24u << 20)	/* payload */
#define FB_VECTORS	64

static struct {
	struct board board;
	struct kvm kvm;
	struct guest_mem mem;
	struct bus pio, mmio;
	struct irq irq;
	struct pci_bus pci;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int calls[FB_VECTORS];
	unsigned int lines;	/* pins of the IOAPIC that are high, a bit each */
} fb;

int kvm_doorbell_add(struct kvm *kvm, const struct kvm_doorbell *d)
{
	(void)kvm;
	(void)d;
	return 0;
}

int kvm_doorbell_remove(struct kvm *kvm, const struct kvm_doorbell *d)
{
	(void)kvm;
	(void)d;
	return 0;
}

int kvm_irqfd_add(struct kvm *kvm, int fd, u32 gsi)
{
	(void)kvm;
	(void)fd;
	(void)gsi;
	return 0;
}

int kvm_irqfd_remove(struct kvm *kvm, int fd, u32 gsi)
{
	return kvm_irqfd_add(kvm, fd, gsi);
}

int kvm_irq_line(struct kvm *kvm, u32 gsi, bool level)
{
	(void)kvm;
	pthread_mutex_lock(&fb.lock);
	fb.lines = level ? fb.lines | 1u << gsi : fb.lines & ~(1u << gsi);
	pthread_cond_broadcast(&fb.cond);
	pthread_mutex_unlock(&fb.lock);
	return 0;
}

int kvm_set_region(struct kvm *kvm, u32 slot, u32 flags, u64 gpa, u64 size, void *hva, struct err *e)
{
	(void)kvm;
	(void)slot;
	(void)flags;
	(void)gpa;
	(void)size;
	(void)hva;
	(void)e;
	return 0;
}

int kvm_signal_msi(struct kvm *kvm, u64 addr, u32 data)
{
	(void)kvm;
	(void)addr;
	pthread_mutex_lock(&fb.lock);
	if (data < FB_VECTORS)
		fb.calls[data]++;
	pthread_cond_broadcast(&fb.cond);
	pthread_mutex_unlock(&fb.lock);
	return 0;
}

static void *fb_loop(void *arg)
{
	loop_run(fb.board.loop);
	return arg;
}

static void fb_init(void)
{
	struct err e = ERR_INIT;

	memset(&fb, 0, sizeof(fb));
	pthread_mutex_init(&fb.lock, NULL);
	pthread_cond_init(&fb.cond, NULL);
	ck_assert_msg(!mem_init(&fb.mem, FB_RAM, &e), "%s", e.msg);
	bus_init(&fb.pio, "pio");
	bus_init(&fb.mmio, "mmio");
	irq_init(&fb.irq, &fb.kvm);
	ck_assert(!pci_bus_init(&fb.pci, &fb.kvm, &fb.pio, &fb.mmio, &fb.irq, &e));
	fb.board = (struct board){ &fb.kvm, &fb.mem, &fb.pio, &fb.mmio, &fb.irq, &fb.pci, loop_create() };
}

/* After the devices were made. */
static inline void fb_run(void)
{
	ck_assert(!pthread_create(&fb.thread, NULL, fb_loop, NULL));
}

static inline void fb_fini(void)
{
	loop_stop(fb.board.loop);
	pthread_join(fb.thread, NULL);
	pci_bus_fini(&fb.pci);
	loop_destroy(fb.board.loop);
	irq_fini(&fb.irq);
	bus_fini(&fb.pio);
	bus_fini(&fb.mmio);
	mem_fini(&fb.mem);
}

static inline void *fb_at(u64 gpa, u64 len)
{
	void *p = mem_ptr(&fb.mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

/* ---- a guest's view of one device ---- */

struct gdev {
	unsigned int slot;
	u64 bar;
	u64 common, isr, notify, config;	/* addresses */
	u32 notify_mul;
	unsigned int cfg_cap;
	unsigned int msix_cap;
	u64 msix_table;
	u64 features;
	struct drv_ram ram;
	struct drv drv[8];
	u64 rings;		/* where they are; tests with several devices move them */
	unsigned int queues;
};

static inline u32 g_cfg_read(unsigned int slot, unsigned int off, unsigned int len)
{
	u8 data[8] = { 0 };

	bus_read(&fb.mmio, PCI_ECAM_BASE + (slot << 15) + off, data, len);
	return bus_get(data, len);
}

static inline void g_cfg_write(unsigned int slot, unsigned int off, unsigned int len, u32 val)
{
	u8 data[8];

	bus_put(data, len, val);
	bus_write(&fb.mmio, PCI_ECAM_BASE + (slot << 15) + off, data, len);
}

static inline u64 g_read(u64 addr, unsigned int len)
{
	u8 data[8] = { 0 };

	ck_assert(bus_read(&fb.mmio, addr, data, len));
	return bus_get(data, len);
}

static inline void g_write(u64 addr, unsigned int len, u64 val)
{
	u8 data[8];

	bus_put(data, len, val);
	ck_assert(bus_write(&fb.mmio, addr, data, len));
}

static inline u64 g_common(struct gdev *g, unsigned int off, unsigned int len)
{
	return g_read(g->common + off, len);
}

static inline void g_set_common(struct gdev *g, unsigned int off, unsigned int len, u64 val)
{
	g_write(g->common + off, len, val);
}

static inline u8 g_status(struct gdev *g)
{
	return g_common(g, 20, 1);
}

static inline void g_probe(struct gdev *g, unsigned int slot)
{
	unsigned int cap;

	memset(g, 0, sizeof(*g));
	g->slot = slot;
	g->rings = FB_RINGS;
	g->ram = (struct drv_ram){ fb_at(0, FB_RAM), 0, FB_RAM };
	ck_assert_uint_eq(g_cfg_read(slot, 0, 2), 0x1af4);
	g->bar = (g_cfg_read(slot, 0x10, 4) & ~0xfu) | (u64)g_cfg_read(slot, 0x14, 4) << 32;
	g_cfg_write(slot, 4, 2, 6);
	for (cap = g_cfg_read(slot, 0x34, 1); cap; cap = g_cfg_read(slot, cap + 1, 1)) {
		u64 at = g->bar + g_cfg_read(slot, cap + 8, 4);

		if (g_cfg_read(slot, cap, 1) == PCI_CAP_MSIX) {
			g->msix_cap = cap;
			g->msix_table = g->bar + (g_cfg_read(slot, cap + 4, 4) & ~7u);
			continue;
		}
		if (g_cfg_read(slot, cap, 1) != PCI_CAP_VENDOR)
			continue;
		switch (g_cfg_read(slot, cap + 3, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			g->common = at;
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			g->notify = at;
			g->notify_mul = g_cfg_read(slot, cap + 16, 4);
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			g->isr = at;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			g->config = at;
			break;
		case VIRTIO_PCI_CAP_PCI_CFG:
			g->cfg_cap = cap;
			break;
		}
	}
	ck_assert(g->common && g->notify && g->isr && g->cfg_cap && g->msix_cap);
}

static inline u64 g_offered(struct gdev *g)
{
	u64 f;

	g_set_common(g, 0, 4, 0);
	f = g_common(g, 4, 4);
	g_set_common(g, 0, 4, 1);
	return f | g_common(g, 4, 4) << 32;
}

/* Reset and negotiate; answers whether the device kept FEATURES_OK. */
static inline bool g_negotiate(struct gdev *g, u64 features)
{
	g_set_common(g, 20, 1, 0);
	ck_assert_uint_eq(g_status(g), 0);
	g_set_common(g, 20, 1, 1);
	g_set_common(g, 20, 1, 3);
	g->features = features;
	g_set_common(g, 8, 4, 0);
	g_set_common(g, 12, 4, features);
	g_set_common(g, 8, 4, 1);
	g_set_common(g, 12, 4, features >> 32);
	g_set_common(g, 20, 1, 0xb);
	return g_status(g) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* Rings for the first n queues, vector i + 1 for queue i with data 16 * slot + i + 1 (config: 16 * slot). */
static inline void g_queues(struct gdev *g, unsigned int n)
{
	unsigned int flags = (g->features & (1ULL << VIRTIO_F_RING_PACKED) ? DRV_PACKED : 0) |
			     (g->features & (1ULL << VIRTIO_RING_F_EVENT_IDX) ? DRV_EVENT_IDX : 0);

	for (unsigned int v = 0; v <= n; v++) {
		g_write(g->msix_table + 16 * v, 4, 0xfee00000);
		g_write(g->msix_table + 16 * v + 4, 4, 0);
		g_write(g->msix_table + 16 * v + 8, 4, 16 * g->slot + v);
		g_write(g->msix_table + 16 * v + 12, 4, 0);
	}
	g_cfg_write(g->slot, g->msix_cap + 2, 2, 0x8000);
	g_set_common(g, 16, 2, 0);
	ck_assert_uint_eq(g_common(g, 16, 2), 0);
	for (unsigned int i = 0; i < n; i++) {
		u16 size;

		g_set_common(g, 22, 2, i);
		size = g_common(g, 24, 2);
		ck_assert_uint_gt(size, 0);
		if (i < g->queues)
			drv_fini(&g->drv[i]);
		drv_init(&g->drv[i], &g->ram, g->rings + FB_RINGS * i, size, flags);
		g_set_common(g, 26, 2, i + 1);
		ck_assert_uint_eq(g_common(g, 26, 2), i + 1);
		g_set_common(g, 32, 4, g->drv[i].desc);
		g_set_common(g, 36, 4, 0);
		g_set_common(g, 40, 8, g->drv[i].avail);
		g_set_common(g, 48, 4, g->drv[i].used);
		g_set_common(g, 52, 4, 0);
		g_set_common(g, 28, 2, 1);
		ck_assert_uint_eq(g_common(g, 28, 2), 1);
	}
	g->queues = n;
}

static inline void g_driver_ok(struct gdev *g)
{
	g_set_common(g, 20, 1, 0xf);
}

static inline void g_kick(struct gdev *g, unsigned int q)
{
	if (drv_wants_kick(&g->drv[q]))
		g_write(g->notify + g->notify_mul * q, 2, q);
}

/* Wait for a used chain: -1 after five seconds. Sleeps on the queue's interrupt, so a lost one shows. */
static inline int g_wait(struct gdev *g, unsigned int q, u32 *len)
{
	unsigned int vec = 16 * g->slot + q + 1;
	struct timespec end;
	int id;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	for (;;) {
		unsigned int seen;

		pthread_mutex_lock(&fb.lock);
		seen = fb.calls[vec];
		pthread_mutex_unlock(&fb.lock);
		drv_enable_calls(&g->drv[q]);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		id = drv_reap(&g->drv[q], len);
		if (id >= 0)
			return id;
		pthread_mutex_lock(&fb.lock);
		while (fb.calls[vec] == seen)
			if (pthread_cond_timedwait(&fb.cond, &fb.lock, &end)) {
				pthread_mutex_unlock(&fb.lock);
				return -1;
			}
		pthread_mutex_unlock(&fb.lock);
	}
}

/* Wait until a pin is high. */
static inline bool g_line(unsigned int gsi)
{
	struct timespec end;
	bool high = true;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	pthread_mutex_lock(&fb.lock);
	while (high && !(fb.lines & 1u << gsi))
		high = !pthread_cond_timedwait(&fb.cond, &fb.lock, &end);
	pthread_mutex_unlock(&fb.lock);
	return high;
}

/* Wait until the device says NEEDS_RESET. */
static inline bool g_broken(struct gdev *g)
{
	for (int i = 0; i < 2000; i++) {
		struct timespec ms = { 0, 1000000 };

		if (g_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return true;
		nanosleep(&ms, NULL);
	}
	return false;
}

static inline void g_fini(struct gdev *g)
{
	for (unsigned int i = 0; i < g->queues; i++)
		drv_fini(&g->drv[i]);
	g->queues = 0;
}

#endif
