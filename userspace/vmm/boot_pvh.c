// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PVH: load the ELF segments at their physical addresses, fill hvm_start_info, enter in flat
 * 32-bit protected mode without paging, ebx pointing to the start info.
 *
 * The entry is 32-bit code even in a 64-bit kernel, so ELF of either class will do. What matters
 * of their headers is brought into one form first.
 */
#include "vmm/boot_pvh.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define NOTE_PHYS32_ENTRY 18
#define NOTES_MAX (64 * KIB)
#define START_MAGIC 0x336ec578
#define MODLIST (BOOT_START_INFO + 0x40)
#define MEMMAP (BOOT_START_INFO + 0x80)

struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};

struct modlist_entry {
	u64 addr, size, cmdline, reserved;
};

struct memmap_entry {
	u64 addr, size;
	u32 type, reserved;
};

_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info version 1 has 56 bytes");

static int refuse(struct err *e, const char *path, const char *why)
{
	return err_set(e, ENOEXEC,
		       "cannot boot %s: %s; try: a bzImage, or a vmlinux built with CONFIG_PVH",
		       path, why);
}

struct elf_header {
	u64 phoff;
	unsigned int phnum, phsize;
};

struct elf_segment {
	u32 type;
	u64 offset, filesz, paddr, memsz;
};

static int read_header(const u8 *head, size_t len, const char *path, struct elf_header *h, struct err *e)
{
	bool wide;

	if (len < sizeof(Elf32_Ehdr) || memcmp(head, ELFMAG, SELFMAG))
		return refuse(e, path, "it is not ELF");
	wide = head[EI_CLASS] == ELFCLASS64;
	if ((!wide && head[EI_CLASS] != ELFCLASS32) || head[EI_DATA] != ELFDATA2LSB)
		return refuse(e, path, "it is not ELF for x86");
	if (wide) {
		Elf64_Ehdr eh;

		if (len < sizeof(eh))
			return refuse(e, path, "its ELF header is cut short");
		memcpy(&eh, head, sizeof(eh));
		if (eh.e_machine != EM_X86_64)
			return refuse(e, path, "it is not ELF for x86");
		*h = (struct elf_header){ eh.e_phoff, eh.e_phnum, sizeof(Elf64_Phdr) };
		if (eh.e_phentsize != h->phsize)
			h->phnum = 0;
	} else {
		Elf32_Ehdr eh;

		memcpy(&eh, head, sizeof(eh));
		if (eh.e_machine != EM_386)
			return refuse(e, path, "it is not ELF for x86");
		*h = (struct elf_header){ eh.e_phoff, eh.e_phnum, sizeof(Elf32_Phdr) };
		if (eh.e_phentsize != h->phsize)
			h->phnum = 0;
	}
	return h->phnum ? 0 : refuse(e, path, "it has no ELF program headers");
}

static struct elf_segment read_segment(const u8 *at, unsigned int size)
{
	Elf32_Phdr narrow;
	Elf64_Phdr wide;

	if (size == sizeof(wide)) {
		memcpy(&wide, at, sizeof(wide));
		return (struct elf_segment){ wide.p_type, wide.p_offset, wide.p_filesz, wide.p_paddr,
					     wide.p_memsz };
	}
	memcpy(&narrow, at, sizeof(narrow));
	return (struct elf_segment){ narrow.p_type, narrow.p_offset, narrow.p_filesz, narrow.p_paddr,
				     narrow.p_memsz };
}

static int add_segment(struct pvh_image *img, const struct elf_segment *ph, u64 size, const char *path,
		       struct err *e)
{
	struct pvh_segment *s;

	if (ph->type != PT_NOTE && (ph->type != PT_LOAD || !ph->memsz))
		return 0;
	if (ph->offset > size || ph->filesz > size - ph->offset)
		return refuse(e, path, "an ELF segment lies outside the file");
	if (ph->type == PT_NOTE) {
		if (img->notes == PVH_NOTES)
			return refuse(e, path, "it has too many ELF notes");
		img->note[img->notes].off = ph->offset;
		img->note[img->notes++].len = ph->filesz;
		return 0;
	}
	if (img->count == PVH_SEGMENTS)
		return refuse(e, path, "it has too many ELF segments");
	if (ph->filesz > ph->memsz || ph->paddr < BOOT_HIGH_RAM || ph->paddr + ph->memsz < ph->paddr)
		return refuse(e, path, "an ELF segment has impossible addresses");
	s = &img->seg[img->count++];
	s->file_off = ph->offset;
	s->file_len = ph->filesz;
	s->addr = ph->paddr;
	s->mem_len = ph->memsz;
	return 0;
}

int pvh_parse(const u8 *head, size_t len, u64 size, const char *path, struct pvh_image *img,
	      struct err *e)
{
	struct elf_segment ph;
	struct elf_header h;
	unsigned int i;
	u64 off;
	int r;

	memset(img, 0, sizeof(*img));
	r = read_header(head, len, path, &h, e);
	if (r < 0)
		return r;
	for (i = 0; i < h.phnum; i++) {
		off = h.phoff + (u64)i * h.phsize;
		if (off < h.phoff || len < h.phsize || off > len - h.phsize)
			return refuse(e, path, "its ELF program headers are out of reach");
		ph = read_segment(head + off, h.phsize);
		r = add_segment(img, &ph, size, path, e);
		if (r < 0)
			return r;
	}
	if (!img->count)
		return refuse(e, path, "it has nothing to load");
	if (!img->notes)
		return refuse(e, path, "it has no PVH note");
	return 0;
}

int pvh_find_entry(const u8 *notes, size_t len, u64 *entry)
{
	size_t at = 0, name, desc;
	Elf64_Nhdr nh;

	while (len - at >= sizeof(nh)) {
		memcpy(&nh, notes + at, sizeof(nh));
		name = at + sizeof(nh);
		if (nh.n_namesz > len - name)
			return -ENOENT;
		desc = name + ALIGN_UP((size_t)nh.n_namesz, 4);
		if (desc > len || nh.n_descsz > len - desc)
			return -ENOENT;
		if (nh.n_type == NOTE_PHYS32_ENTRY && nh.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (nh.n_descsz == 4 || nh.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + desc, nh.n_descsz);
			return 0;
		}
		at = desc + ALIGN_UP((size_t)nh.n_descsz, 4);
		if (at > len)
			return -ENOENT;
	}
	return -ENOENT;
}

static int read_notes(const struct boot_config *cfg, u64 off, u64 len, u64 *entry)
{
	u8 *notes;
	ssize_t n;
	int r;

	len = len < NOTES_MAX ? len : NOTES_MAX;
	notes = malloc(len + 1);
	if (!notes)
		return -ENOMEM;
	n = pread(cfg->kernel_fd, notes, len, off);
	r = n < 0 ? -errno : pvh_find_entry(notes, n, entry);
	free(notes);
	return r;
}

static int read_entry(const struct boot_config *cfg, const struct pvh_image *img, u64 *entry,
		      struct err *e)
{
	unsigned int i;
	int r = -ENOENT;

	for (i = 0; i < img->notes && r == -ENOENT; i++)
		r = read_notes(cfg, img->note[i].off, img->note[i].len, entry);
	if (r == -ENOENT)
		return refuse(e, cfg->kernel_path, "it has no PVH entry note");
	if (r < 0)
		return err_set(e, -r, "cannot read the notes of %s: %s", cfg->kernel_path, strerror(-r));
	return 0;
}

static void put_memmap(struct guest_mem *mem, struct start_info *si)
{
	struct boot_range map[BOOT_MAP_MAX];
	struct memmap_entry m;
	unsigned int n = boot_map(mem, map), i;

	for (i = 0; i < n; i++) {
		m = (struct memmap_entry){ map[i].start, map[i].len, map[i].type, 0 };
		mem_write(mem, MEMMAP + i * sizeof(m), &m, sizeof(m));
	}
	si->memmap = MEMMAP;
	si->memmap_entries = n;
}

int boot_pvh_load(struct guest_mem *mem, const struct boot_config *cfg, const u8 *head, size_t len,
		  u64 size, struct boot_entry *entry, struct err *e)
{
	struct start_info si = { .magic = START_MAGIC, .version = 1 };
	u64 end = 0, rd, rd_len, at;
	struct modlist_entry mod;
	struct pvh_image img;
	unsigned int i;
	int r;

	r = pvh_parse(head, len, size, cfg->kernel_path, &img, e);
	if (!r)
		r = read_entry(cfg, &img, &at, e);
	if (r < 0)
		return r;
	for (i = 0; i < img.count; i++) {
		struct pvh_segment *s = &img.seg[i];

		if (!mem_ptr(mem, s->addr, s->mem_len))
			return err_set(e, ENOSPC,
				       "kernel %s does not fit into guest memory; try: -m with at "
				       "least %llu MiB",
				       cfg->kernel_path,
				       (unsigned long long)((s->addr + s->mem_len) / MIB + 16));
		r = boot_read(mem, cfg->kernel_fd, cfg->kernel_path, s->file_off, s->addr,
			      s->file_len, e);
		if (r < 0)
			return r;
		if (s->addr + s->mem_len > end)
			end = s->addr + s->mem_len;
	}
	if (at > UINT32_MAX || !mem_ptr(mem, at, 1))
		return refuse(e, cfg->kernel_path, "its entry point lies outside memory");
	r = boot_initrd(mem, cfg, ALIGN_UP(end, 2 * MIB), mem->region[0].size, &rd, &rd_len, e);
	if (r < 0)
		return r;
	if (rd_len) {
		mod = (struct modlist_entry){ rd, rd_len, 0, 0 };
		mem_write(mem, MODLIST, &mod, sizeof(mod));
		si.nr_modules = 1;
		si.modlist = MODLIST;
	}
	si.cmdline = BOOT_CMDLINE;
	si.rsdp = cfg->rsdp;
	put_memmap(mem, &si);
	mem_write(mem, BOOT_START_INFO, &si, sizeof(si));
	entry->long_mode = false;
	entry->ip = at;
	entry->arg = BOOT_START_INFO;
	return 0;
}
