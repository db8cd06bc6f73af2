/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hotplug.h: PCI devices that come and go while the guest runs, by way of ACPI (dsdt.asl, GED1).
 *
 *   0x610  32 bits, cleared by reading: slots to be looked at again, a bit each
 *   0x614  32 bits, cleared by reading: slots whose devices are asked to leave
 *   0x618  32 bits, written: the guest lets go of these slots (_EJ0)
 *
 * Interrupt pin 10 says that one of the first two has news. A device that was let go of vanishes for the guest at once, on
 * the vCPU's thread; what is left of it is freed later, on the main loop, by whoever made it: with all vCPUs stopped, since
 * one of them may have been on its way into the device's registers.
 */
#ifndef BOARD_HOTPLUG_H
#define BOARD_HOTPLUG_H

#include "board/bus.h"
#include "board/irq.h"
#include "board/pci.h"
#include "common/loop.h"

struct hotplug;

/* The device in that slot is to be freed. On the loop. */
typedef void hotplug_eject_fn(void *ctx, unsigned int slot);

struct hotplug *hotplug_create(struct bus *pio, struct irq *irq, struct pci_bus *pci, struct loop *loop, struct err *e);
void hotplug_destroy(struct hotplug *h);
/* At machine reset: a guest that starts anew looks at all slots anyway. */
void hotplug_reset(struct hotplug *h);
void hotplug_on_eject(struct hotplug *h, hotplug_eject_fn *fn, void *ctx);
/* A device was put into that slot. */
void hotplug_changed(struct hotplug *h, unsigned int slot);
/* Ask the guest to let go of the device in that slot. */
void hotplug_ask(struct hotplug *h, unsigned int slot);

#endif
