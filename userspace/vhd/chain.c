// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Parents of differencing images: finding, opening, and naming them.
 *
 * An image names its parent in up to eight locators and by a bare file name.
 * They are tried in order, absolute names as they are and then all relative
 * to the child's directory. What is found must carry the unique id that the
 * child recorded: without that it is an error, never zeros. A child with a
 * null id stands on a raw file; since any image could so name any file of
 * the host, that needs the opener's consent.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"

#define LOCATOR_MAX	4096u
#define PARENT_TROUBLE	"its parent cannot be used: "

static void beside(const char *child, const char *name, char *out, size_t room)
{
	const char *slash = strrchr(child, '/');
	int dir = slash ? (int)(slash - child) : 0;

	if (slash)
		snprintf(out, room, "%.*s/%s", dir, child, name);
	else
		snprintf(out, room, "%s", name);
}

static int try_parent(struct vhd *v, const char *path, unsigned int flags, struct vhd_error *err)
{
	unsigned int down = (flags & (VHD_O_NOLOCK | VHD_O_BUFFERED | VHD_O_RAW_PARENT | VHD_O_NOKEY)) | VHD_O_RDONLY;
	bool raw = vhd_uuid_null(v->header.parent_uuid);
	unsigned int depth = flags >> 24;
	struct vhd *p;
	int ret;

	/* The depth travels in the flags' top byte, so that a loop ends. */
	ret = image_open_path(path, down | (raw ? VHD_O_RAW : 0) | (depth + 1) << 24, v->keys, &p, err);
	if (ret)
		return ret;
	if (!raw && (p->type == VHD_RAW || memcmp(p->footer.uuid, v->header.parent_uuid, 16))) {
		vhd_close(p);
		return vhd_fail(err, ESTALE, "the parent '%.300s' is not the image this one was made from: its unique id differs",
				path);
	}
	v->parent = p;
	v->no_key |= p->no_key;
	v->crypt |= p->crypt;
	v->parent_path = strdup(path);
	if (!v->parent_path)
		return vhd_fail(err, ENOMEM, "out of memory");
	return 0;
}

static int try_name(struct vhd *v, const char *name, unsigned int flags, struct vhd_error *err)
{
	char path[PATH_MAX];

	if (!name[0])
		return -ENOENT;
	if (name[0] == '/' && !access(name, F_OK))
		return try_parent(v, name, flags, err);
	while (*name == '/')
		name++;
	beside(v->path, name, path, sizeof(path));
	if (access(path, F_OK))
		return -ENOENT;
	return try_parent(v, path, flags, err);
}

static int locator_name(struct vhd *v, const struct vhd_locator *l, char *out, size_t room)
{
	uint8_t payload[LOCATOR_MAX];

	if (!l->code || !l->length || l->length > LOCATOR_MAX || l->offset > v->store->size ||
	    l->length > v->store->size - l->offset)
		return -EINVAL;
	if (v->store->ops->pread(v->store, payload, l->length, l->offset))
		return -EIO;
	return vhd_locator_path(l->code, payload, l->length, out, room);
}

int chain_open_parent(struct vhd *v, unsigned int flags, struct vhd_error *err)
{
	struct vhd_error why = { 0 };
	char name[1024];
	int i, ret;

	if (flags >> 24 >= VHD_MAX_CHAIN - 1)
		return vhd_fail(err, ELOOP, "the chain of images is longer than %d or has a loop",
				VHD_MAX_CHAIN);
	if (vhd_uuid_null(v->header.parent_uuid) && !(flags & VHD_O_RAW_PARENT))
		return vhd_fail(err, EPERM, "the image stands on a raw file '%.200s'; that was not permitted (an image can name any file)",
				v->header.parent_name);
	for (i = 0; i <= VHD_LOCATORS; i++) {
		if (i < VHD_LOCATORS) {
			if (locator_name(v, &v->header.locator[i], name, sizeof(name)) <= 0)
				continue;
			ret = try_name(v, name, flags, &why);
		} else {
			ret = try_name(v, v->header.parent_name, flags, &why);
		}
		if (!ret)
			return 0;
		/* Deeper trouble than "not there": looking elsewhere would hide it. */
		if (ret == -ELOOP || ret == -ENOMEM || ret == -EPERM || ret == -ENOKEY || ret == -EKEYREJECTED)
			break;
	}
	/* Deep in a chain only the two images at the trouble are told of. */
	if (why.code && strstr(why.text, PARENT_TROUBLE)) {
		*err = why;
		return -why.code;
	}
	if (why.code)
		return vhd_fail(err, why.code, PARENT_TROUBLE "%.600s", why.text);
	return vhd_fail(err, ENOENT, "its parent '%.300s' was not found; without it the image cannot be read",
			v->header.parent_name);
}

/* @to as seen from the directory of @from; both absolute and canonical. */
static int relative(const char *from, const char *to, char *out, size_t room)
{
	size_t i, common = 0, used = 0;

	for (i = 0; from[i] && from[i] == to[i]; i++)
		if (from[i] == '/')
			common = i + 1;
	out[0] = 0;
	for (i = common; from[i]; i++) {
		if (from[i] != '/')
			continue;
		if (used + 4 > room)
			return -ENAMETOOLONG;
		memcpy(out + used, "../", 4);
		used += 3;
	}
	if (used + strlen(to + common) + 1 > room)
		return -ENAMETOOLONG;
	strcpy(out + used, to + common);
	return 0;
}

int chain_locators(const char *child, const char *parent, struct vhd_header *h, uint64_t offset,
		   uint8_t *payload, size_t room, struct vhd_error *err)
{
	static const uint32_t codes[] = { VHD_CODE_MACX, VHD_CODE_W2KU, VHD_CODE_W2RU };
	char from[PATH_MAX], to[PATH_MAX], rel[1024];
	const char *base;
	size_t at = 0;
	int i, n;

	if (!realpath(child, from) || !realpath(parent, to))
		return vhd_fail(err, errno, "cannot resolve '%.300s': %s", parent, strerror(errno));
	if (relative(from, to, rel, sizeof(rel)))
		return vhd_fail(err, ENAMETOOLONG, "the parent's name '%.300s' is too long to be recorded", parent);
	base = strrchr(to, '/') + 1;
	if (vhd_utf8_to_utf16(base, true, payload, 510) < 0 || strlen(base) >= sizeof(h->parent_name))
		return vhd_fail(err, EINVAL, "the parent's name '%.300s' is too long or not UTF-8", base);
	strcpy(h->parent_name, base);
	for (i = 0; i < 3; i++) {
		if (at + VHD_SECTOR > room)
			return vhd_fail(err, ENAMETOOLONG, "the parent's name is too long");
		memset(payload + at, 0, room - at);
		n = vhd_locator_payload(codes[i], rel, payload + at, room - at);
		if (n < 0)
			return vhd_fail(err, ENAMETOOLONG, "the parent's name '%.300s' is too long or not UTF-8", rel);
		h->locator[i].code = codes[i];
		h->locator[i].length = n;
		h->locator[i].space = round_up(n, VHD_SECTOR);
		h->locator[i].offset = offset + at;
		at += h->locator[i].space;
	}
	return at;
}
