/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames that are kept for breaks: one pool for all files.
 */
#ifndef LODGE_MEM_RESERVE_H
#define LODGE_MEM_RESERVE_H

#include <linux/types.h>

struct file;
struct page;
struct poll_table_struct;

/* Sharing saves @delta pages more, or fewer: so many more can breaks ask for. */
void reserve_saved(long delta);

/* May something be shared?  Fills the pool if it can.  May sleep, wants no lock that reclaim takes. */
bool reserve_ready(void);

/* What the pool has beyond its need goes back to the host. */
void reserve_trim(void);

/* A frame, not cleared, or NULL. */
struct page *reserve_take(void);

/* The pool was empty: sleeps until it may have a frame, 100 ms at most, or until somebody kills the caller. */
void reserve_wait(void);

void reserve_poll_wait(struct file *file, struct poll_table_struct *wait);
bool reserve_is_low(void);
void reserve_numbers(u64 *frames, u64 *wanted);

void reserve_exit(void);

#endif
