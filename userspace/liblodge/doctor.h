/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the doctor's parts share: the tree that is judged, and the list of findings.
 */
#ifndef LIBLODGE_DOCTOR_H
#define LIBLODGE_DOCTOR_H

#include <lodge/lodge.h>
#include <stdbool.h>
#include <sys/types.h>

struct doctor {
	const char *root;	/* "" for this host, or a directory with its /proc, /sys, /dev, /etc, /lib */
	const char *device;
	struct lodge_check *list;
	size_t room, count;
};

/* A finding's verdict, as in struct lodge_check. */
#define DOCTOR_OK	1
#define DOCTOR_MISSING	0
#define DOCTOR_OPTIONAL	(-1)

/* Adds a finding; remedy (what to do) is kept unless ok is DOCTOR_OK. */
void doctor_add(struct doctor *d, const char *name, int ok, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* Puts root and path together; true if it fits into room bytes. */
bool doctor_path(const struct doctor *d, char *buf, size_t room, const char *path);
bool doctor_exists(const struct doctor *d, const char *path);
/* The file's beginning, without the last newline, as a string; its length, or -1 and an empty string. */
ssize_t doctor_read(const struct doctor *d, const char *path, char *buf, size_t room);
/*
 * Whether a line of the file that begins with key (after blanks) holds the word, between blanks, quotes, commas or colons.
 * Comments are lines like others: a key decides.
 */
bool doctor_has(const struct doctor *d, const char *path, const char *key, const char *word);

/* The parts, in the order in which they are printed. */
void doctor_cpu(struct doctor *d);	/* doctor_cpu.c: CPU, firmware, who holds it */
void doctor_kernel(struct doctor *d);	/* doctor_kernel.c: kernel, module, signatures, IOMMU */
void doctor_libvirt(struct doctor *d);	/* doctor_libvirt.c: /dev/kvm, AppArmor, libvirt's lists */

#endif
