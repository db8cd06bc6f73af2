/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which images of a directory belong together. */
#ifndef CLI_IMG_FAMILY_H
#define CLI_IMG_FAMILY_H

#include <lodge/vhd.h>

/* Paths; all of it freed by img_paths_free(). */
struct img_paths {
	char **path;
	unsigned int n;
	bool failed;
};

void img_paths_free(struct img_paths *p);
/* The images beside @path that stand on it. 0, or an exit code after a message. */
int img_children(const char *path, struct img_paths *children);
/* Where @path's parent is: @parent gets its path. 0, or an exit code after a message. */
int img_parent_of(const char *path, bool raw_parent, char *parent, size_t room, struct vhd_info *info,
		  bool *raw);
/*
 * @child was the child of @parent: if both are in one directory, and no other
 * child is there, @parent may be written to again.
 */
int img_parent_release(const char *parent, const char *child);

#endif
