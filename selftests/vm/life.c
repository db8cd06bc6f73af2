// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The module beside the rest of the host: unloading while in use, CPUs that come and go under running guests, suspend, another
 * hypervisor, loading again.
 *
 * CFLAGS: -mno-red-zone
 * NODES: lodge
 * TIMEOUT: 180
 */
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"
#include "tap.h"

static const char *node;
static volatile u64 beats[2];

static GUEST void spin0(void)
{
	for (;; guest_spin())
		beats[0]++;
}

static GUEST void spin1(void)
{
	for (;; guest_spin())
		beats[1]++;
}

struct runner {
	struct guest *g;
	int id;
	pthread_t thread;
};

static volatile bool quit;

static void *run_thread(void *arg)
{
	struct runner *r = arg;

	while (!quit) {
		if (ioctl(r->g->vcpu[r->id], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			return (void *)(long)errno;
	}
	return NULL;
}

static void nothing(int sig __attribute__((unused)))
{
}

/* Two vCPUs that spin, each in its thread. */
static void start(struct guest *g, struct runner r[2])
{
	int i;

	quit = false;
	guest_create(g, node, GUEST_IRQCHIP);
	for (i = 0; i < 2; i++) {
		guest_vcpu(g, i);
		guest_start64(g, i, i ? spin1 : spin0);
		r[i] = (struct runner){ .g = g, .id = i };
		pthread_create(&r[i].thread, NULL, run_thread, &r[i]);
	}
}

/* The threads' errors, 0 if none. */
static long finish(struct guest *g, struct runner r[2])
{
	long bad = 0;
	void *ret;
	int i;

	quit = true;
	for (i = 0; i < 2; i++) {
		g->run[i]->immediate_exit = 1;
		pthread_kill(r[i].thread, SIGUSR1);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(r[i].thread, &ret);
		bad |= (long)ret;
	}
	guest_destroy(g);
	return bad;
}

/* Both guests' CPUs make progress within two seconds. */
static bool beat(void)
{
	u64 a = beats[0], b = beats[1];
	int i;

	for (i = 0; i < 200 && (beats[0] == a || beats[1] == b); i++)
		usleep(10000);
	return i < 200;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "lodge", O_NONBLOCK) ? -errno : 0;
}

static int new_vm(void)
{
	int sys = guest_must(open(node, O_RDWR | O_CLOEXEC)), vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));

	close(sys);
	return vm;
}

static void in_use(void)
{
	struct kvm_create_device vfio = { .type = KVM_DEV_TYPE_VFIO };
	int sys = guest_must(open(node, O_RDWR | O_CLOEXEC)), vm, vcpu, stats;
	struct kvm_run *run;

	tap_eq(unload(), -EAGAIN, "an open device keeps the module");
	vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
	close(sys);
	tap_eq(unload(), -EAGAIN, "a VM keeps the module");
	vcpu = guest_must(ioctl(vm, KVM_CREATE_VCPU, 0));
	close(vm);
	tap_eq(unload(), -EAGAIN, "a vCPU keeps the module");
	stats = guest_must(ioctl(vcpu, KVM_GET_STATS_FD, 0));
	run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	close(vcpu);
	close(stats);
	tap_eq(unload(), -EAGAIN, "a mapping of a vCPU's run page keeps the module");
	tap_ok(run != MAP_FAILED && run->exit_reason == 0, "and the page is there");
	munmap(run, 4096);

	/* Each with nothing else open. */
	vm = new_vm();
	vcpu = guest_must(ioctl(vm, KVM_CREATE_VCPU, 0));
	stats = guest_must(ioctl(vcpu, KVM_GET_STATS_FD, 0));
	close(vcpu);
	close(vm);
	tap_eq(unload(), -EAGAIN, "a vCPU's statistics descriptor keeps the module");
	close(stats);
	vm = new_vm();
	stats = guest_must(ioctl(vm, KVM_GET_STATS_FD, 0));
	close(vm);
	tap_eq(unload(), -EAGAIN, "a VM's statistics descriptor keeps the module");
	close(stats);
	vm = new_vm();
	if (ioctl(vm, KVM_CREATE_DEVICE, &vfio) < 0) {
		tap_ok(false, "a VM has a VFIO device");
	} else {
		close(vm);
		tap_eq(unload(), -EAGAIN, "a VFIO device keeps the module");
		close(vfio.fd);
	}
}

static void hotplug(void)
{
	const char *cpu1 = "/sys/devices/system/cpu/cpu1/online";
	struct runner r[2];
	struct guest g;
	int i, bad = 0;

	if (access(cpu1, W_OK)) {
		tap_skip("a CPU goes and comes under running guests", "there is no CPU that can go");
		return;
	}
	start(&g, r);
	tap_ok(beat(), "two vCPUs run");
	for (i = 0; i < 5; i++) {
		bad += !put(cpu1, "0");
		bad += !beat();
		bad += !put(cpu1, "1");
		bad += !beat();
	}
	tap_eq(bad, 0, "a CPU goes and comes five times under running guests");
	tap_eq(finish(&g, r), 0, "no vCPU saw an error");

	put(cpu1, "0");
	start(&g, r);
	tap_ok(beat(), "a VM made while a CPU is away runs");
	put(cpu1, "1");
	tap_ok(beat(), "and goes on when it comes");
	tap_eq(finish(&g, r), 0, "without an error");
}

static void suspended(void)
{
	struct runner r[2];
	struct guest g;

	if (!put("/sys/power/pm_test", "core")) {
		tap_skip("guests survive a suspend", "the kernel has no suspend test");
		return;
	}
	start(&g, r);
	beat();
	if (!put("/sys/power/state", "mem"))
		tap_skip("guests survive a suspend", "this machine cannot suspend");
	else
		tap_ok(beat(), "guests survive a suspend (up to the platform's part)");
	put("/sys/power/pm_test", "none");
	tap_eq(finish(&g, r), 0, "no vCPU saw an error over it");
}

static void neighbours(void)
{
	int lodge, other, vm;

	if (system("modprobe kvm_amd >/dev/null 2>&1") || access("/dev/kvm", R_OK | W_OK)) {
		tap_skip("beside another hypervisor", "there is no other hypervisor here");
		return;
	}
	lodge = guest_must(open(node, O_RDWR | O_CLOEXEC));
	other = guest_must(open("/dev/kvm", O_RDWR | O_CLOEXEC));
	vm = ioctl(other, KVM_CREATE_VM, 0);
	tap_ok(vm >= 0, "the stock module makes a VM while ours is loaded and idle");
	tap_ok(ioctl(lodge, KVM_CREATE_VM, 0) < 0 && errno == EBUSY, "while it has one, ours answers EBUSY");
	close(vm);
	usleep(100000);
	vm = ioctl(lodge, KVM_CREATE_VM, 0);
	tap_ok(vm >= 0, "when it is gone, ours makes one");
	tap_ok(ioctl(other, KVM_CREATE_VM, 0) < 0, "and the stock module cannot");
	close(vm);
	usleep(100000);
	vm = ioctl(other, KVM_CREATE_VM, 0);
	tap_ok(vm >= 0, "when ours is gone, it can again");
	close(vm);
	close(other);
	close(lodge);
	tap_eq(system("rmmod kvm_amd"), 0, "the stock module goes");
}

static void visible(void)
{
	char path[128];
	struct stat st;
	glob_t hits = {};
	int sys, vm, copy, fd;

	tap_ok(!stat(node, &st) && S_ISCHR(st.st_mode) && (st.st_mode & 07) == 0, "the node is no other user's");
	(void)!system("mount -t debugfs none /sys/kernel/debug 2>/dev/null; mount -t tracefs none /sys/kernel/tracing 2>/dev/null");
	sys = guest_must(open(node, O_RDWR | O_CLOEXEC));
	vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
	snprintf(path, sizeof(path), "/sys/kernel/debug/lodge/%d-%d/stats", getpid(), vm);
	fd = open(path, O_RDONLY);
	tap_ok(fd >= 0 && read(fd, path, 16) == 16, "a VM has its directory in debugfs");
	close(vm);
	tap_ok(fd >= 0 && pread(fd, path, 16, 0) < 0, "which answers nothing when the VM is gone");
	close(fd);

	/* The number of a descriptor comes again while the VM lives on in a duplicate. */
	vm = guest_must(ioctl(sys, KVM_CREATE_VM, 0));
	copy = guest_must(fcntl(vm, F_DUPFD_CLOEXEC, 100));
	close(vm);
	guest_must(ioctl(sys, KVM_CREATE_VM, 0) == vm ? 0 : -1);
	snprintf(path, sizeof(path), "/sys/kernel/debug/lodge/%d-%d.*/stats", getpid(), vm);
	tap_ok(!glob(path, 0, NULL, &hits) && hits.gl_pathc == 1, "a second VM under the same number has a directory of its own");
	globfree(&hits);
	close(copy);
	close(vm);
	close(sys);
	tap_ok(!access("/sys/kernel/tracing/events/lodge/lodge_exit/enable", F_OK) ||
	       !access("/sys/kernel/debug/tracing/events/lodge/lodge_exit/enable", F_OK), "there are trace points");
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = nothing };

	node = tap_node(argc, argv);
	sigaction(SIGUSR1, &act, NULL);
	in_use();
	visible();
	hotplug();
	suspended();
	neighbours();
	return tap_done();
}
