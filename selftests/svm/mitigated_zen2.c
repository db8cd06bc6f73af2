// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mitigated_zen2 - the step out of the guest on a Zen 2, which has retbleed.
 * The kernel warns of other bugs of this CPU while it boots.
 *
 * BOX: --cpu EPYC-Rome,+svm,+npt --append mitigations=auto --allow-warn
 */
#include "mitigated.h"

int main(int argc, char **argv)
{
	return mitigated(argc, argv, 3);
}
