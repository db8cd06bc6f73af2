// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio
/*
 * Maps of changes and headers of tapdisk's maps of full blocks, of arbitrary
 * bytes: what is taken for good lies within what was given.
 */
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/track.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_track(const uint8_t *data, size_t size)
{
	uint64_t disk = size < 512 ? 0 : (size - 512) * 8ull * VHD_TRACK_GRANULE;
	const uint8_t *bits;
	uint8_t backup[16], *raw = malloc(size + 1);
	uint32_t sum;

	if (!raw)
		return;
	memcpy(raw, data, size);
	if (size >= 512) {
		/* What a mutation cannot guess: cookie, good, checksum, size. */
		sum = vhd_checksum(raw + 512, size - 512, size);
		memcpy(raw, "ldgetrk1\0\0\0\1", 12);
		raw[12] = sum >> 24;
		raw[13] = sum >> 16;
		raw[14] = sum >> 8;
		raw[15] = sum;
		for (int i = 0; i < 8; i++)
			raw[16 + i] = disk >> (56 - 8 * i);
	}
	if (track_decode(raw, size, disk, &bits, backup) && bits + vhd_changes_bytes(disk) != raw + size)
		abort();
	track_decode(data, size, disk, &bits, backup);
	free(raw);
}

static void fuzz_batmap(const uint8_t *data, size_t size)
{
	struct batmap b;
	uint8_t raw[512] = { 0 };
	uint64_t file = 1 << 20;

	memcpy(raw, data, size < 512 ? size : 512);
	memcpy(raw, "tdbatmap", 8);
	if (batmap_decode(raw, 4096, file, &b, NULL) || !b.present)
		return;
	if (b.usable && (b.at < 4096 + 512 || b.at + (uint64_t)b.sectors * 512 > file))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 1 << 16)
		return 0;
	fuzz_track(data, size);
	fuzz_batmap(data, size);
	return 0;
}
