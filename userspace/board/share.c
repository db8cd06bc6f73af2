// SPDX-License-Identifier: GPL-2.0-or-later
/* The ioctls of sharing by disk block. */
#include "board/share.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

bool share_possible(const struct guest_mem *mem)
{
	return mem->count && mem->file >= 0;
}

static int module_stage(struct share_stage *stage, const struct guest_mem *mem, u64 size, struct err *e)
{
	struct lodge_guest_file file = {
		.size = size, .group = mem->group, .flags = LODGE_GUEST_FILE_SHARE | LODGE_GUEST_FILE_SMALL,
	};

	*stage = (struct share_stage){ .file = ioctl(mem->dev, LODGE_CREATE_GUEST_FILE, &file), .size = size };
	if (stage->file < 0)
		return err_set(e, errno, "cannot make a guest-memory file to read into: %s", strerror(errno));
	stage->hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, stage->file, 0);
	if (stage->hva == MAP_FAILED) {
		err_set(e, errno, "cannot map a guest-memory file: %s", strerror(errno));
		close(stage->file);
		*stage = (struct share_stage){ .file = -1 };
		return -ENOMEM;
	}
	madvise(stage->hva, size, MADV_DONTDUMP);
	return 0;
}

static void module_unstage(struct share_stage *stage)
{
	munmap(stage->hva, stage->size);
	close(stage->file);
	*stage = (struct share_stage){ .file = -1 };
}

static int module_blocks(int file, u32 op, const u8 image[16], u64 block, const u64 *offset, u8 *state, unsigned int count)
{
	struct lodge_guest_blocks b = {
		.block = block, .offsets = (uintptr_t)offset, .states = (uintptr_t)state, .count = count, .op = op,
	};

	memcpy(b.image, image, sizeof(b.image));
	return ioctl(file, LODGE_GUEST_FILE_BLOCKS, &b) < 0 ? -errno : 0;
}

static void module_clear(struct share_stage *stage, u64 offset, u64 len)
{
	/* If it fails, the pages stay until they are used again. */
	madvise(stage->hva + offset, len, MADV_REMOVE);
}

const struct share_ops share_module = { module_stage, module_unstage, module_blocks, module_clear };
