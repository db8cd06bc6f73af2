// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parsing of sizes, numbers and names. */
#include "common/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 48

static int digits(const char *text, const char **end, u64 *out)
{
	char *stop;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &stop, 10);
	*end = stop;
	return -errno;
}

int size_parse(const char *text, u64 unit, u64 *out, struct err *e)
{
	static const char letters[] = "BKMGTP";
	const char *p, *hit;
	u64 v, scale = unit;
	int r;

	r = digits(text, &p, &v);
	if (!r && *p) {
		hit = strchr(letters, toupper((unsigned char)*p));
		if (!hit)
			r = -EINVAL;
		else
			scale = 1ULL << (10 * (hit - letters));
		p++;
		if (!r && hit != letters && !strcasecmp(p, "ib"))
			p += 2;
		else if (!r && hit != letters && !strcasecmp(p, "b"))
			p++;
		if (*p)
			r = -EINVAL;
	}
	if (!r && v > UINT64_MAX / scale)
		r = -ERANGE;
	if (r == -ERANGE)
		return err_set(e, ERANGE, "size '%s' is too large", text);
	if (r)
		return err_set(e, EINVAL,
			       "'%s' is no size; try: a number with a suffix of K, M, G or T, as "
			       "in 2G",
			       text);
	*out = v * scale;
	return 0;
}

int number_parse(const char *text, const char *what, u64 min, u64 max, u64 *out, struct err *e)
{
	const char *end;

	if (digits(text, &end, out) || *end || *out < min || *out > max)
		return err_set(e, EINVAL, "%s: '%s' is not a number from %llu to %llu", what, text,
			       (unsigned long long)min, (unsigned long long)max);
	return 0;
}

bool name_valid(const char *name)
{
	const char *p;

	if (!isalpha((unsigned char)name[0]) || strlen(name) > NAME_MAX_LEN)
		return false;
	for (p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return false;
	return true;
}
