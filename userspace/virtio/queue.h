/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queue.h: the device's side of a virtqueue, split or packed (virtio 1.2, chapters 2.7 and 2.8).
 *
 * A virtqueue lives in memory that the guest may rewrite at any time. The rules here are therefore: every word of
 * a ring is loaded exactly once into a local, checked, and then only the local is used; every index is compared with
 * the ring's size before it is used; every address goes through the accessor, which answers NULL for what is not
 * guest RAM; every loop is bounded by the ring's size and by the caller's limit of segments. Whatever breaks a rule
 * makes the queue *broken*: it gives nothing more until it is initialised again, and the caller sets NEEDS_RESET.
 *
 * The code is pure: it knows no device, no file descriptor and no lock. One queue is used by one thread at a time;
 * the caller sees to that.
 *
 * The order of use:
 *
 *	virtq_init(q, ...)
 *	loop:	virtq_disable_kicks(q)
 *		while ((r = virtq_pop(q, e)) > 0) { serve(e); virtq_fill(q, e, written); }
 *		virtq_flush(q); if (virtq_needs_call(q)) interrupt();
 *		if (virtq_enable_kicks(q)) goto loop; else sleep until kicked
 */
#ifndef LODGE_VIRTIO_QUEUE_H
#define LODGE_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The largest ring we offer. The format allows 32,768; nobody needs more than this. */
#define VIRTQ_SIZE_MAX		1024

/* Ring format and options, fixed at virtq_init() from the features that were negotiated. */
#define VIRTQ_F_PACKED		(1u << 0)
#define VIRTQ_F_EVENT_IDX	(1u << 1)
#define VIRTQ_F_INDIRECT	(1u << 2)

/* What a guest did wrong. The first one sticks until the queue is initialised again. */
enum virtq_fault {
	VIRTQ_OK = 0,
	VIRTQ_BAD_AVAIL_INDEX,		/* the avail index is more than a ring ahead */
	VIRTQ_BAD_HEAD,			/* a head outside the descriptor table */
	VIRTQ_BAD_NEXT,			/* a next field outside its table */
	VIRTQ_BAD_LOOP,			/* more descriptors than the table holds */
	VIRTQ_BAD_LENGTH,		/* zero, or 4 GiB and more in sum */
	VIRTQ_BAD_ADDRESS,		/* not guest RAM */
	VIRTQ_BAD_INDIRECT,		/* not negotiated, nested, chained on, or of odd length */
	VIRTQ_BAD_ORDER,		/* a readable segment after a writable one */
	VIRTQ_TOO_MANY_SEGMENTS,	/* more than the device said it takes */
	VIRTQ_TOO_MANY_IN_FLIGHT,	/* more chains than descriptors */
	VIRTQ_FAULTS,
};

/*
 * Guest memory as a queue sees it: map() answers the host address of [gpa, gpa + len), or NULL when any byte of that
 * is not writable guest RAM or when it is not contiguous on the host's side.
 */
struct virtq_mem {
	void *(*map)(void *opaque, uint64_t gpa, uint64_t len);
	void *opaque;
};

/* The position in the rings: all of a queue's state that the guest cannot see, and what a saved guest needs. */
struct virtq_state {
	uint16_t next_avail;		/* split: free running; packed: slot */
	uint16_t next_used;
	uint8_t avail_wrap;		/* packed only */
	uint8_t used_wrap;
	uint16_t in_flight;		/* split: chains; packed: slots */
};

struct virtq {
	struct virtq_mem mem;
	struct virtq_state state;
	void *desc;			/* split: table; packed: ring */
	void *avail;			/* split: avail ring; packed: driver event area */
	void *used;			/* split: used ring; packed: device event area */
	uint16_t size;
	uint16_t max_segments;
	unsigned int flags;
	enum virtq_fault fault;
	uint32_t uncalled;		/* used entries since the last virtq_needs_call() */

	/* packed: the first unpublished used descriptor, whose flags virtq_flush() writes last */
	bool held;
	uint16_t held_slot;
	uint16_t held_flags;
};

/* One chain. iov[0..out_num) is to be read, iov[out_num..out_num + in_num) to be written. */
struct virtq_elem {
	struct iovec *iov;		/* the caller's, at least max_segments of them */
	uint16_t out_num;
	uint16_t in_num;
	uint32_t out_len;
	uint32_t in_len;
	uint16_t id;
	uint16_t slots;			/* packed: ring slots taken; split: 1 */
};

/*
 * Take a queue into use. -EINVAL: a size the format does not allow, or unaligned parts; -EFAULT: a part outside guest
 * RAM. A queue that was not initialised, or whose initialisation failed, pops nothing.
 */
int virtq_init(struct virtq *q, const struct virtq_mem *mem, unsigned int flags, uint16_t size, uint16_t max_segments,
	       uint64_t desc, uint64_t avail, uint64_t used);

/* 1: *e is the next chain; 0: none; -EPROTO: the queue is broken, see q->fault. */
int virtq_pop(struct virtq *q, struct virtq_elem *e);

/* Give back the chains taken last, newest first; they will be popped again. Only what was not filled. */
void virtq_unpop(struct virtq *q, const struct virtq_elem *e);

/* Write the used entry of a chain; the guest sees it, and all before it, at virtq_flush(). */
void virtq_fill(struct virtq *q, const struct virtq_elem *e, uint32_t written);
void virtq_flush(struct virtq *q);

/* Whether the driver wants an interrupt for what was flushed since the last question. */
bool virtq_needs_call(struct virtq *q);

/* Tell the driver not to kick. A hint only. */
void virtq_disable_kicks(struct virtq *q);
/*
 * Ask for kicks; true when chains came in the meantime, so that the caller must look again. Only when virtq_pop() has just
 * found nothing: what is then put back by virtq_unpop() does not count as news.
 */
bool virtq_enable_kicks(struct virtq *q);
/* Whether a chain waits. Does not change anything. */
bool virtq_pending(const struct virtq *q);

const char *virtq_fault_name(enum virtq_fault fault);

/*
 * Copy out of a chain's readable part, or into its writable part, from byte `skip` on. They answer how much there was:
 * less than len at the end of the chain.
 */
size_t virtq_elem_read(const struct virtq_elem *e, size_t skip, void *buf, size_t len);
size_t virtq_elem_write(const struct virtq_elem *e, size_t skip, const void *buf, size_t len);

#endif
