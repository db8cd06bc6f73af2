/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INTx as the PCI code drives it. Devices use only the pci_intx_* calls of board/pci.h.
 */
#ifndef BOARD_INTX_H
#define BOARD_INTX_H

#include "board/pci.h"

#define INTX_BLOCK_MSIX 1	/* MSI-X is enabled: the line is not used */
#define INTX_BLOCK_COMMAND 2	/* the command register's Interrupt Disable */

void intx_init(struct pci_bus *bus);
void intx_fini(struct pci_bus *bus);
/* The global interrupt that a slot's INTA# is wired to. */
unsigned int intx_gsi(unsigned int slot);
/* One of the reasons above began or ended. */
void intx_block(struct pci_dev *dev, u8 why, bool on);
/* The Interrupt Status bit of the status register. */
bool intx_status(struct pci_dev *dev);
/* To power-on state: no cause, not blocked. */
void intx_reset(struct pci_dev *dev);

#endif
