/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The on-disk structures of VHD 1.0 and their decoded forms. Pure: no file,
 * no clock, no allocation.
 */
#ifndef VHD_CODEC_H
#define VHD_CODEC_H

#include <lodge/vhd.h>
#include <linux/types.h>

#define VHD_FOOTER_BYTES	512
#define VHD_HEADER_BYTES	1024
#define VHD_HEADER_OFFSET	512
#define VHD_TABLE_OFFSET	1536
#define VHD_UNUSED		0xffffffffu	/* BAT entry of an unallocated block */
#define VHD_NO_OFFSET		0xffffffffffffffffull
#define VHD_EPOCH		946684800ll	/* 2000-01-01 in Unix time */
#define VHD_LOCATORS		8
#define VHD_MIN_BLOCK		512u
#define VHD_MAX_BLOCK		0x1000000u	/* 16 MiB: a bitmap fits one page */
#define VHD_MAX_ENTRIES		(1u << 24)

#define VHD_CREATOR_LODGE	0x6c646765u	/* "ldge" */
#define VHD_CREATOR_VERSION	0x00010000u

#define VHD_CODE_NONE		0x00000000u
#define VHD_CODE_WI2R		0x57693272u
#define VHD_CODE_WI2K		0x5769326bu
#define VHD_CODE_W2RU		0x57327275u
#define VHD_CODE_W2KU		0x57326b75u
#define VHD_CODE_MAC		0x4d616320u
#define VHD_CODE_MACX		0x4d616358u

struct vhd_disk_footer {
	char cookie[8];
	__be32 features;
	__be32 version;
	__be64 data_offset;
	__be32 timestamp;
	char creator[4];
	__be32 creator_version;
	__be32 creator_os;
	__be64 original_size;
	__be64 current_size;
	__be16 cylinders;
	__u8 heads;
	__u8 sectors_per_track;
	__be32 type;
	__be32 checksum;
	__u8 uuid[16];
	__u8 saved_state;
	__u8 hidden;
	__u8 reserved[426];
} __attribute__((packed));

struct vhd_disk_locator {
	__be32 code;
	__be32 data_space;
	__be32 data_length;
	__be32 reserved;
	__be64 data_offset;
} __attribute__((packed));

struct vhd_disk_header {
	char cookie[8];
	__be64 data_offset;
	__be64 table_offset;
	__be32 version;
	__be32 max_entries;
	__be32 block_size;
	__be32 checksum;
	__u8 parent_uuid[16];
	__be32 parent_timestamp;
	__be32 reserved;
	__be16 parent_name[256];
	struct vhd_disk_locator locator[VHD_LOCATORS];
	__u8 reserved2[256];
} __attribute__((packed));

_Static_assert(sizeof(struct vhd_disk_footer) == VHD_FOOTER_BYTES, "footer");
_Static_assert(sizeof(struct vhd_disk_header) == VHD_HEADER_BYTES, "header");

struct vhd_geometry {
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors_per_track;
};

struct vhd_footer {
	uint32_t features;
	uint32_t version;
	uint64_t data_offset;
	uint32_t timestamp;
	char creator[4];
	uint32_t creator_version;
	uint32_t creator_os;
	uint64_t original_size;
	uint64_t current_size;
	struct vhd_geometry geometry;
	enum vhd_type type;
	uint8_t uuid[16];
	uint8_t saved_state;
	uint8_t hidden;
};

struct vhd_locator {
	uint32_t code;
	uint32_t space;		/* bytes, units resolved */
	uint32_t length;	/* bytes */
	uint64_t offset;
};

struct vhd_header {
	uint64_t table_offset;
	uint32_t max_entries;
	uint32_t block_size;
	uint8_t parent_uuid[16];
	uint32_t parent_timestamp;
	char parent_name[768];	/* UTF-8 */
	struct vhd_locator locator[VHD_LOCATORS];
};

/* Fills @err (may be NULL) and returns -code. */
int vhd_fail(struct vhd_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

uint32_t vhd_checksum(const void *buf, size_t bytes, size_t checksum_at);
bool vhd_uuid_null(const uint8_t uuid[16]);

struct vhd_geometry vhd_geometry_of(uint64_t sectors);
uint64_t vhd_geometry_sectors(struct vhd_geometry g);

/*
 * Decoding fails with -EINVAL and a sentence unless everything that reading
 * or writing the image relies on is right. What is odd but harmless passes,
 * and is what the lint functions are for.
 */
int vhd_footer_decode(const void *raw, struct vhd_footer *footer, struct vhd_error *err);
void vhd_footer_encode(const struct vhd_footer *footer, void *raw);
int vhd_header_decode(const void *raw, struct vhd_header *header, struct vhd_error *err);
void vhd_header_encode(const struct vhd_header *header, void *raw);

/* The guest-visible size, by the creator's habits. */
uint64_t vhd_footer_size(const struct vhd_footer *footer);

typedef void (*vhd_lint_fn)(void *opaque, enum vhd_severity severity, const char *text);
void vhd_footer_lint(const void *raw, uint32_t now, vhd_lint_fn found, void *opaque);
void vhd_header_lint(const void *raw, bool differencing, vhd_lint_fn found, void *opaque);

/* Block arithmetic. */
static inline uint32_t vhd_bitmap_bytes(uint32_t block_size)
{
	uint32_t bytes = (block_size / VHD_SECTOR + 7) / 8;

	return (bytes + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

static inline uint64_t vhd_table_bytes(uint32_t entries)
{
	return ((uint64_t)entries * 4 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* Sector bitmaps: most significant bit first. */
static inline bool vhd_bit_test(const uint8_t *map, uint32_t n)
{
	return map[n >> 3] & (0x80u >> (n & 7));
}

void vhd_bit_set(uint8_t *map, uint32_t first, uint32_t count);
/* Length of the run of equal bits that starts at @first, at most @count. */
uint32_t vhd_bit_run(const uint8_t *map, uint32_t first, uint32_t count);

/* Names. Sizes in bytes; -EINVAL when malformed or too long. */
int vhd_utf16_to_utf8(const uint8_t *in, size_t bytes, bool big, char *out, size_t room);
int vhd_utf8_to_utf16(const char *in, bool big, uint8_t *out, size_t room);
/* A locator's payload as a host path (backslashes turned, drive cut off). */
int vhd_locator_path(uint32_t code, const uint8_t *payload, size_t bytes, char *out, size_t room);
/* The payload of a locator for @path; returns its length or -EINVAL. */
int vhd_locator_payload(uint32_t code, const char *path, uint8_t *out, size_t room);

#endif
