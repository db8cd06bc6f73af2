// SPDX-License-Identifier: GPL-2.0-or-later
/* The PCI hot-plug controller: see the header. */
#include "board/hotplug.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BASE 0x610
#define SIZE 12
#define PIN 10

struct hotplug {
	struct bus *pio;
	struct irq *irq;
	struct pci_bus *pci;
	struct loop *loop;
	_Atomic u32 changed, asked, ejected;
	int fd;
	struct loop_source src;
	hotplug_eject_fn *fn;
	void *ctx;
};

static void hotplug_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct hotplug *h = ctx;
	u32 v = 0;

	if (off == 0 && len == 4)
		v = atomic_exchange(&h->changed, 0);
	else if (off == 4 && len == 4)
		v = atomic_exchange(&h->asked, 0);
	bus_put(data, len, v);
}

static void hotplug_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct hotplug *h = ctx;
	u32 slots, gone = 0;
	unsigned int i;
	u64 one = 1;

	if (off != 8 || len != 4)
		return;
	slots = bus_get(data, 4);
	for (i = 1; i < PCI_SLOTS; i++)
		if (slots >> i & 1 && pci_slot_hide(h->pci, i))
			gone |= 1U << i;
	if (!gone)
		return;
	atomic_fetch_or(&h->ejected, gone);
	/* It fails only when the counter is full: then the event is there already. */
	if (write(h->fd, &one, sizeof(one)) < 0)
		return;
}

static const struct bus_ops hotplug_ops = { hotplug_read, hotplug_write };

static void on_ejected(void *ctx, u32 events)
{
	struct hotplug *h = ctx;
	unsigned int i;
	u32 slots;
	u64 n;

	(void)events;
	if (read(h->fd, &n, sizeof(n)) < 0)
		return;
	slots = atomic_exchange(&h->ejected, 0);
	for (i = 1; i < PCI_SLOTS; i++)
		if (slots >> i & 1 && h->fn)
			h->fn(h->ctx, i);
}

struct hotplug *hotplug_create(struct bus *pio, struct irq *irq, struct pci_bus *pci, struct loop *loop, struct err *e)
{
	struct hotplug *h = calloc(1, sizeof(*h));
	int r;

	if (!h) {
		err_set(e, ENOMEM, "no memory for the hot-plug controller");
		return NULL;
	}
	h->pio = pio;
	h->irq = irq;
	h->pci = pci;
	h->loop = loop;
	h->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = h->fd < 0 ? -errno : loop_add(loop, &h->src, h->fd, EPOLLIN, on_ejected, h);
	if (!r)
		r = bus_add(pio, BASE, SIZE, &hotplug_ops, h);
	if (r) {
		err_set(e, -r, "cannot place the hot-plug controller: %s", strerror(-r));
		hotplug_destroy(h);
		return NULL;
	}
	return h;
}

void hotplug_destroy(struct hotplug *h)
{
	if (!h)
		return;
	bus_remove(h->pio, BASE);
	loop_del(h->loop, &h->src);
	if (h->fd >= 0)
		close(h->fd);
	free(h);
}

void hotplug_reset(struct hotplug *h)
{
	atomic_store(&h->changed, 0);
	atomic_store(&h->asked, 0);
}

void hotplug_on_eject(struct hotplug *h, hotplug_eject_fn *fn, void *ctx)
{
	h->fn = fn;
	h->ctx = ctx;
}

static void raise_pin(struct hotplug *h)
{
	irq_set_pin(h->irq, PIN, true);
	irq_set_pin(h->irq, PIN, false);
}

void hotplug_changed(struct hotplug *h, unsigned int slot)
{
	atomic_fetch_or(&h->changed, 1U << slot);
	raise_pin(h);
}

void hotplug_ask(struct hotplug *h, unsigned int slot)
{
	atomic_fetch_or(&h->asked, 1U << slot);
	raise_pin(h);
}
