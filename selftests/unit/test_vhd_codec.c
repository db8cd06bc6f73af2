// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio
/*
 * The VHD codec against known vectors, and what it says to damaged images.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

static struct vhd_footer vector_footer(enum vhd_type type, uint64_t size)
{
	struct vhd_footer f = {
		.features = 2,
		.version = 0x00010000,
		.data_offset = type == VHD_FIXED ? VHD_NO_OFFSET : 512,
		.timestamp = 0x10000000,
		.creator = { 't', 'a', 'p', 0 },
		.creator_version = 0x00010003,
		.original_size = size,
		.current_size = size,
		.geometry = vhd_geometry_of(size / 512),
		.type = type,
	};
	int i;

	for (i = 0; i < 16; i++)
		f.uuid[i] = i;
	return f;
}

static uint32_t footer_sum(enum vhd_type type, uint64_t size)
{
	struct vhd_footer f = vector_footer(type, size);
	uint8_t raw[512];

	vhd_footer_encode(&f, raw);
	return (uint32_t)raw[64] << 24 | raw[65] << 16 | raw[66] << 8 | raw[67];
}

START_TEST(footer_has_the_known_bytes)
{
	static const uint8_t want[84] = {
		0x63, 0x6f, 0x6e, 0x65, 0x63, 0x74, 0x69, 0x78, 0, 0, 0, 2, 0, 1, 0, 0,
		0, 0, 0, 0, 0, 0, 2, 0, 0x10, 0, 0, 0, 0x74, 0x61, 0x70, 0, 0, 1, 0, 3,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0,
		0x01, 0x2d, 0x04, 0x11, 0, 0, 0, 3, 0xff, 0xff, 0xf9, 0x46,
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct vhd_footer f = vector_footer(VHD_DYNAMIC, 10 << 20), back;
	uint8_t raw[512];

	vhd_footer_encode(&f, raw);
	ck_assert_mem_eq(raw, want, sizeof(want));
	ck_assert_int_eq(vhd_footer_decode(raw, &back, NULL), 0);
	ck_assert_mem_eq(&back, &f, sizeof(f));
}
END_TEST

START_TEST(footer_checksums_are_the_known_ones)
{
	ck_assert_uint_eq(footer_sum(VHD_DYNAMIC, 10 << 20), 0xfffff946);
	ck_assert_uint_eq(footer_sum(VHD_FIXED, 10 << 20), 0xfffff151);
	ck_assert_uint_eq(footer_sum(VHD_DYNAMIC, 8ull << 30), 0xfffffa31);
	ck_assert_uint_eq(footer_sum(VHD_DYNAMIC, 2040ull << 30), 0xfffff5be);
}
END_TEST

START_TEST(header_checksums_are_the_known_ones)
{
	struct vhd_header h = { .table_offset = 1536, .block_size = 2 << 20, .max_entries = 5 };
	uint8_t raw[1024];

	vhd_header_encode(&h, raw);
	ck_assert_uint_eq(raw[38] << 8 | raw[39], 0xf472);
	h.max_entries = 4096;
	vhd_header_encode(&h, raw);
	ck_assert_uint_eq(raw[38] << 8 | raw[39], 0xf467);
}
END_TEST

START_TEST(geometry_follows_the_algorithm)
{
	static const struct {
		uint64_t sectors;
		struct vhd_geometry g;
	} want[] = {
		{ 20480, { 301, 4, 17 } },	 { 204800, { 1003, 12, 17 } },
		{ 2097152, { 2080, 16, 63 } },	 { 20971520, { 20805, 16, 63 } },
		{ 16777216, { 16644, 16, 63 } }, { 209715200, { 51400, 16, 255 } },
		{ 267382800, { 65535, 16, 255 } }, { 1ull << 32, { 65535, 16, 255 } },
	};
	size_t i;

	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct vhd_geometry g = vhd_geometry_of(want[i].sectors);

		ck_assert_int_eq(g.cylinders, want[i].g.cylinders);
		ck_assert_int_eq(g.heads, want[i].g.heads);
		ck_assert_int_eq(g.sectors_per_track, want[i].g.sectors_per_track);
	}
}
END_TEST

START_TEST(size_goes_by_the_creator)
{
	struct vhd_footer f = vector_footer(VHD_FIXED, 10 << 20);

	ck_assert_uint_eq(vhd_footer_size(&f), 10 << 20);
	memcpy(f.creator, "qemu", 4);
	ck_assert_uint_eq(vhd_footer_size(&f), 301u * 4 * 17 * 512);
	memcpy(f.creator, "qem2", 4);
	ck_assert_uint_eq(vhd_footer_size(&f), 10 << 20);
	memcpy(f.creator, "vpc ", 4);
	f.geometry = (struct vhd_geometry){ 65535, 16, 255 };
	ck_assert_uint_eq(vhd_footer_size(&f), 10 << 20);
}
END_TEST

START_TEST(bits_run_from_the_most_significant)
{
	uint8_t map[8] = { 0 };

	vhd_bit_set(map, 0, 1);
	ck_assert_uint_eq(map[0], 0x80);
	vhd_bit_set(map, 9, 20);
	ck_assert_uint_eq(vhd_bit_run(map, 1, 60), 8);
	ck_assert_uint_eq(vhd_bit_run(map, 9, 50), 20);
	ck_assert_uint_eq(vhd_bit_run(map, 9, 7), 7);
	ck_assert_uint_eq(vhd_bit_run(map, 29, 35), 35);
}
END_TEST

START_TEST(names_survive_both_byte_orders)
{
	static const char name[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7.vhd";
	uint8_t wide[64];
	char back[64];
	int big, n;

	for (big = 0; big < 2; big++) {
		n = vhd_utf8_to_utf16(name, big, wide, sizeof(wide));
		ck_assert_int_gt(n, 0);
		ck_assert_int_gt(vhd_utf16_to_utf8(wide, n, big, back, sizeof(back)), 0);
		ck_assert_str_eq(back, name);
	}
	ck_assert_int_lt(vhd_utf8_to_utf16("\xff", true, wide, sizeof(wide)), 0);
	ck_assert_int_lt(vhd_utf16_to_utf8((const uint8_t *)"\xd8\x00\x00\x41", 4, true, back, 64), 0);
}
END_TEST

START_TEST(locators_name_what_they_were_given)
{
	static const uint32_t codes[] = { VHD_CODE_MACX, VHD_CODE_W2KU, VHD_CODE_W2RU };
	uint8_t payload[512];
	char path[256];
	int i, n;

	for (i = 0; i < 3; i++) {
		n = vhd_locator_payload(codes[i], "../gold/base disk.vhd", payload, sizeof(payload));
		ck_assert_int_gt(n, 0);
		ck_assert_int_gt(vhd_locator_path(codes[i], payload, n, path, sizeof(path)), 0);
		ck_assert_str_eq(path, "./../gold/base disk.vhd");
	}
	n = vhd_utf8_to_utf16("C:\\vm\\gold.vhd", false, payload, sizeof(payload));
	ck_assert_int_gt(vhd_locator_path(VHD_CODE_W2KU, payload, n, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/vm/gold.vhd");
}
END_TEST

/* One damage and the words its message must hold. */
struct damage {
	const char *name;
	uint64_t at;		/* in the file; from the end if END is added */
	uint32_t bytes;
	uint64_t value;		/* big-endian */
	int seal;		/* 0 no checksum, 1 both footers, 2 header, 3 only the copy, 4 the trailing one */
	const char *words;
};

#define END	(1ull << 40)
#define FOOT(o)	((o) | END)

static const struct damage damages[] = {
	{ "cookie", 0, 1, 'x', 1, "cookie" },
	{ "checksum", 40, 1, 0x55, 0, "checksum" },
	{ "version", 12, 4, 0x00020000, 1, "version 2.0" },
	{ "type", 60, 4, 6, 1, "disk type 6" },
	{ "poison", 0, 8, 0x765f706f69736f6eull, 1, "tapdisk" },
	{ "size zero", 48, 8, 0, 1, "disk size 0" },
	{ "size odd", 48, 8, 1000, 1, "multiple of 512" },
	{ "size vast", 48, 8, 1ull << 50, 1, "more than the format" },
	{ "header offset odd", 16, 8, 513, 1, "header offset" },
	{ "header offset far", 16, 8, 1 << 30, 1, "behind the end" },
	{ "header cookie", 512, 1, 'x', 2, "cxsparse" },
	{ "header checksum", 512 + 40, 1, 1, 0, "checksum" },
	{ "header version", 512 + 24, 4, 0x00030000, 2, "header version" },
	{ "table at 0", 512 + 16, 8, 0, 2, "offset 0 is impossible" },
	{ "table odd", 512 + 16, 8, 1537, 2, "offset 1537 is impossible" },
	{ "table far", 512 + 16, 8, 1 << 30, 2, "behind the end" },
	{ "table over header", 512 + 16, 8, 1024, 2, "overlaps the header" },
	{ "block size 0", 512 + 32, 4, 0, 2, "block size 0" },
	{ "block size odd", 512 + 32, 4, 65537, 2, "power of two" },
	{ "block size vast", 512 + 32, 4, 1u << 31, 2, "power of two" },
	{ "no entries", 512 + 28, 4, 0, 2, "0 entries" },
	{ "too many entries", 512 + 28, 4, 0xffffffff, 2, "not credible" },
	{ "too few entries", 512 + 28, 4, 3, 2, "the disk needs" },
	{ "block in metadata", 1536, 4, 1, 0, "metadata" },
	{ "block at 0", 1536, 4, 0, 0, "metadata" },
	{ "block behind the end", 1536, 4, 0x00ffffff, 0, "behind the end" },
	{ "blocks overlap", 1536 + 4, 4, 16, 0, "overlap" },
	{ "reserved bytes", 100, 1, 7, 1, "reserved" },
	{ "feature bits", 8, 4, 0xf2, 1, "feature bits" },
	{ "no feature bit", 8, 4, 0, 1, "feature bit" },
	{ "null id", 68, 8, 0, 5, "unique id" },
	{ "saved state", 84, 1, 9, 1, "saved-state" },
	{ "hidden", 85, 1, 9, 1, "hidden" },
	{ "only the copy's cookie", 0, 1, 'x', 3, "copy at 0 is damaged" },
	{ "copies differ", 24, 4, 5, 3, "differ" },
	{ "trailing footer lost", 0, 1, 'x', 4, "not closed properly" },
	{ "parent of a dynamic disk", 512 + 40, 1, 1, 2, "names a parent" },
	{ "header reserved", 512 + 60, 4, 1, 2, "reserved" },
};

static uint8_t *sample;
static size_t sample_size;

static void must(bool ok)
{
	/* Runs before the first test, where Check cannot report. */
	if (!ok) {
		fprintf(stderr, "the sample image could not be made\n");
		exit(1);
	}
}

/* A dynamic image of 1 MiB in 64 KiB blocks, two of them in use. */
static void sample_make(void)
{
	struct memdisk *d = memdisk_create(0, 200 << 20, false, 1);
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = 1 << 20, .block_size = 65536 };
	struct store *s = memdisk_open(d, false);
	struct vhd_error err;
	struct vhd_queue *q;
	uint8_t data[512];
	struct vhd *v;

	memset(data, 0x11, sizeof(data));
	must(!create_on_store(s, "x", &p, &err));
	s->ops->close(s);
	must(!image_open_store(memdisk_open(d, false), "x", 0, &v, &err));
	q = vhd_queue_create(v, 8);
	must(!vhd_pwrite(q, data, 512, 0));
	must(!vhd_pwrite(q, data, 512, 65536));
	vhd_queue_destroy(q);
	must(!vhd_close(v));
	sample_size = memdisk_size(d);
	sample = malloc(sample_size);
	memcpy(sample, memdisk_bytes(d), sample_size);
	memdisk_destroy(d);
}

static void put_be(uint8_t *p, uint32_t bytes, uint64_t value)
{
	while (bytes--) {
		p[bytes] = value;
		value >>= 8;
	}
}

static void seal(uint8_t *b, size_t bytes, size_t at)
{
	put_be(b + at, 4, vhd_checksum(b, bytes, at));
}

static void damage_do(const struct damage *d, uint8_t *b)
{
	uint8_t *foot = b + sample_size - 512;

	if (d->seal != 4)
		put_be(b + d->at, d->bytes, d->value);
	if (d->seal == 1 || d->seal == 4 || d->seal == 5 || (!d->seal && d->at < 512))
		put_be(foot + d->at, d->bytes, d->value);
	if (d->seal == 5) {
		put_be(b + d->at + 8, 8, 0);
		put_be(foot + d->at + 8, 8, 0);
	}
	if (d->seal == 1 || d->seal == 3 || d->seal == 5)
		seal(b, 512, 64);
	if (d->seal == 1 || d->seal == 4 || d->seal == 5)
		seal(foot, 512, 64);
	if (d->seal == 2)
		seal(b + 512, 1024, 36);
}

static char findings[8192];

static void collect(void *opaque, enum vhd_severity severity, const char *text)
{
	(void)opaque;
	(void)severity;
	strncat(findings, text, sizeof(findings) - strlen(findings) - 2);
	strcat(findings, "\n");
}

START_TEST(each_damage_is_named)
{
	const struct damage *d = &damages[_i];
	char name[] = "/tmp/lodge-vhd-XXXXXX";
	struct vhd_check c = { .found = collect };
	struct vhd_error err = { 0 };
	uint8_t *b = malloc(sample_size);
	int fd = mkstemp(name);
	struct vhd *v;
	FILE *f;

	ck_assert_int_ge(fd, 0);
	memcpy(b, sample, sample_size);
	damage_do(d, b);
	f = fdopen(fd, "w");
	ck_assert_uint_eq(fwrite(b, 1, sample_size, f), sample_size);
	fclose(f);
	findings[0] = 0;
	ck_assert_int_eq(vhd_check(name, &c, &err), 0);
	ck_assert_msg(c.corruptions + c.leaks > 0, "%s: check found nothing", d->name);
	ck_assert_msg(strstr(findings, d->words) != NULL, "%s: check said only: %s", d->name, findings);
	/* Opening either refuses with a sentence or gets along; it never crashes. */
	if (!vhd_open(name, VHD_O_RDONLY, &v, &err))
		vhd_close(v);
	else
		ck_assert(err.text[0]);
	unlink(name);
	free(b);
}
END_TEST

START_TEST(sample_is_in_order)
{
	char name[] = "/tmp/lodge-vhd-XXXXXX";
	struct vhd_check c = { .found = collect, .bitmaps = true };
	int fd = mkstemp(name);

	findings[0] = 0;
	ck_assert_int_eq(write(fd, sample, sample_size), sample_size);
	close(fd);
	ck_assert_int_eq(vhd_check(name, &c, NULL), 0);
	ck_assert_msg(!c.corruptions && !c.leaks && !c.notes, "%s", findings);
	ck_assert_uint_eq(c.blocks_used, 2);
	unlink(name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_codec");
	TCase *t = tcase_create("codec");
	SRunner *r = srunner_create(s);
	int failed;

	sample_make();
	tcase_add_test(t, footer_has_the_known_bytes);
	tcase_add_test(t, footer_checksums_are_the_known_ones);
	tcase_add_test(t, header_checksums_are_the_known_ones);
	tcase_add_test(t, geometry_follows_the_algorithm);
	tcase_add_test(t, size_goes_by_the_creator);
	tcase_add_test(t, bits_run_from_the_most_significant);
	tcase_add_test(t, names_survive_both_byte_orders);
	tcase_add_test(t, locators_name_what_they_were_given);
	tcase_add_test(t, sample_is_in_order);
	tcase_add_loop_test(t, each_damage_is_named, 0, sizeof(damages) / sizeof(damages[0]));
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	free(sample);
	return failed ? 1 : 0;
}
