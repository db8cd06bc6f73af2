// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kernel files: what the loaders accept and refuse, and what they put into guest memory.
 *
 * LINK: userspace/vmm/boot.c userspace/vmm/boot_bzimage.c userspace/vmm/boot_pvh.c
 * LINK: userspace/board/mem.c userspace/board/kvm.c userspace/common/err.c
 */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board/acpi.h"
#include "vmm/boot.h"
#include "vmm/boot_bzimage.h"
#include "vmm/boot_pvh.h"

#define IMAGE_LEN 20000

static u8 image[IMAGE_LEN];
static struct err e;

static void put(u32 at, u64 v, u32 len)
{
	memcpy(image + at, &v, len);
}

static void make_bzimage(void)
{
	memset(image, 0, sizeof(image));
	image[0x1f1] = 3;
	put(0x1fe, 0xaa55, 2);
	put(0x200, 0x6aeb, 2);
	memcpy(image + 0x202, "HdrS", 4);
	put(0x206, 0x020f, 2);
	put(0x20e, 0x100, 2);
	image[0x211] = 1;
	put(0x22c, 0x7fffffff, 4);
	put(0x236, 1, 2);
	put(0x238, 2047, 4);
	put(0x258, 0x1000000, 8);
	put(0x260, 0x100000, 4);
	memcpy(image + 0x300, "6.1.0-test (builder)", 20);
}

static int parse(struct bzimage *bz)
{
	return bzimage_parse(image, 4096, IMAGE_LEN, "k", bz, &e);
}

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("kernel", 0);

	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

START_TEST(bzimage_good_is_accepted)
{
	struct bzimage bz;

	make_bzimage();
	ck_assert_int_eq(parse(&bz), 0);
	ck_assert_uint_eq(bz.payload_off, 4 * 512);
	ck_assert_uint_eq(bz.payload_len, IMAGE_LEN - 4 * 512);
	ck_assert_uint_eq(bz.load_addr, 0x1000000);
	ck_assert_str_eq(bz.version, "6.1.0-test (builder)");
}
END_TEST

START_TEST(bzimage_release_is_its_first_word)
{
	char buf[80];
	int fd;

	make_bzimage();
	fd = file_of(image, sizeof(image));
	ck_assert_int_eq(bzimage_release(fd, buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "6.1.0-test");
	memcpy(image + 0x300, "../../etc", 10);
	ck_assert_int_eq(pwrite(fd, image, sizeof(image), 0), IMAGE_LEN);
	ck_assert_int_lt(bzimage_release(fd, buf, sizeof(buf)), 0);
	close(fd);
}
END_TEST

static const struct {
	u32 at, len;
	u64 value;
	const char *message;
} broken[] = {
	{ 0x202, 1, 'X', "neither" },	   { 0x206, 2, 0x020b, "2.12" },
	{ 0x211, 1, 0, "below 1 MiB" },	   { 0x236, 2, 0, "64-bit" },
	{ 0x1f1, 1, 255, "ends before" },  { 0x201, 1, 0x10, "too short" },
	{ 0x201, 1, 0xff, "longer than" }, { 0x258, 8, 0x1000, "impossible" },
	{ 0x258, 8, ~0ULL, "impossible" },
};

START_TEST(bzimage_broken_is_refused_with_the_reason)
{
	struct bzimage bz;

	make_bzimage();
	put(broken[_i].at, broken[_i].value, broken[_i].len);
	ck_assert_int_eq(parse(&bz), -ENOEXEC);
	ck_assert_msg(strstr(e.msg, broken[_i].message), "%s", e.msg);
}
END_TEST

static void load(u64 mem_size, int initrd, int want, const char *message)
{
	struct boot_config cfg = { .kernel_path = "k", .initrd_fd = initrd, .initrd_path = "i",
				   .cmdline = "console=x", .rsdp = 0xe0000 };
	struct boot_entry entry;
	struct guest_mem mem;

	ck_assert_int_eq(mem_init(&mem, mem_size, &e), 0);
	cfg.kernel_fd = file_of(image, sizeof(image));
	ck_assert_int_eq(boot_load(&mem, &cfg, &entry, &e), want);
	if (want) {
		ck_assert_msg(strstr(e.msg, message), "%s", e.msg);
	} else {
		u8 *zp = mem_ptr(&mem, BOOT_ZERO_PAGE, 4096);
		u32 rd;

		ck_assert(entry.long_mode);
		ck_assert_uint_eq(entry.ip, 0x1000200);
		ck_assert_mem_eq(mem_ptr(&mem, 0x1000000, 100), image + 2048, 100);
		ck_assert_mem_eq(zp + 0x202, "HdrS", 4);
		ck_assert_str_eq(mem_ptr(&mem, BOOT_CMDLINE, 10), "console=x");
		ck_assert_uint_ge(zp[0x1e8], 4);
		memcpy(&rd, zp + 0x218, 4);
		if (initrd >= 0)
			ck_assert_mem_eq(mem_ptr(&mem, rd, 5), "ramfs", 5);
	}
	close(cfg.kernel_fd);
	mem_fini(&mem);
}

START_TEST(bzimage_is_loaded_where_it_wants_to_be)
{
	int fd = file_of("ramfs", 5);

	make_bzimage();
	load(64 * MIB, -1, 0, "");
	load(64 * MIB, fd, 0, "");
	close(fd);
}
END_TEST

START_TEST(bzimage_that_needs_more_memory_says_how_much)
{
	make_bzimage();
	load(16 * MIB, -1, -ENOSPC, "at least 33 MiB");
}
END_TEST

START_TEST(initrd_that_does_not_fit_is_refused)
{
	int fd = memfd_create("big", 0);

	ck_assert_int_eq(ftruncate(fd, 64 * MIB), 0);
	make_bzimage();
	load(64 * MIB, fd, -ENOSPC, "initrd");
	close(fd);
}
END_TEST

START_TEST(noise_and_nothing_are_refused)
{
	memset(image, 0x5a, sizeof(image));
	load(64 * MIB, -1, -ENOEXEC, "neither");
	memcpy(image, "\177ELF", 4);
	load(64 * MIB, -1, -ENOEXEC, "ELF");
}
END_TEST

/* An ELF with one segment at 16 MiB and a note segment. */
static void make_elf(u32 note_type)
{
	Elf64_Ehdr *eh = (void *)image;
	Elf64_Phdr *ph = (void *)(image + sizeof(*eh));
	u32 note[5] = { 4, 4, note_type, 0x6e6558, 0x1000040 };

	memset(image, 0, sizeof(image));
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_machine = EM_X86_64;
	eh->e_phoff = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 2;
	ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 8192,
			      .p_memsz = 65536, .p_paddr = 0x1000000 };
	ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 2048, .p_filesz = sizeof(note) };
	memcpy(image + 2048, note, sizeof(note));
	memcpy(image + 4096, "kernel", 6);
}

static Elf64_Phdr *segment(int i)
{
	return (Elf64_Phdr *)(image + sizeof(Elf64_Ehdr)) + i;
}

START_TEST(pvh_is_entered_at_its_note)
{
	struct boot_config cfg = { .kernel_path = "k", .initrd_fd = -1, .cmdline = "" };
	struct boot_entry entry;
	struct guest_mem mem;

	make_elf(18);
	ck_assert_int_eq(mem_init(&mem, 64 * MIB, &e), 0);
	cfg.kernel_fd = file_of(image, sizeof(image));
	ck_assert_int_eq(boot_load(&mem, &cfg, &entry, &e), 0);
	ck_assert(!entry.long_mode);
	ck_assert_uint_eq(entry.ip, 0x1000040);
	ck_assert_uint_eq(*(u32 *)mem_ptr(&mem, entry.arg, 4), 0x336ec578);
	ck_assert_str_eq(mem_ptr(&mem, 0x1000000, 7), "kernel");
	close(cfg.kernel_fd);
	mem_fini(&mem);
}
END_TEST

START_TEST(pvh_without_the_note_is_refused)
{
	make_elf(17);
	load(64 * MIB, -1, -ENOEXEC, "PVH entry");
}
END_TEST

START_TEST(pvh_segments_must_lie_in_file_and_memory)
{
	make_elf(18);
	segment(0)->p_offset = IMAGE_LEN;
	load(64 * MIB, -1, -ENOEXEC, "outside the file");
	make_elf(18);
	segment(0)->p_filesz = 65537;
	load(64 * MIB, -1, -ENOEXEC, "segment");
	make_elf(18);
	segment(0)->p_paddr = ~0ULL - 100;
	load(64 * MIB, -1, -ENOEXEC, "impossible");
	make_elf(18);
	segment(0)->p_memsz = 1ULL << 40;
	load(64 * MIB, -1, -ENOSPC, "does not fit");
}
END_TEST

/* The same in 32 bits, with a further note segment before the one that counts. */
static void make_elf32(void)
{
	Elf32_Ehdr *eh = (void *)image;
	Elf32_Phdr *ph = (void *)(image + sizeof(*eh));
	u32 note[5] = { 4, 4, 18, 0x6e6558, 0x1000040 };
	u32 other[5] = { 4, 4, 5, 0x554e47, 0 };

	memset(image, 0, sizeof(image));
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS32;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_machine = EM_386;
	eh->e_phoff = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 3;
	ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = 4096, .p_filesz = 8192,
			      .p_memsz = 65536, .p_paddr = 0x1000000 };
	ph[1] = (Elf32_Phdr){ .p_type = PT_NOTE, .p_offset = 1024, .p_filesz = sizeof(other) };
	ph[2] = (Elf32_Phdr){ .p_type = PT_NOTE, .p_offset = 2048, .p_filesz = sizeof(note) };
	memcpy(image + 1024, other, sizeof(other));
	memcpy(image + 2048, note, sizeof(note));
	memcpy(image + 4096, "kernel", 6);
}

static Elf32_Phdr *segment32(int i)
{
	return (Elf32_Phdr *)(image + sizeof(Elf32_Ehdr)) + i;
}

START_TEST(pvh_may_be_elf32_and_have_several_notes)
{
	struct boot_config cfg = { .kernel_path = "k", .initrd_fd = -1, .cmdline = "" };
	struct boot_entry entry;
	struct guest_mem mem;

	make_elf32();
	ck_assert_int_eq(mem_init(&mem, 64 * MIB, &e), 0);
	cfg.kernel_fd = file_of(image, sizeof(image));
	ck_assert_msg(!boot_load(&mem, &cfg, &entry, &e), "%s", e.msg);
	ck_assert_uint_eq(entry.ip, 0x1000040);
	ck_assert_str_eq(mem_ptr(&mem, 0x1000000, 7), "kernel");
	close(cfg.kernel_fd);
	mem_fini(&mem);
}
END_TEST

START_TEST(pvh_elf32_is_checked_as_well)
{
	Elf32_Ehdr *eh = (void *)image;

	make_elf32();
	eh->e_machine = EM_X86_64;
	load(64 * MIB, -1, -ENOEXEC, "not ELF for x86");
	make_elf32();
	eh->e_phentsize = sizeof(Elf64_Phdr);
	load(64 * MIB, -1, -ENOEXEC, "no ELF program headers");
	make_elf32();
	eh->e_phoff = 0xfffffff0;
	load(64 * MIB, -1, -ENOEXEC, "out of reach");
	make_elf32();
	segment32(0)->p_offset = IMAGE_LEN;
	load(64 * MIB, -1, -ENOEXEC, "outside the file");
	make_elf32();
	segment32(2)->p_filesz = 16;
	load(64 * MIB, -1, -ENOEXEC, "PVH entry");
	make_elf32();
	segment32(0)->p_paddr = 0xfffff000;
	load(64 * MIB, -1, -ENOSPC, "does not fit");
}
END_TEST

START_TEST(memory_map_covers_ram_and_nothing_twice)
{
	struct boot_range map[BOOT_MAP_MAX];
	struct guest_mem mem;
	unsigned int n, i;
	u64 ram = 0;

	ck_assert_int_eq(mem_init(&mem, 5 * GIB, &e), 0);
	n = boot_map(&mem, map);
	for (i = 0; i < n; i++) {
		if (i)
			ck_assert_uint_le(map[i - 1].start + map[i - 1].len, map[i].start);
		if (map[i].type == 1)
			ram += map[i].len;
	}
	ck_assert_uint_eq(ram, 5 * GIB - (BOOT_HIGH_RAM - BOOT_LOW_RAM_END));
	mem_fini(&mem);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("boot");
	TCase *t = tcase_create("boot");
	SRunner *r;
	int failed;

	tcase_add_test(t, bzimage_good_is_accepted);
	tcase_add_test(t, bzimage_release_is_its_first_word);
	tcase_add_loop_test(t, bzimage_broken_is_refused_with_the_reason, 0, ARRAY_SIZE(broken));
	tcase_add_test(t, bzimage_is_loaded_where_it_wants_to_be);
	tcase_add_test(t, bzimage_that_needs_more_memory_says_how_much);
	tcase_add_test(t, initrd_that_does_not_fit_is_refused);
	tcase_add_test(t, noise_and_nothing_are_refused);
	tcase_add_test(t, pvh_is_entered_at_its_note);
	tcase_add_test(t, pvh_without_the_note_is_refused);
	tcase_add_test(t, pvh_segments_must_lie_in_file_and_memory);
	tcase_add_test(t, pvh_may_be_elf32_and_have_several_notes);
	tcase_add_test(t, pvh_elf32_is_checked_as_well);
	tcase_add_test(t, memory_map_covers_ram_and_nothing_twice);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
