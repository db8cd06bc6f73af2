// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `lodge console`: the terminal joined to a guest's console until ^] or the guest's end.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"

#define KEY_DETACH 0x1d

static struct termios saved;
static volatile sig_atomic_t raw, resized = 1;

static void restore(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	raw = 0;
}

static void on_end(int sig)
{
	restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_resize(int sig)
{
	(void)sig;
	resized = 1;
}

static void make_raw(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction winch = { .sa_handler = on_resize };
	struct termios t;
	unsigned int i;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
		return;
	atexit(restore);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		signal(ends[i], on_end);
	sigaction(SIGWINCH, &winch, NULL);
	t = saved;
	cfmakeraw(&t);
	raw = 1;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

static int write_all(int fd, const char *p, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

static void tell_size(const char *name)
{
	struct winsize ws;

	resized = 0;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col && ws.ws_row)
		lodge_console_resize(name, ws.ws_col, ws.ws_row, NULL);
}

/* Returns 0 to go on, 1 at the end. */
static int from_user(int fd, int *open)
{
	char buf[1024], *key;
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n < 0)
		return errno != EINTR;
	if (!n) {
		*open = 0;	/* the end of input does not detach */
		return 0;
	}
	key = raw ? memchr(buf, KEY_DETACH, n) : NULL;
	if (write_all(fd, buf, key ? key - buf : n) < 0)
		return 1;
	return key != NULL;
}

static int from_guest(int fd)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		return errno != EINTR && errno != EAGAIN;
	return !n || write_all(STDOUT_FILENO, buf, n) < 0;
}

static void join(int fd, const char *name)
{
	int open = 1;

	make_raw();
	for (;;) {
		struct pollfd p[2] = { { fd, POLLIN, 0 }, { open ? STDIN_FILENO : -1, POLLIN, 0 } };

		if (raw && resized)
			tell_size(name);
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents && from_guest(fd))
			break;
		if (p[1].revents && from_user(fd, &open))
			break;
	}
	restore();
}

static int console(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct lodge_error e;
	const char *name;
	int fd, id;

	command_begin(&a, argc, argv);
	id = command_next(c, &a);
	if (id != OPTS_END)
		return command_code(id);
	name = a.word[0];
	signal(SIGPIPE, SIG_IGN);
	fd = lodge_console(name, &e);
	if (fd < 0)
		return print_failure(&e);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "# console of %s; ^] leaves it\n", name);
	join(fd, name);
	close(fd);
	return 0;
}

const struct command console_command = {
	.name = "console",
	.summary = "attach to a guest's console",
	.operands = "NAME",
	.min = 1,
	.max = 1,
	.kind = OPERAND_GUEST,
	.text = "Joins this terminal to the guest's console, beginning with its newest output.\n"
		"^] leaves it; the guest runs on.\n",
	.examples = "  lodge console web-1\n",
	.run = console,
};
