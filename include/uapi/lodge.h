/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What /dev/lodge has beyond <linux/kvm.h>.
 *
 * The device speaks the KVM ABI.  Extensions are found by asking KVM_CHECK_EXTENSION for the numbers below, which no KVM
 * capability uses; a kernel without one answers 0.  Their ioctls use the letter LODGE_IOCTL_LETTER, which the kernel's list of
 * ioctl numbers leaves free.  Flags that are not named here, and reserved fields, must be zero (else EINVAL).
 */
#ifndef _UAPI_LODGE_H
#define _UAPI_LODGE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define LODGE_CAP_BASE		0x4C4F0000

/* The version of this interface, LODGE_ABI_VERSION of the module; absent (0) on any other KVM. */
#define LODGE_CAP_VERSION	(LODGE_CAP_BASE + 0)

#define LODGE_ABI_VERSION	1

#define LODGE_IOCTL_LETTER	0xC7

/*
 * ---- Guest-memory files ----
 *
 * A file whose pages are a guest's memory.  It is mapped (MAP_SHARED) and given to KVM_SET_USER_MEMORY_REGION as any memory.
 * fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) and madvise(MADV_REMOVE) give pages back, which read as zeros then; the
 * size is fixed; read(), write() and opening it anew through /proc are refused.  The host may swap its pages.
 *
 * Files of one trust group can hold equal pages once.  The groups of different users (effective uid of whoever made the file) are
 * never the same; within a user's, the number tells them apart.  Whoever may put a file into a group may read what the
 * group shares and, by LODGE_BLOCKS_OFFER, say what a block of an image holds: a group is as trustworthy as its worst member.
 *
 * LODGE_CAP_GUEST_FILE answers with the LODGE_GUEST_FILE_HAS_* bits.
 */
#define LODGE_CAP_GUEST_FILE		(LODGE_CAP_BASE + 1)

#define LODGE_GUEST_FILE_HAS_FILES	1
#define LODGE_GUEST_FILE_HAS_BLOCKS	2	/* LODGE_GUEST_FILE_BLOCKS and what belongs to sharing */
#define LODGE_GUEST_FILE_HAS_SCAN	4	/* LODGE_GUEST_FILE_SCAN */

/* flags */
#define LODGE_GUEST_FILE_SHARE		1	/* member of the group; without it, group must be 0 */
#define LODGE_GUEST_FILE_SMALL		2	/* no huge pages, whatever the host allows */

struct lodge_guest_file {
	__u64 size;		/* bytes, a multiple of 4096, 8 TiB at most */
	__u64 group;		/* 0: the user's default group */
	__u32 flags;
	__u32 reserved;
	__u64 reserved2[5];
};

/* On /dev/lodge: makes a file, returns its descriptor (close-on-exec). */
#define LODGE_CREATE_GUEST_FILE		_IOW(LODGE_IOCTL_LETTER, 0x00, struct lodge_guest_file)

/*
 * Blocks of disk images: aligned 4 KiB of the content that an image shows.  An image's identity names content that never
 * changes (a read-only parent); the caller vouches for that.
 *
 *	QUERY	which of the blocks does the group hold?  offsets is not looked at.
 *	MAP	before a read: where the group holds the block, the file's page at the offset becomes that shared page, whatever it was
 *		before, and needs no read.  The rest (any other answer) is to be read.
 *	OFFER	after a read: the page at the offset holds the block.  If the group has it, and its bytes are equal, the two become
 *		one; else the page becomes the group's copy of the block.  Whatever the answer, the file's bytes stay the same.
 *
 * Returns how many blocks are HELD, MAPPED, SHARED or SOURCE.
 */
#define LODGE_BLOCKS_QUERY		0
#define LODGE_BLOCKS_MAP		1
#define LODGE_BLOCKS_OFFER		2

#define LODGE_BLOCKS_MAX		512

/* What became of a block. */
#define LODGE_BLOCK_ABSENT		0	/* QUERY, MAP: the group does not hold it */
#define LODGE_BLOCK_HELD		1	/* QUERY */
#define LODGE_BLOCK_MAPPED		2	/* MAP: done, the bytes are there */
#define LODGE_BLOCK_SHARED		3	/* OFFER: one page with others' now */
#define LODGE_BLOCK_SOURCE		4	/* OFFER: the group holds it now, as this page */
/* Nothing changed, because */
#define LODGE_BLOCK_BUSY		5	/* somebody uses the page beside the mapping: a device, a copy under way */
#define LODGE_BLOCK_DIFFERS		6	/* OFFER: the group's block has other bytes */
#define LODGE_BLOCK_LOW			7	/* the reserve for breaks is low, or sharing has reached its cap */
#define LODGE_BLOCK_OFF			8	/* the file is in no group, or the range is excluded */
#define LODGE_BLOCK_GONE		9	/* OFFER: there is no page at the offset */
#define LODGE_BLOCK_TAKEN		10	/* OFFER: the page is shared already, as something else */

struct lodge_guest_blocks {
	__u8 image[16];
	__u64 block;		/* the first; the others follow it */
	__u64 offsets;		/* pointer to __u64[count]: where in the file, multiples of 4096 */
	__u64 states;		/* pointer to __u8[count], written: LODGE_BLOCK_* */
	__u32 count;		/* 1 to LODGE_BLOCKS_MAX */
	__u32 op;		/* LODGE_BLOCKS_* */
	__u32 flags;
	__u32 reserved;
};

#define LODGE_GUEST_FILE_BLOCKS		_IOW(LODGE_IOCTL_LETTER, 0x10, struct lodge_guest_blocks)

/* A range that shall not be shared (a device reaches it, or will): what is shared there is made private first. */
#define LODGE_RANGE_NO_SHARE		1

struct lodge_guest_range {
	__u64 offset;		/* multiples of 4096, within the file */
	__u64 len;
	__u32 flags;		/* LODGE_RANGE_NO_SHARE, or 0: it may be shared again */
	__u32 reserved;
};

#define LODGE_GUEST_FILE_RANGE		_IOW(LODGE_IOCTL_LETTER, 0x11, struct lodge_guest_range)

/* Leaves its group (all its pages become private), and joins another with LODGE_GUEST_FILE_SHARE. */
struct lodge_guest_group {
	__u64 group;
	__u32 flags;		/* LODGE_GUEST_FILE_SHARE or 0 */
	__u32 reserved;
};

#define LODGE_GUEST_FILE_GROUP		_IOW(LODGE_IOCTL_LETTER, 0x12, struct lodge_guest_group)

/*
 * Looks for pages of the group with the same bytes, from offset on, pages at most; a signal ends it sooner.  Equal pages become one
 * if they had the same bytes at the scan before, and another of them was scanned since: so a page needs two scans or three.
 * Pages that are part of huge ones are left alone.  ENOENT: the file is in no group.  The caller decides how often to scan, and pays for it.
 */
struct lodge_guest_scan {
	__u64 offset;		/* in: a multiple of 4096; out: where to go on, 0 after the file's end */
	__u64 pages;		/* in */
	__u64 shared;		/* out: pages that are shared now */
	__u32 flags;
	__u32 reserved;
};

#define LODGE_GUEST_FILE_SCAN		_IOWR(LODGE_IOCTL_LETTER, 0x14, struct lodge_guest_scan)

/* Pages of 4 KiB and counts since the file was made. */
struct lodge_guest_file_stats {
	__u64 size;		/* bytes */
	__u64 private_pages;	/* in memory and swapped */
	__u64 swapped_pages;
	__u64 shared_pages;	/* shared frames that the file maps */
	__u64 owned_pages;	/* private, but unswappable: broken with the reserve's frames */
	__u64 saved_pages;	/* its part of what the group saves */
	__u64 breaks;		/* shared pages made private by a write */
	__u64 breaks_reserve;	/* those of them that took a frame of the reserve */
	__u64 breaks_waited;	/* times that a write waited, for the reserve was empty, too */
	__u64 mapped;		/* LODGE_BLOCKS_MAP's successes */
	__u64 offered;		/* LODGE_BLOCKS_OFFER's */
	__u64 scanned;		/* equal pages found by their content */
	__u64 refused_busy;
	__u64 refused_differs;
	__u64 refused_low;
	__u64 huge_splits;	/* huge pages taken apart for sharing */
	__u64 group_frames;	/* frames that the group shares */
	__u64 group_users;	/* how often its files map them */
	__u64 reserve_frames;	/* the module's reserve: there are */
	__u64 reserve_wanted;	/* and there should be */
	__u64 reserved[12];
};

/*
 * poll() on the file tells POLLPRI while the reserve is low: sharing is then refused, and a break may have to wait.  A VMM should
 * pause its guest or give memory back.
 */
#define LODGE_GUEST_FILE_STATS		_IOR(LODGE_IOCTL_LETTER, 0x13, struct lodge_guest_file_stats)

#endif /* _UAPI_LODGE_H */
