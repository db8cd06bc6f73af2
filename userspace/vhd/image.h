/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open image and its parts. Fields tagged (L) are guarded by vhd->lock,
 * (C) belong to whoever runs the commit, (O) are constant once open.
 *
 * Lock order: vhd->lock of a child, nothing, vhd->lock of its parent (one is
 * held at a time); queue->inbox_lock inside vhd->lock.
 */
#ifndef VHD_IMAGE_H
#define VHD_IMAGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vhd/codec.h"
#include "vhd/store.h"

#define PAGE_BYTES	4096u
#define BITMAP_SLOTS	256
#define RING_SLOTS	16384u
#define ZEROING_SLOTS	32
#define COMMIT_IOS	16
#define COMMIT_DIRTY	512	/* metadata units that start a commit unasked */
#define IO_IOVECS	16
#define BOUNCE_BYTES	(128u << 10)
#define BOUNCES		8
#define BOUNCES_KEYED	64	/* with encryption everything goes through them */
#define BOUNCE_KEYED	(32u << 10)

struct request_list {
	struct vhd_request *head, **tail;
};

enum bitmap_state { BITMAP_EMPTY, BITMAP_LOADING, BITMAP_VALID };

/* One block's sector bitmap in memory. */
struct bitmap {
	enum bitmap_state state;
	bool dirty;
	bool used;		/* second chance for the clock */
	uint32_t block;
	uint32_t pins;		/* writes in flight that will set bits */
	int next;		/* hash chain, -1 ends */
	struct request_list waiters;
	uint8_t *map;		/* what is true */
	uint8_t *stage;		/* what the running commit may write */
	bool staged;
};

struct bitmap_cache {
	struct bitmap slot[BITMAP_SLOTS];
	int hash[BITMAP_SLOTS];
	uint32_t hand;
	uint32_t dirty;
	struct request_list starved;
	uint8_t *memory;
};

/* Block locations on their way from freed to reusable; see alloc.c. */
struct alloc {
	uint64_t next;		/* first byte after everything placed so far */
	uint32_t *ring;
	uint64_t freed, captured, cleared, target, grace, punched, punch_captured, usable, taken;
	bool grace_pending;
	bool punching;
	unsigned int epoch;
	uint64_t inflight[2];
};

struct zeroing {
	bool busy;
	uint32_t block;
	struct request_list waiters;
};

enum commit_state { COMMIT_IDLE, COMMIT_KILL, COMMIT_KILL_SYNC, COMMIT_STAGE_SYNC, COMMIT_MAPS,
		    COMMIT_BARRIER, COMMIT_TABLE, COMMIT_SYNC };

struct commit {
	enum commit_state state;	/* (L) */
	struct vhd_queue *queue;	/* (C) */
	struct request_list now, later;	/* (L) */
	bool again;			/* (L) */
	int error;			/* (C) */
	unsigned int inflight;		/* (C) */
	uint32_t cursor;		/* (C) */
	uint32_t slot_cursor;		/* (C) */
	uint64_t generation;		/* (C) */
	uint64_t size;			/* (C) of the file when the sync was started */
};

/* What a keyed image tells of its key. */
struct vhd_keyhash {
	bool set;
	uint8_t nonce[32];
	uint8_t hash[32];		/* SHA-256 of nonce and key */
};

/* tapdisk's map of full blocks, as its header says. */
struct batmap {
	bool present;
	bool usable;			/* ... and where it says to be */
	uint64_t header_at, at;
	uint32_t sectors, checksum;
	struct vhd_keyhash key;
};

struct vhd {
	struct store *store;		/* (O) */
	char *path;			/* (O) */
	char *parent_path;		/* (O) */
	enum vhd_type type;		/* (O) */
	bool readonly;			/* (O) */
	bool unclean;			/* (O) was, when opened */
	bool blocks;			/* (O) has a block table */
	uint64_t size;			/* (O) */
	struct vhd_footer footer;	/* (O) */
	struct vhd_header header;	/* (O) */
	struct vhd *parent;		/* (O) */
	struct flat *flat;		/* (O) of the image that a chain was opened by; NULL: none */
	uint8_t *walk_map;		/* vhd_map()'s: the bitmap of walk_block */
	uint32_t walk_block;
	bool identified;		/* (O) unchanging, and identity names it */
	uint8_t identity[16];		/* (O) */
	bool no_parent;			/* (O) differencing, but parent not opened */
	struct vhd_keys *keys;		/* (O) what key is from; NULL: none were given */
	struct vhd_key *key;		/* (O) data are encrypted with it; NULL: they are not */
	bool crypt;			/* (O) this image or one below has a key */
	bool no_key;			/* (O) data of this image or one below cannot be read for want of a key */
	bool exact;			/* (O) a set bit in a bitmap is a sector that was written, not one of zeros */
	struct batmap batmap;		/* (O) */
	uint8_t *batmap_bits;		/* (L) what it said before it was cleared; NULL: not being kept */
	struct track *track;		/* (O) NULL: changes are not tracked */
	uint8_t *head;			/* (O) file bytes before the table, one page at most */

	uint32_t spb;			/* (O) sectors per block */
	uint32_t nblocks;		/* (O) blocks a guest can reach */
	uint32_t bitmap_bytes;		/* (O) */
	uint64_t meta_end;		/* (O) */
	bool page_meta;			/* (O) metadata pages are ours alone: write whole pages */
	bool no_free;			/* (O) a batmap that cannot be kept forbids freeing */
	bool barrier;			/* (O) an entry must follow its block's bitmap */
	uint64_t footer_at;		/* (O) where the trailing footer was at open */
	uint64_t data_limit;		/* (O) a short last block ends here, zeros follow */
	bool killed;			/* (C) it is gone: image marked open */

	pthread_mutex_t lock;
	uint32_t *bat;			/* (L) max_entries, host order */
	uint64_t *full;			/* (L) bit per block: every sector present */
	uint64_t *full_dirty;		/* (L) its bitmap of ones is to be written */
	uint64_t *hide_new;		/* (L) entries the table must not show yet */
	uint64_t *hide_sync;		/* (C, L) those whose barrier is under way */
	uint32_t hidden_new, hidden_sync;	/* (L) */
	uint32_t full_dirty_count;	/* (L) */
	uint64_t *table_dirty;		/* (L) bit per unit */
	uint32_t table_dirty_count;	/* (L) */
	uint32_t table_unit;		/* (O) bytes written at once: page or sector */
	uint32_t table_units;		/* (O) */
	uint64_t table_base;		/* (O) file offset of unit 0 */
	uint8_t *ones;			/* (O) bitmap page of a full block */

	struct bitmap_cache cache;	/* (L) */
	struct alloc alloc;		/* (L) */
	struct zeroing zeroing[ZEROING_SLOTS];	/* (L) */
	struct request_list zeroing_starved;	/* (L) */
	struct commit commit;

	atomic_uint queues;		/* ever made */
	atomic_ullong written;		/* counts completed changes of the file */
	uint64_t synced;		/* (L) value of written that is stable */
	uint64_t durable_size;		/* (L) of the file; entries beyond wait for a barrier */
	int poisoned;			/* (L) -errno of a failed sync: sticky */
	bool touched;			/* (L) something was changed since open */
};

enum io_kind { IO_DATA, IO_BITMAP, IO_FRESH };

struct vhd_io {
	struct store_io io;
	enum io_kind kind;
	struct vhd_queue *queue;
	struct vhd_request *req;	/* IO_DATA */
	struct vhd *image;
	struct bitmap *bitmap;		/* pinned, or being loaded */
	uint32_t block, first, count;	/* bits to set when done */
	int epoch;			/* -1: none entered */
	uint64_t at;			/* where in the request this part begins */
	uint8_t *bounce;
	struct iovec iov[IO_IOVECS];
	struct vhd_io *next;
};

struct commit_io {
	struct store_io io;
	struct vhd *image;
	struct iovec iov;
	enum commit_state what;
	uint32_t index;
	struct bitmap *bitmap;
	bool busy;
};

struct vhd_queue {
	struct vhd *image;
	struct store_queue *sq;
	unsigned int depth;
	unsigned int inflight;		/* requests */
	unsigned int housekeeping;	/* operations without a request */
	struct vhd_io *ios, *idle;
	uint8_t *levels;		/* flat.c's: one block's, in the making */
	unsigned int number;		/* which of a key's contexts */
	uint8_t *bounces;
	uint8_t *bounce_idle[BOUNCES_KEYED];
	unsigned int bounce_count;
	uint32_t bounce_bytes;
	struct request_list finished;
	struct request_list starved;	/* waiting for an idle io or bounce */
	struct commit_io commit_io[COMMIT_IOS];
	uint8_t *commit_pages;
	struct store_io punch_io;
	pthread_mutex_t inbox_lock;
	struct request_list inbox;	/* inbox_lock; woken by other queues */
};

static inline bool map_test(const uint64_t *map, uint32_t n)
{
	return map[n >> 6] >> (n & 63) & 1;
}

static inline void map_set(uint64_t *map, uint32_t n)
{
	map[n >> 6] |= 1ull << (n & 63);
}

static inline void map_clear(uint64_t *map, uint32_t n)
{
	map[n >> 6] &= ~(1ull << (n & 63));
}

/* First set bit at or after @from and below @limit; @limit: none. */
uint32_t map_next(const uint64_t *map, uint32_t from, uint32_t limit);

static inline uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* requests: queue.c */
void requests_init(struct request_list *l);
void requests_add(struct request_list *l, struct vhd_request *req);
struct vhd_request *requests_take(struct request_list *l);
/* Hands every request of @l back to its queue, to go on. */
void requests_resume(struct request_list *l);

/* table.c: the block table in memory */
int table_init(struct vhd *v);
void table_fini(struct vhd *v);
void table_set(struct vhd *v, uint32_t block, uint32_t sector);
void table_mark(struct vhd *v, uint32_t block);
/* Puts unit @n into @page; returns its file offset. */
uint64_t table_compose(struct vhd *v, uint32_t n, uint8_t *page);
void full_set(struct vhd *v, uint32_t block, bool dirty);
void full_clear(struct vhd *v, uint32_t block);

/* bitmap.c */
int bitmap_init(struct vhd *v);
void bitmap_fini(struct vhd *v);
struct bitmap *bitmap_find(struct vhd *v, uint32_t block);
/*
 * The slot of @block, valid; or NULL, with @req set to be resumed later. The
 * queue must have an operation to spare.
 */
struct bitmap *bitmap_get(struct vhd *v, uint32_t block, struct vhd_queue *q,
			  struct vhd_request *req);
/* Starts reading the bitmap of @block, if it is not there and the queue has an operation for it. */
void bitmap_ahead(struct vhd *v, uint32_t block, struct vhd_queue *q);
/* A slot for a fresh block, all zeros; NULL: @req waits. */
struct bitmap *bitmap_fresh(struct vhd *v, uint32_t block, struct vhd_queue *q,
			    struct vhd_request *req);
void bitmap_loaded(struct vhd_io *vio, int error);
void bitmap_set_bits(struct vhd *v, struct bitmap *b, uint32_t first, uint32_t count);
void bitmap_drop(struct vhd *v, struct bitmap *b);
/* Notes which of the bitmaps in memory are of full blocks. */
void bitmap_notice_full(struct vhd *v);
void bitmap_stage(struct vhd *v);
/* Puts the staged bitmap of @b into @page; returns offset, sets *@bytes. */
uint64_t bitmap_compose(struct vhd *v, struct bitmap *b, uint8_t *page, uint32_t *bytes);
uint64_t bitmap_offset(const struct vhd *v, uint32_t sector, uint32_t *bytes);

/* alloc.c */
int alloc_init(struct vhd *v, uint64_t next);
void alloc_fini(struct vhd *v);
/* What lies behind @from and between blocks is free to be used again. */
int alloc_find_gaps(struct vhd *v, uint64_t from);
/* A place for one block. Its bytes are zero unless the store is a device. */
int alloc_place(struct vhd *v, uint32_t *sector);
/* A footer has been written in: places on their way are left, new ones lie behind it. Nothing is in flight. */
void alloc_forget(struct vhd *v);
bool alloc_can_free(const struct vhd *v);
void alloc_free(struct vhd *v, uint32_t sector);
int alloc_enter(struct vhd *v);
void alloc_leave(struct vhd *v, int epoch, struct vhd_queue *q);
void alloc_commit_begin(struct vhd *v);
uint64_t alloc_data_end(const struct vhd *v, uint32_t sector);
void alloc_commit_done(struct vhd *v, struct vhd_queue *q);

/* commit.c */
void commit_init(struct vhd *v);
void commit_flush(struct vhd *v, struct vhd_queue *q, struct vhd_request *req);
void commit_poke(struct vhd *v, struct vhd_queue *q);	/* vhd->lock held */

/* map.c */
enum map_result { MAP_DATA, MAP_ZERO, MAP_NOTHING, MAP_WAIT, MAP_STARVE, MAP_ERROR };

struct extent {
	struct vhd *image;
	uint64_t offset;		/* in the image's file */
	uint64_t length;
	struct bitmap *bitmap;		/* pinned: set bits when written */
	uint32_t block, first, count;
	int epoch;
	int error;
	bool keep;
};

enum map_result map_read(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			 uint64_t length, struct extent *e);
enum map_result map_write(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			  uint64_t length, struct extent *e);
enum map_result map_zero(struct vhd_queue *q, struct vhd_request *req, uint64_t offset,
			 uint64_t length, struct extent *e);
void map_fresh_done(struct vhd_io *vio, int error);

/* locate.c */
/* @v will not change any more, as far as its opener can tell. */
void locate_identify(struct vhd *v);
/* Answers a VHD_LOCATE whose queue has an operation to spare. */
enum map_result locate_step(struct vhd_queue *q, struct vhd_request *req);
/* Whether reads of @v's disk may begin at @from. */
bool locate_valid(const struct vhd *v, const struct vhd *from);

/* queue.c */
struct vhd_io *queue_io_get(struct vhd_queue *q);
void queue_io_put(struct vhd_queue *q, struct vhd_io *vio);
void queue_post(struct vhd_request *req);
/* Frees without waiting for anything: for a queue whose store is dead. */
void queue_abandon(struct vhd_queue *q);
void request_put(struct vhd_request *req, int error);

/* open.c: an open image from a store, which it takes over even on failure */
int image_open_store(struct store *s, const char *name, unsigned int flags, struct vhd **out,
		     struct vhd_error *err);
int image_open_store_keys(struct store *s, const char *name, unsigned int flags, struct vhd_keys *keys,
			  struct vhd **out, struct vhd_error *err);
int image_open_path(const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		    struct vhd_error *err);
/* @s: @path, opened. */
int image_open_file(struct store *s, const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		    struct vhd_error *err);
/* Complete on stable storage as after closing, said to be a parent or not, and still open. Queues are empty. */
int image_settle(struct vhd *v, bool is_parent);
/* It was settled, and edit.c has changed its header since: what it says now. */
int image_refresh(struct vhd *v, struct vhd_error *err);
/* It was settled, and no writes will come any more: a parent, which readers may have too. */
void image_quieten(struct vhd *v);

/* key.c */
struct vhd_keys *keys_share(struct vhd_keys *k);
bool keys_any(const struct vhd_keys *k);
/* The hash of the first key with @h's nonce. */
int keys_hash(const struct vhd_keys *k, struct vhd_keyhash *h);
/* The key that @h is of; NULL: it is not here. It lives as long as the ring. */
struct vhd_key *keys_find(const struct vhd_keys *k, const struct vhd_keyhash *h);
/* Encrypts (@write) or decrypts whole sectors in place, the first being the disk's @sector. 0 or -EIO. */
int key_sectors(struct vhd_key *key, unsigned int number, bool write, uint8_t *buf, uint64_t bytes,
		uint64_t sector);

/* batmap.c */
/* @raw: a sector at @at of a file. 0, also if there is no such map; -EINVAL if the image must not be used. */
int batmap_decode(const uint8_t *raw, uint64_t at, uint64_t file_size, struct batmap *b, struct vhd_error *err);
/* A new one's header, at @at, its map of @sectors zeros behind it. */
void batmap_header_make(const struct vhd_keyhash *key, uint64_t at, uint32_t sectors, uint8_t *raw);
uint32_t batmap_sectors(uint32_t entries);
int batmap_key_put(struct store *s, const struct batmap *b, const struct vhd_keyhash *key);
/* Clears the map on the disk; *@before (malloc'd) is what it said, NULL if there is none that can be kept. */
int batmap_clear(struct store *s, struct batmap *b, uint64_t disk_size, uint8_t **before);
/* Writes what is known, and syncs. */
int batmap_put(struct vhd *v);

/* switch.c: for those who change what queues speak of, which is theirs meanwhile */
#define SWITCH_QUEUES	64u
void switch_drain(struct vhd_queue **q, unsigned int n);
/* Room in the queues for images of blocks of that many sectors. -ENOMEM. */
int switch_room(struct vhd_queue **q, unsigned int n, uint32_t sectors);
/* The queues, which are empty, belong to @v's file from now on, in whichever one they were made. -errno: as before, or moved. */
int switch_move(struct vhd *v, struct vhd_queue **q, unsigned int n, struct vhd_error *err);

/* chain.c */
int chain_open_parent(struct vhd *v, unsigned int flags, struct vhd_error *err);
int chain_locators(const char *child, const char *parent, struct vhd_header *h, uint64_t offset,
		   uint8_t *payload, size_t room, struct vhd_error *err);

/* flat.c: which of an image's ancestors answers, looked up at once */
int flat_create(struct vhd *v);
void flat_destroy(struct flat *f);
/* After @v's chain has changed. One that cannot be flattened for want of memory is walked. */
void flat_renew(struct vhd *v);
/*
 * What of @e->length bytes from @offset on, which lie in one block of @v and
 * not in @v itself, is answered by one ancestor: *@level, or NULL: by none,
 * it is zero. MAP_NOTHING: found. MAP_WAIT: @req will be resumed. MAP_DATA:
 * this chain cannot be flattened here, walk it.
 */
enum map_result flat_find(struct vhd_queue *q, struct vhd *v, struct vhd_request *req, uint64_t offset,
			  struct extent *e, struct vhd **level);

/* layout.c: where everything is in a file */
struct layout {
	struct vhd_footer footer;
	struct vhd_header header;
	bool trailing;			/* a valid footer at the end */
	bool copy;			/* ... and at the start */
	uint64_t footer_at;		/* the trailing one; file size if there is none */
	uint8_t raw_footer[VHD_FOOTER_BYTES];
	uint8_t raw_copy[VHD_FOOTER_BYTES];
	uint8_t raw_header[VHD_HEADER_BYTES];
	uint64_t table_end;
	uint64_t meta_end;		/* table, batmap */
	uint64_t meta_top;		/* ... and locators */
	struct batmap batmap;
};

int layout_read(struct store *s, struct layout *l, struct vhd_error *err);
/* The table in host order, malloc'd. */
int layout_table(struct store *s, const struct layout *l, uint32_t **bat, struct vhd_error *err);
/* What every user of the table relies on; *@last is where the last block ends. */
int layout_table_check(const struct layout *l, const uint32_t *bat, uint64_t *last,
		       struct vhd_error *err);
/* Where a file must reach for the block at @sector to be whole enough. */
uint64_t layout_block_needs(const struct layout *l, uint32_t sector);
bool layout_pages(const struct layout *l, const uint32_t *bat);

/* check.c: vhd_check() on an open store */
int check_on_store(struct store *s, const char *path, struct vhd_check *check,
		   struct vhd_error *err);

/* edit.c: vhd_set_parent() and so on, on an open store */
struct edit_parent {
	uint8_t uuid[16];		/* null: raw */
	uint32_t timestamp;
	uint64_t size;
	struct vhd_keyhash key;
	const char *name;		/* for chain_locators() */
};

int edit_hidden(struct store *s, bool hidden, struct vhd_error *err);
/* @parent NULL: none. @path: where the image itself is. */
int edit_parent(struct store *s, const char *path, const struct edit_parent *parent,
		struct vhd_error *err);
int edit_size(struct store *s, uint64_t size, unsigned int flags, struct vhd_error *err);
int edit_key(struct store *s, const struct vhd_keys *keys, struct vhd_error *err);
int edit_repair(struct store *s, struct vhd_error *err);

/* create.c */
int create_uuid(uint8_t uuid[16]);
/* The hash of the first of @keys with a new nonce. */
int create_keyhash(enum vhd_type type, const struct vhd_keys *keys, struct vhd_keyhash *key, struct vhd_error *err);
struct vhd_geometry create_geometry(uint64_t size);
/* What a child is to say of its parent; the parent must be there. */
int create_parent_find(const char *parent, bool raw, unsigned int flags, struct edit_parent *found, struct vhd_error *err);
int create_on_store(struct store *s, const char *path, const struct vhd_params *params,
		    struct vhd_error *err);

#endif
