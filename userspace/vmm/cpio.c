// SPDX-License-Identifier: GPL-2.0-or-later
/* "newc": 110 bytes of hexadecimal header, name, padding, data, padding (cpio(5)). */
#include "vmm/cpio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_LEN 110

void cpio_init(struct cpio *c)
{
	memset(c, 0, sizeof(*c));
}

void cpio_fini(struct cpio *c)
{
	free(c->data);
	cpio_init(c);
}

static u8 *grow(struct cpio *c, size_t len)
{
	size_t room = c->room ? c->room : 16384;
	u8 *p;

	if (c->failed)
		return NULL;
	while (room < c->len + len)
		room *= 2;
	if (room != c->room) {
		p = realloc(c->data, room);
		if (!p) {
			c->failed = true;
			return NULL;
		}
		c->data = p;
		c->room = room;
	}
	p = c->data + c->len;
	c->len += len;
	return p;
}

static void put(struct cpio *c, const void *data, size_t len)
{
	size_t pad = ALIGN_UP(c->len + len, 4) - (c->len + len);
	u8 *p = grow(c, len + pad);

	if (!p)
		return;
	if (len)
		memcpy(p, data, len);
	memset(p + len, 0, pad);
}

static void entry(struct cpio *c, const char *name, mode_t mode, const void *data, size_t len,
		  u32 major, u32 minor)
{
	char head[HEADER_LEN + 256 + 1];
	int n;

	n = snprintf(head, sizeof(head),
		     "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", ++c->inode,
		     mode, 0, 0, S_ISDIR(mode) ? 2 : 1, 0, len, 0, 0, major, minor,
		     strlen(name) + 1, 0, name);
	if (n < 0 || (size_t)n >= sizeof(head)) {
		c->failed = true;
		return;
	}
	put(c, head, n + 1);
	put(c, data, len);
}

void cpio_add(struct cpio *c, const char *name, mode_t mode, const void *data, size_t len)
{
	entry(c, name, mode, data, len, 0, 0);
}

void cpio_add_device(struct cpio *c, const char *name, mode_t mode, u32 major, u32 minor)
{
	entry(c, name, mode, NULL, 0, major, minor);
}

int cpio_finish(struct cpio *c)
{
	c->inode = -1;
	entry(c, "TRAILER!!!", 0, NULL, 0, 0, 0);
	return c->failed ? -ENOMEM : 0;
}
