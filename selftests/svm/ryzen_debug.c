// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ryzen_debug - debug registers and breakpoints of the guest and of a debugger, where VMRUN arms them.
 *
 * BOX: --bochs ryzen
 * CFLAGS: -mno-red-zone
 */
#define main debug_main
#include "debug.c"
#undef main
#include "ryzen.h"

int main(int argc, char **argv)
{
	ryzen_required();
	return debug_main(argc, argv);
}
