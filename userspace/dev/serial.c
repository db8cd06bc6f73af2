// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 16550A (National Semiconductor PC16550D data sheet).
 *
 * The transmitter is infinitely fast: a byte written is gone, THR is empty again and, if enabled,
 * the THRE interrupt is pending. The receiver has a FIFO of 64 bytes. The interrupt pin follows
 * the identification register; the hypervisor is called only when the level changes.
 */
#include "dev/serial.h"

#include <errno.h>
#include <stdlib.h>

#define FIFO 64

#define IER_RDI 0x01
#define IER_THRI 0x02
#define IER_RLSI 0x04
#define IIR_NONE 0x01
#define IIR_THRI 0x02
#define IIR_RDI 0x04
#define IIR_RLSI 0x06
#define IIR_FIFO 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB 0x80
#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_BI 0x10
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MSR_PRESENT 0xb0	/* CTS, DSR, DCD */

struct serial {
	struct irq *irq;
	struct bus *pio;
	u16 port;
	u32 pin;
	serial_sink_fn *sink;
	serial_room_fn *room;
	void *ctx;
	pthread_mutex_t lock;
	u8 ier, fcr, lcr, mcr, lsr, scr, dll, dlm;
	bool thre;			/* THRE interrupt pending */
	bool level;
	u8 fifo[FIFO];
	unsigned int head, fill;
};

static u8 serial_cause(const struct serial *s)
{
	if (s->ier & IER_RLSI && s->lsr & (LSR_OE | LSR_BI))
		return IIR_RLSI;
	if (s->ier & IER_RDI && s->fill)
		return IIR_RDI;
	if (s->ier & IER_THRI && s->thre)
		return IIR_THRI;
	return IIR_NONE;
}

static void serial_update(struct serial *s)
{
	bool level = serial_cause(s) != IIR_NONE && !(s->mcr & MCR_LOOP);

	if (level == s->level)
		return;
	s->level = level;
	irq_set_pin(s->irq, s->pin, level);
}

static u8 fifo_pop(struct serial *s)
{
	u8 b;

	if (!s->fill)
		return 0;
	b = s->fifo[s->head];
	s->head = (s->head + 1) % FIFO;
	s->fill--;
	return b;
}

static bool fifo_push(struct serial *s, u8 b)
{
	if (s->fill == FIFO)
		return false;
	s->fifo[(s->head + s->fill) % FIFO] = b;
	s->fill++;
	return true;
}

static u8 read_msr(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_PRESENT;
	/* Loop-back: DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
	return (s->mcr & 1) << 5 | (s->mcr & 2) << 3 | (s->mcr & 4) << 4 | (s->mcr & 8) << 4;
}

static u8 serial_read_reg(struct serial *s, unsigned int reg)
{
	u8 v;

	switch (reg) {
	case 0:
		return s->lcr & LCR_DLAB ? s->dll : fifo_pop(s);
	case 1:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case 2:
		v = serial_cause(s);
		if (v == IIR_THRI)
			s->thre = false;
		return v | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case 3:
		return s->lcr;
	case 4:
		return s->mcr;
	case 5:
		v = s->lsr | LSR_THRE | LSR_TEMT | (s->fill ? LSR_DR : 0);
		s->lsr = 0;
		return v;
	case 6:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void serial_read(void *ctx, u64 off, void *data, unsigned int len)
{
	struct serial *s = ctx;
	bool room;

	memset(data, 0xff, len);
	pthread_mutex_lock(&s->lock);
	*(u8 *)data = serial_read_reg(s, off);
	room = off == 0 && !s->fill;
	serial_update(s);
	pthread_mutex_unlock(&s->lock);
	if (room && s->room)
		s->room(s->ctx);
}

/* Returns true when the byte is to be sent. */
static bool serial_write_reg(struct serial *s, unsigned int reg, u8 v)
{
	switch (reg) {
	case 0:
		if (s->lcr & LCR_DLAB) {
			s->dll = v;
			return false;
		}
		s->thre = true;
		if (!(s->mcr & MCR_LOOP))
			return true;
		if (!fifo_push(s, v))
			s->lsr |= LSR_OE;
		return false;
	case 1:
		if (s->lcr & LCR_DLAB) {
			s->dlm = v;
			return false;
		}
		if (v & ~s->ier & IER_THRI)
			s->thre = true;
		s->ier = v & 0x0f;
		return false;
	case 2:
		if (v & FCR_CLEAR_RX || (v ^ s->fcr) & FCR_ENABLE)
			s->fill = 0;
		s->fcr = v & 0xc9;
		return false;
	case 3:
		s->lcr = v;
		return false;
	case 4:
		s->mcr = v & 0x1f;
		return false;
	case 7:
		s->scr = v;
		return false;
	default:
		return false;
	}
}

static void serial_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	struct serial *s = ctx;
	u8 v = *(const u8 *)data;
	bool send;

	(void)len;
	pthread_mutex_lock(&s->lock);
	send = serial_write_reg(s, off, v);
	serial_update(s);
	pthread_mutex_unlock(&s->lock);
	if (send)
		s->sink(s->ctx, &v, 1);
}

static const struct bus_ops serial_ops = { serial_read, serial_write };

struct serial *serial_create(struct board *board, u16 port, u32 pin, serial_sink_fn *sink,
			     serial_room_fn *room, void *ctx, struct err *e)
{
	struct serial *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		err_set(e, ENOMEM, "no memory for a serial port");
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->irq = board->irq;
	s->pio = board->pio;
	s->port = port;
	s->pin = pin;
	s->sink = sink;
	s->room = room;
	s->ctx = ctx;
	r = bus_add(board->pio, port, 8, &serial_ops, s);
	if (r < 0) {
		err_set(e, -r, "cannot place a serial port at %#x: %s", port, strerror(-r));
		s->pio = NULL;
		serial_destroy(s);
		return NULL;
	}
	return s;
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	if (s->pio)
		bus_remove(s->pio, s->port);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void serial_reset(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	s->ier = s->fcr = s->lcr = s->mcr = s->lsr = s->scr = s->dll = s->dlm = 0;
	s->thre = s->level = false;
	s->head = s->fill = 0;
	pthread_mutex_unlock(&s->lock);
}

size_t serial_input(struct serial *s, const void *data, size_t len)
{
	const u8 *p = data;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < len && fifo_push(s, p[n]))
		n++;
	serial_update(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

void serial_break(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	if (fifo_push(s, 0))
		s->lsr |= LSR_BI;
	serial_update(s);
	pthread_mutex_unlock(&s->lock);
}
