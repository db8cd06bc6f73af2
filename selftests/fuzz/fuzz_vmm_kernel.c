// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kernel files: both parsers, and the loaders behind them, on any bytes.
 *
 * LINK: userspace/vmm/boot.c userspace/vmm/boot_bzimage.c userspace/vmm/boot_pvh.c
 * LINK: userspace/board/mem.c userspace/board/kvm.c userspace/common/err.c
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot.h"
#include "vmm/boot_bzimage.h"
#include "vmm/boot_pvh.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static struct guest_mem mem;
	struct boot_config cfg = { .kernel_path = "k", .initrd_fd = -1, .cmdline = "quiet" };
	struct boot_entry entry;
	struct pvh_image img;
	struct bzimage bz;
	u64 at;
	int fd;

	if (!mem.count && mem_init(&mem, 32 * MIB, NULL) < 0)
		abort();
	bzimage_parse(data, len < BOOT_HEAD ? len : BOOT_HEAD, len, "k", &bz, NULL);
	pvh_parse(data, len < BOOT_HEAD ? len : BOOT_HEAD, len, "k", &img, NULL);
	pvh_find_entry(data, len, &at);
	fd = memfd_create("kernel", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	cfg.kernel_fd = fd;
	/* Whatever is accepted must start inside memory. */
	if (!boot_load(&mem, &cfg, &entry, NULL) && !mem_ptr(&mem, entry.ip, 1))
		abort();
	close(fd);
	return 0;
}
