// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * init - a guest's process 1 that says when it was reached: "init TSC", by the guest's own time stamp counter.
 */
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
#include <x86intrin.h>

int main(void)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "init %llu\n", __rdtsc());

	if (write(1, text, n) != n)
		return 1;
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
