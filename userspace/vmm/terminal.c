// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Raw mode and its end.
 *
 * Orderly ends call terminal_restore(). The rest is caught here: atexit() for exit(), and a
 * handler for the signals that would kill, by a fault or because somebody sent them, which restores
 * and lets the default action follow (tcsetattr is async-signal-safe, and each thread's filter lets
 * it pass). A filter that refuses a system call has a handler of its own (confine.c). Nothing helps against SIGKILL.
 */
#include "vmm/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "common/log.h"

static struct termios saved;
static volatile sig_atomic_t raw_fd = -1;

bool terminal_usable(int fd)
{
	return isatty(fd) && tcgetpgrp(fd) == getpgrp();
}

void terminal_restore(void)
{
	int fd = raw_fd;

	if (fd < 0)
		return;
	raw_fd = -1;
	tcsetattr(fd, TCSADRAIN, &saved);
	log_set_raw_tty(false);
}

void terminal_emergency(void)
{
	int fd = raw_fd;

	if (fd >= 0)
		tcsetattr(fd, TCSANOW, &saved);
}

static void on_fatal(int sig)
{
	terminal_emergency();
	raise(sig);	/* SA_RESETHAND: this time by default */
}

int terminal_raw(int fd)
{
	static const int fatal[] = {
		SIGSEGV, SIGBUS,  SIGILL,    SIGFPE,	SIGABRT, SIGSYS,  SIGTRAP, SIGUSR1,
		SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,	SIGXCPU, SIGXFSZ, SIGPWR,  SIGIO,
	};
	static bool installed;
	struct sigaction sa = { .sa_handler = on_fatal, .sa_flags = SA_RESETHAND | SA_NODEFER }, old;
	struct termios raw;
	unsigned int i;

	if (tcgetattr(fd, &saved) < 0)
		return -errno;
	if (!installed) {
		atexit(terminal_restore);
		for (i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
			if (fatal[i] != SIGSYS || (!sigaction(SIGSYS, NULL, &old) && old.sa_handler == SIG_DFL))
				sigaction(fatal[i], &sa, NULL);
		installed = true;
	}
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag = saved.c_oflag;	/* host messages keep their line ends */
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	raw_fd = fd;
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0) {
		raw_fd = -1;
		return -errno;
	}
	log_set_raw_tty(true);
	return 0;
}

int terminal_size(int fd, unsigned int *cols, unsigned int *rows)
{
	struct winsize ws;

	if (ioctl(fd, TIOCGWINSZ, &ws) < 0)
		return -errno;
	*cols = ws.ws_col;
	*rows = ws.ws_row;
	return 0;
}
