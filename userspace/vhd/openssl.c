// SPDX-License-Identifier: LGPL-2.1-or-later
/* OpenSSL's libcrypto, loaded when the first key comes. */
#include "vhd/openssl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vhd/image.h"

#define SONAME	"libcrypto.so.3"

struct openssl openssl;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;	/* lock */

#define OPENSSL_SYMBOL(name) { #name, &openssl.name },
static const struct {
	const char *name;
	void *where;
} symbols[] = { OPENSSL_FUNCTIONS(OPENSSL_SYMBOL) };

static int load(struct vhd_error *err)
{
	void *lib = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL), *symbol;
	unsigned int i;

	if (!lib)
		return vhd_fail(err, ENOENT, "cannot load " SONAME " for encryption: %.200s; try: apt-get install libssl3", dlerror());
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		symbol = dlsym(lib, symbols[i].name);
		if (!symbol)
			return vhd_fail(err, ENOENT, SONAME " has no %s; try: a newer libssl3", symbols[i].name);
		/* POSIX's own way from void * to a function pointer. */
		memcpy(symbols[i].where, &symbol, sizeof(symbol));
	}
	loaded = true;
	return 0;
}

int openssl_load(struct vhd_error *err)
{
	int ret;

	pthread_mutex_lock(&lock);
	ret = loaded ? 0 : load(err);
	pthread_mutex_unlock(&lock);
	return ret;
}
