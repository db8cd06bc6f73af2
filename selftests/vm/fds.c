// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors of a VM: they may be closed in any order, duplicated, inherited, passed on, and outlive their process.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "guest.h"
#include "tap.h"

enum { SYS, VM, VCPU0, VCPU1, VM_STATS, VCPU_STATS, FDS };

static const char *node;
static bool with_irqchip;
static u8 ram[0x4000] __attribute__((aligned(4096)));

struct set {
	int fd[FDS];
	struct kvm_run *run;
	size_t run_size;
};

static void set_open(struct set *s)
{
	s->fd[SYS] = guest_must(open(node, O_RDWR | O_CLOEXEC));
	s->fd[VM] = guest_must(ioctl(s->fd[SYS], KVM_CREATE_VM, 0));
	if (with_irqchip)
		guest_must(ioctl(s->fd[VM], KVM_CREATE_IRQCHIP, 0));
	s->fd[VCPU0] = guest_must(ioctl(s->fd[VM], KVM_CREATE_VCPU, 0));
	s->fd[VCPU1] = guest_must(ioctl(s->fd[VM], KVM_CREATE_VCPU, 1));
	s->fd[VM_STATS] = guest_must(ioctl(s->fd[VM], KVM_GET_STATS_FD, 0));
	s->fd[VCPU_STATS] = guest_must(ioctl(s->fd[VCPU0], KVM_GET_STATS_FD, 0));
	s->run_size = guest_must(ioctl(s->fd[SYS], KVM_GET_VCPU_MMAP_SIZE, 0));
	s->run = mmap(NULL, s->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd[VCPU0], 0);
	if (s->run == MAP_FAILED)
		guest_die("mmap");
}

static void set_close(struct set *s)
{
	int i;

	for (i = 0; i < FDS; i++) {
		if (s->fd[i] >= 0)
			close(s->fd[i]);
		s->fd[i] = -1;
	}
	munmap(s->run, s->run_size);
}

/* The @n-th permutation of what there is to close: descriptors and the mapping (FDS); the system descriptor goes first. */
static void close_in_order(unsigned int n)
{
	int left[FDS] = { VM, VCPU0, VCPU1, VM_STATS, VCPU_STATS, FDS }, have = FDS, i, pick;
	struct set s;

	set_open(&s);
	close(s.fd[SYS]);
	for (i = FDS; i > 0; i--) {
		pick = n % i;
		n /= i;
		if (left[pick] == FDS)
			munmap(s.run, s.run_size);
		else
			close(left[pick] == FDS ? -1 : s.fd[left[pick]]);
		left[pick] = left[--have];
	}
}

static void every_order(void)
{
	unsigned int n;

	for (n = 0; n < 720; n += 7)	/* 7 and 720 share no factor: each object comes at each place */
		close_in_order(n);
	tap_ok(true, "descriptors and mapping are closed in many orders");
}

static void outliving(void)
{
	struct kvm_stats_header h;
	struct kvm_regs regs;
	struct set s;

	set_open(&s);
	close(s.fd[SYS]);
	s.fd[SYS] = -1;
	close(s.fd[VM]);
	s.fd[VM] = -1;
	tap_ok(!ioctl(s.fd[VCPU0], KVM_GET_REGS, &regs), "a vCPU answers after its VM's descriptor is closed");
	close(s.fd[VCPU0]);
	s.fd[VCPU0] = -1;
	s.run->immediate_exit = 1;
	tap_ok(s.run->immediate_exit == 1, "the run page stays mapped after its descriptor is closed");
	tap_ok(pread(s.fd[VM_STATS], &h, sizeof(h), 0) == sizeof(h) && h.num_desc > 0,
	       "a VM's statistics are there after its descriptor is closed");
	tap_ok(pread(s.fd[VCPU_STATS], &h, sizeof(h), 0) == sizeof(h) && h.num_desc > 0,
	       "a vCPU's statistics are there after its descriptor is closed");
	set_close(&s);
}

static void flags(void)
{
	struct set s;
	int i;

	set_open(&s);
	for (i = VM; i < FDS; i++)
		tap_ok(fcntl(s.fd[i], F_GETFD) & FD_CLOEXEC, "descriptor kind %d is close-on-exec", i);
	set_close(&s);
}

static void duplicates(void)
{
	struct kvm_regs regs;
	struct set s;
	int vm, vcpu;

	set_open(&s);
	vm = dup(s.fd[VM]);
	vcpu = dup(s.fd[VCPU0]);
	close(s.fd[VM]);
	close(s.fd[VCPU0]);
	s.fd[VM] = vm;
	s.fd[VCPU0] = vcpu;
	tap_ok(ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) == 1, "a duplicate of a VM's descriptor works alone");
	tap_ok(!ioctl(vcpu, KVM_GET_REGS, &regs), "a duplicate of a vCPU's descriptor works alone");
	set_close(&s);
}

/* What ioctls answer in a child, as an exit status: bit 0 VM is EIO, bit 1 vCPU is EIO. */
static int child_view(struct set *s)
{
	struct kvm_regs regs;
	int seen = 0;

	if (ioctl(s->fd[VM], KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) < 0 && errno == EIO)
		seen |= 1;
	if (ioctl(s->fd[VCPU0], KVM_GET_REGS, &regs) < 0 && errno == EIO)
		seen |= 2;
	return seen;
}

static void inherited(void)
{
	struct kvm_regs regs;
	int status = 0;
	struct set s;
	pid_t pid;

	set_open(&s);
	pid = guest_must(fork());
	if (!pid)
		_exit(child_view(&s));
	waitpid(pid, &status, 0);
	tap_ok(WIFEXITED(status) && (WEXITSTATUS(status) & 1), "VM ioctls from another address space get EIO");
	tap_ok(WIFEXITED(status) && (WEXITSTATUS(status) & 2), "vCPU ioctls from another address space get EIO");
	tap_ok(!ioctl(s.fd[VCPU0], KVM_GET_REGS, &regs), "the parent's VM works after the child is gone");
	set_close(&s);
}

static void send_fds(int sock, const int *fds, int n)
{
	char control[CMSG_SPACE(FDS * sizeof(int))] = {}, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	guest_must(sendmsg(sock, &m, 0));
}

static void receive_fds(int sock, int *fds, int n)
{
	char control[CMSG_SPACE(FDS * sizeof(int))] = {}, byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	guest_must(recvmsg(sock, &m, 0));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), n * sizeof(int));
}

/* The VM's address space ends while another process holds its descriptors. */
static void orphan(void)
{
	struct kvm_regs regs;
	int pair[2], status;
	struct set s;
	pid_t pid;

	guest_must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = guest_must(fork());
	if (!pid) {
		struct kvm_userspace_memory_region r = { .memory_size = sizeof(ram), .userspace_addr = (u64)ram };

		set_open(&s);
		guest_must(ioctl(s.fd[VM], KVM_SET_USER_MEMORY_REGION, &r));
		send_fds(pair[0], s.fd, FDS);
		_exit(0);
	}
	receive_fds(pair[1], s.fd, FDS);
	waitpid(pid, &status, 0);
	tap_ok(ioctl(s.fd[VM], KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) < 0 && errno == EIO,
	       "a VM whose process has ended answers EIO");
	tap_ok(ioctl(s.fd[VCPU0], KVM_GET_REGS, &regs) < 0 && errno == EIO, "so do its vCPUs");
	s.run = mmap(NULL, 4096, PROT_READ, MAP_SHARED, s.fd[VCPU0], 0);
	s.run_size = 4096;
	tap_ok(s.run != MAP_FAILED && s.run->exit_reason == 0, "its run page can still be mapped");
	set_close(&s);
	close(pair[0]);
	close(pair[1]);
}

static GUEST void spin(void)
{
	outb(0x80, 1);
	for (;;)
		asm volatile("pause");
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void killed(void)
{
	double start;
	int status, pair[2];
	struct guest g;
	char byte = 0;
	pid_t pid;

	guest_must(pipe(pair));
	pid = guest_must(fork());
	if (!pid) {
		guest_create(&g, node, GUEST_IRQCHIP);
		guest_vcpu(&g, 0);
		guest_start64(&g, 0, spin);
		guest_run(&g, 0);	/* the OUT: it runs */
		guest_must(write(pair[1], &byte, 1));
		guest_run(&g, 0);
		_exit(1);
	}
	guest_must(read(pair[0], &byte, 1));
	usleep(100000);
	start = now();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && now() - start < 5,
	       "a process whose guest spins with interrupts off dies by SIGKILL");
	close(pair[0]);
	close(pair[1]);
}

static void *churn(void *arg)
{
	int i;

	for (i = 0; i < 20; i++)
		close_in_order((unsigned long)arg * 31 + i * 7);
	return NULL;
}

static void parallel(void)
{
	pthread_t t[4];
	long i;

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, churn, (void *)i);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	tap_ok(true, "VMs are made and closed by four threads");
}

/* ---- the same descriptors closed by two threads, each in its own order ---- */

struct closer {
	pthread_barrier_t *together;
	int fd[FDS];
	unsigned int order;
};

static void *close_copies(void *arg)
{
	struct closer *c = arg;
	int left = FDS, pick;
	unsigned int n = c->order;

	pthread_barrier_wait(c->together);
	for (; left > 0; left--) {
		pick = n % left;
		n /= left;
		close(c->fd[pick]);
		c->fd[pick] = c->fd[left - 1];
	}
	return NULL;
}

/* Both hold a descriptor of each object; events are wired to it, and its run page is mapped. */
static void close_by_two(unsigned int a, unsigned int b)
{
	struct kvm_userspace_memory_region m = { .memory_size = sizeof(ram), .userspace_addr = (u64)ram };
	int event = guest_must(eventfd(0, EFD_CLOEXEC)), i;
	struct kvm_ioeventfd io = { .addr = 0x1000, .len = 4, .fd = event };
	struct kvm_irqfd irq = { .fd = event, .gsi = 4 };
	struct closer c[2] = { { .order = a }, { .order = b } };
	pthread_barrier_t together;
	pthread_t t[2];
	struct set s;

	set_open(&s);
	guest_must(ioctl(s.fd[VM], KVM_SET_USER_MEMORY_REGION, &m));
	guest_must(ioctl(s.fd[VM], KVM_IOEVENTFD, &io));
	guest_must(ioctl(s.fd[VM], KVM_IRQFD, &irq));
	pthread_barrier_init(&together, NULL, 2);
	for (i = 0; i < FDS; i++) {
		c[0].fd[i] = s.fd[i];
		c[1].fd[i] = guest_must(dup(s.fd[i]));
	}
	for (i = 0; i < 2; i++) {
		c[i].together = &together;
		pthread_create(&t[i], NULL, close_copies, &c[i]);
	}
	close(event);
	munmap(s.run, s.run_size);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&together);
}

static void two_threads(void)
{
	unsigned int i;

	with_irqchip = true;
	for (i = 0; i < 120; i++)
		close_by_two(i * 7, 720 - i * 5);
	tap_ok(true, "two threads close the same VM's descriptors, each in its own order, 120 times");
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	every_order();
	outliving();
	flags();
	duplicates();
	inherited();
	orphan();
	killed();
	parallel();
	two_threads();
	return tap_done();
}
