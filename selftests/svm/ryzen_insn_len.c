// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ryzen_insn_len - lengths of intercepted instructions, where the CPU tells them (NRIP save).
 *
 * BOX: --bochs ryzen
 * CFLAGS: -mno-red-zone
 */
#define main insn_len_main
#include "insn_len.c"
#undef main
#include "ryzen.h"

int main(int argc, char **argv)
{
	ryzen_required();
	return insn_len_main(argc, argv);
}
