// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio
/*
 * A hostile image: checked, opened for reading and for writing, and used. The
 * checksums are put right first, so that the fuzzer gets past them. Nothing
 * may crash or hang, and what was written must read back.
 */
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM	(96u << 20)

static void seal(uint8_t *b, size_t bytes, size_t at)
{
	uint32_t sum = vhd_checksum(b, bytes, at);

	b[at] = sum >> 24;
	b[at + 1] = sum >> 16;
	b[at + 2] = sum >> 8;
	b[at + 3] = sum;
}

static void use(struct vhd *v, bool writable)
{
	struct vhd_queue *q = vhd_queue_create(v, 8);
	uint8_t *a = malloc(65536), *b = malloc(65536);
	uint64_t n = vhd_size(v) < 65536 ? vhd_size(v) : 65536, last = vhd_size(v) - n;
	struct vhd_run run;
	int ret;

	vhd_pread(q, a, n, 0);
	vhd_pread(q, a, n, last);
	if (!writable)
		vhd_map(v, 0, n, &run);
	if (writable) {
		memset(a, 0x5a, n);
		ret = vhd_pwrite(q, a, n, last);
		if (!ret && !vhd_pread(q, b, n, last) && memcmp(a, b, n))
			abort();
		vhd_write_zeroes(q, 0, n, VHD_F_UNMAP);
		if (!vhd_pread(q, b, n, 0) && (last >= n ? b[0] : 0))
			abort();
		vhd_flush(q);
		vhd_discard(q, last, n);
		vhd_flush(q);
	}
	vhd_queue_destroy(q);
	free(a);
	free(b);
}

static void open_and_use(struct memdisk *d, unsigned int flags)
{
	struct vhd_error err;
	struct vhd *v;

	if (image_open_store(memdisk_open(d, flags & VHD_O_RDONLY), "fuzz", flags | VHD_O_NOPARENT, &v, &err))
		return;
	v->no_parent = false;
	use(v, !(flags & VHD_O_RDONLY));
	vhd_close(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vhd_check check = { .bitmaps = true };
	struct vhd_error err;
	struct memdisk *d;
	struct store *s;

	if (size > 1u << 20)
		return 0;
	d = memdisk_create(0, ROOM, false, 1);
	memdisk_resize(d, size);
	memcpy(memdisk_bytes(d), data, size);
	if (size >= 2048) {
		seal(memdisk_bytes(d), 512, 64);
		seal(memdisk_bytes(d) + 512, 1024, 36);
	}
	if (size >= 512)
		seal(memdisk_bytes(d) + size - 512, 512, 64);
	memdisk_resize(d, size);
	s = memdisk_open(d, true);
	check_on_store(s, "fuzz", &check, &err);
	s->ops->close(s);
	open_and_use(d, VHD_O_RDONLY);
	open_and_use(d, 0);
	memdisk_destroy(d);
	return 0;
}
