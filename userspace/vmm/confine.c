// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * System-call filters, one per thread role, made with libseccomp.
 *
 * The lists are what the code behind each role calls, by reading it: memory allocation and
 * locking for all; KVM's run-time ioctls for vCPUs; disk and network I/O for I/O threads; and for
 * the main thread also what a restart of the machine and the control socket need. The image library's
 * threads have the first list alone, and whoever works on images opens and deletes files besides. vCPU and I/O
 * threads cannot open files, start programs or make sockets of their own accord; the user-mode
 * network's thread makes sockets, as that is its purpose.
 *
 * What is not on the list ends the process by SIGSYS, with a line that says which call it was, and the terminal
 * as it was before; the call is not made. No thread but the main one can change what SIGSYS does.
 *
 * Compiled filters are installed with TSYNC off: each thread has its own. The main thread's comes
 * last, after all others were started, since a filter is inherited.
 */
#include "vmm/confine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <lodge/vhd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <uapi/lodge.h>
#include <unistd.h>

#include "common/log.h"
#include "common/types.h"
#include "vmm/terminal.h"

/* siginfo's code for a filter's trap; <signal.h> lacks it. */
#define SI_SECCOMP 1

static enum run_seccomp mode = RUN_SECCOMP_OFF;

static const int common_calls[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close),
	SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(sched_yield),
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl),
	SCMP_SYS(timerfd_settime), SCMP_SYS(eventfd2), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall), SCMP_SYS(tgkill), SCMP_SYS(gettid), SCMP_SYS(getpid),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rseq), SCMP_SYS(set_robust_list),
	SCMP_SYS(prctl), SCMP_SYS(seccomp), SCMP_SYS(getrandom), SCMP_SYS(fcntl),
	/* Disk requests may be served on whichever thread rang. */
	SCMP_SYS(io_submit), SCMP_SYS(io_getevents), SCMP_SYS(io_pgetevents), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fdatasync),
	SCMP_SYS(fsync), SCMP_SYS(lseek), SCMP_SYS(poll), SCMP_SYS(ppoll),
};

/* The user-mode network lives on an I/O thread. */
static const int io_calls[] = {
	SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept),
	SCMP_SYS(accept4), SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(openat), SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), SCMP_SYS(pselect6), SCMP_SYS(sysinfo),
};

static const int control_calls[] = {
	SCMP_SYS(rt_sigaction),		/* terminal_raw() */
	SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown), SCMP_SYS(rmdir), SCMP_SYS(flock),
	SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(uname), SCMP_SYS(geteuid),
	/* A disk that is attached has a loop and timers of its own; an empty drive has a file in memory. */
	SCMP_SYS(epoll_create1), SCMP_SYS(timerfd_create), SCMP_SYS(memfd_create),
	/* A disk's snapshot: its child takes its name. A mirror gets its own. */
	SCMP_SYS(rename), SCMP_SYS(renameat2), SCMP_SYS(link),
};

/* Work on the images of a chain: it finds, opens and deletes them. Whatever is here the main thread must have too. */
static const int image_calls[] = {
	SCMP_SYS(openat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(getdents64), SCMP_SYS(readlink), SCMP_SYS(getcwd),
	SCMP_SYS(unlink), SCMP_SYS(statx), SCMP_SYS(io_setup), SCMP_SYS(io_destroy),
};

static const u32 image_ioctls[] = {
	0x80081272 /* BLKGETSIZE64 */, 0x1268 /* BLKSSZGET */, 0x127b /* BLKPBSZGET */,
};

/* Whoever held a disk's queues serves the rings when it gives them back: with interrupts, and blocks that guests share. */
static const u32 ring_ioctls[] = { KVM_IRQ_LINE, KVM_SIGNAL_MSI, LODGE_GUEST_FILE_BLOCKS };

static const u32 run_ioctls[] = {
	KVM_RUN, KVM_IRQ_LINE, KVM_SIGNAL_MSI, KVM_IRQFD, KVM_IOEVENTFD, KVM_SET_GSI_ROUTING,
	KVM_GET_REGS, KVM_GET_SREGS,
	0x5402 /* TCSETS: terminal.c, when a fault ends us */,
};

static const u32 io_ioctls[] = {
	0x5421 /* FIONBIO */, 0x541b /* FIONREAD */, 0x400454d0 /* TUNSETOFFLOAD */,
	0x400454d9 /* TUNSETQUEUE */, LODGE_GUEST_FILE_BLOCKS, LODGE_GUEST_FILE_SCAN,
};

static const u32 vhost_ioctls[] = {
	VHOST_SET_OWNER, VHOST_RESET_OWNER, VHOST_SET_FEATURES, VHOST_GET_FEATURES,
	VHOST_SET_MEM_TABLE, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_GET_VRING_BASE,
	VHOST_SET_VRING_ADDR, VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR,
	VHOST_NET_SET_BACKEND,
};

static const u32 control_ioctls[] = {
	KVM_CREATE_VM, KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP,
	KVM_CREATE_PIT2, KVM_CHECK_EXTENSION, KVM_SET_USER_MEMORY_REGION, KVM_CREATE_VCPU,
	KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, KVM_SET_MSRS, KVM_GET_SREGS, KVM_SET_SREGS,
	KVM_SET_REGS, KVM_SET_FPU, LODGE_GUEST_FILE_STATS, LODGE_CREATE_GUEST_FILE,
	0x5401 /* TCGETS */, 0x5402 /* TCSETS */, 0x5403 /* TCSETSW */, 0x5404 /* TCSETSF */,
	0x5413 /* TIOCGWINSZ */, 0x540f /* TIOCGPGRP */,
};

static int allow_calls(scmp_filter_ctx f, const int *list, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, list[i], 0);
	return r == -EEXIST ? 0 : r;
}

static int allow_ioctls(scmp_filter_ctx f, const u32 *list, size_t n)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, list[i]));
	return r;
}

/*
 * Closing an image makes an I/O queue with its helper threads. The flags of clone3() lie in memory where a filter cannot
 * see them, so it is said not to exist, and the C library falls back to clone(): threads only, never a process.
 */
static int allow_threads(scmp_filter_ctx f)
{
	int r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	return r ? r : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
					SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
}

static int allow_images(scmp_filter_ctx f)
{
	int r = allow_calls(f, image_calls, ARRAY_SIZE(image_calls));

	if (!r)
		r = allow_ioctls(f, image_ioctls, ARRAY_SIZE(image_ioctls));
	return r ? r : allow_threads(f);
}

static int build(scmp_filter_ctx f, enum thread_role role)
{
	int r;

	r = allow_calls(f, common_calls, ARRAY_SIZE(common_calls));
	if (!r && (role == THREAD_IMAGE || role == THREAD_CONTROL))
		r = allow_images(f);
	if (!r && role == THREAD_IMAGE)
		r = allow_ioctls(f, ring_ioctls, ARRAY_SIZE(ring_ioctls));
	if (r || role == THREAD_DISK || role == THREAD_IMAGE)
		return r;
	if (!r)
		r = allow_ioctls(f, run_ioctls, ARRAY_SIZE(run_ioctls));
	if (!r)
		r = allow_ioctls(f, vhost_ioctls, ARRAY_SIZE(vhost_ioctls));
	if (!r && role != THREAD_VCPU)
		r = allow_calls(f, io_calls, ARRAY_SIZE(io_calls));
	if (!r)
		r = allow_ioctls(f, io_ioctls, ARRAY_SIZE(io_ioctls));
	if (!r && role == THREAD_CONTROL)
		r = allow_calls(f, control_calls, ARRAY_SIZE(control_calls));
	if (!r && role == THREAD_CONTROL)
		r = allow_ioctls(f, control_ioctls, ARRAY_SIZE(control_ioctls));
	return r;
}

static void enter_disk_thread(void)
{
	if (confine_enter(THREAD_DISK) < 0)
		_Exit(71);
}

static size_t put_number(char *line, u64 n, unsigned int base)
{
	size_t len = 0;
	u64 unit = 1;

	while (n / unit >= base)
		unit *= base;
	for (; unit; unit /= base)
		line[len++] = "0123456789abcdef"[n / unit % base];
	return len;
}

/* SECCOMP_RET_TRAP, or somebody sent it. Only what is safe in a handler. */
static void on_refused(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "lodge: a thread was about to make a system call that it has no business with, number ";
	static const char request[] = ", request 0x";
	static const char hint[] = "; the guest is ended. If it is a fault of lodge's, --seccomp log goes on\r\n";
	const ucontext_t *uc = context;
	char line[sizeof(text) + 16 + sizeof(request) + 16 + sizeof(hint)];
	size_t len = sizeof(text) - 1;

	terminal_emergency();
	if (info->si_code == SI_SECCOMP) {
		memcpy(line, text, len);
		len += put_number(line + len, info->si_syscall, 10);
		if (info->si_syscall == SYS_ioctl) {
			memcpy(line + len, request, sizeof(request) - 1);
			len += sizeof(request) - 1;
			len += put_number(line + len, (u32)uc->uc_mcontext.gregs[REG_RSI], 16);
		}
		memcpy(line + len, hint, sizeof(hint) - 1);
		if (write(STDERR_FILENO, line, len + sizeof(hint) - 1) < 0)
			len = 0;
	}
	raise(sig);	/* SA_RESETHAND: this time by default */
}

void confine_set_mode(enum run_seccomp m)
{
	struct sigaction sa = { .sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER };

	mode = m;
	thread_set_enter_hook(m == RUN_SECCOMP_OFF ? NULL : confine_enter);
	vhd_on_thread(m == RUN_SECCOMP_OFF ? NULL : enter_disk_thread);
	if (m == RUN_SECCOMP_KILL)
		sigaction(SIGSYS, &sa, NULL);
}

int confine_enter(enum thread_role role)
{
	scmp_filter_ctx f;
	int r;

	if (mode == RUN_SECCOMP_OFF)
		return 0;
	f = seccomp_init(mode == RUN_SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_TRAP);
	if (!f)
		return -ENOMEM;
	r = seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 1);
	/* A balanced tree: the filter is passed on every system call. */
	if (!r)
		r = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!r)
		r = build(f, role);
	if (!r)
		r = seccomp_load(f);
	seccomp_release(f);
	if (r)
		log_error("cannot confine a thread: %s; try: --seccomp off", strerror(-r));
	return r;
}
