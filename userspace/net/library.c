// SPDX-License-Identifier: GPL-2.0-or-later
/* Libraries that only some guests need, loaded when they do. */
#include "net/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

int library_load(const char *soname, const char *package, const struct library_symbol *symbols, size_t n, struct err *e)
{
	void *lib = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return err_set(e, ENOENT, "network: cannot load %s: %s; try: apt-get install %s", soname, dlerror(), package);
	for (size_t i = 0; i < n; i++) {
		void *symbol = dlsym(lib, symbols[i].name);

		if (!symbol)
			return err_set(e, ENOENT, "network: %s has no %s; try: a newer %s", soname, symbols[i].name, package);
		/* POSIX's own way from void * to a function pointer. */
		memcpy(symbols[i].where, &symbol, sizeof(symbol));
	}
	return 0;
}
