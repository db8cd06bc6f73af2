// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/codec.c userspace/vhd/bits.c userspace/vhd/locator.c
/*
 * Footer, header and locator decoding of arbitrary bytes. What decodes must
 * encode and decode again to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "vhd/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *opaque, enum vhd_severity severity, const char *text)
{
	(void)opaque;
	(void)severity;
	(void)text;
}

static void fuzz_footer(const uint8_t *data)
{
	struct vhd_footer f, g;
	uint8_t raw[512];
	uint32_t sum;

	memcpy(raw, data, 512);
	memcpy(raw, "conectix", 8);
	sum = vhd_checksum(raw, 512, 64);
	raw[64] = sum >> 24;
	raw[65] = sum >> 16;
	raw[66] = sum >> 8;
	raw[67] = sum;
	vhd_footer_lint(raw, 0, ignore, NULL);
	if (vhd_footer_decode(raw, &f, NULL))
		return;
	f.features |= 2;
	vhd_footer_encode(&f, raw);
	if (vhd_footer_decode(raw, &g, NULL) || memcmp(&f, &g, sizeof(f)))
		abort();
}

static void fuzz_header(const uint8_t *data)
{
	struct vhd_header h, k;
	uint8_t raw[1024];
	uint32_t sum;

	memcpy(raw, data, 1024);
	memcpy(raw, "cxsparse", 8);
	sum = vhd_checksum(raw, 1024, 36);
	raw[36] = sum >> 24;
	raw[37] = sum >> 16;
	raw[38] = sum >> 8;
	raw[39] = sum;
	vhd_header_lint(raw, true, ignore, NULL);
	vhd_header_lint(raw, false, ignore, NULL);
	if (vhd_header_decode(raw, &h, NULL))
		return;
	vhd_header_encode(&h, raw);
	if (vhd_header_decode(raw, &k, NULL) || h.max_entries != k.max_entries ||
	    h.table_offset != k.table_offset || h.block_size != k.block_size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t codes[] = { VHD_CODE_MACX, VHD_CODE_W2KU, VHD_CODE_W2RU, 0, VHD_CODE_MAC };
	uint8_t padded[2048] = { 0 };
	char path[256];
	size_t i;

	memcpy(padded, data, size < sizeof(padded) ? size : sizeof(padded));
	fuzz_footer(padded);
	fuzz_header(padded + 512);
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		vhd_locator_path(codes[i], data, size < 600 ? size : 600, path, sizeof(path));
	return 0;
}
