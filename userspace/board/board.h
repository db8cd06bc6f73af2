/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board: what a device is plugged into.
 *
 * A bundle of pointers, no behaviour. Device constructors take a `struct board *`, keep what they
 * need of it, and join a bus. `loop` is the main thread's event loop (control, console, timers);
 * a device that moves data has its own thread and loop.
 */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H

#include "board/bus.h"
#include "board/hotplug.h"
#include "board/irq.h"
#include "board/kvm.h"
#include "board/mem.h"
#include "board/pci.h"
#include "common/loop.h"

struct board {
	struct kvm *kvm;
	struct guest_mem *mem;
	struct bus *pio;
	struct bus *mmio;
	struct irq *irq;
	struct pci_bus *pci;
	struct loop *loop;
	struct hotplug *hotplug;	/* NULL: devices stay for good */
};

#endif
