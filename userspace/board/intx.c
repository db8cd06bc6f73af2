// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * INTx: the level-triggered pins of the PCI bus, for guests that do not use MSI-X.
 *
 * Every device has INTA#. Slot n is wired to global interrupt 16 + n % 8, the IOAPIC's upper pins,
 * as _PRT in dsdt.asl says; some slots share one, so a pin is high while any of its devices asserts
 * it. A device asserts while it has a cause that the guest has not taken yet and nothing blocks
 * the line (PCI 3.0 §2.2.6, §6.2.4).
 *
 * Causes and line change together under one lock. Were they apart, a cause noted between the
 * guest's reading of the causes and the fall of the line would lose its interrupt.
 */
#include "board/intx.h"

#define FIRST_GSI 16

void intx_init(struct pci_bus *bus)
{
	pthread_mutex_init(&bus->intx_lock, NULL);
}

void intx_fini(struct pci_bus *bus)
{
	pthread_mutex_destroy(&bus->intx_lock);
}

unsigned int intx_gsi(unsigned int slot)
{
	return FIRST_GSI + slot % PCI_INTX_PINS;
}

/* Lock held. */
static void settle(struct pci_dev *dev)
{
	bool on = dev->intx.causes && !dev->intx.blocked;
	unsigned int *users = &dev->bus->intx_users[dev->slot % PCI_INTX_PINS];

	if (on == dev->intx.asserted)
		return;
	dev->intx.asserted = on;
	*users += on ? 1 : -1;
	if (*users == on)
		irq_set_pin(dev->bus->irq, intx_gsi(dev->slot), on);
}

void intx_block(struct pci_dev *dev, u8 why, bool on)
{
	pthread_mutex_lock(&dev->bus->intx_lock);
	dev->intx.blocked = on ? dev->intx.blocked | why : dev->intx.blocked & ~why;
	settle(dev);
	pthread_mutex_unlock(&dev->bus->intx_lock);
}

bool intx_status(struct pci_dev *dev)
{
	bool on;

	pthread_mutex_lock(&dev->bus->intx_lock);
	on = dev->intx.causes && !(dev->intx.blocked & INTX_BLOCK_MSIX);
	pthread_mutex_unlock(&dev->bus->intx_lock);
	return on;
}

void intx_reset(struct pci_dev *dev)
{
	pthread_mutex_lock(&dev->bus->intx_lock);
	dev->intx.causes = 0;
	dev->intx.blocked = 0;
	settle(dev);
	pthread_mutex_unlock(&dev->bus->intx_lock);
}

void pci_intx_raise(struct pci_dev *dev, u8 causes)
{
	pthread_mutex_lock(&dev->bus->intx_lock);
	dev->intx.causes |= causes;
	settle(dev);
	pthread_mutex_unlock(&dev->bus->intx_lock);
}

u8 pci_intx_take(struct pci_dev *dev)
{
	u8 causes;

	pthread_mutex_lock(&dev->bus->intx_lock);
	causes = dev->intx.causes;
	dev->intx.causes = 0;
	settle(dev);
	pthread_mutex_unlock(&dev->bus->intx_lock);
	return causes;
}
