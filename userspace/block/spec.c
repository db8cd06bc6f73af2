// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disk specifications: PATH, raw:PATH, vhd:PATH, or key=value,... with the
 * path first or as path=. The format follows from the prefix, the option or
 * the name's ending, never from the contents: what a guest writes into a raw
 * disk must not be able to turn it into something else at the next start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "block/spec.h"
#include "common/size.h"

#define OPTIONS "path, format, readonly, cache, discard, rawparent, key, removable, error, iops, bps, iops-burst, bps-burst, group"

const char *const block_on_error_names[] = { "enospc", "report", "stop", "ignore", NULL };

int block_spec_fail(char **err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		if (vasprintf(err, fmt, ap) < 0)
			*err = NULL;
		va_end(ap);
	}
	errno = code;
	return -code;
}

/* Copies up to the next single comma; ",," is a comma. Returns what follows. */
static const char *word_take(const char *text, char *out, size_t room)
{
	size_t used = 0;

	while (*text) {
		if (*text == ',') {
			if (text[1] != ',') {
				text++;
				break;
			}
			text++;
		}
		if (used + 1 >= room)
			return NULL;
		out[used++] = *text++;
	}
	out[used] = 0;
	return text;
}

static int set_bool(const char *key, const char *value, bool *out, char **err)
{
	if (!value || !strcmp(value, "on"))
		*out = true;
	else if (!strcmp(value, "off"))
		*out = false;
	else
		return block_spec_fail(err, EINVAL, "disk option %s is 'on' or 'off', not '%s'", key, value);
	return 0;
}

static int set_error(struct block_spec *s, const char *value, char **err)
{
	unsigned int i;

	for (i = 0; value && block_on_error_names[i]; i++)
		if (!strcmp(value, block_on_error_names[i])) {
			s->on_error = i;
			return 0;
		}
	return block_spec_fail(err, EINVAL, "disk option error is 'report', 'stop', 'enospc' or 'ignore', not '%s'",
			       value ? value : "");
}

static int set_group(struct block_spec *s, const char *value, char **err)
{
	if (!value || !name_valid(value) || strlen(value) >= sizeof(s->group))
		return block_spec_fail(err, EINVAL, "disk option group is a name of at most %d letters, digits, '.', '_', '-', not '%s'",
				       BLOCK_GROUP_MAX - 1, value ? value : "");
	strcpy(s->group, value);
	return 0;
}

/* 1: it is not one of these. */
static int set_limit(struct block_spec *s, const char *key, const char *value, char **err)
{
	const struct {
		const char *key;
		uint64_t *limit;
	} limits[] = {
		{ "iops", &s->limits.iops }, { "bps", &s->limits.bps },
		{ "iops-burst", &s->limits.iops_burst }, { "bps-burst", &s->limits.bps_burst },
	};
	struct err e = ERR_INIT;
	unsigned int i;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (strcmp(key, limits[i].key))
			continue;
		if (size_parse(value ? value : "", 1, limits[i].limit, &e) < 0 || *limits[i].limit > THROTTLE_RATE_MAX)
			return block_spec_fail(err, EINVAL, "disk option %s is a number, such as 500 or 20M, not '%s'", key,
					       value ? value : "");
		return 0;
	}
	return 1;
}

static int set_option(struct block_spec *s, const char *key, const char *value, int *format,
		      char **err)
{
	bool flag = false;
	int ret;

	if (!strcmp(key, "path")) {
		if (!value || !*value)
			return block_spec_fail(err, EINVAL, "disk option path needs a file name");
		snprintf(s->path, sizeof(s->path), "%s", value);
	} else if (!strcmp(key, "format")) {
		if (value && !strcmp(value, "raw"))
			*format = 0;
		else if (value && !strcmp(value, "vhd"))
			*format = 1;
		else
			return block_spec_fail(err, EINVAL, "disk format '%s' is not known; formats are raw and vhd",
					       value ? value : "");
	} else if (!strcmp(key, "key")) {
		if (!value || !*value)
			return block_spec_fail(err, EINVAL, "disk option key needs the name of a file that holds the key");
		snprintf(s->key, sizeof(s->key), "%s", value);
	} else if (!strcmp(key, "cache")) {
		if (!value || (strcmp(value, "none") && strcmp(value, "host")))
			return block_spec_fail(err, EINVAL, "disk option cache is 'none' or 'host', not '%s'",
					       value ? value : "");
		s->buffered = !strcmp(value, "host");
	} else if (!strcmp(key, "readonly") || !strcmp(key, "ro")) {
		return set_bool(key, value, &s->readonly, err);
	} else if (!strcmp(key, "rawparent")) {
		return set_bool(key, value, &s->raw_parent, err);
	} else if (!strcmp(key, "discard")) {
		ret = set_bool(key, value, &flag, err);
		s->nodiscard = !flag;
		return ret;
	} else if (!strcmp(key, "removable")) {
		return set_bool(key, value, &s->removable, err);
	} else if (!strcmp(key, "error")) {
		return set_error(s, value, err);
	} else if (!strcmp(key, "group")) {
		return set_group(s, value, err);
	} else {
		ret = set_limit(s, key, value, err);
		return ret <= 0 ? ret : block_spec_fail(err, EINVAL, "disk option '%s' is not known; options are " OPTIONS, key);
	}
	return 0;
}

static bool named_vhd(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (!strcasecmp(dot, ".vhd") || !strcasecmp(dot, ".avhd"));
}

int block_spec_parse(const char *text, struct block_spec *s, char **err)
{
	static const char *const keys[] = { "path=", "format=", "readonly=", "cache=", "discard=",
					    "rawparent=", "key=", "removable", "error=", "iops=", "bps=", "iops-burst=", "bps-burst=", "group=" };
	char word[4096 + 16], *eq;
	bool first = true;
	int format = -1, ret;
	size_t i;

	memset(s, 0, sizeof(*s));
	while (*text) {
		bool bare = first;

		text = word_take(text, word, sizeof(word));
		if (!text)
			return block_spec_fail(err, EINVAL, "the disk specification is too long");
		/* Only our own keys make the first word an option: paths may hold '='. */
		for (i = 0; first && i < sizeof(keys) / sizeof(keys[0]); i++)
			if (!strncmp(word, keys[i], strlen(keys[i])))
				bare = false;
		first = false;
		if (bare) {
			char *path = word;

			if (!strncmp(path, "raw:", 4) || !strncmp(path, "vhd:", 4)) {
				format = path[0] == 'v';
				path += 4;
			}
			if (strlen(path) >= sizeof(s->path))
				return block_spec_fail(err, ENAMETOOLONG, "the disk's path is too long");
			strcpy(s->path, path);
			continue;
		}
		eq = strchr(word, '=');
		if (eq)
			*eq++ = 0;
		if (eq && strlen(eq) >= sizeof(s->path))
			return block_spec_fail(err, ENAMETOOLONG, "the value of disk option %s is too long", word);
		ret = set_option(s, word, eq, &format, err);
		if (ret)
			return ret;
	}
	if (!s->path[0] && !s->removable)
		return block_spec_fail(err, EINVAL, "the disk specification names no file; write PATH or path=PATH,...");
	s->vhd = format < 0 ? named_vhd(s->path) : format;
	return 0;
}
