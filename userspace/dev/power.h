/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power: sleep and reset registers, the power button, and the panic port.
 *
 *   0x600  sleep control (ACPI 6.4 §4.8.3.7): sleep type 5 with the enable bit powers off
 *   0x601  sleep status
 *   0x602  reset: writing 0x42
 *   0x604  events, cleared by reading: bit 0 power button (interrupt pin 9)
 *   0x505  panic notification: bit 0 the guest has panicked, bit 1 it loaded a crash kernel
 *   0x064  command 0xfe resets, as a keyboard controller would; nothing else is there
 */
#ifndef DEV_POWER_H
#define DEV_POWER_H

#include "board/board.h"

enum power_event { POWER_OFF, POWER_RESET, POWER_PANIC };

/* On the vCPU's thread that did it. */
typedef void power_event_fn(void *ctx, enum power_event ev);

struct power;

struct power *power_create(struct board *board, power_event_fn *fn, void *ctx, struct err *e);
void power_destroy(struct power *p);
void power_reset(struct power *p);
/* Any thread. */
void power_press_button(struct power *p);

#endif
