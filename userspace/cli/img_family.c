// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Parents and children among files.
 *
 * An image names its parent; nothing names its children. They are looked for
 * in the parent's directory. Those elsewhere are why a parent carries a mark
 * too. It is taken away unasked only where a family lives in one directory
 * and its last child goes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_family.h"
#include "cli/print.h"

void img_paths_free(struct img_paths *p)
{
	while (p->n)
		free(p->path[--p->n]);
	free(p->path);
	p->path = NULL;
}

struct search {
	struct img_paths *found;
	uint8_t uuid[16];
};

static void consider(void *opaque, const char *path, const struct vhd_info *info)
{
	struct search *s = opaque;
	char **more;

	if (info->type != VHD_DIFF || memcmp(info->parent_uuid, s->uuid, 16))
		return;
	more = realloc(s->found->path, (s->found->n + 1) * sizeof(*more));
	if (more) {
		s->found->path = more;
		more[s->found->n] = strdup(path);
		if (more[s->found->n])
			s->found->n++;
		else
			more = NULL;
	}
	s->found->failed |= !more;
}

static int info_of(const char *path, struct vhd_info *info)
{
	struct vhd_error err;
	struct vhd *v;

	if (img_open(path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT, &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, info);
	vhd_close(v);
	return 0;
}

static void directory_of(const char *path, char *dir, size_t room)
{
	const char *slash = strrchr(path, '/');

	snprintf(dir, room, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
}

int img_children(const char *path, struct img_paths *children)
{
	struct search s = { .found = children };
	struct vhd_error err;
	struct vhd_info info;
	char dir[4096];
	int ret = info_of(path, &info);

	memset(children, 0, sizeof(*children));
	if (ret)
		return ret;
	memcpy(s.uuid, info.uuid, 16);
	directory_of(path, dir, sizeof(dir));
	if (vhd_scan(dir, consider, &s, &err))
		return print_error("%s", err.text);
	return children->failed ? print_error("out of memory") : 0;
}

int img_parent_of(const char *path, bool raw_parent, char *parent, size_t room, struct vhd_info *info,
		  bool *raw)
{
	static const uint8_t null[16];
	struct vhd_error err;
	struct vhd *v;
	int ret = 0;

	if (img_open(path, VHD_O_RDONLY | VHD_O_NOKEY | (raw_parent ? VHD_O_RAW_PARENT : 0), &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, info);
	if (info->type != VHD_DIFF)
		ret = print_error("'%s' has no parent: it is not a differencing image", path);
	else
		snprintf(parent, room, "%s", vhd_chain_path(v, 1));
	*raw = !memcmp(info->parent_uuid, null, 16);
	vhd_close(v);
	return ret;
}

int img_parent_release(const char *parent, const char *child)
{
	char here[4096], there[4096];
	struct stat a, b;
	struct img_paths left;
	struct vhd_error err;
	int ret;

	directory_of(parent, here, sizeof(here));
	directory_of(child, there, sizeof(there));
	if (stat(here, &a) || stat(there, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return 0;
	ret = img_children(parent, &left);
	if (!ret && !left.n && vhd_mark_parent(parent, false, &err))
		ret = print_error("%s", err.text);
	img_paths_free(&left);
	return ret;
}
