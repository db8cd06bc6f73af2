// SPDX-License-Identifier: GPL-2.0-or-later
/* Copying one image's data into another, with a line that tells how far it is. */
#include <errno.h>

#include "cli/img.h"
#include "cli/img_copy.h"

static bool go_on(void *opaque, uint64_t done)
{
	img_progress_show(opaque, done);
	return !img_interrupted();
}

int img_copy_run(struct vhd_copy *c, bool progress)
{
	struct img_progress shown;
	int ret;

	c->go_on = go_on;
	c->opaque = &shown;
	img_progress_begin(&shown, progress, vhd_size(c->from));
	ret = vhd_copy(c);
	img_progress_end(&shown, !ret);
	return ret;
}
