/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap.h - results of a test program in the Test Anything Protocol.
 *
 *	int main(int argc, char **argv)
 *	{
 *		int fd = open(tap_node(argc, argv), O_RDWR);
 *
 *		tap_ok(ioctl(fd, KVM_GET_API_VERSION, 0) == 12, "API version is 12");
 *		if (!has_it)
 *			tap_skip("does it", "the CPU has no it");
 *		return tap_done();
 *	}
 *
 * A result is printed, and flushed, when it is known, so that what came before
 * a hang is not lost; the plan (1..N) comes last.  Results may be given by any
 * thread.  Exit status 0 means that nothing failed and that something was run
 * or skipped.  A program that cannot go on calls tap_bail(), which fails it.
 *
 * TAP_REQUIRE(condition, name) is for steps without which the rest means
 * nothing: it prints a failed result and leaves the calling function.
 */
#ifndef SELFTESTS_VM_TAP_H
#define SELFTESTS_VM_TAP_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap_state {
	pthread_mutex_t lock;
	int run;
	int failed;
};

static struct tap_state tap_state __attribute__((unused)) = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* The node under test: first argument, else $NODE, else /dev/lodge. */
static inline const char *tap_node(int argc, char **argv)
{
	const char *node = getenv("NODE");

	if (argc > 1)
		return argv[1];
	return node ? node : "/dev/lodge";
}

/* One result; returns what it was given.  errno at the call is shown if it failed. */
static inline bool tap_vok(bool good, const char *fmt, va_list ap)
{
	int err = errno;

	pthread_mutex_lock(&tap_state.lock);
	tap_state.run++;
	if (!good)
		tap_state.failed++;
	printf("%s %d - ", good ? "ok" : "not ok", tap_state.run);
	vprintf(fmt, ap);
	if (!good && err)
		printf(" # errno %d (%s)", err, strerror(err));
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&tap_state.lock);
	errno = err;
	return good;
}

static inline bool __attribute__((format(printf, 2, 3)))
tap_ok(bool good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_vok(good, fmt, ap);
	va_end(ap);
	return good;
}

/* Two numbers that must be equal; both are shown when they are not. */
static inline bool tap_eq(unsigned long long got, unsigned long long want, const char *name)
{
	if (got == want)
		return tap_ok(true, "%s", name);
	errno = 0;
	return tap_ok(false, "%s # got %#llx, want %#llx", name, got, want);
}

static inline void tap_skip(const char *name, const char *reason)
{
	pthread_mutex_lock(&tap_state.lock);
	tap_state.run++;
	printf("ok %d - %s # SKIP %s\n", tap_state.run, name, reason);
	fflush(stdout);
	pthread_mutex_unlock(&tap_state.lock);
}

/* A line for the reader. */
static inline void __attribute__((format(printf, 1, 2)))
tap_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# ");
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

/* The program cannot go on. */
static inline void __attribute__((format(printf, 1, 2), noreturn))
tap_bail(const char *fmt, ...)
{
	va_list ap;
	int err = errno;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	if (err)
		printf(" (errno %d, %s)", err, strerror(err));
	putchar('\n');
	fflush(stdout);
	exit(2);
}

/* The whole program does not apply here. */
static inline void __attribute__((noreturn)) tap_skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	fflush(stdout);
	exit(0);
}

/* Prints the plan; the status to exit with. */
static inline int tap_done(void)
{
	printf("1..%d\n", tap_state.run);
	fflush(stdout);
	return tap_state.failed || !tap_state.run;
}

#define TAP_REQUIRE(cond, ...)						\
	do {								\
		if (!(cond)) {						\
			tap_ok(false, __VA_ARGS__);			\
			return;						\
		}							\
	} while (0)

#endif /* SELFTESTS_VM_TAP_H */
