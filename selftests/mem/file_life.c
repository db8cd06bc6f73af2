// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * file_life - guest-memory files without sharing: what is refused, what their pages do, who holds whom, and a guest on one.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"
#include "guest_mem.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#define HUGE	(2ul << 20)
#define SLOT	10
#define GPA	0x40000000ul
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int dev;
static const char *node;
static volatile u64 index_, value, seen;

static GUEST void peek_poke(void)
{
	for (;;) {
		volatile u64 *p = (volatile u64 *)(GPA + index_ * PAGE);

		seen = *p;
		if (value)
			*p = value;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static int create_errno(struct lodge_guest_file args)
{
	int fd = ioctl(dev, LODGE_CREATE_GUEST_FILE, &args);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	return errno;
}

static void refusals(void)
{
	struct mem m = mem_create(dev, 4 * PAGE, 0, 0);
	char path[64], c = 1;
	struct stat st;

	tap_ok(create_errno((struct lodge_guest_file){ .size = 0 }) == EINVAL, "no size: EINVAL");
	tap_ok(create_errno((struct lodge_guest_file){ .size = 4097 }) == EINVAL, "a size that is no multiple of a page: EINVAL");
	tap_ok(create_errno((struct lodge_guest_file){ .size = -4096ull }) == EINVAL, "a size beyond all files: EINVAL");
	tap_ok(create_errno((struct lodge_guest_file){ .size = PAGE, .flags = 1u << 31 }) == EINVAL, "an unknown flag: EINVAL");
	tap_ok(create_errno((struct lodge_guest_file){ .size = PAGE, .reserved2 = { [4] = 1 } }) == EINVAL, "a reserved field: EINVAL");
	tap_ok(create_errno((struct lodge_guest_file){ .size = PAGE, .group = 7 }) == EINVAL, "a group without sharing: EINVAL");
	tap_ok(fcntl(m.fd, F_GETFD) == FD_CLOEXEC, "the descriptor closes on exec");
	tap_ok(!fstat(m.fd, &st) && S_ISREG(st.st_mode) && st.st_size == 4 * PAGE, "fstat tells a regular file and its size");
	tap_ok(lseek(m.fd, 0, SEEK_END) == 4 * PAGE, "lseek to the end tells it too");
	tap_ok(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, m.fd, 0) == MAP_FAILED && errno == EINVAL, "a private mapping: EINVAL");
	tap_ok(read(m.fd, &c, 1) < 0 && errno == EINVAL, "read: EINVAL");
	tap_ok(write(m.fd, &c, 1) < 0 && errno == EINVAL, "write: EINVAL");
	tap_ok(ftruncate(m.fd, 0) < 0 && errno == EPERM, "ftruncate to less: EPERM");
	tap_ok(ftruncate(m.fd, 8 * PAGE) < 0 && errno == EPERM, "ftruncate to more: EPERM");
	tap_ok(fcntl(m.fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 && errno == EPERM, "seals are fixed: EPERM");
	tap_ok(fallocate(m.fd, 0, 0, PAGE) < 0 && errno == EOPNOTSUPP, "fallocate that fills: EOPNOTSUPP");
	tap_ok(ioctl(m.fd, 0x1234, 0) < 0 && errno == ENOTTY, "an unknown ioctl: ENOTTY");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m.fd);
	tap_ok(open(path, O_RDWR) < 0 && errno == ENXIO, "opening it through /proc: ENXIO");
	mem_destroy(&m);
}

static void discard(void)
{
	struct mem m = mem_create(dev, 16 * PAGE, 0, 0);
	struct stat st;
	unsigned int i;

	for (i = 0; i < 16; i++)
		mem_fill(m.at + i * PAGE, i);
	tap_ok(!madvise(m.at, 16 * PAGE, MADV_DONTNEED) && mem_is(m.at + 5 * PAGE, 5), "MADV_DONTNEED keeps the bytes");
	tap_ok(!madvise(m.at + 2 * PAGE, 2 * PAGE, MADV_REMOVE) && mem_is_zero(m.at + 2 * PAGE) && mem_is_zero(m.at + 3 * PAGE),
	       "MADV_REMOVE makes zeros");
	tap_ok(mem_is(m.at + PAGE, 1) && mem_is(m.at + 4 * PAGE, 4), "and leaves the neighbours alone");
	tap_ok(!fallocate(m.fd, PUNCH, 8 * PAGE, 2 * PAGE) && mem_is_zero(m.at + 8 * PAGE) && mem_is_zero(m.at + 9 * PAGE),
	       "punching a hole makes zeros");
	tap_ok(!fallocate(m.fd, PUNCH, 6 * PAGE + 8, 8) && *(u64 *)(m.at + 6 * PAGE + 8) == 0 &&
	       *(u64 *)(m.at + 6 * PAGE + 16) == 6 * 0x9e3779b97f4a7c15ull + 2, "a hole of 8 bytes is one of 8 bytes");
	tap_ok(!fallocate(m.fd, PUNCH, 15 * PAGE, 100 * PAGE) && mem_is_zero(m.at + 15 * PAGE), "a hole that ends beyond the file");
	tap_ok(!fallocate(m.fd, PUNCH, 0, 16 * PAGE) && !fstat(m.fd, &st) && st.st_blocks == 0, "all punched, nothing is held");
	mem_destroy(&m);
}

static void processes(void)
{
	struct mem m = mem_create(dev, 4 * PAGE, 0, 0);
	int status = -1;
	pid_t pid;

	mem_fill(m.at, 1);
	close(m.fd);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		bool good = mem_is(m.at, 1);

		mem_fill(m.at + PAGE, 2);
		_exit(!good);
	}
	waitpid(pid, &status, 0);
	tap_ok(status == 0 && mem_is(m.at + PAGE, 2), "parent and child have one memory, without the descriptor");
	munmap(m.at, m.size);
}

static long smaps(const void *at, const char *field)
{
	char line[256], want[32];
	FILE *f = fopen("/proc/self/smaps", "r");
	long value = -1;
	bool in = false;

	snprintf(want, sizeof(want), "%lx-", (unsigned long)at);
	while (f && fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			in = !strncmp(line, want, strlen(want));
		if (in && !strncmp(line, field, strlen(field)))
			value = atol(line + strlen(field));
	}
	if (f)
		fclose(f);
	return value;
}

static void huge(void)
{
	struct mem m = mem_create(dev, 4 * HUGE, 0, 0), s = mem_create(dev, 4 * HUGE, LODGE_GUEST_FILE_SMALL, 0);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (u64)m.at, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	unsigned int i;

	tap_ok((u64)m.at % HUGE == 0, "the mapping is aligned for huge pages");
	for (i = 0; i < 4; i++)
		m.at[i * HUGE] = s.at[i * HUGE] = 1;
	tap_eq(smaps(m.at, "ShmemPmdMapped:"), 4 * HUGE / 1024, "its pages are huge ones");
	tap_eq(smaps(s.at, "ShmemPmdMapped:"), 0, "but for a file that wants small ones");
	mem_fill(m.at + 7 * PAGE, 7);
	tap_ok(!madvise(m.at + 8 * PAGE, PAGE, MADV_REMOVE) && mem_is(m.at + 7 * PAGE, 7) && mem_is_zero(m.at + 8 * PAGE),
	       "a small hole in a huge page");
	tap_ok(madvise(s.at, HUGE, MADV_COLLAPSE) < 0 && errno == EINVAL, "MADV_COLLAPSE is refused");
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		tap_skip("userfaultfd is refused", "the kernel has none");
	else
		tap_ok(ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 && errno == EINVAL, "userfaultfd is refused");
	if (uffd >= 0)
		close(uffd);
	mem_destroy(&m);
	mem_destroy(&s);
}

static bool touch(struct guest *g, u64 index, u64 write)
{
	index_ = index;
	value = write;
	return guest_run(g, 0) == GUEST_DONE;
}

static void machine(void)
{
	struct mem m = mem_create(dev, 2 * HUGE, 0, 0);
	struct guest g;
	bool good = true;
	u64 i, n = m.size / PAGE;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, peek_poke);
	guest_slot(&g, SLOT, 0, GPA, m.at, m.size);
	close(m.fd);
	tap_ok(touch(&g, 3, 0) && seen == 0, "a guest reads a fresh page");
	tap_ok(touch(&g, 3, 42) && *(u64 *)(m.at + 3 * PAGE) == 42, "and writes it");
	for (i = 0; i < n; i++)
		good = good && touch(&g, i, i + 1000);
	for (i = 0; i < n; i++)
		good = good && *(u64 *)(m.at + i * PAGE) == i + 1000;
	tap_ok(good, "it writes all %llu pages, and the VMM sees that", (unsigned long long)n);
	tap_ok(!madvise(m.at + 9 * PAGE, PAGE, MADV_REMOVE) && touch(&g, 9, 0) && seen == 0, "a page that was discarded reads as zero");
	tap_ok(touch(&g, 8, 0) && seen == 1008 && touch(&g, 10, 0) && seen == 1010, "its neighbours keep theirs");
	tap_ok(touch(&g, 9, 5) && *(u64 *)(m.at + 9 * PAGE) == 5, "and it is memory again");
	munmap(m.at, m.size);
	index_ = 3;
	tap_ok(ioctl(g.vcpu[0], KVM_RUN, 0) < 0 && errno == EFAULT, "without the mapping the guest has no memory");
	guest_destroy(&g);
}

/* More than memory and swap hold is not promised: what is touched is what counts. */
static void sparse(void)
{
	struct mem m = mem_create(dev, 1ul << 40, 0, 0);

	m.at[0] = m.at[(1ul << 40) - 1] = 1;
	tap_ok(m.at[1ul << 39] == 0, "a file of 1 TiB, of which little is used");
	mem_destroy(&m);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	dev = open(node, O_RDWR);
	if (dev < 0)
		tap_bail("%s", node);
	if (!(ioctl(dev, KVM_CHECK_EXTENSION, LODGE_CAP_GUEST_FILE) & LODGE_GUEST_FILE_HAS_FILES))
		tap_bail("LODGE_CAP_GUEST_FILE is missing");
	refusals();
	discard();
	processes();
	huge();
	machine();
	sparse();
	return tap_done();
}
