/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest_mem.h - guest-memory files for the programs of this suite.
 */
#ifndef SELFTESTS_MEM_GUEST_MEM_H
#define SELFTESTS_MEM_GUEST_MEM_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uapi/lodge.h>

#include "tap.h"

#define PAGE	4096ul

struct mem {
	int fd;
	uint8_t *at;
	uint64_t size;
};

static inline int mem_fd(int dev, uint64_t size, uint32_t flags, uint64_t group)
{
	struct lodge_guest_file args = { .size = size, .flags = flags, .group = group };

	return ioctl(dev, LODGE_CREATE_GUEST_FILE, &args);
}

static inline struct mem mem_create(int dev, uint64_t size, uint32_t flags, uint64_t group)
{
	struct mem m = { .fd = mem_fd(dev, size, flags, group), .size = size };

	if (m.fd < 0)
		tap_bail("a guest-memory file of %llu bytes", (unsigned long long)size);
	m.at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	if (m.at == MAP_FAILED)
		tap_bail("mapping a guest-memory file");
	return m;
}

static inline void mem_destroy(struct mem *m)
{
	munmap(m->at, m->size);
	close(m->fd);
}

/* A page's pattern: every word is its own, and @seed's. */
static inline void mem_fill(void *page, uint64_t seed)
{
	uint64_t *w = page;
	unsigned int i;

	for (i = 0; i < PAGE / 8; i++)
		w[i] = seed * 0x9e3779b97f4a7c15ull + i;
}

static inline bool mem_is(const void *page, uint64_t seed)
{
	const volatile uint64_t *w = page;
	unsigned int i;

	for (i = 0; i < PAGE / 8; i++)
		if (w[i] != seed * 0x9e3779b97f4a7c15ull + i)
			return false;
	return true;
}

static inline bool mem_is_zero(const void *page)
{
	static const uint8_t zero[PAGE];

	return !memcmp(page, zero, PAGE);
}

static inline struct lodge_guest_file_stats mem_stats(const struct mem *m)
{
	struct lodge_guest_file_stats st;

	if (ioctl(m->fd, LODGE_GUEST_FILE_STATS, &st))
		tap_bail("LODGE_GUEST_FILE_STATS");
	return st;
}

/* One block of image number @image, at @offset of the file: its LODGE_BLOCK_*, or -1. */
static inline int mem_block(const struct mem *m, uint32_t op, uint8_t image, uint64_t block, uint64_t offset)
{
	uint8_t state = 0xff;
	struct lodge_guest_blocks b = {
		.image = { image, 1 }, .block = block, .offsets = (uintptr_t)&offset, .states = (uintptr_t)&state, .count = 1, .op = op,
	};

	return ioctl(m->fd, LODGE_GUEST_FILE_BLOCKS, &b) < 0 ? -1 : state;
}

#endif
