// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changes of images by name (edit.c does them), and looking at many.
 *
 * A change begins with an image that is in order: what an unclean end or an
 * old tool has left is put right by opening it for writing and closing it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "vhd/image.h"

static int put_right(const char *path, unsigned int flags, struct vhd_error *err)
{
	struct vhd *v;
	int ret = vhd_open(path, VHD_O_NOPARENT | flags, &v, err);

	if (ret)
		return ret;
	ret = vhd_close(v);
	return ret ? vhd_fail(err, -ret, "cannot close '%.300s': %s", path, strerror(-ret)) : 0;
}

static int name_it(const char *path, int ret, struct vhd_error *err)
{
	char text[400];

	if (!ret)
		return 0;
	snprintf(text, sizeof(text), "%.399s", err->text);
	return vhd_fail(err, -ret, "cannot change '%.300s': %s", path, text);
}

int vhd_mark_parent(const char *path, bool is_parent, struct vhd_error *err)
{
	struct vhd_error local, why = { 0 };
	struct store *s;
	int ret;

	err = err ? err : &local;
	/* Readers do not mind: a footer is one sector. Writers must not be there. */
	ret = store_file_open(path, STORE_O_SHARED, &s, err);
	if (ret)
		return ret;
	ret = edit_hidden(s, is_parent, &why);
	s->ops->close(s);
	*err = ret ? why : *err;
	return name_it(path, ret, err);
}

/* Whether @parent is @path, or stands on it. */
static int loop_check(const char *path, const char *parent, struct vhd_error *err)
{
	struct vhd *child, *above, *p;
	int ret = vhd_open(path, VHD_O_RDONLY | VHD_O_NOPARENT, &child, err);

	if (ret)
		return ret;
	ret = vhd_open(parent, VHD_O_RDONLY | VHD_O_RAW_PARENT | VHD_O_NOKEY, &above, err);
	if (!ret) {
		for (p = above; p && !ret; p = p->parent)
			if (p->type != VHD_RAW && !memcmp(p->footer.uuid, child->footer.uuid, 16))
				ret = vhd_fail(err, ELOOP, "'%.300s' stands on '%.300s' itself", parent, path);
		vhd_close(above);
	}
	vhd_close(child);
	return ret;
}

int vhd_set_parent(const char *path, const char *parent, bool raw, struct vhd_error *err)
{
	struct vhd_error local, why = { 0 };
	struct edit_parent found;
	struct store *s;
	int ret;

	err = err ? err : &local;
	ret = put_right(path, VHD_O_INTERNAL, err);
	if (!ret && parent && !raw)
		ret = loop_check(path, parent, err);
	if (!ret && parent && !raw)
		ret = vhd_mark_parent(parent, true, err);
	if (ret == -EROFS || ret == -EACCES)
		ret = 0;
	if (!ret && parent)
		ret = create_parent_find(parent, raw, 0, &found, err);
	if (!ret)
		ret = store_file_open(path, 0, &s, err);
	if (ret)
		return ret;
	ret = edit_parent(s, path, parent ? &found : NULL, &why);
	s->ops->close(s);
	*err = ret ? why : *err;
	return name_it(path, ret, err);
}

static int raw_resize(struct store *s, uint64_t size, unsigned int flags, struct vhd_error *err)
{
	int ret;

	if (s->device)
		return vhd_fail(err, EINVAL, "the size of a device is not ours to change");
	if (!size || size % VHD_SECTOR)
		return vhd_fail(err, EINVAL, "the size %llu is not a positive multiple of 512 bytes",
				(unsigned long long)size);
	if (size < s->size && !(flags & VHD_RESIZE_SHRINK))
		return vhd_fail(err, EINVAL, "the disk has %llu bytes; to make it smaller, and lose what lies behind the new end, say so with --shrink",
				(unsigned long long)s->size);
	ret = s->ops->truncate(s, size);
	if (!ret)
		ret = s->ops->sync(s);
	return ret ? vhd_fail(err, -ret, "%s", strerror(-ret)) : 0;
}

int vhd_resize(const char *path, uint64_t size, unsigned int flags, unsigned int open_flags,
	       struct vhd_error *err)
{
	struct vhd_error local, why = { 0 };
	struct store *s;
	int ret = 0;

	err = err ? err : &local;
	if (!(open_flags & VHD_O_RAW))
		ret = put_right(path, open_flags, err);
	if (!ret)
		ret = store_file_open(path, 0, &s, err);
	if (ret)
		return ret;
	if (open_flags & VHD_O_RAW)
		ret = raw_resize(s, size, flags, &why);
	else
		ret = edit_size(s, size, flags, &why);
	s->ops->close(s);
	*err = ret ? why : *err;
	return name_it(path, ret, err);
}

int vhd_set_key(const char *path, const struct vhd_keys *keys, struct vhd_error *err)
{
	struct vhd_error local, why = { 0 };
	struct store *s;
	int ret;

	err = err ? err : &local;
	ret = store_file_open(path, 0, &s, err);
	if (ret)
		return ret;
	ret = edit_key(s, keys, &why);
	s->ops->close(s);
	*err = ret ? why : *err;
	return name_it(path, ret, err);
}

int vhd_repair(const char *path, struct vhd_error *err)
{
	struct vhd_error local, why = { 0 };
	struct store *s;
	int ret;

	err = err ? err : &local;
	ret = put_right(path, VHD_O_INTERNAL, err);
	if (!ret)
		ret = store_file_open(path, 0, &s, err);
	if (ret)
		return ret;
	ret = edit_repair(s, &why);
	s->ops->close(s);
	*err = ret ? why : *err;
	return name_it(path, ret, err);
}

static void look_at(const char *path, void (*found)(void *opaque, const char *path, const struct vhd_info *info),
		    void *opaque)
{
	struct vhd_info info;
	struct vhd *v;

	if (vhd_open(path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_BUFFERED | VHD_O_NOPARENT, &v, NULL))
		return;
	vhd_get_info(v, &info);
	vhd_close(v);
	found(opaque, path, &info);
}

int vhd_scan(const char *dir, void (*found)(void *opaque, const char *path, const struct vhd_info *info),
	     void *opaque, struct vhd_error *err)
{
	struct dirent **list;
	char path[4096];
	struct stat st;
	int i, n = scandir(dir, &list, NULL, alphasort);

	if (n < 0)
		return vhd_fail(err, errno, "cannot read the directory '%.300s': %s", dir, strerror(errno));
	for (i = 0; i < n; i++) {
		const char *dot = strrchr(list[i]->d_name, '.');

		if (dot && (!strcasecmp(dot, ".vhd") || !strcasecmp(dot, ".avhd")) &&
		    snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name) < (int)sizeof(path) &&
		    !stat(path, &st) && S_ISREG(st.st_mode))
			look_at(path, found, opaque);
		free(list[i]);
	}
	free(list);
	return 0;
}
