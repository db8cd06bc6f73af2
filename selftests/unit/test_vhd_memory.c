// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio
// CFLAGS: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=strdup,--wrap=free
// CFLAGS: -Wl,--wrap=pthread_create,--wrap=eventfd
/*
 * A life of images in which every allocation fails once: the n-th, for every
 * n until one run needs fewer. Whatever fails says so and lets go of what it
 * had taken; what was flushed is there afterwards, and the images are whole.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lodge/vhd.h>

#define DISK	(1u << 20)
#define PIECE	8192u

static long live, done, fail_at;
static bool failed;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **p, size_t align, size_t n);
char *__real_strdup(const char *s);
void __real_free(void *p);
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __real_eventfd(unsigned int count, int flags);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_eventfd(unsigned int count, int flags);

static bool refuse(void)
{
	if (__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST) != fail_at)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

static void *taken(void *p)
{
	if (p)
		__atomic_add_fetch(&live, 1, __ATOMIC_SEQ_CST);
	return p;
}

void *__wrap_malloc(size_t n)
{
	return refuse() ? NULL : taken(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t m)
{
	return refuse() ? NULL : taken(__real_calloc(n, m));
}

void *__wrap_realloc(void *p, size_t n)
{
	void *q;

	if (refuse())
		return NULL;
	q = __real_realloc(p, n);
	return p ? q : taken(q);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	int ret = refuse() ? ENOMEM : __real_posix_memalign(p, align, n);

	if (!ret)
		taken(*p);
	return ret;
}

char *__wrap_strdup(const char *s)
{
	return refuse() ? NULL : taken(__real_strdup(s));
}

void __wrap_free(void *p)
{
	if (p)
		__atomic_sub_fetch(&live, 1, __ATOMIC_SEQ_CST);
	__real_free(p);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return refuse() ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

int __wrap_eventfd(unsigned int count, int flags)
{
	return refuse() ? -1 : __real_eventfd(count, flags);
}

/* Check allocates even where an assertion holds. */
#define must(condition)								\
	do {									\
		if (!(condition)) {						\
			fprintf(stderr, "# allocation %ld\n", fail_at);		\
			fail_at = 0;						\
			ck_abort_msg("%s", #condition);				\
		}								\
	} while (0)

static char dir[64];

static const char *file(const char *name)
{
	static char path[2][128];
	static int n;

	n ^= 1;
	snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n];
}

static void say_so(int ret, const struct vhd_error *err)
{
	must(failed);
	must(ret == -err->code && ret < 0 && err->text[0]);
}

/* What the images must hold: the last flushed value of each piece, and any newer ones. */
static struct piece {
	uint8_t flushed;
	uint8_t newest;
} pieces[DISK / PIECE];

static void put(struct vhd_queue *q, uint32_t n, uint8_t value)
{
	uint8_t buf[PIECE];

	memset(buf, value, sizeof(buf));
	pieces[n].newest = value;
	if (vhd_pwrite(q, buf, PIECE, (uint64_t)n * PIECE))
		must(failed);
}

static void flush(struct vhd_queue *q)
{
	unsigned int i;

	if (vhd_flush(q)) {
		must(failed);
		return;
	}
	for (i = 0; i < DISK / PIECE; i++)
		pieces[i].flushed = pieces[i].newest;
}

static void look(const char *path, unsigned int flags)
{
	struct vhd_error err = { 0 };
	struct vhd_queue *q;
	struct vhd *v;
	struct vhd_run run;
	uint64_t at;
	uint8_t buf[PIECE];
	int ret = vhd_open(path, VHD_O_RDONLY | VHD_O_RAW_PARENT | flags, &v, &err);

	if (ret) {
		say_so(ret, &err);
		return;
	}
	q = vhd_queue_create(v, 4);
	for (at = 0; q && at < DISK; at += PIECE) {
		ret = vhd_pread(q, buf, PIECE, at);
		if (ret)
			must(failed);
		else if (buf[0] != pieces[at / PIECE].newest)
			must(buf[0] == pieces[at / PIECE].flushed);
	}
	must(q || failed);
	vhd_queue_destroy(q);
	for (at = 0; at < DISK; at += run.length) {
		if (vhd_map(v, at, DISK - at, &run)) {
			must(failed);
			break;
		}
	}
	vhd_close(v);
}

static void use(const char *path, uint8_t value)
{
	struct vhd_error err = { 0 };
	struct vhd_queue *q;
	struct vhd *v;
	int ret = vhd_open(path, VHD_O_RAW_PARENT, &v, &err), i;

	if (ret) {
		say_so(ret, &err);
		return;
	}
	q = vhd_queue_create(v, 4);
	for (i = 0; q && i < 8; i++) {
		put(q, i * 13, value + i);
		if (i % 3 == 0)
			flush(q);
	}
	if (q && vhd_write_zeroes(q, 65536, 131072, VHD_F_UNMAP))
		must(failed);
	for (i = 65536 / PIECE; q && i < (int)(196608 / PIECE); i++)
		pieces[i].newest = 0;
	if (q)
		flush(q);
	must(q || failed);
	vhd_queue_destroy(q);
	if (vhd_close(v))
		must(failed);
}

static void inspect(const char *path)
{
	struct vhd_check c = { .bitmaps = true };
	struct vhd_error err = { 0 };
	int ret = vhd_check(path, &c, &err);

	if (ret)
		say_so(ret, &err);
	else
		must(failed || !c.corruptions);
}

static void life(void)
{
	struct vhd_params gold = { .type = VHD_DYNAMIC, .size = DISK, .block_size = 65536 };
	struct vhd_params child = { .type = VHD_DIFF, .parent = file("gold.vhd"), .block_size = 65536 };
	struct vhd_error err = { 0 };
	int ret = vhd_create(file("gold.vhd"), &gold, &err);

	memset(pieces, 0, sizeof(pieces));
	if (ret) {
		say_so(ret, &err);
		must(access(file("gold.vhd"), F_OK));
		return;
	}
	use(file("gold.vhd"), 10);
	inspect(file("gold.vhd"));
	child.parent = file("gold.vhd");
	ret = vhd_create(file("child.vhd"), &child, &err);
	if (ret) {
		say_so(ret, &err);
		must(access(file("child.vhd"), F_OK));
		look(file("gold.vhd"), 0);
		return;
	}
	use(file("child.vhd"), 60);
	look(file("child.vhd"), 0);
	inspect(file("child.vhd"));
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void whole(const char *path)
{
	struct vhd_check c = { .bitmaps = true };
	struct vhd_error err = { 0 };

	if (access(path, F_OK))
		return;
	ck_assert_msg(!vhd_check(path, &c, &err), "%s", err.text);
	ck_assert_msg(!c.corruptions, "allocation %ld: %s is damaged", fail_at, path);
}

START_TEST(every_allocation_may_fail)
{
	long before, n;
	int fds = descriptors();

	/* With O_DIRECT, where a sync takes its time, a part of them. */
	snprintf(dir, sizeof(dir), "%s/lodge-memory-XXXXXX", _i ? "/var/tmp" : "/dev/shm");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (n = 1;; n += _i ? 11 : 1) {
		unlink(file("gold.vhd"));
		unlink(file("child.vhd"));
		before = live;
		done = 0;
		failed = false;
		fail_at = n;
		life();
		fail_at = 0;
		ck_assert_msg(live == before, "allocation %ld: %ld pieces of memory are lost", n, live - before);
		ck_assert_msg(descriptors() == fds, "allocation %ld: descriptors are lost", n);
		if (!failed)
			break;
		whole(file("gold.vhd"));
		whole(file("child.vhd"));
		if (!access(file("child.vhd"), F_OK))
			look(file("child.vhd"), 0);
	}
	printf("# up to the %ldth allocation\n", n - 1);
	ck_assert_int_gt(n, 200);
	unlink(file("gold.vhd"));
	unlink(file("child.vhd"));
	rmdir(dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_memory");
	TCase *t = tcase_create("memory");
	SRunner *r = srunner_create(s);
	int bad;

	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, every_allocation_may_fail, 0, 2);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad ? 1 : 0;
}
