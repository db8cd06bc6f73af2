// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's init for `lodge run -- COMMAND`: a static program that is the first process.
 *
 * It loads the modules that were packed with it, mounts the kernel's file systems, enters the
 * root disk if there is one, gives the network card an address, connects the command to the channel, and reports its exit status as
 * the last thing before power-off. Everything it says itself goes through the channel, or to
 * the console before there is one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest/network.h"
#include "vmm/exec_wire.h"

#define MODULE_COMPRESSED 4	/* MODULE_INIT_COMPRESSED_FILE */
#define STATUS_NOT_FOUND 127
#define STATUS_NOT_RUN 126
#define WORDS_MAX 1024
#define GRACE_MS 200
#define ACK_WAIT_S 10

static int channel = -1;

static void put_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	while (len) {
		n = write(fd, p, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		p += n;
		len -= n;
	}
}

static void send_frame(unsigned char type, const void *data, size_t len)
{
	unsigned char buf[EXEC_HEADER + EXEC_PAYLOAD_MAX];

	buf[0] = EXEC_MAGIC;
	buf[1] = type;
	buf[2] = len;
	buf[3] = len >> 8;
	buf[4] = ~(buf[1] + buf[2] + buf[3]);
	memcpy(buf + EXEC_HEADER, data, len);
	put_all(channel, buf, EXEC_HEADER + len);
}

static void say(const char *fmt, ...)
{
	char text[300];
	va_list ap;
	int n;

	n = snprintf(text, sizeof(text), "lodge: error: in the guest: ");
	va_start(ap, fmt);
	n += vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(text) - 2)
		n = sizeof(text) - 2;
	text[n++] = '\n';
	if (channel >= 0)
		send_frame(EXEC_MESSAGE, text, n);
	else
		put_all(STDERR_FILENO, text, n);
}

static void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Input that nobody wants any more may come before it. */
static void wait_ack(void)
{
	static const unsigned char ack[EXEC_HEADER] = { EXEC_MAGIC, EXEC_ACK, 0, 0,
							(unsigned char)~EXEC_ACK };
	struct pollfd p = { channel, POLLIN, 0 };
	unsigned char buf[256];
	unsigned int seen = 0;
	time_t limit = time(NULL) + ACK_WAIT_S;
	ssize_t n, i;

	while (time(NULL) < limit) {
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(channel, buf, sizeof(buf));
		for (i = 0; i < n; i++) {
			seen = buf[i] == ack[seen] ? seen + 1 : buf[i] == ack[0];
			if (seen == sizeof(ack))
				return;
		}
		if (n <= 0)
			nap_ms(10);
	}
}

static void end(int status)
{
	unsigned char s = status;

	if (channel >= 0) {
		send_frame(EXEC_STATUS, &s, 1);
		wait_ack();
	}
	sync();
	reboot(RB_POWER_OFF);
	_exit(0);	/* init's end is a panic, if even power-off fails */
}

/* ---- modules, mounts, channel ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_modules(void)
{
	struct dirent **list;
	char path[300];
	int n, i, fd, len;

	n = scandir("/lodge-modules", &list, NULL, by_name);
	for (i = 0; i < n; i++) {
		if (list[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/lodge-modules/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = strlen(path);
		if (fd >= 0 && syscall(SYS_finit_module, fd, "",
				       strcmp(path + len - 3, ".ko") ? MODULE_COMPRESSED : 0) < 0 &&
		    errno != EEXIST)
			fprintf(stderr, "lodge-init: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		unlink(path);
	}
}

static void mount_one(const char *type, const char *at)
{
	mkdir(at, 0755);
	if (mount(type, at, type, 0, NULL) < 0 && errno != EBUSY)
		fprintf(stderr, "lodge-init: %s on %s: %s\n", type, at, strerror(errno));
}

static int open_port(void)
{
	struct dirent *d;
	char path[300], name[64];
	int fd = -1, n;
	FILE *f;
	DIR *dir;

	dir = opendir("/sys/class/virtio-ports");
	while (dir && fd < 0 && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n = fscanf(f, "%63s", name);
		fclose(f);
		if (n != 1 || strcmp(name, EXEC_PORT_NAME))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", d->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static void open_channel(void)
{
	struct termios t;
	int tries;

	/* Ports appear a moment after the driver. */
	for (tries = 0; tries < 200 && channel < 0; tries++) {
		channel = open_port();
		if (channel >= 0)
			return;
		if (access("/sys/bus/virtio/drivers/virtio_console", F_OK))
			break;
		nap_ms(5);
	}
	channel = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (channel < 0) {
		say("there is neither a virtio port nor a second serial port: %s",
		    strerror(errno));
		end(STATUS_NOT_RUN);
	}
	if (!tcgetattr(channel, &t)) {
		cfmakeraw(&t);
		cfsetspeed(&t, B115200);
		t.c_cflag |= CLOCAL;
		tcsetattr(channel, TCSANOW, &t);
	}
}

/* ---- the root ---- */

static int try_mount(const char *dev)
{
	static const char *const types[] = { "ext4", "xfs", "btrfs", "squashfs", "erofs", "vfat" };
	unsigned int i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!mount(dev, "/lodge-root", types[i], 0, NULL) ||
		    !mount(dev, "/lodge-root", types[i], MS_RDONLY, NULL))
			return 0;
	return -1;
}

static void enter_root(const char *dev)
{
	static const char *const keep[] = { "/dev", "/proc", "/sys" };
	char part[64], at[64];
	unsigned int i;
	int tries;

	for (tries = 0; tries < 400 && access(dev, F_OK); tries++)
		nap_ms(5);
	snprintf(part, sizeof(part), "%.60s1", dev);
	if (try_mount(dev) < 0 && try_mount(part) < 0) {
		say("no file system that this kernel knows on %s: %s", dev, strerror(errno));
		end(STATUS_NOT_RUN);
	}
	for (i = 0; i < sizeof(keep) / sizeof(keep[0]); i++) {
		snprintf(at, sizeof(at), "/lodge-root%s", keep[i]);
		mkdir(at, 0755);
		if (mount(keep[i], at, NULL, MS_MOVE, NULL) < 0)
			say("cannot move %s: %s", keep[i], strerror(errno));
	}
	if (chdir("/lodge-root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
	    chroot(".") < 0 || chdir("/") < 0) {
		say("cannot enter the root on %s: %s", dev, strerror(errno));
		end(STATUS_NOT_RUN);
	}
}

static void leave_root(void)
{
	/* Whatever is still open keeps it busy; read-only is what matters. */
	sync();
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* ---- the command ---- */

struct job {
	pid_t pid;
	int in, out, err;	/* our ends; -1 when closed */
	int status;		/* -1 while it runs */
	unsigned char buf[EXEC_HEADER + EXEC_PAYLOAD_MAX];
	unsigned int fill;
};

static void run_child(char **words)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "linux", 0);
	if (access("/root", X_OK) || chdir("/root"))
		setenv("HOME", "/", 1);
	execvp(words[0], words);
	/* Without links to it, busybox is asked itself. */
	if (errno == ENOENT && !strchr(words[0], '/'))
		execv("/bin/busybox", words);
	_exit(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

static void start(struct job *j, char **words)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		say("cannot make pipes: %s", strerror(errno));
		end(STATUS_NOT_RUN);
	}
	j->pid = fork();
	if (j->pid < 0) {
		say("cannot fork: %s", strerror(errno));
		end(STATUS_NOT_RUN);
	}
	if (!j->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		run_child(words);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	j->in = in[1];
	j->out = out[0];
	j->err = err[0];
	j->status = -1;
}

static void copy_out(int *fd, unsigned char type)
{
	char buf[EXEC_PAYLOAD_MAX];
	ssize_t n;

	n = read(*fd, buf, sizeof(buf));
	if (n > 0) {
		send_frame(type, buf, n);
	} else if (n == 0 || errno != EINTR) {
		close(*fd);
		*fd = -1;
	}
}

static void input_frame(struct job *j, unsigned int len)
{
	if (j->in < 0)
		return;
	if (len)
		put_all(j->in, j->buf + EXEC_HEADER, len);
	if (!len || errno == EPIPE) {
		close(j->in);
		j->in = -1;
	}
}

static void copy_in(struct job *j)
{
	unsigned int len;
	ssize_t n;

	n = read(channel, j->buf + j->fill, sizeof(j->buf) - j->fill);
	if (n <= 0) {
		nap_ms(1);	/* the host's end is not open yet */
		return;
	}
	j->fill += n;
	while (j->fill >= EXEC_HEADER) {
		len = j->buf[2] | j->buf[3] << 8;
		if (j->buf[0] != EXEC_MAGIC || len > EXEC_PAYLOAD_MAX) {
			memmove(j->buf, j->buf + 1, --j->fill);
			continue;
		}
		if (j->fill < EXEC_HEADER + len)
			break;
		errno = 0;
		input_frame(j, len);
		j->fill -= EXEC_HEADER + len;
		memmove(j->buf, j->buf + EXEC_HEADER + len, j->fill);
	}
}

static void reap(struct job *j)
{
	int st;
	pid_t p;

	while ((p = waitpid(-1, &st, WNOHANG)) > 0)
		if (p == j->pid)
			j->status = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
}

static void watch(struct job *j)
{
	struct pollfd p[3];
	int r;

	while (j->status < 0 || j->out >= 0 || j->err >= 0) {
		p[0] = (struct pollfd){ j->out, POLLIN, 0 };
		p[1] = (struct pollfd){ j->err, POLLIN, 0 };
		/* A full pipe to the command must not stop its output from being read. */
		p[2] = (struct pollfd){ j->in >= 0 ? channel : -1, POLLIN, 0 };
		r = poll(p, 3, j->status < 0 ? 50 : GRACE_MS);
		reap(j);
		if (r == 0 && j->status >= 0)
			break;	/* something in the background keeps the pipes open */
		if (r <= 0)
			continue;
		if (p[0].revents)
			copy_out(&j->out, EXEC_STDOUT);
		if (p[1].revents)
			copy_out(&j->err, EXEC_STDERR);
		if (p[2].revents)
			copy_in(j);
	}
}

/* A command that needs no network must not fail for want of one, so this is told and no more. */
static void start_network(bool foreign_root)
{
	const char *what;
	int r = network_up(foreign_root, &what);

	if (r < 0)
		say("the command has no network: %s: %s", what, strerror(-r));
}

static void on_child(int sig)
{
	(void)sig;	/* only to end poll() */
}

/* The command file: root device, then the words, each ended by a zero byte. */
static char *read_words(char **words)
{
	static char text[128 * 1024];
	int fd = open("/lodge-exec", O_RDONLY | O_CLOEXEC), n = 0;
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	char *p;

	if (len <= 0)
		return NULL;
	close(fd);
	for (p = text + strlen(text) + 1; p < text + len && n < WORDS_MAX - 1;
	     p += strlen(p) + 1)
		words[n++] = p;
	words[n] = NULL;
	return n ? text : NULL;
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_child };
	static char *words[WORDS_MAX];
	static struct job job;
	char *root;

	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGCHLD, &sa, NULL);
	mount_one("devtmpfs", "/dev");
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	root = read_words(words);
	load_modules();
	open_channel();
	if (!root) {
		say("/lodge-exec is damaged");
		end(STATUS_NOT_RUN);
	}
	if (*root)
		enter_root(root);
	mount_one("tmpfs", "/run");
	mount_one("tmpfs", "/tmp");
	start_network(*root);
	send_frame(EXEC_HELLO, "", 0);
	start(&job, words);
	watch(&job);
	if (job.status == STATUS_NOT_FOUND)
		say("%s: not found, or it found something missing", words[0]);
	if (*root)
		leave_root();
	end(job.status);
}
