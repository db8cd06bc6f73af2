// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Footer and dynamic header of VHD 1.0, both ways.
 *
 * Everything on disk is big-endian and 512-byte based. Decoding copies each
 * field out once and checks it before anything is computed from it. Creators
 * differ in habits that are not errors (spare feature bits, old geometry,
 * data in reserved bytes); those pass here and are named by the lint
 * functions, which look at the raw bytes again for vhd_check().
 *
 * Which size holds: Virtual PC, Virtual Server and old QEMU meant the CHS
 * product, all later tools the size field. We always write both equal in the
 * second sense and carry a creator code of our own.
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vhd/codec.h"

#define FEATURE_TEMPORARY	1u
#define FEATURE_RESERVED	2u

int vhd_fail(struct vhd_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = code;
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return -code;
}

const char *vhd_type_name(enum vhd_type type)
{
	switch (type) {
	case VHD_RAW:
		return "raw";
	case VHD_FIXED:
		return "vhd-fixed";
	case VHD_DYNAMIC:
		return "vhd-dynamic";
	case VHD_DIFF:
		return "vhd-differencing";
	}
	return "unknown";
}

uint32_t vhd_checksum(const void *buf, size_t bytes, size_t checksum_at)
{
	const uint8_t *p = buf;
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < bytes; i++)
		if (i < checksum_at || i >= checksum_at + 4)
			sum += p[i];
	return ~sum;
}

bool vhd_uuid_null(const uint8_t uuid[16])
{
	static const uint8_t zero[16];

	return !memcmp(uuid, zero, 16);
}

struct vhd_geometry vhd_geometry_of(uint64_t sectors)
{
	const uint64_t most = 65535ull * 16 * 255;
	uint32_t t = sectors > most ? most : sectors;
	uint32_t spt, heads, cth;

	if (t >= 65535u * 16 * 63) {
		spt = 255;
		heads = 16;
		cth = t / spt;
	} else {
		spt = 17;
		cth = t / spt;
		heads = (cth + 1023) / 1024;
		if (heads < 4)
			heads = 4;
		if (cth >= heads * 1024 || heads > 16) {
			spt = 31;
			heads = 16;
			cth = t / spt;
		}
		if (cth >= heads * 1024) {
			spt = 63;
			heads = 16;
			cth = t / spt;
		}
	}
	return (struct vhd_geometry){ cth / heads, heads, spt };
}

uint64_t vhd_geometry_sectors(struct vhd_geometry g)
{
	return (uint64_t)g.cylinders * g.heads * g.sectors_per_track;
}

static int footer_check_ident(const struct vhd_disk_footer *d, struct vhd_error *err)
{
	uint32_t sum = vhd_checksum(d, sizeof(*d), offsetof(struct vhd_disk_footer, checksum));

	if (!memcmp(d->cookie, "v_poison", 8))
		return vhd_fail(err, EBUSY, "the image is disabled: a tapdisk resize journal is open; revert it with vhd-util first");
	if (memcmp(d->cookie, "conectix", 8))
		return vhd_fail(err, EINVAL, "no VHD footer: the cookie is not \"conectix\"");
	if (sum != be32toh(d->checksum)) {
		struct vhd_disk_footer alt = *d;

		/* The first tapdisks set the hidden byte after summing up. */
		alt.hidden = 0;
		if (d->hidden != 1 ||
		    vhd_checksum(&alt, sizeof(alt), offsetof(struct vhd_disk_footer, checksum)) !=
		    be32toh(d->checksum))
			return vhd_fail(err, EINVAL, "the footer's checksum is %08x, its bytes give %08x",
					be32toh(d->checksum), sum);
	}
	if (be32toh(d->version) >> 16 != 1)
		return vhd_fail(err, EINVAL, "footer format version %u.%u is not known (1.0 is)",
				be32toh(d->version) >> 16, be32toh(d->version) & 0xffff);
	return 0;
}

static int footer_check_values(const struct vhd_footer *f, struct vhd_error *err)
{
	uint64_t size;

	if (f->type != VHD_FIXED && f->type != VHD_DYNAMIC && f->type != VHD_DIFF)
		return vhd_fail(err, EINVAL, "disk type %u is not one of fixed (2), dynamic (3), differencing (4)",
				(unsigned int)f->type);
	if (f->type == VHD_FIXED) {
		if (f->data_offset != VHD_NO_OFFSET && f->data_offset != 0xffffffffu)
			return vhd_fail(err, EINVAL, "a fixed disk's footer points to a header at %llu",
					(unsigned long long)f->data_offset);
	} else if (f->data_offset < VHD_FOOTER_BYTES || f->data_offset % VHD_SECTOR ||
		   f->data_offset > (1ull << 41)) {
		return vhd_fail(err, EINVAL, "the footer's header offset %llu is impossible",
				(unsigned long long)f->data_offset);
	}
	size = vhd_footer_size(f);
	if (!size || size % VHD_SECTOR)
		return vhd_fail(err, EINVAL, "the disk size %llu is not a positive multiple of 512",
				(unsigned long long)size);
	if (size > (f->type == VHD_FIXED ? 1ull << 62 : 1ull << 41))
		return vhd_fail(err, EFBIG, "the disk size %llu is more than the format can address",
				(unsigned long long)size);
	return 0;
}

int vhd_footer_decode(const void *raw, struct vhd_footer *f, struct vhd_error *err)
{
	struct vhd_disk_footer d;
	int ret;

	memcpy(&d, raw, sizeof(d));
	ret = footer_check_ident(&d, err);
	if (ret)
		return ret;
	memset(f, 0, sizeof(*f));
	f->features = be32toh(d.features);
	f->version = be32toh(d.version);
	f->data_offset = be64toh(d.data_offset);
	f->timestamp = be32toh(d.timestamp);
	memcpy(f->creator, d.creator, 4);
	f->creator_version = be32toh(d.creator_version);
	f->creator_os = be32toh(d.creator_os);
	f->original_size = be64toh(d.original_size);
	f->current_size = be64toh(d.current_size);
	f->geometry.cylinders = be16toh(d.cylinders);
	f->geometry.heads = d.heads;
	f->geometry.sectors_per_track = d.sectors_per_track;
	f->type = be32toh(d.type);
	memcpy(f->uuid, d.uuid, 16);
	f->saved_state = d.saved_state;
	f->hidden = d.hidden;
	return footer_check_values(f, err);
}

void vhd_footer_encode(const struct vhd_footer *f, void *raw)
{
	struct vhd_disk_footer d;

	memset(&d, 0, sizeof(d));
	memcpy(d.cookie, "conectix", 8);
	d.features = htobe32(f->features | FEATURE_RESERVED);
	d.version = htobe32(f->version);
	d.data_offset = htobe64(f->data_offset);
	d.timestamp = htobe32(f->timestamp);
	memcpy(d.creator, f->creator, 4);
	d.creator_version = htobe32(f->creator_version);
	d.creator_os = htobe32(f->creator_os);
	d.original_size = htobe64(f->original_size);
	d.current_size = htobe64(f->current_size);
	d.cylinders = htobe16(f->geometry.cylinders);
	d.heads = f->geometry.heads;
	d.sectors_per_track = f->geometry.sectors_per_track;
	d.type = htobe32(f->type);
	memcpy(d.uuid, f->uuid, 16);
	d.saved_state = f->saved_state;
	d.hidden = f->hidden;
	d.checksum = htobe32(vhd_checksum(&d, sizeof(d),
					  offsetof(struct vhd_disk_footer, checksum)));
	memcpy(raw, &d, sizeof(d));
}

uint64_t vhd_footer_size(const struct vhd_footer *f)
{
	static const char old[][4] = { "vpc ", "vs  ", "qemu" };
	uint64_t chs = vhd_geometry_sectors(f->geometry);
	size_t i;

	for (i = 0; i < sizeof(old) / sizeof(old[0]); i++)
		if (!memcmp(f->creator, old[i], 4) && chs && chs < 65535ull * 16 * 255)
			return chs * VHD_SECTOR;
	return f->current_size;
}

static int header_check(const struct vhd_header *h, struct vhd_error *err)
{
	if (h->table_offset < VHD_FOOTER_BYTES || h->table_offset % VHD_SECTOR ||
	    h->table_offset > (1ull << 41))
		return vhd_fail(err, EINVAL, "the block table's offset %llu is impossible",
				(unsigned long long)h->table_offset);
	if (h->block_size < VHD_MIN_BLOCK || h->block_size > VHD_MAX_BLOCK ||
	    h->block_size & (h->block_size - 1))
		return vhd_fail(err, EINVAL, "the block size %u is not a power of two from 512 bytes to 16 MiB",
				h->block_size);
	if (!h->max_entries || h->max_entries > VHD_MAX_ENTRIES)
		return vhd_fail(err, EINVAL, "a block table of %u entries is not credible (1 to %u are)",
				h->max_entries, VHD_MAX_ENTRIES);
	return 0;
}

static void locator_decode(const struct vhd_disk_locator *d, struct vhd_locator *l)
{
	uint32_t space = be32toh(d->data_space);

	l->code = be32toh(d->code);
	l->length = be32toh(d->data_length);
	l->offset = be64toh(d->data_offset);
	/* The specification counts sectors, Microsoft's tools bytes. */
	if (space < VHD_SECTOR)
		l->space = space * VHD_SECTOR;
	else
		l->space = space;
}

int vhd_header_decode(const void *raw, struct vhd_header *h, struct vhd_error *err)
{
	struct vhd_disk_header d;
	uint32_t sum;
	int i;

	memcpy(&d, raw, sizeof(d));
	memset(h, 0, sizeof(*h));
	if (memcmp(d.cookie, "cxsparse", 8))
		return vhd_fail(err, EINVAL, "no dynamic disk header: the cookie is not \"cxsparse\"");
	sum = vhd_checksum(&d, sizeof(d), offsetof(struct vhd_disk_header, checksum));
	if (sum != be32toh(d.checksum))
		return vhd_fail(err, EINVAL, "the header's checksum is %08x, its bytes give %08x",
				be32toh(d.checksum), sum);
	if (be32toh(d.version) >> 16 != 1)
		return vhd_fail(err, EINVAL, "header version %u.%u is not known (1.0 is)",
				be32toh(d.version) >> 16, be32toh(d.version) & 0xffff);
	h->table_offset = be64toh(d.table_offset);
	h->max_entries = be32toh(d.max_entries);
	h->block_size = be32toh(d.block_size);
	memcpy(h->parent_uuid, d.parent_uuid, 16);
	h->parent_timestamp = be32toh(d.parent_timestamp);
	if (vhd_utf16_to_utf8((const uint8_t *)d.parent_name, sizeof(d.parent_name), true,
			      h->parent_name, sizeof(h->parent_name)) < 0)
		h->parent_name[0] = 0;
	for (i = 0; i < VHD_LOCATORS; i++)
		locator_decode(&d.locator[i], &h->locator[i]);
	return header_check(h, err);
}

void vhd_header_encode(const struct vhd_header *h, void *raw)
{
	struct vhd_disk_header d;
	int i;

	memset(&d, 0, sizeof(d));
	memcpy(d.cookie, "cxsparse", 8);
	d.data_offset = htobe64(VHD_NO_OFFSET);
	d.table_offset = htobe64(h->table_offset);
	d.version = htobe32(0x00010000);
	d.max_entries = htobe32(h->max_entries);
	d.block_size = htobe32(h->block_size);
	memcpy(d.parent_uuid, h->parent_uuid, 16);
	d.parent_timestamp = htobe32(h->parent_timestamp);
	vhd_utf8_to_utf16(h->parent_name, true, (uint8_t *)d.parent_name,
			  sizeof(d.parent_name) - 2);
	for (i = 0; i < VHD_LOCATORS; i++) {
		d.locator[i].code = htobe32(h->locator[i].code);
		d.locator[i].data_space = htobe32(h->locator[i].space);
		d.locator[i].data_length = htobe32(h->locator[i].length);
		d.locator[i].data_offset = htobe64(h->locator[i].offset);
	}
	d.checksum = htobe32(vhd_checksum(&d, sizeof(d),
					  offsetof(struct vhd_disk_header, checksum)));
	memcpy(raw, &d, sizeof(d));
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
	while (bytes--)
		if (*p++)
			return false;
	return true;
}

void vhd_footer_lint(const void *raw, uint32_t now, vhd_lint_fn found, void *opaque)
{
	struct vhd_disk_footer d;
	struct vhd_geometry g, most;
	uint32_t features;

	memcpy(&d, raw, sizeof(d));
	features = be32toh(d.features);
	if (!(features & FEATURE_RESERVED))
		found(opaque, VHD_CORRUPT, "footer: the feature bit that must be one is zero");
	if (features & ~(FEATURE_TEMPORARY | FEATURE_RESERVED))
		found(opaque, VHD_CORRUPT, "footer: unknown feature bits are set");
	if (be32toh(d.version) & 0xffff)
		found(opaque, VHD_NOTE, "footer: unknown minor format version");
	if (be32toh(d.type) == VHD_FIXED && be64toh(d.data_offset) != VHD_NO_OFFSET)
		found(opaque, VHD_NOTE, "footer: the unused header offset is not all ones");
	if (be32toh(d.timestamp) > now && be32toh(d.timestamp) - now > 1800)
		found(opaque, VHD_NOTE, "footer: the creation time lies in the future");
	g = (struct vhd_geometry){ be16toh(d.cylinders), d.heads, d.sectors_per_track };
	most = vhd_geometry_of(be64toh(d.current_size) / VHD_SECTOR);
	/* The largest geometry stands for "not expressible". */
	if (vhd_geometry_sectors(g) > vhd_geometry_sectors(most) &&
	    vhd_geometry_sectors(g) != 65535ull * 16 * 255 &&
	    vhd_geometry_sectors(g) * VHD_SECTOR > be64toh(d.current_size))
		found(opaque, VHD_NOTE, "footer: the geometry is larger than the disk");
	if (d.saved_state > 1)
		found(opaque, VHD_CORRUPT, "footer: the saved-state byte is neither 0 nor 1");
	if (d.hidden > 1)
		found(opaque, VHD_CORRUPT, "footer: the hidden byte is neither 0 nor 1");
	if (!all_zero(d.reserved, sizeof(d.reserved)))
		found(opaque, VHD_CORRUPT, "footer: reserved bytes are not zero");
	if (vhd_uuid_null(d.uuid))
		found(opaque, VHD_CORRUPT, "footer: the unique id is null");
	if (be64toh(d.current_size) % VHD_SECTOR)
		found(opaque, VHD_CORRUPT, "footer: the size is not a multiple of 512");
}

static void locators_lint(const struct vhd_disk_header *d, vhd_lint_fn found, void *opaque)
{
	static const uint32_t codes[] = { VHD_CODE_WI2R, VHD_CODE_WI2K, VHD_CODE_W2RU,
					  VHD_CODE_W2KU, VHD_CODE_MAC, VHD_CODE_MACX };
	char text[96];
	size_t c;
	int i;

	for (i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_disk_locator *l = &d->locator[i];
		uint32_t space = be32toh(l->data_space);

		if (!l->code) {
			if (!all_zero((const uint8_t *)l, sizeof(*l))) {
				snprintf(text, sizeof(text), "header: unused parent locator %d is not zero", i);
				found(opaque, VHD_CORRUPT, text);
			}
			continue;
		}
		for (c = 0; c < sizeof(codes) / sizeof(codes[0]); c++)
			if (codes[c] == be32toh(l->code))
				break;
		if (c == sizeof(codes) / sizeof(codes[0])) {
			snprintf(text, sizeof(text), "header: parent locator %d has unknown code %08x", i,
				 be32toh(l->code));
			found(opaque, VHD_CORRUPT, text);
		}
		if (space >= VHD_SECTOR && space % VHD_SECTOR) {
			snprintf(text, sizeof(text), "header: parent locator %d has space for %u bytes, not sectors",
				 i, space);
			found(opaque, VHD_CORRUPT, text);
		}
		if (be32toh(l->data_length) > (space < VHD_SECTOR ? space * VHD_SECTOR : space)) {
			snprintf(text, sizeof(text), "header: parent locator %d is longer than its space", i);
			found(opaque, VHD_CORRUPT, text);
		}
	}
}

void vhd_header_lint(const void *raw, bool differencing, vhd_lint_fn found, void *opaque)
{
	struct vhd_disk_header d;

	memcpy(&d, raw, sizeof(d));
	if (be32toh(d.version) & 0xffff)
		found(opaque, VHD_NOTE, "header: unknown minor version");
	if (be64toh(d.data_offset) != VHD_NO_OFFSET)
		found(opaque, VHD_NOTE, "header: the unused data offset is not all ones");
	if (be32toh(d.reserved) || !all_zero(d.reserved2, sizeof(d.reserved2)))
		found(opaque, VHD_CORRUPT, "header: reserved bytes are not zero");
	if (differencing) {
		locators_lint(&d, found, opaque);
		return;
	}
	if (!vhd_uuid_null(d.parent_uuid) || d.parent_timestamp ||
	    !all_zero((const uint8_t *)d.parent_name, sizeof(d.parent_name)) ||
	    !all_zero((const uint8_t *)d.locator, sizeof(d.locator)))
		found(opaque, VHD_CORRUPT, "header: a disk without parent names a parent");
}
