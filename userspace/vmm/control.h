/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket: RUN/NAME/ctl, one JSON object per line, one answer line per request.
 *
 *   {"cmd":"info"}                   {"ok":true,"name":...,"state":...,...}
 *   {"cmd":"stop"}                   presses the power button
 *   {"cmd":"kill"}                   ends the process
 *   {"cmd":"pause"} {"cmd":"resume"}
 *   {"cmd":"resize","cols":C,"rows":R}
 *   {"cmd":"disks"} answers with "disks", an array of objects: number, file, limits, counts
 *   {"cmd":"disk-on-error","disk":N,"on_error":NAME} what is done about failures of the host: see block.h
 *   {"cmd":"disk-throttle","disk":N,"iops":N,"bps":N,"iops_burst":N,"bps_burst":N,"group":NAME}
 *	all of its limits (left out: none) and, if there, the group that shares them ("": none)
 *   {"cmd":"disk-attach","spec":SPEC,"dir":DIR} one disk more; answers with "disk", its number. Relative paths count from dir
 *   {"cmd":"disk-detach","disk":N,"force":BOOL} asks the guest to let go of it; by force its image is closed before that:
 *	then "disks" says "gone" of it, and other requests about it are refused
 *   {"cmd":"disk-insert","disk":N,"spec":SPEC,"dir":DIR} another medium; without a spec none
 *   {"cmd":"disk-resize","disk":N,"size":BYTES} answers with "pause_us"
 *   {"cmd":"disk-coalesce","disk":N,"image":FILE} begins to merge that image below the disk, or without one the disk's
 *	parent, into its own parent; answers with "job", a number
 *   {"cmd":"disk-mirror","disk":N,"spec":SPEC,"dir":DIR} begins to mirror the disk to a new image, to which it then goes
 *	over; answers with "job"
 *   {"cmd":"disk-job","disk":N} the last of them: "job"; "kind": "coalesce" or "mirror"; "state": "running", with "done" of "total"
 *	bytes, "done", with "pause_us", or "failed", with "code" and "error"; "image" and "into", the files, once they are known;
 *	"behind": the guest writes faster than its disk is mirrored. "none": without more
 *   {"cmd":"disk-cancel","disk":N} asks it to end
 *   {"cmd":"disk","disk":N} answers with "path", the file of that disk
 *   {"cmd":"snapshot","disk":N,"child":FILE,"snapshot":FILE} lets the disk go on in the child, which takes its
 *	name; answers with "pause_us". See lodge_snapshot(). With "disks":[{"disk":N,"child":FILE,"snapshot":FILE},...]
 *	several at one moment
 *   {"cmd":"balloon","memory":BYTES} asks the guest to make do with that much
 *   {"cmd":"log"}                    {"ok":true,"length":N}, then N bytes
 *   {"cmd":"console"}                {"ok":true}, then the console both ways
 *
 * A refusal is {"ok":false,"code":ERRNO,"error":TEXT}.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "common/loop.h"
#include "vmm/console.h"
#include "vmm/devices.h"
#include "vmm/machine.h"

struct control;

struct control_config {
	const char *name, *device, *kernel;
	u64 mem;
	unsigned int cpus;
};

struct control_ops {
	void (*kill)(void *ctx);
};

struct control *control_create(struct loop *loop, struct machine *m, struct console *con,
			       struct devices *devices, const struct control_config *cfg,
			       const struct control_ops *ops, void *ctx, struct err *e);
void control_destroy(struct control *c);

#endif
