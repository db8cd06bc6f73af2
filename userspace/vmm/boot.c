// SPDX-License-Identifier: GPL-2.0-or-later
/* What both kernel formats share: choosing the loader, memory map, initrd. */
#include "vmm/boot.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/acpi.h"
#include "board/pci.h"
#include "vmm/boot_bzimage.h"
#include "vmm/boot_pvh.h"

unsigned int boot_map(const struct guest_mem *mem, struct boot_range map[BOOT_MAP_MAX])
{
	unsigned int n = 0, i;

	map[n++] = (struct boot_range){ 0, BOOT_LOW_RAM_END, 1 };
	map[n++] = (struct boot_range){ ACPI_BASE, ACPI_SIZE, 2 };
	for (i = 0; i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];
		u64 start = r->gpa ? r->gpa : BOOT_HIGH_RAM;

		map[n++] = (struct boot_range){ start, r->gpa + r->size - start, 1 };
		if (i == 0)
			map[n++] = (struct boot_range){ PCI_ECAM_BASE, PCI_ECAM_SIZE, 2 };
	}
	return n;
}

int boot_read(struct guest_mem *mem, int fd, const char *what, u64 file_off, u64 gpa, u64 len,
	      struct err *e)
{
	u8 *p = mem_ptr(mem, gpa, len);
	u64 done = 0;
	ssize_t n;

	if (!p)
		return err_set(e, ENOSPC,
			       "cannot load %s: %llu bytes at %#llx do not fit into guest memory; "
			       "try: a larger -m",
			       what, (unsigned long long)len, (unsigned long long)gpa);
	while (done < len) {
		n = pread(fd, p + done, len - done, file_off + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, errno, "cannot read %s: %s", what, strerror(errno));
		if (!n)
			return err_set(e, ENOEXEC,
				       "%s is cut short: it ends at byte %llu of %llu; try: fetch "
				       "or build it again",
				       what, (unsigned long long)(file_off + done),
				       (unsigned long long)(file_off + len));
		done += n;
	}
	mem_dirty(mem, gpa, len);
	return 0;
}

int boot_initrd(struct guest_mem *mem, const struct boot_config *cfg, u64 floor, u64 top, u64 *gpa,
		u64 *len, struct err *e)
{
	u64 file = 0, extra_at;
	struct stat st;
	int r;

	*gpa = *len = 0;
	if (cfg->initrd_fd >= 0) {
		if (fstat(cfg->initrd_fd, &st) < 0)
			return err_set(e, errno, "cannot read %s: %s", cfg->initrd_path,
				       strerror(errno));
		if (!S_ISREG(st.st_mode))
			return err_set(e, EINVAL, "initrd %s is not a regular file",
				       cfg->initrd_path);
		file = st.st_size;
	}
	extra_at = ALIGN_UP(file, 4);
	*len = cfg->extra ? extra_at + cfg->extra_len : file;
	if (!*len)
		return 0;
	if (*len > top || ALIGN_DOWN(top - *len, 4096) < floor)
		return err_set(e, ENOSPC,
			       "initrd of %llu KiB does not fit beside the kernel; try: -m with at "
			       "least %llu MiB",
			       (unsigned long long)(*len / KIB),
			       (unsigned long long)((floor + *len) / MIB + 16));
	*gpa = ALIGN_DOWN(top - *len, 4096);
	if (file) {
		r = boot_read(mem, cfg->initrd_fd, cfg->initrd_path, 0, *gpa, file, e);
		if (r < 0)
			return r;
	}
	if (cfg->extra)
		return mem_write(mem, *gpa + extra_at, cfg->extra, cfg->extra_len);
	return 0;
}

/*
 * A kernel that knows no better way restarts the machine by jumping to the BIOS's reset vector in
 * real mode (Linux does on hardware-reduced ACPI without EFI). There is no BIOS, so the vector
 * itself asks for the reset: mov $0x602,%dx; mov $0x42,%al; out %al,(%dx); hlt; jmp to the hlt.
 */
static const u8 reset_code[] = { 0xba, 0x02, 0x06, 0xb0, 0x42, 0xee, 0xf4, 0xeb, 0xfd };

int boot_load(struct guest_mem *mem, const struct boot_config *cfg, struct boot_entry *entry,
	      struct err *e)
{
	size_t cmd_len = strlen(cfg->cmdline) + 1;
	u8 head[BOOT_HEAD];
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(cfg->kernel_fd, &st) < 0)
		return err_set(e, errno, "cannot read kernel %s: %s", cfg->kernel_path,
			       strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "kernel %s is not a regular file", cfg->kernel_path);
	n = pread(cfg->kernel_fd, head, sizeof(head), 0);
	if (n < 0)
		return err_set(e, errno, "cannot read kernel %s: %s", cfg->kernel_path,
			       strerror(errno));
	if (cmd_len > BOOT_CMDLINE_MAX)
		return err_set(e, E2BIG, "kernel command line of %zu bytes is too long (limit %u)",
			       cmd_len, BOOT_CMDLINE_MAX);
	if (mem_write(mem, BOOT_CMDLINE, cfg->cmdline, cmd_len) < 0)
		return err_set(e, ENOSPC, "guest memory is too small for a kernel; try: -m 64");
	mem_write(mem, BOOT_RESET_VECTOR, reset_code, sizeof(reset_code));
	if (n >= 4 && !memcmp(head, "\177ELF", 4))
		r = boot_pvh_load(mem, cfg, head, n, st.st_size, entry, e);
	else
		r = boot_bzimage_load(mem, cfg, head, n, st.st_size, entry, e);
	return r;
}
