/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X as the PCI code drives it. Devices use only the pci_msix_* calls of board/pci.h.
 */
#ifndef BOARD_MSIX_H
#define BOARD_MSIX_H

#include "board/pci.h"

int msix_init(struct pci_msix *m, unsigned int count);
void msix_fini(struct pci_dev *dev);
/* The message control word was written. */
void msix_control(struct pci_dev *dev, u16 ctl);
/* To power-on state, off the present VM. */
void msix_reset(struct pci_dev *dev);
/* Whether an access to the BAR at off is the table's or the pending bits'. */
bool msix_claims(const struct pci_dev *dev, int bar, u64 off);
void msix_read(struct pci_dev *dev, u64 off, void *data, unsigned int len);
void msix_write(struct pci_dev *dev, u64 off, const void *data, unsigned int len);

#endif
