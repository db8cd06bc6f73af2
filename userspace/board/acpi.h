/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables for the board: written into guest memory before the first instruction.
 */
#ifndef BOARD_ACPI_H
#define BOARD_ACPI_H

#include "board/mem.h"

#define ACPI_BASE 0xe0000ULL
#define ACPI_SIZE 0x20000ULL

struct acpi_config {
	unsigned int cpus;
	bool legacy_chips;	/* timer and interrupt chips of the PC are there */
};

/* Writes RSDP, XSDT, FADT, MADT, MCFG and DSDT; *rsdp gets the RSDP's address. */
int acpi_write(struct guest_mem *mem, const struct acpi_config *cfg, u64 *rsdp, struct err *e);

#endif
