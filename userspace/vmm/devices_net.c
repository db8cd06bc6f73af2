// SPDX-License-Identifier: GPL-2.0-or-later
/* Network cards. */
#include "vmm/devices_net.h"

int devices_net_create(struct board *board, const struct run_options *o, struct devices_net **out,
		       struct err *e)
{
	(void)board; (void)o; (void)e;
	*out = NULL;
	return 0;
}

void devices_net_destroy(struct devices_net *n)
{
	(void)n;
}
