// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bzImage: setup header checks, the zero page, page tables for the 64-bit entry.
 *
 * The 64-bit entry point lies 0x200 into the protected-mode code and is entered with paging on
 * and kernel, zero page and command line identity-mapped; the first 4 GiB are mapped here with
 * 2 MiB pages. Segments: 0x10 code, 0x18 data.
 */
#include "vmm/boot_bzimage.h"

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#define HDR 0x1f1
#define HDR_SETUP_SECTS 0x1f1
#define HDR_BOOT_FLAG 0x1fe
#define HDR_JUMP 0x200
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_KERNEL_VERSION 0x20e
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_MAX 0x22c
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END 0x264

#define ZP_ACPI_RSDP 0x070
#define ZP_E820_COUNT 0x1e8
#define ZP_E820 0x2d0

#define VERSION_2_12 0x020c
#define LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x01
#define ENTRY_64 0x200
#define SECTOR 512

#define PTE_PRESENT_WRITE 0x3ULL
#define PTE_LARGE 0x80ULL

static u16 get16(const u8 *p)
{
	return p[0] | p[1] << 8;
}

static u32 get32(const u8 *p)
{
	return get16(p) | (u32)get16(p + 2) << 16;
}

static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

static void put32(u8 *p, u32 v)
{
	memcpy(p, &v, sizeof(v));
}

static int refuse(struct err *e, const char *path, const char *why)
{
	return err_set(e, ENOEXEC,
		       "cannot boot %s: %s; try: -k with an x86-64 Linux bzImage or a vmlinux with "
		       "a PVH note",
		       path, why);
}

static void copy_version(const u8 *head, size_t len, struct bzimage *bz)
{
	size_t off = (size_t)get16(head + HDR_KERNEL_VERSION) + 0x200, n = 0;

	while (off > 0x200 && off + n < len && n < sizeof(bz->version) - 1 &&
	       isprint(head[off + n])) {
		bz->version[n] = head[off + n];
		n++;
	}
	bz->version[n] = '\0';
}

int bzimage_parse(const u8 *head, size_t len, u64 size, const char *path, struct bzimage *bz,
		  struct err *e)
{
	u32 sects;

	memset(bz, 0, sizeof(*bz));
	if (len < HDR_END || get16(head + HDR_BOOT_FLAG) != 0xaa55 ||
	    memcmp(head + HDR_MAGIC, "HdrS", 4))
		return refuse(e, path, "it is neither a bzImage nor ELF");
	if (get16(head + HDR_VERSION) < VERSION_2_12)
		return refuse(e, path, "its boot protocol is older than 2.12");
	if (!(head[HDR_LOADFLAGS] & LOADED_HIGH))
		return refuse(e, path, "it is a zImage that loads below 1 MiB");
	if (!(get16(head + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return refuse(e, path, "it has no 64-bit entry point");
	sects = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
	bz->payload_off = (u64)(sects + 1) * SECTOR;
	if (size <= bz->payload_off + ENTRY_64)
		return refuse(e, path, "the file ends before the kernel proper begins");
	bz->payload_len = size - bz->payload_off;
	bz->load_addr = get64(head + HDR_PREF_ADDRESS);
	bz->init_size = get32(head + HDR_INIT_SIZE);
	bz->initrd_max = get32(head + HDR_INITRD_MAX);
	bz->cmdline_max = get32(head + HDR_CMDLINE_SIZE);
	bz->header_len = HDR_MAGIC + head[HDR_JUMP + 1] - HDR;
	if (bz->header_len < HDR_END - HDR)
		return refuse(e, path, "its setup header is too short");
	if (bz->header_len > ZP_E820 - HDR || HDR + bz->header_len > len)
		return refuse(e, path, "its setup header is longer than the zero page");
	if (bz->load_addr < BOOT_HIGH_RAM || bz->load_addr % 4096 ||
	    bz->load_addr >= MEM_LOW_END)
		return refuse(e, path, "its load address is impossible");
	if (bz->init_size < bz->payload_len)
		bz->init_size = bz->payload_len;
	copy_version(head, len, bz);
	return 0;
}

int bzimage_release(int fd, char *buf, size_t room)
{
	u8 head[1 << 15];
	struct bzimage bz;
	ssize_t n = pread(fd, head, sizeof(head), 0);
	size_t i;
	int r;

	if (n < 0)
		return -errno;
	r = bzimage_parse(head, n, UINT32_MAX, "", &bz, NULL);
	if (r < 0)
		return r;
	for (i = 0; bz.version[i] && bz.version[i] != ' '; i++)
		;
	bz.version[i] = '\0';
	if (!i || i >= room || strchr(bz.version, '/'))
		return -ENOENT;
	memcpy(buf, bz.version, i + 1);
	return 0;
}

static int write_page_tables(struct guest_mem *mem)
{
	u64 pdpt = BOOT_PML4 + 0x1000, pd = BOOT_PML4 + 0x2000;
	u64 *t = mem_ptr(mem, BOOT_PML4, 6 * 4096);
	unsigned int i;

	if (!t)
		return -EFAULT;
	t[0] = pdpt | PTE_PRESENT_WRITE;
	for (i = 0; i < 4; i++)
		t[512 + i] = (pd + i * 4096) | PTE_PRESENT_WRITE;
	for (i = 0; i < 4 * 512; i++)
		t[1024 + i] = i * 2 * MIB | PTE_PRESENT_WRITE | PTE_LARGE;
	mem_dirty(mem, BOOT_PML4, 6 * 4096);
	return 0;
}

static void write_e820(const struct guest_mem *mem, u8 *zp)
{
	struct boot_range map[BOOT_MAP_MAX];
	unsigned int n = boot_map(mem, map), i;

	zp[ZP_E820_COUNT] = n;
	for (i = 0; i < n; i++) {
		memcpy(zp + ZP_E820 + i * 20, &map[i].start, 8);
		memcpy(zp + ZP_E820 + i * 20 + 8, &map[i].len, 8);
		put32(zp + ZP_E820 + i * 20 + 16, map[i].type);
	}
}

int boot_bzimage_load(struct guest_mem *mem, const struct boot_config *cfg, const u8 *head,
		      size_t len, u64 size, struct boot_entry *entry, struct err *e)
{
	u64 low = mem->region[0].size, top, rd, rd_len;
	struct bzimage bz;
	u8 *zp;
	int r;

	r = bzimage_parse(head, len, size, cfg->kernel_path, &bz, e);
	if (r < 0)
		return r;
	if (strlen(cfg->cmdline) > bz.cmdline_max)
		return err_set(e, E2BIG, "kernel %s takes a command line of %u bytes, not %zu",
			       cfg->kernel_path, bz.cmdline_max, strlen(cfg->cmdline));
	if (bz.init_size > low || bz.load_addr > low - bz.init_size)
		return err_set(e, ENOSPC,
			       "kernel %s needs more memory; try: -m with at least %llu MiB",
			       cfg->kernel_path,
			       (unsigned long long)((bz.load_addr + bz.init_size) / MIB + 16));
	r = boot_read(mem, cfg->kernel_fd, cfg->kernel_path, bz.payload_off, bz.load_addr,
		      bz.payload_len, e);
	if (r < 0)
		return r;
	top = bz.initrd_max && bz.initrd_max < low ? bz.initrd_max + 1 : low;
	r = boot_initrd(mem, cfg, bz.load_addr + bz.init_size, top, &rd, &rd_len, e);
	if (r < 0)
		return r;
	zp = mem_ptr(mem, BOOT_ZERO_PAGE, 4096);
	if (!zp || write_page_tables(mem) < 0)
		return err_set(e, ENOSPC, "guest memory is too small; try: -m 64");
	memcpy(zp + HDR, head + HDR, bz.header_len);
	zp[HDR_TYPE_OF_LOADER] = 0xff;
	put32(zp + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
	put32(zp + HDR_RAMDISK_IMAGE, rd);
	put32(zp + HDR_RAMDISK_SIZE, rd_len);
	memcpy(zp + ZP_ACPI_RSDP, &cfg->rsdp, 8);
	write_e820(mem, zp);
	mem_dirty(mem, BOOT_ZERO_PAGE, 4096);
	entry->long_mode = true;
	entry->ip = bz.load_addr + ENTRY_64;
	entry->arg = BOOT_ZERO_PAGE;
	return 0;
}
