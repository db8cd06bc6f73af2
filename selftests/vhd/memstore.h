/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated disk under the VHD library.
 */
#ifndef MEMSTORE_H
#define MEMSTORE_H

#include "vhd/store.h"

struct memdisk;

/* A file of @size zeros that can grow to @room; @device: of fixed size, garbage inside. */
struct memdisk *memdisk_create(uint64_t size, uint64_t room, bool device, uint64_t seed);
void memdisk_destroy(struct memdisk *d);

/* A handle on it, as store_file_open() would give; closing it leaves the disk. */
struct store *memdisk_open(struct memdisk *d, bool readonly);

/* Bytes as they are now. */
uint8_t *memdisk_bytes(struct memdisk *d);
uint64_t memdisk_size(const struct memdisk *d);
void memdisk_resize(struct memdisk *d, uint64_t size);

/*
 * Power cut: what was synced stays, of the rest each sector may or may not.
 * Handles and queues that are open are dead: their operations never complete.
 */
void memdisk_cut(struct memdisk *d);

/* The n-th operation from now (1: the next) and @count - 1 after it fail with EIO; 0: none. */
void memdisk_fail(struct memdisk *d, uint64_t n, uint64_t count);
/* @d is a part of the same machine as @with: its operations are counted and fail among those. */
void memdisk_join(struct memdisk *d, struct memdisk *with);
uint64_t memdisk_operations(const struct memdisk *d);
uint64_t memdisk_reads(const struct memdisk *d);

#endif
