/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changed-block tracking; see track.c. */
#ifndef VHD_TRACK_H
#define VHD_TRACK_H

#include <lodge/vhd.h>

struct track;

/* The map beside @path, marked as being in use. 0, and *@out NULL if there is none; or -errno. */
int track_open(const char *path, int image_fd, uint64_t disk_size, struct track **out);
/* From any thread. */
void track_mark(struct track *t, uint64_t offset, uint64_t length);
/* @good: the image is complete on stable storage. Accepts NULL. */
void track_close(struct track *t, int image_fd, bool good);
uint64_t track_bytes(uint64_t disk_size);
/* Pure: whether @raw is a good map of a disk of @disk_size bytes, whatever file it is of. */
bool track_decode(const uint8_t *raw, size_t bytes, uint64_t disk_size, const uint8_t **bits, uint8_t backup[16]);

#endif
