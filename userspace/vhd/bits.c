// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sector bitmaps: bit n is in byte n / 8, most significant bit first.
 */
#include "vhd/codec.h"

void vhd_bit_set(uint8_t *map, uint32_t first, uint32_t count)
{
	uint32_t n = first;

	while (n < first + count) {
		if (!(n & 7) && first + count - n >= 8) {
			map[n >> 3] = 0xff;
			n += 8;
		} else {
			map[n >> 3] |= 0x80u >> (n & 7);
			n++;
		}
	}
}

uint32_t vhd_bit_run(const uint8_t *map, uint32_t first, uint32_t count)
{
	bool value = vhd_bit_test(map, first);
	uint8_t whole = value ? 0xff : 0;
	uint32_t n = first + 1;

	while (n < first + count) {
		if (!(n & 7) && first + count - n >= 8 && map[n >> 3] == whole)
			n += 8;
		else if (vhd_bit_test(map, n) == value)
			n++;
		else
			break;
	}
	return n - first;
}
