// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Parent names: the file's basename in the header is UTF-16 big-endian, the
 * Windows locators' payloads are UTF-16 little-endian, and the Mac OS X one is
 * a file URL in UTF-8. The two byte orders are the format's, not a slip.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vhd/codec.h"

static unsigned int unit_get(const uint8_t *p, bool big)
{
	return big ? p[0] << 8 | p[1] : p[1] << 8 | p[0];
}

static void unit_put(uint8_t *p, bool big, unsigned int u)
{
	p[big ? 0 : 1] = u >> 8;
	p[big ? 1 : 0] = u;
}

static int utf8_put(char *out, size_t room, uint32_t c)
{
	int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	int i;

	if ((size_t)n >= room)
		return -EINVAL;
	for (i = n - 1; i > 0; i--, c >>= 6)
		out[i] = 0x80 | (c & 0x3f);
	out[0] = lead[n] | c;
	return n;
}

int vhd_utf16_to_utf8(const uint8_t *in, size_t bytes, bool big, char *out, size_t room)
{
	size_t i, used = 0;

	for (i = 0; i + 2 <= bytes; i += 2) {
		uint32_t c = unit_get(in + i, big);
		int n;

		if (!c)
			break;
		if (c >= 0xd800 && c < 0xdc00) {
			uint32_t low = i + 4 <= bytes ? unit_get(in + i + 2, big) : 0;

			if (low < 0xdc00 || low > 0xdfff)
				return -EINVAL;
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			i += 2;
		} else if (c >= 0xdc00 && c <= 0xdfff) {
			return -EINVAL;
		}
		n = utf8_put(out + used, room - used, c);
		if (n < 0)
			return n;
		used += n;
	}
	if (used >= room)
		return -EINVAL;
	out[used] = 0;
	return used;
}

static int utf8_get(const uint8_t *p, uint32_t *c)
{
	int n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 :
		p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : 0;
	int i;

	if (!n)
		return -EINVAL;
	*c = n == 1 ? p[0] : p[0] & (0x7f >> n);
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -EINVAL;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	return n;
}

int vhd_utf8_to_utf16(const char *in, bool big, uint8_t *out, size_t room)
{
	const uint8_t *p = (const uint8_t *)in;
	size_t used = 0;

	while (*p) {
		uint32_t c;
		int n = utf8_get(p, &c);

		if (n < 0 || used + (c >= 0x10000 ? 4 : 2) > room)
			return -EINVAL;
		p += n;
		if (c >= 0x10000) {
			c -= 0x10000;
			unit_put(out + used, big, 0xd800 | c >> 10);
			used += 2;
			c = 0xdc00 | (c & 0x3ff);
		}
		unit_put(out + used, big, c);
		used += 2;
	}
	return used;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* file://host/path or file://./relative, with %xx. */
static int url_path(const uint8_t *in, size_t bytes, char *out, size_t room)
{
	size_t i = 7, used = 0;

	if (bytes < 8 || memcmp(in, "file://", 7))
		return -EINVAL;
	if (bytes > 17 && !memcmp(in + 7, "localhost/", 10))
		i = 16;
	for (; i < bytes && in[i]; i++) {
		char c = in[i];

		if (c == '%' && i + 2 < bytes && hex(in[i + 1]) >= 0 && hex(in[i + 2]) >= 0) {
			c = hex(in[i + 1]) << 4 | hex(in[i + 2]);
			i += 2;
		}
		if (!c || used + 1 >= room)
			return -EINVAL;
		out[used++] = c;
	}
	out[used] = 0;
	return used;
}

int vhd_locator_path(uint32_t code, const uint8_t *payload, size_t bytes, char *out, size_t room)
{
	char *p;
	int n;

	switch (code) {
	case VHD_CODE_MACX:
		return url_path(payload, bytes, out, room);
	case VHD_CODE_W2RU:
	case VHD_CODE_W2KU:
		n = vhd_utf16_to_utf8(payload, bytes, false, out, room);
		if (n <= 0)
			return -EINVAL;
		for (p = out; *p; p++)
			if (*p == '\\')
				*p = '/';
		if (n > 2 && out[1] == ':')
			memmove(out, out + 2, n - 1);
		return strlen(out);
	}
	return -EINVAL;
}

int vhd_locator_payload(uint32_t code, const char *path, uint8_t *out, size_t room)
{
	char text[1024 + 16], *p;
	bool rel = path[0] != '/';
	size_t used;

	switch (code) {
	case VHD_CODE_MACX:
		used = snprintf((char *)out, room, "file://%s", rel ? "./" : "");
		for (; *path; path++) {
			bool plain = (*path >= '0' && *path <= '9') || (*path >= 'A' && *path <= 'Z') ||
				     (*path >= 'a' && *path <= 'z') || strchr("/._-~", *path);

			if (used + 4 > room)
				return -EINVAL;
			used += snprintf((char *)out + used, room - used, plain ? "%c" : "%%%02X",
					 plain ? *path : (unsigned char)*path);
		}
		return used;
	case VHD_CODE_W2RU:
	case VHD_CODE_W2KU:
		if (snprintf(text, sizeof(text), "%s%s", rel && strncmp(path, "./", 2) ? "./" : "", path) >=
		    (int)sizeof(text))
			return -EINVAL;
		for (p = text; *p; p++)
			if (*p == '/')
				*p = '\\';
		return vhd_utf8_to_utf16(text, false, out, room);
	}
	return -EINVAL;
}
