// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_vmm_exec.c: the command channel from a guest that sends anything, on its serial port and its virtio port at once, to
 * consoles that take as much as they like.
 *
 * On a vCPU's thread everything is taken; on the main thread never more is taken than offered, and never is a console waited
 * for. A frame among the noise arrives: what a well-behaved init sends after it is found again.
 *
 * Input: pieces, each one byte of length and port, then the bytes.
 *
 * LINK: userspace/vmm/exec.c userspace/vmm/cpio.c userspace/vmm/boot_bzimage.c userspace/vmm/boot.c userspace/vmm/boot_pvh.c
 * LINK: userspace/board/mem.c userspace/board/kvm.c userspace/common/err.c userspace/common/log.c userspace/common/loop.c
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/exec.h"
#include "vmm/exec_wire.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

__asm__(".pushsection .rodata\n.globl guest_init_start, guest_init_end\nguest_init_start: .zero 16\nguest_init_end: .byte 0\n"
	".popsection");

/* ---- consoles and devices ---- */

struct console {
	u8 seen[8192];
	size_t len, room;
};

static struct console consoles[2];
static unsigned int made, waits;

struct console *console_create(struct loop *loop, const struct console_config *cfg, const struct console_ops *ops, void *ctx,
			       struct err *e)
{
	(void)loop;
	(void)cfg;
	(void)ops;
	(void)ctx;
	(void)e;
	return &consoles[made++ & 1];
}

void console_destroy(struct console *c)
{
	(void)c;
}

void console_abort(struct console *c, bool on)
{
	(void)c;
	(void)on;
}

static void keep(struct console *c, const u8 *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		c->seen[c->len++ % sizeof(c->seen)] = p[i];
}

void console_output(struct console *c, const void *data, size_t len)
{
	waits++;
	keep(c, data, len);
}

size_t console_offer(struct console *c, const void *data, size_t len)
{
	size_t n = len < c->room ? len : c->room;

	c->room -= n;
	keep(c, data, n);
	return n;
}

void devices_exec_drained(struct devices *d)
{
	(void)d;
}

void devices_input_ready(struct devices *d)
{
	(void)d;
}

size_t devices_exec_input(struct devices *d, const void *data, size_t len)
{
	(void)d;
	(void)data;
	return len;
}

/* ---- the guest ---- */

static void feed(struct exec *x, const u8 *p, size_t len, bool serial)
{
	unsigned int before = waits;
	size_t n;

	if (serial) {
		if (exec_output(x, p, len, true) != len)
			abort();
		return;
	}
	while (len) {
		consoles[0].room = consoles[1].room = 1 + p[0] % 64;
		n = exec_output(x, p, len, false);
		if (n > len || !n)
			abort();
		p += n;
		len -= n;
	}
	if (waits != before)
		abort();
}

/* Enough noise without a magic byte to end any frame, then a message and a status: both must come through. */
static void end_well(struct exec *x, bool serial)
{
	static const u8 message[] = { EXEC_MAGIC, EXEC_STDOUT, 2, 0, (u8)~(EXEC_STDOUT + 2), 'O', 'K',
				      EXEC_MAGIC, EXEC_STATUS, 1, 0, (u8)~(EXEC_STATUS + 1), 42 };
	static const u8 noise[EXEC_PAYLOAD_MAX + EXEC_HEADER];

	feed(x, noise, sizeof(noise), serial);
	feed(x, message, sizeof(message), serial);
	if (exec_status(x) != 42 || consoles[0].seen[(consoles[0].len - 1) % sizeof(consoles[0].seen)] != 'K')
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static char *words[] = { "true" };
	struct run_options o = { .initrd = "x", .command = words, .command_len = 1 };
	struct err e = ERR_INIT;
	struct loop *loop = loop_create();
	struct exec *x = exec_create(&o, -1, &e);
	const u8 *end = data + size;

	memset(consoles, 0, sizeof(consoles));
	if (!x || !loop || exec_connect(x, (struct devices *)&o, loop, &e))
		abort();
	while (data < end) {
		size_t len = *data & 0x7f, most;
		bool serial = *data++ & 0x80;

		most = end - data;
		len = len < most ? len : most;
		feed(x, data, len, serial);
		exec_stdin(x, data, len);
		data += len;
	}
	end_well(x, size & 1);
	while (loop_run_once(loop, 0) > 0)
		;
	exec_destroy(x);
	loop_destroy(loop);
	return 0;
}
