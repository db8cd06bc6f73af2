/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * LODGE_GUEST_FILE_SCAN.
 */
#ifndef LODGE_MEM_SHARE_SCAN_H
#define LODGE_MEM_SHARE_SCAN_H

struct guest_file;
struct lodge_guest_scan;

long share_scan(struct guest_file *f, struct lodge_guest_scan *args);

#endif
