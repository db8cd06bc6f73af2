// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest memory.
 *
 * Both regions come out of one mapping that is aligned to 2 MiB, with guest and host addresses
 * equal modulo 2 MiB, so that the host can back it with huge pages and the second stage can map
 * them as such. Nothing is reserved: pages come into being when they are first touched.
 */
#include "board/mem.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <uapi/lodge.h>
#include <unistd.h>

#define HUGE (2 * MIB)
#define PAGE 4096ULL
#define WORD_BITS (8 * sizeof(unsigned long))

/* file: -1, or a guest-memory file of that size, which the memory takes over. */
static int map_regions(struct guest_mem *mem, u64 size, int file, struct err *e)
{
	u64 low = size < MEM_LOW_END ? size : MEM_LOW_END;
	u8 *map, *base;

	memset(mem, 0, sizeof(*mem));
	mem->file = -1;
	map = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		goto fail;
	base = (u8 *)ALIGN_UP((uintptr_t)map, HUGE);
	if (base > map)
		munmap(map, base - map);
	munmap(base + size, map + HUGE - base);
	if (file >= 0 && mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
		munmap(base, size);
		goto fail;
	}
	/* Advice: a host without huge pages or core dump control runs the guest as well. */
	madvise(base, size, MADV_HUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);
	mem->file = file;
	mem->size = size;
	mem->region[mem->count++] = (struct mem_region){ 0, low, base };
	if (size > low)
		mem->region[mem->count++] =
			(struct mem_region){ MEM_HIGH_START, size - low, base + low };
	return 0;
fail:
	err_set(e, errno, "cannot map guest memory: %llu MiB: %s; try: a smaller -m",
		(unsigned long long)(size / MIB), strerror(errno));
	if (file >= 0)
		close(file);
	return e ? -e->code : -ENOMEM;
}

int mem_init(struct guest_mem *mem, u64 size, struct err *e)
{
	return map_regions(mem, size, -1, e);
}

int mem_init_shared(struct guest_mem *mem, u64 size, int dev, u64 group, struct err *e)
{
	struct lodge_guest_file file = { .size = size, .group = group, .flags = LODGE_GUEST_FILE_SHARE };
	int has = ioctl(dev, KVM_CHECK_EXTENSION, LODGE_CAP_GUEST_FILE), fd, r;

	memset(mem, 0, sizeof(*mem));
	mem->file = -1;
	if (has <= 0 || !(has & LODGE_GUEST_FILE_HAS_BLOCKS))
		return err_set(e, EOPNOTSUPP, "this hypervisor cannot share memory between guests; try: --share off");
	fd = ioctl(dev, LODGE_CREATE_GUEST_FILE, &file);
	if (fd < 0)
		return err_set(e, errno, "cannot make a guest-memory file of %llu MiB: %s",
			       (unsigned long long)(size / MIB), strerror(errno));
	r = map_regions(mem, size, fd, e);
	mem->dev = dev;
	mem->group = group;
	return r;
}

void mem_fini(struct guest_mem *mem)
{
	if (mem->count)
		munmap(mem->region[0].hva, mem->size);
	if (mem->count && mem->file >= 0)
		close(mem->file);
	free(mem->dirty);
	memset(mem, 0, sizeof(*mem));
}

int mem_attach(struct guest_mem *mem, struct kvm *kvm, struct err *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < mem->count; i++) {
		const struct mem_region *g = &mem->region[i];

		r = kvm_set_region(kvm, i, 0, g->gpa, g->size, g->hva, e);
		if (r < 0)
			return r;
	}
	return 0;
}

void mem_discard(struct guest_mem *mem)
{
	if (mem->count && mem_release(mem, mem->region[0].hva, mem->size) < 0)
		memset(mem->region[0].hva, 0, mem->size);
}

int mem_release(const struct guest_mem *mem, void *hva, u64 len)
{
	/* In a file, DONTNEED would only unmap. */
	return madvise(hva, len, mem->file < 0 ? MADV_DONTNEED : MADV_REMOVE) < 0 ? -errno : 0;
}

int mem_file_stats(const struct guest_mem *mem, struct lodge_guest_file_stats *stats)
{
	if (mem->file < 0)
		return -ENOTTY;
	return ioctl(mem->file, LODGE_GUEST_FILE_STATS, stats) < 0 ? -errno : 0;
}

void *mem_ptr_avail(const struct guest_mem *mem, u64 gpa, u64 *avail)
{
	unsigned int i;

	for (i = 0; i < mem->count; i++) {
		const struct mem_region *r = &mem->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size) {
			*avail = r->size - (gpa - r->gpa);
			return r->hva + (gpa - r->gpa);
		}
	}
	*avail = 0;
	return NULL;
}

void mem_dirty(struct guest_mem *mem, u64 gpa, u64 len)
{
	u64 avail, page, last;
	u8 *p;

	if (!mem->dirty || !len)
		return;
	p = mem_ptr_avail(mem, gpa, &avail);
	if (!p)
		return;
	if (len > avail)
		len = avail;
	page = (u64)(p - mem->region[0].hva) / PAGE;
	last = (u64)(p - mem->region[0].hva + len - 1) / PAGE;
	for (; page <= last; page++)
		__atomic_fetch_or(&mem->dirty[page / WORD_BITS], 1UL << (page % WORD_BITS),
				  __ATOMIC_RELAXED);
}

int mem_read(const struct guest_mem *mem, u64 gpa, void *dst, u64 len)
{
	const void *p = mem_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	return 0;
}

int mem_write(struct guest_mem *mem, u64 gpa, const void *src, u64 len)
{
	void *p = mem_ptr(mem, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	mem_dirty(mem, gpa, len);
	return 0;
}
