/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One console made of two devices that both carry the kernel's messages.
 */
#ifndef VMM_CONSOLE_MERGE_H
#define VMM_CONSOLE_MERGE_H

#include <pthread.h>

#include "common/types.h"

#define MERGE_LINE 1024		/* a longer line is not compared */
#define MERGE_RECORD 4096	/* lines kept of the early console */
#define MERGE_STRAY 16		/* messages never seen before that end a replay */

enum merge_side { MERGE_EARLY, MERGE_LATE };

struct merge_line {
	u8 buf[MERGE_LINE];
	u32 len, state;
	bool hold;		/* its bytes were not shown yet */
};

struct console_merge {
	pthread_mutex_t lock;
	struct merge_line line[2];		/* lock; of each side */
	u64 record[MERGE_RECORD];		/* lock; hashes of the early console's messages, in order */
	u32 recorded, replayed, stray;		/* lock */
	bool late_has_messages, replay_over;	/* lock */
};

void merge_init(struct console_merge *m);
void merge_fini(struct console_merge *m);
/* A new guest: nothing was said yet, nothing is held back. */
void merge_reset(struct console_merge *m);
/* The late console's device does not work any more, or not yet again. Any thread. */
void merge_late_gone(struct console_merge *m);
/*
 * Takes len bytes from one side; the bytes to be shown go to out, which has room for MERGE_LINE + len. Returns their number.
 * Any thread.
 */
size_t merge_feed(struct console_merge *m, enum merge_side side, const void *data, size_t len, void *out);

#endif
