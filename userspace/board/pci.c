// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The PCI root bus and the generic half of its devices.
 *
 * Configuration space is a byte array with a mask of writable bits; what a write means beyond
 * storing it (BARs, decode enable, MSI-X control) is worked out afterwards from the new contents,
 * in pci_settle(). BARs are given addresses before the guest starts, so no firmware is needed; a
 * guest that moves them is followed: mapping, MMIO range and doorbells go together.
 *
 * Sizing a BAR (write all ones, read back) with memory decoding on would map it over something
 * else for a moment: bus_add() then refuses the overlap and the BAR stays unmapped, as on real
 * hardware nothing sensible would answer.
 */
#include "board/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "board/intx.h"
#include "board/msix.h"
#include "common/log.h"

#define REG_COMMAND 0x04
#define REG_STATUS 0x06
#define REG_BAR0 0x10
#define REG_CAP_PTR 0x34
#define FIRST_CAP 0x40
#define COMMAND_MEMORY 0x0002
#define COMMAND_MASTER 0x0004
#define COMMAND_INTX_OFF 0x0400
#define STATUS_CAPS 0x0010
#define STATUS_INTX 0x0008
#define REG_INT_LINE 0x3c
#define REG_INT_PIN 0x3d
#define PIN_INTA 1
#define BAR_MEM64 0x4

#define CF8_ENABLE 0x80000000U

static u32 get32(const u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
}

static u16 get16(const u8 *p)
{
	return p[0] | p[1] << 8;
}

static void put16(u8 *p, u16 v)
{
	p[0] = v;
	p[1] = v >> 8;
}

static void put32(u8 *p, u32 v)
{
	put16(p, v);
	put16(p + 2, v >> 16);
}

/* ---- what a device is made of ---- */

void pci_dev_init(struct pci_dev *dev, const char *name, const struct pci_id *id,
		  const struct pci_dev_ops *ops)
{
	u8 *c = dev->config;

	dev->name = name;
	dev->ops = ops;
	put16(c + 0x00, id->vendor);
	put16(c + 0x02, id->device);
	put32(c + 0x08, id->class_code << 8 | id->revision);
	put16(c + 0x2c, id->subsys_vendor);
	put16(c + 0x2e, id->subsys);
	put16(dev->wmask + REG_COMMAND, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF);
	dev->wmask[0x0c] = 0xff;	/* cache line size: stored, without effect */
	dev->wmask[REG_INT_LINE] = 0xff;	/* firmware's note to drivers: stored, without effect */
	dev->config[REG_INT_PIN] = PIN_INTA;
	dev->next_cap = FIRST_CAP;
}

int pci_dev_add_bar(struct pci_dev *dev, int bar, u64 size)
{
	u64 mask;

	if (bar < 0 || bar > 4 || bar % 2 || size < 4096 || size & (size - 1) ||
	    size > PCI_MMIO_SIZE || dev->bar[bar].size)
		return -EINVAL;
	dev->bar[bar].size = size;
	dev->bar[bar].nr = bar;
	dev->bar[bar].dev = dev;
	mask = ~(size - 1);
	put32(dev->config + REG_BAR0 + bar * 4, BAR_MEM64);
	put32(dev->wmask + REG_BAR0 + bar * 4, mask);
	put32(dev->wmask + REG_BAR0 + bar * 4 + 4, mask >> 32);
	return 0;
}

int pci_dev_add_cap(struct pci_dev *dev, u8 id, const void *cap, unsigned int len)
{
	unsigned int at = dev->next_cap;

	if (len < 2 || at + len > PCI_CONFIG_SIZE)
		return -ENOSPC;
	memcpy(dev->config + at, cap, len);
	dev->config[at] = id;
	dev->config[at + 1] = 0;
	if (dev->last_cap)
		dev->config[dev->last_cap + 1] = at;
	else
		dev->config[REG_CAP_PTR] = at;
	dev->config[REG_STATUS] |= STATUS_CAPS;
	dev->last_cap = at;
	dev->next_cap = ALIGN_UP(at + len, 4U);
	return at;
}

int pci_dev_add_msix(struct pci_dev *dev, int bar, u32 table, u32 pba, unsigned int count)
{
	u8 cap[12] = { 0 };
	int at, r;

	if (bar < 0 || bar >= PCI_BARS || !dev->bar[bar].size || table % 8 || pba % 8 ||
	    table + count * 16ULL > dev->bar[bar].size ||
	    pba + ALIGN_UP(count, 64U) / 8ULL > dev->bar[bar].size)
		return -EINVAL;
	r = msix_init(&dev->msix, count);
	if (r < 0)
		return r;
	put16(cap + 2, count - 1);
	put32(cap + 4, table | bar);
	put32(cap + 8, pba | bar);
	at = pci_dev_add_cap(dev, PCI_CAP_MSIX, cap, sizeof(cap));
	if (at < 0)
		return at;
	put16(dev->wmask + at + 2, 0xc000);
	dev->msix.cap = at;
	dev->msix.bar = bar;
	dev->msix.table = table;
	dev->msix.pba = pba;
	return 0;
}

void pci_dev_fini(struct pci_dev *dev)
{
	msix_fini(dev);
}

/* ---- doorbells ---- */

static void doorbell_on(struct pci_dev *dev, struct pci_doorbell *b)
{
	int r;

	if (b->active || !dev->bar[b->bar].mapped)
		return;
	b->d.addr = dev->bar[b->bar].addr + b->off;
	r = kvm_doorbell_add(dev->bus->kvm, &b->d);
	b->active = !r;
	if (r)
		log_debug("%s: doorbell at %#llx: error %d", dev->name,
			  (unsigned long long)b->d.addr, -r);
}

static void doorbell_off(struct pci_dev *dev, struct pci_doorbell *b)
{
	if (b->active)
		kvm_doorbell_remove(dev->bus->kvm, &b->d);
	b->active = false;
}

int pci_doorbell_add(struct pci_dev *dev, int bar, u64 off, unsigned int len, const u64 *match,
		     int fd)
{
	struct pci_doorbell *b = NULL;
	unsigned int i;

	if (bar < 0 || bar >= PCI_BARS || off >= dev->bar[bar].size)
		return -EINVAL;
	pthread_mutex_lock(&dev->bus->lock);
	for (i = 0; i < PCI_DOORBELLS && !b; i++)
		if (!dev->doorbell[i].used)
			b = &dev->doorbell[i];
	if (b) {
		memset(b, 0, sizeof(*b));
		b->used = true;
		b->bar = bar;
		b->off = off;
		b->d.fd = fd;
		b->d.len = len;
		b->d.has_match = match;
		b->d.match = match ? *match : 0;
		doorbell_on(dev, b);
	}
	pthread_mutex_unlock(&dev->bus->lock);
	return b ? 0 : -ENOSPC;
}

void pci_doorbell_remove(struct pci_dev *dev, int fd)
{
	unsigned int i;

	pthread_mutex_lock(&dev->bus->lock);
	for (i = 0; i < PCI_DOORBELLS; i++) {
		struct pci_doorbell *b = &dev->doorbell[i];

		if (!b->used || b->d.fd != fd)
			continue;
		doorbell_off(dev, b);
		b->used = false;
	}
	pthread_mutex_unlock(&dev->bus->lock);
}

/* ---- BAR mapping ---- */

static void bar_mmio_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct pci_bar *bar = ctx;

	if (msix_claims(bar->dev, bar->nr, off))
		msix_read(bar->dev, off, data, len);
	else
		bar->dev->ops->bar_read(bar->dev, bar->nr, off, data, len);
}

static void bar_mmio_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct pci_bar *bar = ctx;

	if (msix_claims(bar->dev, bar->nr, off))
		msix_write(bar->dev, off, data, len);
	else
		bar->dev->ops->bar_write(bar->dev, bar->nr, off, data, len);
}

static const struct bus_ops bar_mmio_ops = { bar_mmio_read, bar_mmio_write };

static void bar_unmap(struct pci_dev *dev, int i)
{
	unsigned int d;

	if (!dev->bar[i].mapped)
		return;
	for (d = 0; d < PCI_DOORBELLS; d++)
		if (dev->doorbell[d].used && dev->doorbell[d].bar == i)
			doorbell_off(dev, &dev->doorbell[d]);
	bus_remove(dev->bus->mmio, dev->bar[i].addr);
	dev->bar[i].mapped = false;
}

static void bar_map(struct pci_dev *dev, int i, u64 addr)
{
	unsigned int d;

	/* Only the window that firmware tables declare: RAM and chips are not on this bus. */
	if (addr < PCI_MMIO_BASE || addr > PCI_MMIO_BASE + PCI_MMIO_SIZE - dev->bar[i].size)
		return;
	if (bus_add(dev->bus->mmio, addr, dev->bar[i].size, &bar_mmio_ops,
		    &dev->bar[i]) < 0)
		return;
	dev->bar[i].addr = addr;
	dev->bar[i].mapped = true;
	for (d = 0; d < PCI_DOORBELLS; d++)
		if (dev->doorbell[d].used && dev->doorbell[d].bar == i)
			doorbell_on(dev, &dev->doorbell[d]);
}

static u64 bar_wanted(const struct pci_dev *dev, int i)
{
	const u8 *p = dev->config + REG_BAR0 + i * 4;

	return (get32(p) & ~0xfU) | (u64)get32(p + 4) << 32;
}

/* Brings mappings in line with configuration space. Bus lock held. */
static void pci_settle(struct pci_dev *dev)
{
	bool decode = get16(dev->config + REG_COMMAND) & COMMAND_MEMORY;
	int i;

	for (i = 0; i < PCI_BARS; i++) {
		if (!dev->bar[i].size)
			continue;
		if (dev->bar[i].mapped && (!decode || dev->bar[i].addr != bar_wanted(dev, i)))
			bar_unmap(dev, i);
		if (!dev->bar[i].mapped && decode)
			bar_map(dev, i, bar_wanted(dev, i));
	}
}

/* ---- configuration space ---- */

static bool overlaps(unsigned int off, unsigned int len, unsigned int at, unsigned int size)
{
	return off < at + size && at < off + len;
}

static struct pci_dev *visible(const struct pci_bus *bus, unsigned int slot)
{
	struct pci_dev *dev = bus->dev[slot];

	return dev && !dev->hidden ? dev : NULL;
}

static void config_read(struct pci_bus *bus, unsigned int slot, unsigned int off, void *data,
			unsigned int len)
{
	struct pci_dev *dev = visible(bus, slot);

	memset(data, 0xff, len);
	if (off >= PCI_CONFIG_SIZE || len > PCI_CONFIG_SIZE - off) {
		if (slot == 0 || dev)
			memset(data, 0, len);	/* no extended capabilities */
		return;
	}
	if (slot == 0) {
		memcpy(data, bus->host_config + off, len);
		return;
	}
	if (!dev)
		return;
	if (dev->ops->config_read)
		dev->ops->config_read(dev, off, len);
	if (overlaps(off, len, REG_STATUS, 1)) {
		dev->config[REG_STATUS] &= ~STATUS_INTX;
		dev->config[REG_STATUS] |= intx_status(dev) ? STATUS_INTX : 0;
	}
	memcpy(data, dev->config + off, len);
}

static void config_write(struct pci_bus *bus, unsigned int slot, unsigned int off,
			 const void *data, unsigned int len)
{
	struct pci_dev *dev = visible(bus, slot);
	const u8 *src = data;
	unsigned int i;

	if (!dev || off >= PCI_CONFIG_SIZE || len > PCI_CONFIG_SIZE - off)
		return;
	for (i = 0; i < len; i++) {
		u8 m = dev->wmask[off + i];

		dev->config[off + i] = (dev->config[off + i] & ~m) | (src[i] & m);
	}
	if (overlaps(off, len, REG_COMMAND, 2) || overlaps(off, len, REG_BAR0, PCI_BARS * 4))
		pci_settle(dev);
	if (overlaps(off, len, REG_COMMAND, 2))
		intx_block(dev, INTX_BLOCK_COMMAND, get16(dev->config + REG_COMMAND) & COMMAND_INTX_OFF);
	if (dev->msix.count && overlaps(off, len, dev->msix.cap + 2, 2))
		msix_control(dev, get16(dev->config + dev->msix.cap + 2));
	if (dev->ops->config_write)
		dev->ops->config_write(dev, off, len);
}

static void ecam_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct pci_bus *bus = ctx;

	memset(data, 0xff, len);
	if (off >> 12 & 7)
		return;		/* functions 1-7 do not exist */
	pthread_mutex_lock(&bus->lock);
	config_read(bus, off >> 15 & 31, off & 0xfff, data, len);
	pthread_mutex_unlock(&bus->lock);
}

static void ecam_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct pci_bus *bus = ctx;

	if (off >> 12 & 7)
		return;
	pthread_mutex_lock(&bus->lock);
	config_write(bus, off >> 15 & 31, off & 0xfff, data, len);
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write };

/* Ports 0xCF8-0xCFF. Only bus 0, function 0 answers. */
static bool cf8_target(const struct pci_bus *bus, u64 off, unsigned int *slot, unsigned int *reg)
{
	*slot = bus->address >> 11 & 31;
	*reg = (bus->address & 0xfc) + (off - 4);
	return bus->address & CF8_ENABLE && !(bus->address & 0x00ff0700);
}

static void cf8_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct pci_bus *bus = ctx;
	unsigned int slot, reg;

	memset(data, 0xff, len);
	pthread_mutex_lock(&bus->lock);
	if (off == 0 && len == 4)
		bus_put(data, 4, bus->address);
	else if (off >= 4 && cf8_target(bus, off, &slot, &reg))
		config_read(bus, slot, reg, data, len);
	pthread_mutex_unlock(&bus->lock);
}

static void cf8_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct pci_bus *bus = ctx;
	unsigned int slot, reg;

	pthread_mutex_lock(&bus->lock);
	if (off == 0 && len == 4)
		bus->address = bus_get(data, 4);
	else if (off >= 4 && cf8_target(bus, off, &slot, &reg))
		config_write(bus, slot, reg, data, len);
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops cf8_ops = { cf8_read, cf8_write };

/* ---- the bus ---- */

int pci_bus_init(struct pci_bus *bus, struct kvm *kvm, struct bus *pio, struct bus *mmio,
		 struct irq *irq, struct err *e)
{
	int r;

	memset(bus, 0, sizeof(*bus));
	pthread_mutex_init(&bus->lock, NULL);
	bus->kvm = kvm;
	bus->pio = pio;
	bus->mmio = mmio;
	bus->irq = irq;
	intx_init(bus);
	/* A host bridge in slot 0, so that probing code finds a bus at all. */
	put16(bus->host_config + 0x00, 0x1b36);
	put16(bus->host_config + 0x02, 0x0008);
	put32(bus->host_config + 0x08, 0x06000000);
	r = bus_add(mmio, PCI_ECAM_BASE, PCI_ECAM_SIZE, &ecam_ops, bus);
	if (!r)
		r = bus_add(pio, 0xcf8, 8, &cf8_ops, bus);
	if (r)
		return err_set(e, -r, "cannot place the PCI bus: %s", strerror(-r));
	return 0;
}

void pci_bus_fini(struct pci_bus *bus)
{
	unsigned int i;

	for (i = 0; i < PCI_SLOTS; i++) {
		if (bus->dev[i])
			bus->dev[i]->ops->destroy(bus->dev[i]);
		bus->dev[i] = NULL;
	}
	intx_fini(bus);
	pthread_mutex_destroy(&bus->lock);
}

/* Behind the BAR, of those that have their home in [at, at + size), that ends last; at: there is none. */
static u64 behind_homes(const struct pci_bus *bus, const struct pci_dev *self, u64 at, u64 size)
{
	unsigned int slot;
	u64 end = at;
	int i;

	for (slot = 1; slot <= PCI_SLOTS; slot++) {
		const struct pci_dev *dev = slot < PCI_SLOTS ? bus->dev[slot] : self;

		for (i = 0; dev && i < PCI_BARS; i++) {
			const struct pci_bar *b = &dev->bar[i];

			if (b->home && b->home < at + size && b->home + b->size > at && b->home + b->size > end)
				end = b->home + b->size;
		}
	}
	return end;
}

static int place_bars(struct pci_bus *bus, struct pci_dev *dev, struct err *e)
{
	u64 at, end;
	int i;

	for (i = 0; i < PCI_BARS; i++) {
		u64 size = dev->bar[i].size;

		if (!size)
			continue;
		at = ALIGN_UP(PCI_MMIO_BASE, size);
		while (at + size <= PCI_MMIO_BASE + PCI_MMIO_SIZE && (end = behind_homes(bus, dev, at, size)) != at)
			at = ALIGN_UP(end, size);
		if (at + size > PCI_MMIO_BASE + PCI_MMIO_SIZE)
			return err_set(e, ENOSPC, "no room for device %s in the PCI window",
				       dev->name);
		dev->bar[i].home = at;
		put32(dev->config + REG_BAR0 + i * 4, at | BAR_MEM64);
		put32(dev->config + REG_BAR0 + i * 4 + 4, at >> 32);
	}
	return 0;
}

int pci_bus_add(struct pci_bus *bus, struct pci_dev *dev, struct err *e)
{
	unsigned int slot;
	int r;

	for (slot = 1; slot < PCI_SLOTS && bus->dev[slot]; slot++)
		;
	if (slot == PCI_SLOTS)
		return err_set(e, ENOSPC,
			       "no free PCI slot for device %s; try: fewer devices (%d at most)",
			       dev->name, PCI_SLOTS - 1);
	dev->bus = bus;
	dev->slot = slot;
	r = place_bars(bus, dev, e);
	if (r < 0)
		return r;
	put16(dev->config + REG_COMMAND, COMMAND_MEMORY);
	dev->config[REG_INT_LINE] = intx_gsi(slot);
	memcpy(dev->initial, dev->config, sizeof(dev->initial));
	pthread_mutex_lock(&bus->lock);
	bus->dev[slot] = dev;
	pci_settle(dev);
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

static void dev_unmap(struct pci_dev *dev)
{
	int i;

	msix_reset(dev);
	intx_reset(dev);
	for (i = 0; i < PCI_BARS; i++)
		bar_unmap(dev, i);
}

bool pci_slot_hide(struct pci_bus *bus, unsigned int slot)
{
	struct pci_dev *dev;

	pthread_mutex_lock(&bus->lock);
	dev = bus->dev[slot];
	if (dev && !dev->hidden) {
		dev->hidden = true;
		dev_unmap(dev);
	}
	pthread_mutex_unlock(&bus->lock);
	return dev;
}

void pci_bus_remove(struct pci_bus *bus, struct pci_dev *dev)
{
	pci_slot_hide(bus, dev->slot);
	pthread_mutex_lock(&bus->lock);
	bus->dev[dev->slot] = NULL;
	pthread_mutex_unlock(&bus->lock);
	dev->ops->destroy(dev);
}

void pci_bus_unmap(struct pci_bus *bus)
{
	unsigned int slot;

	pthread_mutex_lock(&bus->lock);
	for (slot = 1; slot < PCI_SLOTS; slot++)
		if (bus->dev[slot])
			dev_unmap(bus->dev[slot]);
	bus->address = 0;
	pthread_mutex_unlock(&bus->lock);
}

int pci_bus_reset(struct pci_bus *bus, struct err *e)
{
	struct pci_dev *dev;
	unsigned int slot;

	(void)e;
	for (slot = 1; slot < PCI_SLOTS; slot++) {
		dev = bus->dev[slot];
		if (!dev)
			continue;
		/* Outside the lock: a device may wait for I/O threads that raise interrupts. */
		if (dev->ops->reset)
			dev->ops->reset(dev);
		pthread_mutex_lock(&bus->lock);
		memcpy(dev->config, dev->initial, sizeof(dev->config));
		if (!dev->hidden)
			pci_settle(dev);
		pthread_mutex_unlock(&bus->lock);
	}
	return 0;
}
