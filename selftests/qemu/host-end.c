// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * host-end - what tests of the end of a host need inside the box:
 *
 *	host-end spin NODE			two guests with two vCPUs each that spin; returns when all run, leaves them running
 *	host-end one NODE			one guest runs an instruction and exits: status 0 if it could
 *	host-end svme				says for every CPU whether EFER.SVME is set; status 0 if on none
 *	host-end load KERNEL INITRD ARGS	make KERNEL the next one (kexec)
 *	host-end load-crash KERNEL INITRD ARGS	the same for after a panic
 *	host-end kexec				go there, as reboot(2) does: through the reboot notifiers
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kexec.h>
#include <linux/kvm.h>
#include <linux/reboot.h>

#define VMS	2
#define CPUS	2

static int fail(const char *what)
{
	fprintf(stderr, "host-end: %s: %s\n", what, strerror(errno));
	return 1;
}

/* ---- guests ---- */

static uint8_t *code;
static volatile int running;

/* A VM whose vCPUs execute @bytes at gpa 0x1000 in real mode; vCPU descriptors in @fd, 0 or -1. */
static int guest_make(const char *node, const void *bytes, size_t len, int *fd, int n)
{
	struct kvm_userspace_memory_region m = { .guest_phys_addr = 0x1000, .memory_size = 0x1000 };
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	int sys = open(node, O_RDWR), vm = ioctl(sys, KVM_CREATE_VM, 0), i;
	struct kvm_sregs s;

	if (!code)
		code = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(code, bytes, len);
	m.userspace_addr = (uint64_t)code;
	if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m))
		return -1;
	for (i = 0; i < n; i++) {
		fd[i] = ioctl(vm, KVM_CREATE_VCPU, i);
		if (fd[i] < 0 || ioctl(fd[i], KVM_GET_SREGS, &s))
			return -1;
		s.cs.base = s.cs.selector = 0;
		if (ioctl(fd[i], KVM_SET_SREGS, &s) || ioctl(fd[i], KVM_SET_REGS, &regs))
			return -1;
	}
	return 0;
}

static void *spinner(void *arg)
{
	__atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
	for (;;)
		ioctl((int)(long)arg, KVM_RUN, 0);
	return NULL;
}

static int spin(const char *node)
{
	int fd[CPUS], ready[2], i, j;
	pthread_t t;
	char byte;

	if (pipe(ready))
		return fail("pipe");
	if (fork()) {
		close(ready[1]);
		return read(ready[0], &byte, 1) == 1 ? 0 : 1;
	}
	setsid();
	for (i = 0; i < VMS; i++) {
		if (guest_make(node, "\xeb\xfe", 2, fd, CPUS))	/* jmp . */
			exit(fail(node));
		for (j = 0; j < CPUS; j++)
			pthread_create(&t, NULL, spinner, (void *)(long)fd[j]);
	}
	while (running < VMS * CPUS)
		usleep(1000);
	usleep(200000);
	if (write(ready[1], "x", 1) != 1)
		exit(1);
	for (i = 0; i < 3; i++)
		close(i);
	for (;;)
		pause();
}

static int one(const char *node)
{
	struct kvm_run *run;
	int fd;

	if (guest_make(node, "\xe6\x80", 2, &fd, 1))	/* out %al, $0x80 */
		return fail(node);
	run = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED || ioctl(fd, KVM_RUN, 0))
		return fail("KVM_RUN");
	return run->exit_reason == KVM_EXIT_IO ? 0 : 1;
}

/* ---- the CPUs ---- */

static int svme(void)
{
	char path[32];
	int cpu, fd, set = 0, seen = 0;
	uint64_t efer;

	for (cpu = 0; cpu < 64; cpu++) {
		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		if (pread(fd, &efer, sizeof(efer), 0xc0000080) == sizeof(efer)) {
			seen++;
			set += efer >> 12 & 1;
		}
		close(fd);
	}
	printf("# EFER.SVME is set on %d of %d CPUs\n", set, seen);
	return !seen || set;
}

/* ---- the next kernel ---- */

static int load(char **argv, unsigned long flags)
{
	int kernel = open(argv[0], O_RDONLY), initrd = open(argv[1], O_RDONLY);

	if (kernel < 0 || initrd < 0)
		return fail("kernel or initrd");
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[2]) + 1, argv[2], flags))
		return fail("kexec_file_load");
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "spin") && argc == 3)
		return spin(argv[2]);
	if (!strcmp(what, "one") && argc == 3)
		return one(argv[2]);
	if (!strcmp(what, "svme"))
		return svme();
	if (!strcmp(what, "load") && argc == 5)
		return load(argv + 2, 0);
	if (!strcmp(what, "load-crash") && argc == 5)
		return load(argv + 2, KEXEC_FILE_ON_CRASH);
	if (!strcmp(what, "kexec"))
		return reboot(LINUX_REBOOT_CMD_KEXEC) ? fail("reboot") : 0;
	fprintf(stderr, "usage: see the top of host-end.c\n");
	return 2;
}
