// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MSI-X: table, pending bits, and how a vector reaches the guest.
 *
 * Two ways out. A thread of the VMM calls pci_msix_raise(), which sends the message at once with
 * one ioctl and needs no route. A writer outside the VMM (vhost) is given an eventfd; while the
 * vector is unmasked, that eventfd is an irqfd on a route of its own. While it is masked, the
 * irqfd is taken off, signals collect in the eventfd, and unmasking turns a non-zero count into
 * one interrupt. (PCI 3.0 §6.8.3.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "board/intx.h"
#include "board/msix.h"

#define ENTRY_SIZE 16
#define CTL_ENABLE 0x8000
#define CTL_MASK_ALL 0x4000

int msix_init(struct pci_msix *m, unsigned int count)
{
	unsigned int i;

	if (!count || count > PCI_MSIX_MAX)
		return -EINVAL;
	m->vec = calloc(count, sizeof(*m->vec));
	if (!m->vec)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		m->vec[i].masked = true;
		m->vec[i].fd = -1;
		m->vec[i].gsi = -1;
	}
	pthread_mutex_init(&m->lock, NULL);
	m->count = count;
	return 0;
}

static void unhook(struct pci_dev *dev, struct pci_msix_vector *v)
{
	if (!v->hooked)
		return;
	kvm_irqfd_remove(dev->bus->kvm, v->fd, v->gsi);
	v->hooked = false;
}

void msix_fini(struct pci_dev *dev)
{
	struct pci_msix *m = &dev->msix;
	unsigned int i;

	if (!m->count)
		return;
	for (i = 0; i < m->count; i++) {
		if (m->vec[i].fd >= 0)
			close(m->vec[i].fd);
		if (m->vec[i].gsi >= 0)
			irq_route_free(dev->bus->irq, m->vec[i].gsi);
	}
	free(m->vec);
	pthread_mutex_destroy(&m->lock);
	m->count = 0;
}

static bool silent(const struct pci_msix *m, const struct pci_msix_vector *v)
{
	return !m->enabled || m->all_masked || v->masked;
}

static bool take_signals(struct pci_msix_vector *v)
{
	u64 n;

	return v->fd >= 0 && !v->hooked && read(v->fd, &n, sizeof(n)) == sizeof(n);
}

/* Brings irqfd and pending state in line with the masks. Lock held. */
static void settle(struct pci_dev *dev, struct pci_msix_vector *v)
{
	struct pci_msix *m = &dev->msix;

	if (silent(m, v)) {
		unhook(dev, v);
		return;
	}
	if (take_signals(v))
		v->pending = true;
	if (v->fd >= 0) {
		irq_route_set(dev->bus->irq, v->gsi, v->addr, v->data);
		if (!v->hooked)
			v->hooked = !kvm_irqfd_add(dev->bus->kvm, v->fd, v->gsi);
	}
	if (v->pending) {
		v->pending = false;
		irq_msi(dev->bus->irq, v->addr, v->data);
	}
}

static void settle_all(struct pci_dev *dev)
{
	unsigned int i;

	irq_batch_begin(dev->bus->irq);
	for (i = 0; i < dev->msix.count; i++)
		settle(dev, &dev->msix.vec[i]);
	irq_batch_end(dev->bus->irq);
}

void msix_control(struct pci_dev *dev, u16 ctl)
{
	struct pci_msix *m = &dev->msix;
	bool was_all, now_all;
	unsigned int i;

	pthread_mutex_lock(&m->lock);
	was_all = !m->enabled || m->all_masked;
	m->enabled = ctl & CTL_ENABLE;
	intx_block(dev, INTX_BLOCK_MSIX, m->enabled);
	m->all_masked = ctl & CTL_MASK_ALL;
	now_all = !m->enabled || m->all_masked;
	if (was_all != now_all)
		settle_all(dev);
	pthread_mutex_unlock(&m->lock);
	if (was_all == now_all || !dev->ops->msix_mask)
		return;
	for (i = 0; i < m->count; i++)
		dev->ops->msix_mask(dev, i, now_all || m->vec[i].masked);
}

void msix_reset(struct pci_dev *dev)
{
	struct pci_msix *m = &dev->msix;
	unsigned int i;

	if (!m->count)
		return;
	pthread_mutex_lock(&m->lock);
	m->enabled = m->all_masked = false;
	for (i = 0; i < m->count; i++) {
		struct pci_msix_vector *v = &m->vec[i];

		unhook(dev, v);
		take_signals(v);
		v->addr = v->data = 0;
		v->masked = true;
		v->pending = false;
	}
	pthread_mutex_unlock(&m->lock);
}

bool msix_claims(const struct pci_dev *dev, int bar, u64 off)
{
	const struct pci_msix *m = &dev->msix;

	if (!m->count || bar != m->bar)
		return false;
	return (off >= m->table && off < m->table + m->count * ENTRY_SIZE) ||
	       (off >= m->pba && off < m->pba + ALIGN_UP(m->count, 64U) / 8);
}

static u32 entry_word(const struct pci_msix_vector *v, unsigned int word)
{
	switch (word) {
	case 0:
		return v->addr;
	case 1:
		return v->addr >> 32;
	case 2:
		return v->data;
	default:
		return v->masked;
	}
}

static u64 pending_bits(struct pci_msix *m, unsigned int first)
{
	unsigned int i;
	u64 bits = 0;

	for (i = first; i < m->count && i < first + 64; i++) {
		if (take_signals(&m->vec[i]))
			m->vec[i].pending = true;
		if (m->vec[i].pending)
			bits |= 1ULL << (i - first);
	}
	return bits;
}

void msix_read(struct pci_dev *dev, u64 off, void *data, unsigned int len)
{
	struct pci_msix *m = &dev->msix;
	u64 v;

	pthread_mutex_lock(&m->lock);
	if (off >= m->pba && off < m->pba + ALIGN_UP(m->count, 64U) / 8) {
		off -= m->pba;
		v = pending_bits(m, off / 8 * 64) >> (off % 8 * 8);
	} else {
		off -= m->table;
		v = entry_word(&m->vec[off / ENTRY_SIZE], off % ENTRY_SIZE / 4);
		v >>= off % 4 * 8;
		if (len == 8 && off % 8 == 0)
			v |= (u64)entry_word(&m->vec[off / ENTRY_SIZE], off % ENTRY_SIZE / 4 + 1)
			     << 32;
	}
	pthread_mutex_unlock(&m->lock);
	bus_put(data, len, v);
}

static void entry_write(struct pci_msix_vector *v, unsigned int word, u32 val)
{
	switch (word) {
	case 0:
		v->addr = (v->addr & ~0xffffffffULL) | (val & ~3U);
		break;
	case 1:
		v->addr = (v->addr & 0xffffffffULL) | (u64)val << 32;
		break;
	case 2:
		v->data = val;
		break;
	default:
		v->masked = val & 1;
	}
}

void msix_write(struct pci_dev *dev, u64 off, const void *data, unsigned int len)
{
	struct pci_msix *m = &dev->msix;
	struct pci_msix_vector *v;
	bool was, now;

	/* Only aligned 4- and 8-byte writes to the table are defined (PCI 3.0 §6.8.2). */
	if (off < m->table || off >= m->table + m->count * ENTRY_SIZE ||
	    (len != 4 && len != 8) || (off - m->table) % len)
		return;
	off -= m->table;
	pthread_mutex_lock(&m->lock);
	v = &m->vec[off / ENTRY_SIZE];
	was = v->masked;
	entry_write(v, off % ENTRY_SIZE / 4, bus_get(data, 4));
	if (len == 8)
		entry_write(v, off % ENTRY_SIZE / 4 + 1, bus_get((const u8 *)data + 4, 4));
	now = v->masked;
	settle(dev, v);
	pthread_mutex_unlock(&m->lock);
	if (was != now && dev->ops->msix_mask)
		dev->ops->msix_mask(dev, off / ENTRY_SIZE, now);
}

void pci_msix_raise(struct pci_dev *dev, unsigned int vec)
{
	struct pci_msix *m = &dev->msix;
	struct pci_msix_vector *v;

	if (vec >= m->count)
		return;
	v = &m->vec[vec];
	pthread_mutex_lock(&m->lock);
	if (silent(m, v))
		v->pending = m->enabled;
	else
		irq_msi(dev->bus->irq, v->addr, v->data);
	pthread_mutex_unlock(&m->lock);
}

bool pci_msix_enabled(struct pci_dev *dev)
{
	bool on;

	if (!dev->msix.count)
		return false;
	pthread_mutex_lock(&dev->msix.lock);
	on = dev->msix.enabled;
	pthread_mutex_unlock(&dev->msix.lock);
	return on;
}

int pci_msix_fd(struct pci_dev *dev, unsigned int vec)
{
	struct pci_msix *m = &dev->msix;
	struct pci_msix_vector *v;
	int r;

	if (vec >= m->count)
		return -EINVAL;
	v = &m->vec[vec];
	pthread_mutex_lock(&m->lock);
	if (v->fd < 0) {
		v->gsi = irq_route_alloc(dev->bus->irq);
		if (v->gsi >= 0) {
			v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
			if (v->fd >= 0)
				settle(dev, v);
		}
	}
	r = v->fd >= 0 ? v->fd : -ENOSPC;
	pthread_mutex_unlock(&m->lock);
	return r;
}
