// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ioctls with good and bad arguments: what is answered, and with which error.
 *
 * CFLAGS: -mno-red-zone
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "guest.h"
#include "tap.h"

#define NEEDED		29
#define BAD_POINTER	((void *)0x10)

static const char *node;

static bool fails(long ret, int err)
{
	if (ret >= 0)
		errno = 0;
	return ret < 0 && errno == err;
}

static int open_vm(int *sys)
{
	*sys = guest_must(open(node, O_RDWR | O_CLOEXEC));
	return guest_must(ioctl(*sys, KVM_CREATE_VM, 0));
}

static void device(void)
{
	/* What every one of the known clients refuses to start without. */
	static const int needed[NEEDED] = { 0, 1, 3, 4, 7, 10, 14, 15, 21, 22, 25, 26, 30, 32, 33, 35, 36, 37, 39, 41, 50, 55, 56, 61, 72,
				      121, 136, 31, 122 };
	int sys = guest_must(open(node, O_RDWR)), vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
	unsigned int i;

	tap_eq(ioctl(sys, KVM_GET_API_VERSION, 0), 12, "API version is 12");
	tap_ok(fails(ioctl(sys, KVM_GET_API_VERSION, 1), EINVAL), "GET_API_VERSION with an argument: EINVAL");
	tap_ok(fails(ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 1), EINVAL), "GET_VCPU_MMAP_SIZE with an argument: EINVAL");
	tap_eq(ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0), 12288, "a vCPU's mapping has three pages");
	tap_ok(fails(ioctl(sys, KVM_CREATE_VM, 12345), EINVAL), "CREATE_VM of an unknown type: EINVAL");
	tap_ok(fails(ioctl(sys, _IO(KVMIO, 0xfe), 0), EINVAL), "an unknown system ioctl: EINVAL");
	tap_ok(fails(ioctl(sys, KVM_CREATE_VCPU, 0), EINVAL), "a VM's ioctl on the system descriptor: EINVAL");
	for (i = 0; i < NEEDED; i++)
		tap_ok(ioctl(sys, KVM_CHECK_EXTENSION, needed[i]) > 0, "capability %d, which clients need, is there", needed[i]);
	tap_eq(ioctl(sys, KVM_CHECK_EXTENSION, 131), 0, "MSI_DEVID is not there");
	tap_eq(ioctl(sys, KVM_CHECK_EXTENSION, 99999), 0, "an unknown capability is 0");
	tap_eq(ioctl(sys, KVM_CHECK_EXTENSION, -1), 0, "capability -1 is 0");
	for (i = 0; i < NEEDED; i++) {
		if (ioctl(vm, KVM_CHECK_EXTENSION, needed[i]) != ioctl(sys, KVM_CHECK_EXTENSION, needed[i]))
			break;
	}
	tap_eq(i, NEEDED, "the VM's descriptor answers the same about them");
	tap_ok(mmap(NULL, 4096, PROT_READ, MAP_SHARED, sys, 0) == MAP_FAILED, "the device cannot be mapped");
	close(vm);
	close(sys);
}

static void vm_errors(void)
{
	struct kvm_enable_cap unknown = { .cap = 99999 }, flagged = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .flags = 1 };
	struct kvm_create_device dev = { .type = 9999 };
	struct kvm_irq_level level = { .irq = 1, .level = 1 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x30 };
	struct kvm_irqfd irqfd = { .fd = -1, .gsi = 1 };
	int sys, vm = open_vm(&sys);

	tap_ok(fails(ioctl(vm, _IO(KVMIO, 0xfe), 0), ENOTTY), "an unknown VM ioctl: ENOTTY");
	tap_ok(fails(ioctl(vm, KVM_SET_USER_MEMORY_REGION, BAD_POINTER), EFAULT), "an argument that cannot be read: EFAULT");
	tap_ok(fails(ioctl(vm, KVM_ENABLE_CAP, &unknown), EINVAL), "ENABLE_CAP of an unknown capability: EINVAL");
	tap_ok(fails(ioctl(vm, KVM_ENABLE_CAP, &flagged), EINVAL), "ENABLE_CAP with unknown flags: EINVAL");
	tap_ok(fails(ioctl(vm, KVM_CREATE_DEVICE, &dev), ENODEV), "CREATE_DEVICE of an unknown type: ENODEV");
	tap_ok(fails(ioctl(vm, KVM_IRQ_LINE, &level), ENXIO), "IRQ_LINE without an irqchip: ENXIO");
	tap_ok(fails(ioctl(vm, KVM_SIGNAL_MSI, &msi), EINVAL), "SIGNAL_MSI without an irqchip: EINVAL");
	tap_ok(fails(ioctl(vm, KVM_IRQFD, &irqfd), EINVAL), "IRQFD without an irqchip: EINVAL");
	tap_ok(fails(ioctl(vm, KVM_RUN, 0), ENOTTY), "a vCPU's ioctl on a VM: ENOTTY");
	close(vm);
	close(sys);
}

static void vcpus(void)
{
	int sys, vm = open_vm(&sys), vcpu, max = ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID);
	int second;
	void *map;

	tap_ok(max >= ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS), "identifiers are at least as many as vCPUs");
	tap_ok(fails(ioctl(vm, KVM_CREATE_VCPU, max), EINVAL), "CREATE_VCPU with an identifier too large: EINVAL");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 3);
	tap_ok(vcpu >= 0, "CREATE_VCPU with an identifier of one's choice");
	tap_ok(fails(ioctl(vm, KVM_CREATE_VCPU, 3), EEXIST), "CREATE_VCPU of an identifier that exists: EEXIST");
	second = ioctl(vm, KVM_CREATE_VCPU, 0);
	tap_ok(second >= 0, "identifiers come in any order");
	tap_ok(fails(ioctl(vcpu, KVM_RUN, 1), EINVAL), "RUN with an argument: EINVAL");
	tap_ok(fails(ioctl(vcpu, _IO(KVMIO, 0xfe), 0), EINVAL), "an unknown vCPU ioctl: EINVAL");
	tap_ok(fails(ioctl(vcpu, _IO('x', 1), 0), EINVAL), "a vCPU ioctl of another letter: EINVAL");
	tap_ok(fails(ioctl(vcpu, KVM_GET_REGS, BAD_POINTER), EFAULT), "an answer that cannot be written: EFAULT");
	tap_ok(fails(ioctl(vcpu, KVM_SET_REGS, BAD_POINTER), EFAULT), "registers that cannot be read: EFAULT");
	map = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	tap_ok(map != MAP_FAILED, "the three pages can be mapped");
	if (map != MAP_FAILED) {
		tap_ok(((volatile char *)map)[0] == 0 && ((volatile char *)map)[4096] == 0 && ((volatile char *)map)[8192] == 0,
		       "they are there and zero");
		munmap(map, 3 * 4096);
	}
	close(second);
	close(vcpu);
	close(vm);
	close(sys);
}

static void max_vcpu_id(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID };
	int sys, vm = open_vm(&sys), vcpu;

	cap.args[0] = ioctl(sys, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID) + 1;
	tap_ok(fails(ioctl(vm, KVM_ENABLE_CAP, &cap), EINVAL), "MAX_VCPU_ID beyond the maximum: EINVAL");
	cap.args[0] = 4;
	tap_ok(!ioctl(vm, KVM_ENABLE_CAP, &cap), "MAX_VCPU_ID can be set");
	tap_ok(!ioctl(vm, KVM_ENABLE_CAP, &cap), "and set to the same again");
	cap.args[0] = 5;
	tap_ok(fails(ioctl(vm, KVM_ENABLE_CAP, &cap), EINVAL), "but not changed");
	tap_ok(fails(ioctl(vm, KVM_CREATE_VCPU, 4), EINVAL), "it bounds the identifiers");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 3);
	tap_ok(vcpu >= 0, "the last one below it exists");
	close(vcpu);
	close(vm);
	close(sys);
}

/* What may be set before KVM_SET_CPUID2 has said which processor it is. */
static void without_cpuid(void)
{
	const u64 always = 0x7ff, smxe = 1 << 14;	/* VME to OSXMMEXCPT */
	struct kvm_sregs s, t;
	struct guest g;
	int vcpu;

	guest_create(&g, node, GUEST_NO_IMAGE);
	vcpu = guest_must(ioctl(g.vm, KVM_CREATE_VCPU, 0));
	guest_must(ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr4 = always;
	tap_ok(!ioctl(vcpu, KVM_SET_SREGS, &s) && !ioctl(vcpu, KVM_GET_SREGS, &t) && t.cr4 == always,
	       "SET_SREGS without CPUID: all the old bits of CR4");
	s.cr4 = always | smxe;
	tap_ok(fails(ioctl(vcpu, KVM_SET_SREGS, &s), EINVAL) && !ioctl(vcpu, KVM_GET_SREGS, &t) && t.cr4 == always,
	       "SET_SREGS with a bit of CR4 that is not offered: EINVAL, and nothing changes");
	close(vcpu);
	guest_destroy(&g);
}

static void mmu_pages(void)
{
	struct guest g;

	guest_create(&g, node, GUEST_NO_IMAGE);
	tap_eq(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_MMU_SHADOW_CACHE_CONTROL), 1, "a bound on MMU pages can be set");
	tap_ok(!ioctl(g.vm, KVM_SET_NR_MMU_PAGES, 1024ul), "SET_NR_MMU_PAGES");
	tap_eq(ioctl(g.vm, KVM_GET_NR_MMU_PAGES, 0), 1024, "GET_NR_MMU_PAGES");
	tap_ok(fails(ioctl(g.vm, KVM_SET_NR_MMU_PAGES, 63ul), EINVAL), "too small a bound: EINVAL");
	guest_destroy(&g);
}

static volatile int handled;

static void on_signal(int sig __attribute__((unused)))
{
	handled++;
}

static GUEST void spin(void)
{
	for (;;)
		asm volatile("pause");
}

static void interruptions(void)
{
	struct { u32 len; u64 set; } __attribute__((packed)) mask = { .len = 8 };
	struct sigaction act = { .sa_handler = on_signal };
	sigset_t usr1;
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, spin);
	g.run[0]->immediate_exit = 1;
	g.run[0]->exit_reason = KVM_EXIT_IO;
	tap_ok(fails(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR), "immediate_exit: EINTR");
	tap_eq(g.run[0]->exit_reason, KVM_EXIT_IO, "it leaves the exit reason alone");
	g.run[0]->immediate_exit = 0;

	mask.len = 4;
	tap_ok(fails(ioctl(g.vcpu[0], KVM_SET_SIGNAL_MASK, &mask), EINVAL), "SET_SIGNAL_MASK with a wrong length: EINVAL");
	mask.len = 8;
	tap_ok(!ioctl(g.vcpu[0], KVM_SET_SIGNAL_MASK, &mask), "SET_SIGNAL_MASK");

	/* A signal that is blocked outside and pending: let in by the mask, it ends RUN and stays pending. */
	sigaction(SIGUSR1, &act, NULL);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	raise(SIGUSR1);
	tap_ok(fails(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR), "a signal that the mask lets in ends RUN");
	tap_eq(g.run[0]->exit_reason, KVM_EXIT_INTR, "with exit reason INTR");
	tap_eq(handled, 0, "its handler does not run while it is blocked outside");
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	tap_eq(handled, 1, "it was still pending");
	tap_ok(!ioctl(g.vcpu[0], KVM_SET_SIGNAL_MASK, NULL), "the mask can be taken away");

	alarm(0);
	act.sa_handler = on_signal;
	sigaction(SIGALRM, &act, NULL);
	alarm(1);
	tap_ok(fails(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR), "a signal ends RUN of a guest that spins with interrupts off");
	tap_eq(handled, 2, "and its handler ran");
	guest_destroy(&g);
}

static GUEST void halt(void)
{
	for (;;)
		asm volatile("sti; hlt");
}

static void *send_usr2(void *thread)
{
	usleep(100000);
	pthread_kill(*(pthread_t *)thread, SIGUSR2);
	return NULL;
}

/* SIGUSR2 would end the process, but is blocked outside of KVM_RUN. */
static void deadly_signal(void)
{
	struct { u32 len; u64 set; } __attribute__((packed)) mask = { .len = 8 };
	pthread_t self = pthread_self(), thread;
	int status = -1, ret;
	sigset_t usr2;
	struct guest g;
	pid_t child;

	fflush(stdout);
	child = guest_must(fork());
	if (child) {
		waitpid(child, &status, 0);
		tap_eq(status, 0, "a signal that would end the process only ends RUN if it is blocked outside");
		return;
	}
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, spin);
	guest_must(ioctl(g.vcpu[0], KVM_SET_SIGNAL_MASK, &mask));
	pthread_create(&thread, NULL, send_usr2, &self);
	ret = ioctl(g.vcpu[0], KVM_RUN, 0);
	_exit(!fails(ret, EINTR) || sigwaitinfo(&usr2, NULL) != SIGUSR2);
}

static void halted(void)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_vcpu(&g, 1);
	guest_start64(&g, 0, halt);
	sigaction(SIGALRM, &act, NULL);
	alarm(1);
	tap_ok(fails(ioctl(g.vcpu[0], KVM_RUN, 0), EINTR), "a signal ends RUN of a halted vCPU");
	alarm(1);
	tap_ok(fails(ioctl(g.vcpu[1], KVM_RUN, 0), EINTR), "a signal ends RUN of a vCPU that waits for its start-up");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	device();
	vm_errors();
	vcpus();
	max_vcpu_id();
	without_cpuid();
	mmu_pages();
	interruptions();
	deadly_signal();
	halted();
	return tap_done();
}
