/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blk_share.h: a disk's reads into memory that guests share. One object a queue, used under that queue's lock. */
#ifndef LODGE_BLK_SHARE_H
#define LODGE_BLK_SHARE_H

#include "block/block.h"
#include "board/share.h"

struct blk_share;

/* For reads from q into mem, which share_possible(). ops: &share_module. *submitted: q is to be kicked. NULL with *e set. */
struct blk_share *blk_share_create(const struct guest_mem *mem, struct block_queue *q, const struct share_ops *ops,
				   bool *submitted, struct err *e);
/* The queue has nothing in flight. NULL is fine. */
void blk_share_destroy(struct blk_share *s);

/*
 * A BLOCK_READ into guest memory, as block_queue_submit() would do it; done() may be called before this returns.
 * *shared_bytes, unless NULL, grows by what needed no read.
 */
void blk_share_read(struct blk_share *s, struct block_req *req, u64 *shared_bytes);

#endif
