// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * create_vm - make a VM with one vCPU on the node in argv[1], keep it for
 * argv[2] seconds, exit 0; or say what failed and exit 1.  Not a test by
 * itself: module tests use it, and it is built for them as a program.
 *
 * It also reports as one test, that this can be done at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/kvm.h>

static int fail(const char *what)
{
	printf("not ok 1 - %s # %s\n1..1\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	int node = open(argc > 1 ? argv[1] : "/dev/lodge", O_RDWR | O_CLOEXEC);
	int vm, vcpu;

	if (node < 0)
		return fail("open the node");
	vm = ioctl(node, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("KVM_CREATE_VM");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return fail("KVM_CREATE_VCPU");
	if (argc > 2)
		sleep(atoi(argv[2]));
	close(vcpu);
	close(vm);
	close(node);
	printf("ok 1 - a VM and a vCPU\n1..1\n");
	return 0;
}
