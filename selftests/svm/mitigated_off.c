// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mitigated_off - the step out of the guest with mitigations=off, as the box boots: nothing of the kind is there.
 */
#include "mitigated.h"

int main(int argc, char **argv)
{
	return mitigated(argc, argv, 0);
}
