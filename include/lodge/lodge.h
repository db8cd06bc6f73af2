/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * liblodge: what a toolstack does with running guests.
 *
 * A guest is a directory under the run directory, with a lock that its process holds and a
 * control socket. There is no daemon: listing is reading that directory, and every other call
 * opens the socket, asks one question and closes it. Functions return 0 or -errno and put a
 * message for the user into *err when that is not NULL. Strings handed out are freed with free().
 *
 * The library keeps no state and may be used from any thread.
 */
#ifndef LODGE_LODGE_H
#define LODGE_LODGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Exit codes of `lodge run`. With "-- COMMAND" the command's own status (0-127, or 128 plus the
 * signal that killed it) is returned, and codes from LODGE_EXIT_FAILURE on have 200 added.
 */
enum lodge_exit {
	LODGE_EXIT_OFF = 0,		/* the guest powered off */
	LODGE_EXIT_FAILURE = 1,		/* something else went wrong */
	LODGE_EXIT_USAGE = 2,		/* wrong options */
	LODGE_EXIT_CONFIG = 3,		/* kernel, initrd, disk or network cannot be used */
	LODGE_EXIT_NO_DEVICE = 4,	/* no hypervisor, or it is busy */
	LODGE_EXIT_PERMISSION = 5,	/* no right to use it */
	LODGE_EXIT_RESET = 10,		/* the guest reset itself, with --no-reboot */
	LODGE_EXIT_PANIC = 11,		/* the guest's kernel panicked */
	LODGE_EXIT_LOST = 12,		/* triple fault */
	LODGE_EXIT_HYPERVISOR = 13,	/* the hypervisor could not go on */
	LODGE_EXIT_TIMEOUT = 14,	/* --timeout */
	LODGE_EXIT_KILLED = 15,		/* ended from outside: escape key, kill, signal */
	LODGE_EXIT_COMMAND = 16,	/* the guest ended without the command's status */
};
#define LODGE_EXIT_OWN_BASE 200

struct lodge_error {
	int code;			/* positive errno */
	char message[480];
};

/* Of a guest whose memory may be shared (lodge run --share): bytes, but for counts since its start. */
struct lodge_sharing {
	int on;
	uint64_t private_bytes;		/* its own, in memory or swapped */
	uint64_t swapped;		/* of these */
	uint64_t shared;		/* pages that are, or may become, others' as well */
	uint64_t saved;			/* its part of what the group saves */
	uint64_t breaks;		/* shared pages that it wrote to, and so got its own of */
	uint64_t breaks_waited;		/* of these, those that had to wait for memory */
	uint64_t unread;		/* what it read from its disks without a disk being asked, for the group had it */
	uint64_t refused_busy;		/* pages that could not be shared: something else used them, */
	uint64_t refused_low;		/* or there was no memory to spare for their breaks */
	uint64_t scanned;		/* pages found equal by their content */
	uint64_t group_frames;		/* memory that holds what the group shares */
	uint64_t group_users;		/* what it would take without sharing */
	uint64_t reserve;		/* memory kept free for breaks */
	uint64_t reserve_wanted;	/* how much that should be */
};

struct lodge_guest {
	char name[64];
	int pid;
	char state[16];			/* "running", "paused", "starting" */
	uint64_t memory;		/* bytes that it was given */
	uint64_t memory_target;		/* bytes that it is asked to make do with */
	uint64_t memory_actual;		/* bytes that it has: without what it gave back to the balloon */
	uint64_t reported;		/* free bytes that it told the host of, summed up over its life */
	int balloon;			/* its balloon driver runs */
	unsigned int cpus;
	uint64_t uptime_ms;
	uint64_t exits;
	uint64_t resident;		/* host memory of the process, bytes */
	char device[108];
	char kernel[256];
	struct lodge_sharing sharing;
	char reason[512];		/* why it is paused, if a disk is to blame; else "" */
};

/* A disk of a running guest. Limits of 0 are none. */
struct lodge_disk {
	unsigned int number;
	char path[4096];		/* absolute */
	char format[16];
	char on_error[16];		/* what is done about failures of the host */
	char group[32];			/* whose limits it shares; "": none */
	int readonly;
	int removable;			/* a drive, whose medium may be changed; without one its path is "" */
	int leaving;			/* the guest was asked to let go of it */
	int gone;			/* and it has no image any more: it was detached by force */
	uint64_t capacity;		/* bytes */
	uint64_t iops, iops_burst, bps, bps_burst;
	uint64_t reads, read_bytes, writes, written_bytes, flushes, discards;
	uint64_t errors;		/* requests that failed, told to the guest or not */
	uint64_t ignored, throttled;	/* failures not told; requests that had to wait for their turn */
};

struct lodge_disk_limits {
	uint64_t iops, bps;		/* requests and bytes a second; 0: no limit */
	uint64_t iops_burst, bps_burst;	/* at once after a rest; 0: a tenth of a second's */
	const char *group;		/* shared with the disks of this group; "": with none; NULL: as it is */
};

const char *lodge_version(void);
/* The run directory: $LODGE_RUN_DIR, else $XDG_RUNTIME_DIR/lodge, else /run/lodge. */
int lodge_run_dir(char *buf, size_t room, struct lodge_error *err);

/*
 * All running guests of this run directory, by name; *guests is freed with free(). Guests that
 * do not answer are listed with state "unresponsive".
 */
int lodge_list(struct lodge_guest **guests, size_t *count, struct lodge_error *err);
int lodge_info(const char *name, struct lodge_guest *guest, struct lodge_error *err);
/* The guest's answer to "info" as JSON text. */
int lodge_info_json(const char *name, char **json, struct lodge_error *err);
/* Presses the power button. */
int lodge_stop(const char *name, struct lodge_error *err);
/* Ends the guest's process at once; the disks stay as a power cut would leave them. */
int lodge_kill(const char *name, struct lodge_error *err);
/* Waits until the guest is gone. -ETIMEDOUT. timeout_ms < 0: for ever. */
int lodge_wait(const char *name, int timeout_ms, struct lodge_error *err);
/*
 * Asks the guest to make do with that many bytes, from 16 MiB to what it was given. It gives the rest back in its own time,
 * if it has a driver for the balloon: lodge_info() tells.
 */
int lodge_balloon(const char *name, uint64_t bytes, struct lodge_error *err);
/* The file of the guest's disk number disk, from 0 on, as an absolute name. */
int lodge_disk(const char *name, unsigned int disk, char *path, size_t room, struct lodge_error *err);
/* All disks of the guest; *disks is freed with free(). */
int lodge_disks(const char *name, struct lodge_disk **disks, size_t *count, struct lodge_error *err);
/*
 * One disk more, as spec says (as for lodge run --disk; a relative path counts from this process's directory); *disk is its
 * number, or NULL.
 */
int lodge_disk_attach(const char *name, const char *spec, unsigned int *disk, struct lodge_error *err);
/*
 * Asks the guest to let go of the disk, which is not in lodge_disks() any more when it has. With force the disk's image is
 * closed and free for others when this returns, the guest loses what it has not flushed, and sees I/O errors until it lets go.
 */
int lodge_disk_detach(const char *name, unsigned int disk, int force, struct lodge_error *err);
/* Another medium into a drive; NULL: none. */
int lodge_disk_insert(const char *name, unsigned int disk, const char *spec, struct lodge_error *err);
/* Makes the disk larger; the guest is told. *pause_us: how long it stood still, or NULL. */
int lodge_disk_resize(const char *name, unsigned int disk, uint64_t bytes, uint64_t *pause_us, struct lodge_error *err);
/*
 * Begins to merge image (absolute; NULL: the disk's parent), an image below the disk, into its own parent, while the guest
 * uses the disk. The guest's process goes on with it by itself: *job is its number, lodge_disk_job() tells how far it is.
 */
int lodge_disk_coalesce(const char *name, unsigned int disk, const char *image, unsigned int *job, struct lodge_error *err);
/*
 * Begins to copy what the disk shows into a new image, made as target says (a specification as for lodge run --disk, of path,
 * format, cache, discard and key; a relative path counts from this process's directory), while the guest uses the disk. When they
 * are alike the disk stands still for a second at most, and goes on there; what it was stays behind, closed. The target has its name
 * only when it is complete; until then the disk is what it was, whatever happens. A job as of lodge_disk_coalesce(). If the guest
 * writes faster than is copied, it does not end; lodge_disk_throttle() slows the guest down.
 */
int lodge_disk_mirror(const char *name, unsigned int disk, const char *target, unsigned int *job, struct lodge_error *err);
/* The last job on a disk. */
struct lodge_disk_job {
	unsigned int number;
	char kind[16];			/* "coalesce", "mirror" */
	char state[16];			/* "none", "running", "done", "failed" */
	uint64_t done, total;		/* bytes of the disk; of a mirror, done becomes less when the guest writes */
	int behind;			/* of a mirror that runs: the guest writes faster than is copied */
	/* Of one that has ended: */
	char image[4096], into[4096];	/* what was merged, or mirrored; "": it did not come so far */
	uint64_t pause_us;		/* how long the disk stood still */
	struct lodge_error error;	/* of one that failed; code EINTR: it was cancelled */
};
int lodge_disk_job(const char *name, unsigned int disk, struct lodge_disk_job *job, struct lodge_error *err);
/* Asks the job to end; what it has merged stays merged, and an unfinished mirror is deleted. */
int lodge_disk_cancel(const char *name, unsigned int disk, struct lodge_error *err);
/* What is done about requests that fail on the host: "report", "stop", "enospc" or "ignore". */
int lodge_disk_on_error(const char *name, unsigned int disk, const char *on_error, struct lodge_error *err);
int lodge_disk_throttle(const char *name, unsigned int disk, const struct lodge_disk_limits *limits,
			struct lodge_error *err);
/*
 * Lets disk number disk go on in the image child, which was made for it and takes the disk's name; its contents until now
 * stay as snapshot, a second name of the disk's file (both absolute). All or nothing. *pause_us: how long the disk stood
 * still, or NULL.
 */
int lodge_snapshot(const char *name, unsigned int disk, const char *child, const char *snapshot, uint64_t *pause_us,
		   struct lodge_error *err);
/* One of several disks: as the arguments of lodge_snapshot(). */
struct lodge_branch {
	unsigned int disk;
	const char *child, *snapshot;
};
/*
 * Snapshots of several disks at the same moment, all or nothing; all stand still together for *pause_us (or NULL).
 * -ETIMEDOUT: the guest's process has not answered, and may still do it, so the files must stay.
 */
int lodge_snapshots(const char *name, const struct lodge_branch *list, size_t count, uint64_t *pause_us,
		    struct lodge_error *err);
int lodge_pause(const char *name, struct lodge_error *err);
int lodge_resume(const char *name, struct lodge_error *err);
/* The newest console output, up to 64 KiB. */
int lodge_log(const char *name, char **text, size_t *len, struct lodge_error *err);
/* A socket that carries the console both ways, beginning with the newest output. */
int lodge_console(const char *name, struct lodge_error *err);
int lodge_console_resize(const char *name, unsigned int cols, unsigned int rows,
			 struct lodge_error *err);

/* What a host has or lacks. */
struct lodge_check {
	char name[32];
	int ok;				/* 1 fine, 0 missing, -1 optional and missing */
	char found[200];
	char remedy[256];
};

/* Room for all that lodge_doctor() may find. */
#define LODGE_CHECKS_MAX 24

/*
 * Judges this host for running guests on device. With a root other than NULL or "" the tree of files
 * below that directory stands for the host. Fills up to room checks; returns their number.
 */
size_t lodge_doctor(const char *root, const char *device, struct lodge_check *checks, size_t room);

#ifdef __cplusplus
}
#endif

#endif
