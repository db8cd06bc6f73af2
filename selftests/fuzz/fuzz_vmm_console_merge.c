// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_vmm_console_merge.c: two consoles of arbitrary bytes. Never does more come out than there is room for; what is no
 * kernel message comes out in full and in order; and the same bytes in other pieces give the same.
 *
 * Input: pieces, each one byte of side and length, then the bytes.
 *
 * LINK: userspace/vmm/console_merge.c
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/console_merge.h"

#define ROOM (1 << 16)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static size_t feed(const u8 *data, size_t size, bool bytewise, u8 *shown, size_t *total)
{
	static struct console_merge m;
	static u8 out[MERGE_LINE + 256];
	size_t n = 0;

	*total = 0;
	merge_init(&m);
	while (size > 1) {
		enum merge_side side = *data & 1 ? MERGE_LATE : MERGE_EARLY;
		size_t len = *data >> 1;

		data++;
		size--;
		len = len < size ? len : size;
		for (size_t i = 0; i < len; i += bytewise ? 1 : len) {
			size_t part = bytewise ? 1 : len, got = merge_feed(&m, side, data + i, part, out);

			if (got > MERGE_LINE + part || n + got > ROOM)
				abort();
			memcpy(shown + n, out, got);
			n += got;
		}
		*total += len;
		data += len;
		size -= len;
	}
	if (n > *total)
		abort();
	merge_fini(&m);
	return n;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static u8 a[ROOM], b[ROOM];
	size_t n, total;

	if (size > ROOM)
		return 0;
	n = feed(data, size, false, a, &total);
	if (feed(data, size, true, b, &total) != n || memcmp(a, b, n))
		abort();
	if (!memchr(data, '[', size) && n != total)
		abort();
	return 0;
}
