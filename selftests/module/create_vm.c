// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * create_vm - make a VM with one vCPU, interrupt controllers, an irqfd and
 * memory on the node in argv[1], keep it for argv[2] seconds, exit 0; or say
 * what failed and exit 1.  Without argv[2] the process ends at once, and the
 * kernel closes all of it.  Not a test by itself: module tests use it, and it is
 * built for them as a program.
 *
 * It also reports as one test, that this can be done at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
	struct kvm_userspace_memory_region slot = { .memory_size = 1 << 20 };
	struct kvm_irqfd irqfd = { .gsi = 5 };
	int vm, vcpu;

	if (node < 0)
		return fail("open the node");
	vm = ioctl(node, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("KVM_CREATE_VM");
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0))
		return fail("KVM_CREATE_IRQCHIP");
	irqfd.fd = eventfd(0, EFD_CLOEXEC);
	if (irqfd.fd < 0 || ioctl(vm, KVM_IRQFD, &irqfd))
		return fail("KVM_IRQFD");
	slot.userspace_addr = (unsigned long)mmap(NULL, slot.memory_size, PROT_READ | PROT_WRITE,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return fail("KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return fail("KVM_CREATE_VCPU");
	printf("ok 1 - a VM and a vCPU\n1..1\n");
	if (argc > 2) {
		fflush(stdout);
		sleep(atoi(argv[2]));
		close(vcpu);
		close(vm);
		close(node);
	}
	return 0;
}
