// SPDX-License-Identifier: GPL-2.0-or-later
/* Power: see the register list in the header. */
#include "dev/power.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BASE 0x600
#define BUTTON_PIN 9
#define SLEEP_ENABLE 0x20
#define SLEEP_TYPE(v) ((v) >> 2 & 7)
#define SLEEP_TYPE_OFF 5
#define RESET_VALUE 0x42
#define PANIC_PORT 0x505
#define PANIC_PANICKED 1
#define PANIC_CRASH_LOADED 2
#define KBD_PORT 0x64
#define KBD_RESET 0xfe

struct power {
	struct board *board;
	power_event_fn *fn;
	void *ctx;
	atomic_uchar events;
};

static void power_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct power *p = ctx;

	memset(data, 0, len);
	if (off == 4)
		*(u8 *)data = atomic_exchange(&p->events, 0);
}

static void power_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct power *p = ctx;
	u8 v = *(const u8 *)data;

	(void)len;
	if (off == 0 && v & SLEEP_ENABLE && SLEEP_TYPE(v) == SLEEP_TYPE_OFF)
		p->fn(p->ctx, POWER_OFF);
	else if (off == 2 && v == RESET_VALUE)
		p->fn(p->ctx, POWER_RESET);
}

static void panic_read(void *ctx, u64 off, void *data, unsigned int len)
{
	(void)ctx;
	(void)off;
	bus_put(data, len, PANIC_PANICKED | PANIC_CRASH_LOADED);
}

static void panic_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct power *p = ctx;

	(void)off;
	(void)len;
	if (*(const u8 *)data & PANIC_PANICKED)
		p->fn(p->ctx, POWER_PANIC);
}

static void kbd_read(void *ctx, u64 off, void *data, unsigned int len)
{
	(void)ctx;
	(void)off;
	/* As an empty port, except that "input buffer full" is clear: reset code waits for it. */
	bus_put(data, len, 0xfd);
}

static void kbd_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct power *p = ctx;

	(void)off;
	(void)len;
	if (*(const u8 *)data == KBD_RESET)
		p->fn(p->ctx, POWER_RESET);
}

static const struct bus_ops power_ops = { power_read, power_write };
static const struct bus_ops panic_ops = { panic_read, panic_write };
static const struct bus_ops kbd_ops = { kbd_read, kbd_write };

struct power *power_create(struct board *board, power_event_fn *fn, void *ctx, struct err *e)
{
	struct power *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		err_set(e, ENOMEM, "no memory for the power device");
		return NULL;
	}
	p->board = board;
	p->fn = fn;
	p->ctx = ctx;
	r = bus_add(board->pio, BASE, 8, &power_ops, p);
	if (!r)
		r = bus_add(board->pio, PANIC_PORT, 1, &panic_ops, p);
	if (!r)
		r = bus_add(board->pio, KBD_PORT, 1, &kbd_ops, p);
	if (r) {
		err_set(e, -r, "cannot place the power device: %s", strerror(-r));
		power_destroy(p);
		return NULL;
	}
	return p;
}

void power_destroy(struct power *p)
{
	if (!p)
		return;
	bus_remove(p->board->pio, BASE);
	bus_remove(p->board->pio, PANIC_PORT);
	bus_remove(p->board->pio, KBD_PORT);
	free(p);
}

void power_reset(struct power *p)
{
	atomic_store(&p->events, 0);
}

void power_press_button(struct power *p)
{
	atomic_fetch_or(&p->events, 1);
	irq_set_pin(p->board->irq, BUTTON_PIN, true);
	irq_set_pin(p->board->irq, BUTTON_PIN, false);
}
