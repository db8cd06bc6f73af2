/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The overlay of shared frames above a guest-memory file's private pages.
 */
#ifndef LODGE_MEM_SHARE_H
#define LODGE_MEM_SHARE_H

#include <linux/mm.h>
#include <uapi/lodge.h>

struct guest_file;

/* ---- membership; nobody else knows the file yet, or f->sem is held for writing and nothing of the file is shared ---- */
int share_join(struct guest_file *f, u64 number);	/* a group of the caller's user */
void share_leave(struct guest_file *f);

/* ---- faults: f->sem is held, for reading at least ---- */
enum share_kind { SHARE_PRIVATE, SHARE_SHARED, SHARE_OWNED };
enum share_kind share_kind(struct guest_file *f, pgoff_t index, struct page **page);	/* no reference is taken */
bool share_near(struct guest_file *f, pgoff_t index);	/* does the overlay have anything in the huge page around it? */

/* A write to a shared page: makes it private.  0, -EHWPOISON, or -ENOMEM (wait).  f->sem is held for writing. */
int share_break(struct guest_file *f, pgoff_t index);

/* The same for all of [first, last).  No lock is held. */
int share_break_range(struct guest_file *f, pgoff_t first, pgoff_t last);

/* Drops what the overlay has in [first, last), which reads as shmem has it then.  f->sem is held for writing. */
void share_drop(struct guest_file *f, pgoff_t first, pgoff_t last);

/* The end of the file: nothing is mapped, nobody can fault. */
void share_release(struct guest_file *f);

/* ---- ioctls ---- */
long share_blocks(struct guest_file *f, const struct lodge_guest_blocks *args);
void share_stats(struct guest_file *f, struct lodge_guest_file_stats *st);

int share_init(void);
void share_exit(void);

#endif
