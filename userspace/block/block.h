/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A block device as a virtual machine's disk controller sees it.
 *
 * A `struct block` is an open disk image: raw file, raw device or VHD (fixed,
 * dynamic, differencing). It may be used from many threads, each through its
 * own `struct block_queue`. A queue belongs to one thread at a time: submit,
 * kick and poll on it are not to be called concurrently; different queues
 * are independent. Requests of one queue may complete in any order. As on
 * real hardware, nothing orders two requests that are in flight together.
 *
 * Life of a request: the caller owns the structure and the iovec array and
 * leaves both (and the memory they point to) alone until done() is called.
 * done() runs inside block_queue_poll() of the request's queue, never inside
 * block_queue_submit(), and may submit further requests.
 *
 * Durability: a write is stable once a FLUSH submitted after the write's
 * done() has itself completed with 0. If a FLUSH ever fails because the host
 * could not write back, all later ones on this image fail too: what was lost
 * is not known, and pretending otherwise would lose data silently.
 */
#ifndef LODGE_BLOCK_H
#define LODGE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lodge/vhd.h>

#include "block/throttle.h"

struct block;
struct block_queue;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,		/* content becomes zero or stays; space may be freed */
	BLOCK_WRITE_ZEROES,	/* content becomes zero */
};

/* Request flags. */
#define BLOCK_F_UNMAP	1u	/* WRITE_ZEROES: freeing the space is welcome */
#define BLOCK_F_FUA	2u	/* WRITE, WRITE_ZEROES: stable before done(0) */

struct block_req {
	/* Set by the caller before submit. */
	enum block_op op;
	uint32_t flags;
	uint64_t offset;		/* bytes, multiple of 512 */
	uint64_t length;		/* bytes, multiple of 512; 0 for FLUSH; for
					 * READ and WRITE the sum of the iovec */
	const struct iovec *iov;	/* READ, WRITE: any alignment, any lengths */
	int iovcnt;
	void (*done)(struct block_req *req, int error);	/* 0 or -errno */
	void *opaque;
	struct vhd *from;		/* READ: what block_found() told; NULL: the disk as it is */

	/* The block layer's. */
	struct block_queue *queue;
	struct vhd_request vhd;
};

/* What the user of a disk is to do about requests that fail on the host. */
enum block_on_error {
	BLOCK_ERROR_ENOSPC,	/* hold those that lack space until somebody has made some; report others */
	BLOCK_ERROR_REPORT,	/* tell the guest */
	BLOCK_ERROR_STOP,	/* hold them, and the guest, until it is told to try again */
	BLOCK_ERROR_IGNORE,	/* tell the guest that all is well; what could not be read is zero */
};
extern const char *const block_on_error_names[];	/* by that number; NULL behind the last */

#define BLOCK_GROUP_MAX	32	/* bytes of a group's name, with its end */

/* Flags of block_open(). */
#define BLOCK_O_RDONLY	1u	/* open read-only whatever the specification says */
#define BLOCK_O_NOLOCK	2u	/* take no lock (reading an image in use: info, check) */

/*
 * Opens the image that @spec names. A specification is either a path, or a
 * list key=value,... whose first key may be bare and is then the path:
 *
 *	path=FILE		the file or device (",," stands for a comma)
 *	format=raw|vhd		default: vhd for names ending in .vhd or .avhd,
 *				raw for all others. Contents are never probed.
 *	readonly=on|off		default off
 *	cache=none|host		none (default): O_DIRECT where the file system has
 *				it; host: through the host's page cache
 *	discard=on|off		default on; off: discards are accepted and ignored
 *	rawparent=on|off	default off; on: a differencing image may stand on
 *				a raw file
 *	key=FILE		the key of an encrypted image (32 or 64 bytes); fd:N is
 *				a descriptor
 *	error=report|stop|enospc|ignore
 *				what is done about requests that fail on the host:
 *				see enum block_on_error; default enospc
 *	removable=on|off	default off; on: it is a drive, whose medium may be
 *				changed while the guest runs. Without a path it is empty
 *	iops=N bps=SIZE iops-burst=N bps-burst=SIZE
 *				limits: see struct throttle_limits
 *	group=NAME		the limits hold for all disks of this group together
 *
 * A path may also be written raw:FILE or vhd:FILE. Returns NULL and sets *@err
 * to a sentence for the user (free() it); errno holds the reason's number.
 * The image is locked: one writer, or any number of readers.
 */
struct block *block_open(const char *spec, unsigned int flags, char **err);

/* The same; a relative path counts from the directory @dir. */
struct block *block_open_at(const char *dir, const char *spec, unsigned int flags, char **err);

/* No medium: a read-only disk of no bytes, with the options of @spec, whose path, if any, is not looked at. */
struct block *block_open_empty(const char *spec, char **err);

/*
 * Closes; every queue must have been destroyed before. Writes back what is
 * not yet on stable storage and returns 0 or -errno. Accepts NULL.
 */
int block_close(struct block *b);

/* Checks @spec without opening anything: 0, or -EINVAL and *@err set. */
int block_spec_check(const char *spec, char **err);

uint64_t block_capacity(const struct block *b);		/* bytes, multiple of 512 */
uint32_t block_sector_size(const struct block *b);	/* logical, 512 */
uint32_t block_physical_size(const struct block *b);	/* preferred alignment, bytes */
uint32_t block_discard_granularity(const struct block *b);	/* bytes; 0: none */
bool block_readonly(const struct block *b);
bool block_removable(const struct block *b);		/* its medium may be changed: as given */
const char *block_path(const struct block *b);		/* as given */
const char *block_format(const struct block *b);	/* "raw", "vhd-dynamic", ... */
enum block_on_error block_on_error(const struct block *b);	/* as given */
const struct throttle_limits *block_limits(const struct block *b);
const char *block_group(const struct block *b);		/* "": none */
/* A stable identity: @id gets 20 bytes, ASCII, zero padded (VIRTIO_BLK_T_GET_ID). */
void block_serial(const struct block *b, char id[20]);

/*
 * A queue on @b that keeps at most @depth (1..1024) requests in flight; what
 * is submitted beyond waits inside. All memory and threads that a queue needs
 * are allocated here: submit and poll never allocate, so that they may run
 * behind a narrow seccomp filter (io_submit, io_getevents, read, write,
 * futex, fallocate, ftruncate, fdatasync, p{read,write}v, mmap-free).
 * Returns NULL and sets errno.
 */
struct block_queue *block_queue_create(struct block *b, unsigned int depth);

/* Waits for all its requests (done() is called for each), frees. Accepts NULL. */
void block_queue_destroy(struct block_queue *q);

/*
 * Takes the request over. Always answers through done(): what is wrong with
 * the request (range, alignment, read-only image) comes as its error.
 * Requests may be held back until block_queue_kick().
 */
void block_queue_submit(struct block_queue *q, struct block_req *req);

/*
 * Asks which unchanging image, below the disk, shows the first part of [offset, offset + length): vhd_locate(), whose rules on
 * the life of the answer hold. True: block_found() has the answer at once; else done() tells when it has.
 */
bool block_locate(struct block_queue *q, struct block_req *req);
const struct vhd_found *block_found(const struct block_req *req);

/* Sends what was held back to the kernel in one system call. */
void block_queue_kick(struct block_queue *q);

/* An eventfd that is readable when block_queue_poll() has something to do. */
int block_queue_fd(const struct block_queue *q);

/*
 * Clears the eventfd, reaps completions, calls done(), sends on what became
 * possible. Returns the number of requests that were completed. Never blocks.
 */
int block_queue_poll(struct block_queue *q);

/*
 * Snapshots of disks in use, all at one moment: each disk's present contents
 * stay behind as the image @snapshot (a link to the disk's file that the caller
 * has made), and it goes on in @child, a fresh child of that, which takes its
 * name. @q: all @n queues of @block.
 *
 * begin prepares while the disks work. Around switch nobody else may use the
 * queues; requests in flight are done. From then on until finish has returned
 * nobody may submit a FLUSH or a write with BLOCK_F_FUA. 0, or -errno and
 * *@err: of the first two with the disks as they were and @child still there,
 * of finish with flushes that fail from then on.
 */
struct block_branch {
	struct block *block;
	struct block_queue *const *q;
	unsigned int n;
	const char *child, *snapshot;
};
struct block_branches;

struct block_branches *block_branch_begin(const struct block_branch *b, unsigned int count, char **err);
/* On failure *all is gone. */
int block_branch_switch(struct block_branches *all, char **err);
int block_branch_finish(struct block_branches *all, char **err);

/*
 * Another medium in a drive: @b becomes what @next was, with its capacity, file
 * and options; @next becomes what @b was, and is the caller's to close. @q: all
 * @n queues of @b, which nobody uses meanwhile; requests in flight are done. 0, or -errno and *@err with both as they were.
 */
int block_exchange(struct block *b, struct block *next, struct block_queue *const *q, unsigned int n, char **err);

/*
 * Merges an image below a disk in use into its own parent: the steps of vhd_coalesce_begin() and so on, whose rules hold.
 * @image: its file; NULL: the disk's parent. Any thread, with the disk in use by others; around switch nobody else may use
 * its queues @q, all @n. NULL or -errno, and *@err. end, which must follow begin whatever happens, frees @c.
 */
struct block_coalesce;

struct block_coalesce *block_coalesce_begin(struct block *b, const char *image, char **err);
/* Which files are merged: this one into that. */
const char *block_coalesce_image(const struct block_coalesce *c);
const char *block_coalesce_into(const struct block_coalesce *c);
int block_coalesce_copy(struct block_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque, char **err);
int block_coalesce_switch(struct block_coalesce *c, struct block_queue *const *q, unsigned int n, char **err);
int block_coalesce_end(struct block_coalesce *c, char **err);

/*
 * Copies what a disk in use shows into a new image, made as @target says (a specification of path, format, cache, discard and
 * key), until the disk can go over to it; what is not of the image stays as it is with the disk. The new image
 * has its name when it is complete.
 *
 * begin makes it. watch, with nobody else using the disk's queues, is to be on from before the first run until end. run copies,
 * on any thread, with the disk in use, until what is left is a matter of a second at most; go_on() is asked all the time,
 * and told the bytes of the disk that are alike, which may become less. switch then copies the rest and lets the disk go
 * over, as for block_exchange(); -EAGAIN: it would take longer than that after all; run is to be called again. Both else
 * 0, or -errno and *@err, -EINTR when go_on() said no. end is always last, closes and deletes what was not finished, or
 * closes what the disk was, and frees @m.
 */
struct block_mirror;

struct block_mirror *block_mirror_begin(struct block *b, const char *dir, const char *target, char **err);
/* The new image's file. */
const char *block_mirror_path(const struct block_mirror *m);
void block_mirror_watch(struct block_mirror *m, bool on);
int block_mirror_run(struct block_mirror *m, bool (*go_on)(void *opaque, uint64_t done), void *opaque, char **err);
/* For go_on(): whether the disk is being changed faster than it is copied. */
bool block_mirror_behind(const struct block_mirror *m);
int block_mirror_switch(struct block_mirror *m, struct block_queue *const *q, unsigned int n, char **err);
int block_mirror_end(struct block_mirror *m, char **err);

/* A larger disk; @q as for block_exchange(). 0, or -errno and *@err. */
int block_grow(struct block *b, uint64_t size, struct block_queue *const *q, unsigned int n, char **err);

/* Requests submitted and not yet done. */
unsigned int block_queue_inflight(const struct block_queue *q);

/* Blocks until every request of the queue is done. */
void block_queue_drain(struct block_queue *q);

#endif
