// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO's questions, through symbol_get().
 */
#include <linux/module.h>
#include <linux/vfio.h>

#include "compat/vfio.h"

bool compat_vfio_is_group(struct file *file)
{
	bool (*ask)(struct file *file) = symbol_get(vfio_file_is_group);
	bool yes;

	if (!ask)
		return false;
	yes = ask(file);
	symbol_put(vfio_file_is_group);
	return yes;
}

bool compat_vfio_is_coherent(struct file *file)
{
	bool (*ask)(struct file *file) = symbol_get(vfio_file_enforced_coherent);
	bool yes;

	if (!ask)
		return true;
	yes = ask(file);
	symbol_put(vfio_file_enforced_coherent);
	return yes;
}
