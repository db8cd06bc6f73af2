/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Virtual Hard Disk images (VHD 1.0): create, open, check, asynchronous I/O.
 *
 * One handle type serves fixed, dynamic and differencing images, and plain
 * raw files and block devices. The library never prints, aborts or exits; a
 * function that can fail for reasons a user should read takes a
 * `struct vhd_error` and fills in one sentence. Everything read from an image
 * is taken to be hostile.
 *
 * Threads: a `struct vhd` may be shared; each `struct vhd_queue` belongs to
 * one thread at a time.
 */
#ifndef LODGE_VHD_H
#define LODGE_VHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VHD_SECTOR		512u
#define VHD_MAX_SIZE		0x1fe00000000ull	/* 2040 GiB */
#define VHD_DEFAULT_BLOCK	0x200000u
#define VHD_MAX_CHAIN		64

struct vhd;
struct vhd_queue;

/*
 * From now on fn is the first that a thread does which the library starts; NULL: nothing. For programs that confine their
 * threads. For the whole process, before an image is opened.
 */
void vhd_on_thread(void (*fn)(void));

struct vhd_error {
	int code;		/* positive errno */
	char text[768];		/* a sentence, no newline */
};

enum vhd_type {
	VHD_RAW = 0,		/* no VHD at all */
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFF = 4,
};

/* "raw", "vhd-fixed", "vhd-dynamic", "vhd-differencing". */
const char *vhd_type_name(enum vhd_type type);

/* Flags of vhd_open(). */
#define VHD_O_RDONLY		0x01u
#define VHD_O_RAW		0x02u	/* a raw file or device: contents are not looked at */
#define VHD_O_NOLOCK		0x04u	/* take no lock */
#define VHD_O_BUFFERED		0x08u	/* no O_DIRECT */
#define VHD_O_NOPARENT		0x10u	/* only look at this file: no data can be read from a
					 * differencing image opened so */
#define VHD_O_RAW_PARENT	0x20u	/* allow a raw parent (an image can name any file) */
#define VHD_O_OWN		0x40u	/* a differencing image without its parents: only sectors
					 * that it holds itself mean anything (see vhd_map()) */
#define VHD_O_INTERNAL		0x80u	/* write to an image that others stand on */
#define VHD_O_NOKEY		0x100u	/* look also at an encrypted image whose key is not there: its
					 * data cannot be read. VHD_O_NOPARENT does so too */

/*
 * A ring of keys: 32 bytes (AES-128-XTS) or 64 (AES-256-XTS) each. Every
 * encrypted image of a chain takes from it the key that it was made with.
 */
struct vhd_keys;

struct vhd_keys *vhd_keys_create(void);	/* empty; NULL: no memory */
int vhd_keys_add(struct vhd_keys *k, const void *key, size_t bytes, struct vhd_error *err);
/* What @path holds, to its end: a file, "-" (standard input) or "fd:NUMBER". */
int vhd_keys_add_file(struct vhd_keys *k, const char *path, struct vhd_error *err);
/* Images that were opened with it keep it. Accepts NULL. */
void vhd_keys_free(struct vhd_keys *k);

/*
 * Opens @path. On success 0 and *@out; else -errno and a sentence in @err.
 * A writer gets the file exclusively, readers share it. An image that was not
 * closed properly is repaired when opened for writing (nothing flushed is
 * lost) and read as it is otherwise.
 */
int vhd_open(const char *path, unsigned int flags, struct vhd **out, struct vhd_error *err);
/* The same with keys (NULL: none). -ENOKEY, -EKEYREJECTED: an image of the chain is encrypted, and its key is not there. */
int vhd_open_keys(const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		  struct vhd_error *err);

/*
 * Writes back, marks the image clean, closes. All queues must be gone.
 * Returns 0 or the -errno of the first thing that failed; the handle is gone
 * in any case. Accepts NULL.
 */
int vhd_close(struct vhd *v);

struct vhd_info {
	enum vhd_type type;
	uint64_t size;			/* what a guest sees, bytes */
	uint64_t file_size;		/* length of the file */
	uint64_t allocated;		/* bytes the file occupies on its file system */
	uint32_t block_size;		/* dynamic and differencing */
	uint32_t blocks_total;
	uint32_t blocks_used;
	bool readonly;
	bool direct;			/* O_DIRECT in use */
	bool unclean;			/* was not closed properly before this open */
	bool hidden;
	bool saved_state;
	bool aligned;			/* every block's data lies on 4 KiB */
	bool encrypted;
	bool keyed;			/* ... and its key was given */
	bool batmap;			/* has tapdisk's map of full blocks */
	uint8_t key_nonce[32];
	uint8_t key_hash[32];		/* SHA-256 of nonce and key */
	uint8_t uuid[16];
	uint8_t parent_uuid[16];
	uint32_t timestamp;		/* seconds since 2000-01-01 UTC */
	char creator[5];
	uint32_t creator_version;
	uint32_t creator_os;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors_per_track;
	unsigned int depth;		/* images in the chain, itself included */
	char parent_name[768];		/* name as stored, UTF-8 */
	char parent_path[1024];		/* what it resolved to; empty: not resolved */
};

void vhd_get_info(const struct vhd *v, struct vhd_info *info);
uint64_t vhd_size(const struct vhd *v);
bool vhd_readonly(const struct vhd *v);

/* Creation. */
struct vhd_params {
	enum vhd_type type;
	uint64_t size;			/* multiple of 512; 0 with a parent: the parent's */
	uint32_t block_size;		/* 0: 2 MiB */
	const char *parent;		/* VHD_DIFF: path as it is to be recorded */
	bool parent_raw;
	bool parent_live;		/* the parent is being written to: whoever does will mark it */
	bool preallocate;		/* VHD_RAW, VHD_FIXED: reserve the space now */
	bool keep;			/* ... on a device: leave its contents, they will be overwritten */
	struct vhd_keys *keys;		/* encrypt with the first of them; NULL: as the parent is */
	uint32_t timestamp;		/* 0: now */
	uint8_t uuid[16];		/* all zero: a random one */
};

/*
 * Creates the new file @path (which must not exist, or be a block device).
 * Complete and on stable storage when it returns 0; else nothing is left.
 */
int vhd_create(const char *path, const struct vhd_params *params, struct vhd_error *err);
/*
 * Gives the file of an open image, on the same file system, the name @path, which must be free, and makes that stable. On
 * failure it has the one or the other name, and vhd_chain_path() tells which.
 */
int vhd_rename(struct vhd *v, const char *path, struct vhd_error *err);

/*
 * Changes of what an image says of itself. Each is whole or has not happened,
 * whenever it is cut off; @path must not be in use. 0 or -errno and a sentence.
 */

/*
 * Says that other images stand on @path: it then opens read-only. Or that none
 * does any more: it gets a new unique id, so that one which was overlooked
 * finds its parent changed, and an error, rather than wrong data.
 */
int vhd_mark_parent(const char *path, bool is_parent, struct vhd_error *err);

/*
 * Lets the differencing image @path stand on @parent (@raw: a raw file), or,
 * with @parent NULL, on nothing, which makes it a dynamic one. Only the names
 * change: that the contents still fit is the caller's business.
 */
int vhd_set_parent(const char *path, const char *parent, bool raw, struct vhd_error *err);

/*
 * Snapshots of @count images at one moment, while each @v is in use through the
 * @n queues @q, all it has. @child was created with parent_live, opened with
 * VHD_O_OWN and has nothing written to it yet; its file takes the name @disk.
 * @snapshot is the name by which @v is known from then on (the caller has linked
 * it), and the one recorded in @child.
 *
 * prepare may take its time, with the queues in use. From before switch to
 * after it the caller owns the queues of all: nobody submits or polls. On
 * success the queues and whoever had @v use @child, whose closing closes @v.
 * From switch until finish has returned no flush is submitted. When finish
 * fails, flushes of the images concerned fail for good, but all else is as
 * after success; when another step fails all is as it was. cancel: instead of
 * switch.
 */
struct vhd_branch {
	struct vhd *v, *child;
	const char *disk, *snapshot;
	struct vhd_queue **q;
	unsigned int n;
	char *names[3];			/* the library's */
};

int vhd_branch_prepare(struct vhd_branch *b, unsigned int count, struct vhd_error *err);
void vhd_branch_cancel(struct vhd_branch *b, unsigned int count);
int vhd_branch_switch(struct vhd_branch *b, unsigned int count, struct vhd_error *err);
int vhd_branch_finish(struct vhd_branch *b, unsigned int count, struct vhd_error *err);

/*
 * Lets the @n queues @q, all that @v has, go on with @next instead; for the
 * queues as for vhd_branch_switch(). @v stays the caller's, to be closed. Else -errno,
 * and all is as it was.
 */
int vhd_switch(struct vhd *v, struct vhd *next, struct vhd_queue **q, unsigned int n, struct vhd_error *err);
/* Lets the @n queues @q, at most 64, run empty together; nobody else uses them. */
void vhd_queues_drain(struct vhd_queue **q, unsigned int n);

/*
 * A larger disk while @v is in use through the @n queues @q, all it has; for
 * the queues as above. *@out is what they use from then on, whether it has
 * worked or not; @v is gone if it is another.
 */
int vhd_grow(struct vhd *v, uint64_t size, struct vhd_queue **q, unsigned int n, struct vhd **out, struct vhd_error *err);

/*
 * Encrypts the empty image @path with the first key of @keys, if it has room
 * for the key's hash (-EOPNOTSUPP: it has none; it must be made anew).
 */
int vhd_set_key(const char *path, const struct vhd_keys *keys, struct vhd_error *err);

#define VHD_RESIZE_SHRINK	1u	/* what lies behind the new end may be lost */

/* Gives the disk in @path (VHD_O_RAW in @open_flags: a raw file) @size bytes; new space is zero. */
int vhd_resize(const char *path, uint64_t size, unsigned int flags, unsigned int open_flags,
	       struct vhd_error *err);

/* Brings back lost or damaged footers, cuts off what no block has. */
int vhd_repair(const char *path, struct vhd_error *err);

/*
 * Calls @found for every VHD image in directory @dir, opened only to be looked
 * at. What is no image is passed over.
 */
int vhd_scan(const char *dir, void (*found)(void *opaque, const char *path, const struct vhd_info *info),
	     void *opaque, struct vhd_error *err);

/* Requests. */
enum vhd_op {
	VHD_READ,
	VHD_WRITE,
	VHD_FLUSH,
	VHD_DISCARD,
	VHD_WRITE_ZEROES,
	VHD_LOCATE,			/* no data: found tells which image shows what lies at offset */
};

#define VHD_F_UNMAP	1u		/* WRITE_ZEROES may free space */

/*
 * The start of a range, up to where another image begins to answer. @image has what @from alone decides, and so names this
 * content for as long as anybody can read it: two disks whose pieces have the same @image and offset show the same bytes.
 */
struct vhd_found {
	uint64_t length;		/* bytes, not 0 */
	struct vhd *from;		/* an image of the chain that does not change; NULL: the disk's own, or zeros */
	uint8_t image[16];
};

struct vhd_request {
	/* The caller's; unchanged until done(). */
	enum vhd_op op;
	uint32_t flags;
	uint64_t offset;		/* multiple of 512 */
	uint64_t length;		/* multiple of 512 */
	const struct iovec *iov;	/* READ, WRITE: sums up to length */
	int iovcnt;
	void (*done)(struct vhd_request *req, int error);
	void *opaque;
	struct vhd *from;		/* READ: what this image shows, of the disk's chain; NULL: the disk */
	struct vhd_found found;		/* LOCATE's answer */

	/* The library's. */
	struct vhd_queue *queue;
	struct vhd_request *next;
	uint64_t cursor;		/* bytes already mapped */
	int iov_index;
	int error;
	size_t iov_offset;
	uint32_t pending;		/* operations in flight, plus one while mapping */
	uint32_t state;
};

/* A queue with at most @depth storage operations in flight; NULL and errno. */
struct vhd_queue *vhd_queue_create(struct vhd *v, unsigned int depth);
void vhd_queue_destroy(struct vhd_queue *q);	/* drains first */

void vhd_submit(struct vhd_queue *q, struct vhd_request *req);
/*
 * Submits a VHD_LOCATE. True: it is answered already, and done() will not be called. found.from may be used while a request of
 * the queue is in flight, the next one's submission inside this one's done() included; after that the chain may be another.
 */
bool vhd_locate(struct vhd_queue *q, struct vhd_request *req);
void vhd_queue_kick(struct vhd_queue *q);
int vhd_queue_fd(const struct vhd_queue *q);
int vhd_queue_poll(struct vhd_queue *q);
unsigned int vhd_queue_inflight(const struct vhd_queue *q);
void vhd_queue_drain(struct vhd_queue *q);

/* One request, waited for. Only on a queue with nothing else in flight. */
int vhd_pread(struct vhd_queue *q, void *buf, uint64_t length, uint64_t offset);
int vhd_pwrite(struct vhd_queue *q, const void *buf, uint64_t length, uint64_t offset);
int vhd_flush(struct vhd_queue *q);
int vhd_write_zeroes(struct vhd_queue *q, uint64_t offset, uint64_t length, uint32_t flags);
int vhd_discard(struct vhd_queue *q, uint64_t offset, uint64_t length);

/* A piece of a disk and where it comes from. */
struct vhd_run {
	uint64_t length;		/* bytes */
	bool data;			/* else it is zero for certain */
	unsigned int depth;		/* which image answers: 0 itself, 1 its parent, ...;
					 * none does: the number of images */
	uint64_t file_offset;		/* where in that image's file; ~0: nowhere */
};

/*
 * What lies at @offset, at most @length bytes of it: 0, or -errno. Reads
 * metadata synchronously, so one thread at a time; for images opened read-only.
 */
int vhd_map(struct vhd *v, uint64_t offset, uint64_t length, struct vhd_run *run);
/*
 * How many bytes from @offset on, at most @length, no image of the chain has space for, as far as memory and file systems
 * tell at once: they are zero. Any thread, with @v in use.
 */
uint64_t vhd_unused(struct vhd *v, uint64_t offset, uint64_t length);
/* The file of the image at @depth; NULL: there is none. */
const char *vhd_chain_path(const struct vhd *v, unsigned int depth);

/*
 * Which parts of a disk have changed since a backup. A writer keeps the map
 * if there is one, the file PATH.cbt; vhd_changes_put() makes it, or makes it
 * anew: since @backup, @bits have changed (NULL: nothing). The caller sees to
 * it that nobody writes meanwhile, by having the image open for reading.
 *
 * vhd_changes() sets a bit of @bits, most significant first, per
 * VHD_TRACK_GRANULE bytes that may have changed; there is room for
 * vhd_changes_bytes(). If it is not known, all are, and @backup is null.
 */
#define VHD_TRACK_GRANULE	65536u

uint64_t vhd_changes_bytes(uint64_t disk_size);
int vhd_changes(const char *path, uint64_t disk_size, uint8_t *bits, uint8_t backup[16]);
int vhd_changes_put(const char *path, uint64_t disk_size, const uint8_t *bits, const uint8_t backup[16],
		    struct vhd_error *err);

/* Copying what @from shows, or with @own holds itself, into @to; flushed. 0 or -errno. */
struct vhd_copy {
	struct vhd *from, *to;		/* from: as for vhd_map() */
	bool write_zeroes;		/* the target is not zero where nothing is written */
	bool own;
	unsigned int buffers;		/* of 1 MiB, in use at once; 0: as many as are of use */
	/* Called all the time with the bytes done, holes included; false: stop, with -EINTR. NULL: nobody asks. */
	bool (*go_on)(void *opaque, uint64_t done);
	void *opaque;
	/*
	 * Which piece is the next, of at most VHD_COPY_PIECE bytes, and whether zeros in it are to be written; false: there is
	 * none. Each once, in whatever order; @from may be in use then. NULL: all that @from holds, from the start.
	 */
	bool (*next)(void *opaque, uint64_t *offset, uint64_t *length, bool *write_zeroes);
	struct vhd_queue *in, *out;	/* of from and to, with nothing in flight; NULL: it makes its own */
	uint64_t copied;		/* bytes written */
};
#define VHD_COPY_PIECE	(1u << 20)

int vhd_copy(struct vhd_copy *c);

/*
 * Merges the image at @depth (1: the parent) of @v's chain into its own parent,
 * while @v is in use through its queues. What @v shows is the same at each step.
 *
 * begin refuses what cannot be merged, among it whatever has other children in
 * its directory, as far as the caller may open files there, and what another
 * process has open. copy takes its time, on a thread of the caller's, with @v in use:
 * 0, or -EINTR when go_on() said no. switch follows one that succeeded, and
 * needs the @n queues @q, all @v has, as for vhd_branch_switch(); the merged
 * image is then out of the chain. end is always last, @v in use or not, and
 * frees @c; after a switch it deletes the merged image's file. An error then says that the file stays, for somebody reads it
 * or has made a child of it meanwhile; so does a device, without one.
 *
 * Whatever is left out or fails, @v goes on in the chain that it had; the part
 * that was merged stays so, and a later coalesce goes on from there. If switch
 * fails halfway through a change of the disk's header, flushes fail for good.
 * Nobody changes @v's chain, size or image otherwise from begin to end.
 */
struct vhd_coalesce;

int vhd_coalesce_begin(struct vhd *v, unsigned int depth, struct vhd_keys *keys, struct vhd_coalesce **out,
		       struct vhd_error *err);
int vhd_coalesce_copy(struct vhd_coalesce *c, bool (*go_on)(void *opaque, uint64_t done), void *opaque,
		      struct vhd_error *err);
int vhd_coalesce_switch(struct vhd_coalesce *c, struct vhd_queue **q, unsigned int n, struct vhd_error *err);
int vhd_coalesce_end(struct vhd_coalesce *c, struct vhd_error *err);

/* Checking. Each finding is one sentence. */
enum vhd_severity {
	VHD_NOTE,		/* harmless oddity */
	VHD_LEAK,		/* space lost, data intact; also: not closed properly */
	VHD_CORRUPT,
};

struct vhd_check {
	/* Called for each finding; the library stops calling after 1,000. */
	void (*found)(void *opaque, enum vhd_severity severity, const char *text);
	void *opaque;
	bool bitmaps;		/* read every sector bitmap too */
	uint64_t notes, leaks, corruptions;
	uint64_t blocks_used, blocks_total;
	uint64_t free_bytes;	/* between blocks, to be used again */
};

/* 0: looked through (see the counters); -errno: could not even read it. */
int vhd_check(const char *path, struct vhd_check *check, struct vhd_error *err);

#ifdef __cplusplus
}
#endif

#endif
