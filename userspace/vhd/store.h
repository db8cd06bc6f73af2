/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an image is kept in: a file, a block device, or in tests a simulated
 * disk that reorders, fails and forgets. The engine above sees a byte array
 * with synchronous calls for opening and closing, and queues for the rest.
 *
 * Reads past the end give zeros. Offsets and lengths of queued operations are
 * multiples of 512, memory is aligned to mem_align.
 */
#ifndef VHD_STORE_H
#define VHD_STORE_H

#include <lodge/vhd.h>
#include <libaio.h>

struct store;
struct store_queue;

enum store_op {
	STORE_READ,
	STORE_WRITE,
	STORE_SYNC,		/* everything completed before is stable after */
	STORE_PUNCH,		/* becomes zero, space may be freed */
	STORE_ZERO,		/* becomes zero, space stays reserved */
};

struct store_io {
	struct store *store;		/* may differ from the queue's own */
	enum store_op op;
	uint64_t offset;
	uint64_t length;
	const struct iovec *iov;
	int iovcnt;
	void (*done)(struct store_io *io, int error);

	/* The store's. */
	struct store_queue *queue;
	struct store_io *next;
	struct store_io *after, **before;	/* in a list of store_file's */
	struct iocb iocb;
	int result;
};

struct store_ops {
	int (*pread)(struct store *s, void *buf, size_t bytes, uint64_t offset);
	int (*pwrite)(struct store *s, const void *buf, size_t bytes, uint64_t offset);
	int (*sync)(struct store *s);
	int (*truncate)(struct store *s, uint64_t size);
	int (*zero)(struct store *s, uint64_t offset, uint64_t bytes);
	/* 1 data, 0 hole; *length is cut to the run's length. */
	int (*run)(struct store *s, uint64_t offset, uint64_t *length);
	uint64_t (*allocated)(struct store *s);
	void (*close)(struct store *s);
	/* A number that the store has for as long as nobody writes to it, and no other one; else false. NULL: never. */
	bool (*identity)(struct store *s, uint8_t id[16]);
	/* No more writes will come: lets readers have it too. NULL: nothing to be done. */
	void (*share)(struct store *s);

	int (*queue_create)(struct store *s, unsigned int depth, struct store_queue **out);
	void (*queue_destroy)(struct store_queue *sq);
	/* An empty queue belongs to this store from now on; of several, only the first can fail, and is then as it was. */
	int (*queue_move)(struct store_queue *sq, struct store *s, unsigned int depth);
	void (*submit)(struct store_queue *sq, struct store_io *io);
	void (*kick)(struct store_queue *sq);
	/* Clears the wake-up, calls done() for what has completed. */
	void (*poll)(struct store_queue *sq);
	/* Makes fd() readable; from any thread. */
	void (*wake)(struct store_queue *sq);
	int (*fd)(const struct store_queue *sq);
	/* Blocks until fd() is readable. */
	void (*wait)(struct store_queue *sq);
};

struct store {
	const struct store_ops *ops;
	uint64_t size;		/* bytes; changed by truncate only */
	uint32_t mem_align;
	bool device;		/* cannot grow; what was never written is not zero */
	bool direct;
	bool readonly;
	uint32_t physical;	/* preferred alignment */
};

/* For store_file_open(): written, but readers may have it open. */
#define STORE_O_SHARED	0x10000u

/* Opens a file or device; locks it unless VHD_O_NOLOCK. */
int store_file_open(const char *path, unsigned int flags, struct store **out,
		    struct vhd_error *err);
/* A new, empty file (or an existing block device), opened for writing. */
int store_file_create(const char *path, struct store **out, bool *is_new,
		      struct vhd_error *err);
/*
 * @path, which @reader has open for reading, for writing: @reader's lock becomes one that nobody else
 * has any, and no writer can come between. store_file_return() gives it back, the descriptor @writer keeping one as a reader.
 */
int store_file_claim(struct store *reader, const char *path, struct store **writer, struct vhd_error *err);
void store_file_return(struct store *reader, int writer);
int store_file_stat(struct store *s, uint64_t *dev, uint64_t *ino, int64_t *mtime);
/* Its descriptor. */
int store_file_fd(struct store *s);
/* A name that @path has been given in its directory is stable. */
int store_directory_sync(const char *path);
int store_file_reserve(struct store *s, uint64_t bytes);

#endif
