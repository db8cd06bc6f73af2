// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * terminal.c - lodge on a terminal: raw while a guest runs, its escape keys, and the terminal as it was on every way out; and
 * without a terminal.
 *
 * The guest is a kernel of some instructions: it says "!", sends back each byte it gets, powers off at 'q' and breaks its CPU
 * at 't'.
 *
 * BOX: --smp 2 --file build/lodge
 * NODES: lodge
 * TIMEOUT: 240
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../vm/tap.h"

#define PATIENCE_MS 30000

static const unsigned char code[] = {
	0x66, 0xba, 0xf8, 0x03, 0xb0, '!', 0xee,			/* mov $0x3f8,%dx; mov $'!',%al; out %al,(%dx) */
	0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7,		/* 1: mov $0x3fd,%dx; in; test $1,%al; jz 1b */
	0x66, 0xba, 0xf8, 0x03, 0xec, 0xee,				/* mov $0x3f8,%dx; in; out */
	0x3c, 'q', 0x74, 0x06, 0x3c, 't', 0x74, 0x0c, 0xeb, 0xe7,	/* je 2f; je 3f; jmp 1b */
	0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, 0xf4, 0xeb, 0xfd,	/* 2: power off; hlt */
	0x0f, 0x0b,							/* 3: ud2 */
};

static const char *node;

static void write_kernel(void)
{
	static const struct {
		Elf32_Ehdr eh;
		Elf32_Phdr load, note;
		unsigned int text[5];
	} file = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1 }, .e_type = ET_EXEC,
			.e_machine = EM_386, .e_version = 1, .e_phoff = sizeof(Elf32_Ehdr),
			.e_ehsize = sizeof(Elf32_Ehdr), .e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 2 },
		.load = { .p_type = PT_LOAD, .p_offset = sizeof(file), .p_paddr = 0x100000, .p_filesz = sizeof(code),
			  .p_memsz = 4096 },
		.note = { .p_type = PT_NOTE, .p_offset = sizeof(file) - sizeof(file.text), .p_filesz = sizeof(file.text) },
		.text = { 4, 4, 18, 0x6e6558, 0x100000 },
	};
	int fd = open("tiny", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, &file, sizeof(file)) != sizeof(file) || write(fd, code, sizeof(code)) != sizeof(code))
		tap_bail("cannot write the kernel");
	close(fd);
}

struct session {
	pid_t pid;
	int master, slave;
	struct termios before;
	char seen[8192];
	size_t len;
};

static void open_terminal(struct session *s)
{
	char name[64];
	int zero = 0, nr;

	memset(s, 0, sizeof(*s));
	s->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->master < 0 || ioctl(s->master, TIOCSPTLCK, &zero) || ioctl(s->master, TIOCGPTN, &nr))
		tap_bail("no pseudo terminal");
	snprintf(name, sizeof(name), "/dev/pts/%d", nr);
	s->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->slave < 0 || tcgetattr(s->slave, &s->before))
		tap_bail("cannot open %s", name);
}

static void spawn(struct session *s, char **argv)
{
	s->pid = fork();
	if (s->pid)
		return;
	setsid();
	ioctl(s->slave, TIOCSCTTY, 0);
	dup2(s->slave, 0);
	dup2(s->slave, 1);
	dup2(s->slave, 2);
	execvp(argv[0], argv);
	_exit(127);
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads until text has been seen. */
static bool wait_text(struct session *s, const char *text)
{
	long end = now_ms() + PATIENCE_MS;
	ssize_t n;

	while (!memmem(s->seen, s->len, text, strlen(text))) {
		struct pollfd p = { s->master, POLLIN, 0 };

		if (now_ms() > end || s->len == sizeof(s->seen))
			return false;
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(s->master, s->seen + s->len, sizeof(s->seen) - s->len);
		if (n < 0)
			return false;
		s->len += n;
	}
	return true;
}

static void type(struct session *s, const char *keys)
{
	if (write(s->master, keys, strlen(keys)) < 0)
		tap_note("cannot type");
}

/* The wait status, or -1 when it does not end. What is still printed is read meanwhile. */
static int wait_end(struct session *s)
{
	long end = now_ms() + PATIENCE_MS;
	struct pollfd p = { s->master, POLLIN, 0 };
	char sink[512];
	int status;

	while (now_ms() < end) {
		if (waitpid(s->pid, &status, WNOHANG) == s->pid)
			return status;
		if (poll(&p, 1, 20) > 0 && read(s->master, sink, sizeof(sink)) < 0)
			poll(NULL, 0, 20);
	}
	kill(s->pid, SIGKILL);
	waitpid(s->pid, &status, 0);
	return -1;
}

static bool is_raw(struct session *s)
{
	struct termios t;

	return !tcgetattr(s->slave, &t) && !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool is_restored(struct session *s)
{
	struct termios t;

	return !tcgetattr(s->slave, &t) && t.c_iflag == s->before.c_iflag && t.c_oflag == s->before.c_oflag &&
	       t.c_cflag == s->before.c_cflag && t.c_lflag == s->before.c_lflag &&
	       !memcmp(t.c_cc, s->before.c_cc, sizeof(t.c_cc));
}

static void close_terminal(struct session *s)
{
	close(s->master);
	close(s->slave);
}

static bool start(struct session *s)
{
	char *argv[] = { "lodge", "run", "--device", (char *)node, "--name", "tty", "-m", "16", "-k", "tiny", "--net",
			 "none", "--console", "ttyS0", "--bare-cmdline", "-a", "", NULL };

	open_terminal(s);
	spawn(s, argv);
	return wait_text(s, "!");
}

/* A guest that ends by keys or by a signal: with this exit code, or killed by that signal, and the terminal as before. */
static void ends(const char *what, const char *keys, int sig, int code_wanted)
{
	struct session s;
	bool raw;
	int st;

	TAP_REQUIRE(start(&s), "%s: the guest runs", what);
	raw = is_raw(&s);
	if (keys)
		type(&s, keys);
	if (sig)
		kill(s.pid, sig);
	st = wait_end(&s);
	if (!tap_ok(raw && st != -1 && (code_wanted >= 0 ? WIFEXITED(st) && WEXITSTATUS(st) == code_wanted :
							   WIFSIGNALED(st) && WTERMSIG(st) == -code_wanted),
		    "%s: ends as it should", what))
		tap_note("raw %d, wait status %#x, seen: %.300s", raw, st, s.seen);
	tap_ok(is_restored(&s), "%s: the terminal is as before", what);
	close_terminal(&s);
}

/*
 * A filter sees what ptrace made of a system call, so this is how the test has lodge make one that it may not.  The call
 * that it waits in comes again after the stop.
 */
static bool make_forbidden_call(pid_t pid)
{
	struct user_regs_struct regs;
	unsigned int stops;
	int st;

	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return false;
	for (stops = 0; stops < 50; stops++) {
		if (waitpid(pid, &st, 0) != pid || !WIFSTOPPED(st))
			return false;
		if (WSTOPSIG(st) == (SIGTRAP | 0x80) && !ptrace(PTRACE_GETREGS, pid, 0, &regs) && (long)regs.rax == -ENOSYS)
			break;
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
			return false;
	}
	regs.orig_rax = SYS_execve;
	return stops < 50 && !ptrace(PTRACE_SETREGS, pid, 0, &regs) && !ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void forbidden_call(void)
{
	struct session s;
	int st;

	TAP_REQUIRE(start(&s), "forbidden call: the guest runs");
	TAP_REQUIRE(make_forbidden_call(s.pid), "lodge makes a system call that it has no business with");
	tap_ok(wait_text(&s, "no business with, number 59"), "it says so, with the call's number");
	st = wait_end(&s);
	if (!tap_ok(st != -1 && WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS, "SIGSYS ends it"))
		tap_note("wait status %#x", st);
	tap_ok(is_restored(&s), "the terminal is as before");
	close_terminal(&s);
}

static void hint(void)
{
	char *argv[] = { "lodge", "run", "--device", (char *)node, "--name", "tty", "-m", "16", "-k", "tiny", "--net",
			 "none", "--console", "ttyS0", NULL };
	struct session s;

	open_terminal(&s);
	spawn(&s, argv);
	tap_ok(wait_text(&s, "# lodge run --device") && wait_text(&s, "# C-a x ends the guest"),
	       "without -q: the resolved command, and a line about the keys");
	tap_ok(wait_text(&s, "!"), "before the guest says anything");
	type(&s, "\001p\001bq");
	tap_ok(wait_end(&s) == 0 && is_restored(&s), "C-a p and C-a b do a guest no harm that has no use for them");
	close_terminal(&s);
}

static void keys_reach_the_guest(void)
{
	struct session s;

	TAP_REQUIRE(start(&s), "keys: the guest runs");
	type(&s, "a\003b\001\001c");
	tap_ok(wait_text(&s, "a\003b\001c"), "keys, ^C and a doubled C-a reach the guest");
	type(&s, "\001h");
	tap_ok(wait_text(&s, "power button"), "C-a h tells the keys");
	type(&s, "q");
	tap_ok(wait_end(&s) == 0 && is_restored(&s), "power-off restores the terminal");
	close_terminal(&s);
}

static void hang_up(void)
{
	struct session s;
	int st;

	TAP_REQUIRE(start(&s), "hang-up: the guest runs");
	close(s.master);
	s.master = open("/dev/null", O_RDWR);
	st = wait_end(&s);
	tap_ok(st != -1 && WIFEXITED(st) && WEXITSTATUS(st) == 15, "a terminal that is hung up ends the guest");
	close_terminal(&s);
}

/* lodge console on a second terminal. */
static bool start_console(struct session *c)
{
	char *argv[] = { "lodge", "console", "tty", NULL };

	open_terminal(c);
	spawn(c, argv);
	return wait_text(c, "leaves it") && wait_text(c, "!");
}

static void console_command(void)
{
	struct session s, c;
	int st;

	TAP_REQUIRE(start(&s), "console: the guest runs");
	TAP_REQUIRE(start_console(&c), "lodge console shows what the guest said before");
	type(&c, "xyz");
	tap_ok(wait_text(&c, "xyz") && wait_text(&s, "xyz") && is_raw(&c), "what is typed there reaches the guest, and both see it");
	type(&c, "\035");
	tap_ok(wait_end(&c) == 0 && is_restored(&c), "^] leaves lodge console and restores its terminal");
	close_terminal(&c);
	TAP_REQUIRE(start_console(&c), "lodge console joins again");
	kill(c.pid, SIGTERM);
	st = wait_end(&c);
	tap_ok(st != -1 && WIFSIGNALED(st) && is_restored(&c), "a signal that ends lodge console restores its terminal");
	close_terminal(&c);
	TAP_REQUIRE(start_console(&c), "lodge console joins a third time");
	type(&s, "q");
	tap_ok(wait_end(&s) == 0, "the guest ends");
	tap_ok(wait_end(&c) == 0 && is_restored(&c), "its end ends lodge console and restores its terminal");
	close_terminal(&c);
	close_terminal(&s);
}

/* With standard input, output and error as the shell's redirections say. */
static int plain(const char *redirections)
{
	char cmd[400];
	int st;

	snprintf(cmd, sizeof(cmd),
		 "lodge run --device %s -q -m 16 -k tiny --net none --console ttyS0 --bare-cmdline -a '' --timeout 30 %s", node,
		 redirections);
	st = system(cmd);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	write_kernel();
	keys_reach_the_guest();
	ends("C-a x", "\001x", 0, 15);
	ends("a triple fault", "t", 0, 12);
	ends("SIGTERM", NULL, SIGTERM, 15);
	ends("SIGINT", NULL, SIGINT, 15);
	ends("SIGHUP", NULL, SIGHUP, 15);
	ends("SIGQUIT", NULL, SIGQUIT, 15);
	ends("SIGUSR1", NULL, SIGUSR1, -SIGUSR1);
	ends("SIGSEGV", NULL, SIGSEGV, -SIGSEGV);
	ends("SIGABRT", NULL, SIGABRT, -SIGABRT);
	ends("SIGSYS that somebody sent", NULL, SIGSYS, -SIGSYS);
	forbidden_call();
	hint();
	hang_up();
	console_command();
	if (system("printf abcq >k"))
		tap_bail("cannot write");
	tap_eq(plain("<k >out 2>err"), 0, "input from a file, output to one");
	tap_eq(plain("<&- >&- 2>&-"), 14, "no standard descriptors at all");
	tap_eq(plain("</dev/null | cat >out; true"), 0, "a pipe as output");
	return tap_done();
}
