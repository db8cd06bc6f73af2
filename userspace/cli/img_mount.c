// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img mount and umount: a disk as a raw file in a directory.
 *
 * nbdkit with our plugin serves the image to nbdfuse, which shows it through
 * FUSE: no kernel module beyond that, no privilege, and the image's lock,
 * flushes and errors are what they are for a guest. nbdfuse starts nbdkit
 * itself, over a pair of sockets, so there is no address that others could
 * connect to, and nbdkit ends with it.
 *
 * Mounted means that the file is there; until then we wait, and on any
 * failure what was started is ended and waited for. umount returns when
 * nbdfuse has ended, after which the image is closed and can be used.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/print.h"

#define SHOWN		"disk.raw"
#define KEYS		8
#define WAIT_MS		20000
#define STEP_MS		20

enum { OPT_RAW_PARENT = 256, OPT_KEY };

struct mounting {
	struct img_name image;
	char where[PATH_MAX], shown[PATH_MAX + 16], file[PATH_MAX], plugin[PATH_MAX];
	char key[KEYS][PATH_MAX + 8];
	unsigned int keys;
	bool writable, raw_parent;
};

static void step(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000l }, NULL);
}

/* In the tree the plugin lies beside the command; installed, nbdkit knows where. */
static void find_plugin(char *plugin, size_t room)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		if (snprintf(plugin, room, "%s/nbdkit-vhd-plugin.so", self) < (int)room && !access(plugin, R_OK))
			return;
	}
	snprintf(plugin, room, "vhd");
}

static void start(const struct mounting *m)
{
	const char *argv[32], *missing = "nbdfuse: command not found (Debian's package libnbd-bin, and nbdkit)\n";
	char raw[] = "format=raw", vhd[] = "format=vhd";
	int n = 0, null = open("/dev/null", O_RDWR);
	unsigned int i;

	setsid();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	argv[n++] = "nbdfuse";
	if (!m->writable)
		argv[n++] = "-r";
	argv[n++] = m->shown;
	argv[n++] = "--command";
	argv[n++] = "nbdkit";
	argv[n++] = "-s";
	argv[n++] = "--exit-with-parent";
	if (!m->writable)
		argv[n++] = "-r";
	argv[n++] = m->plugin;
	argv[n++] = m->file;
	argv[n++] = m->image.vhd ? vhd : raw;
	for (i = 0; i < m->keys; i++)
		argv[n++] = m->key[i];
	if (m->raw_parent)
		argv[n++] = "raw-parent=yes";
	argv[n] = NULL;
	execvp(argv[0], (char *const *)argv);
	if (write(STDERR_FILENO, missing, strlen(missing)) < 0)
		_exit(126);
	_exit(127);
}

static bool is_mounted(const struct mounting *m)
{
	struct stat st, dir;
	char up[PATH_MAX + 8];

	snprintf(up, sizeof(up), "%s/..", m->where);
	return !stat(m->where, &dir) && !stat(up, &st) && st.st_dev != dir.st_dev && !stat(m->shown, &st) && S_ISREG(st.st_mode);
}

static void undo(const struct mounting *m, pid_t pid)
{
	int i;

	kill(pid, SIGTERM);
	for (i = 0; i < 100 && !waitpid(pid, NULL, WNOHANG); i++)
		step();
	if (i == 100) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	if (is_mounted(m))
		umount2(m->where, MNT_DETACH);
}

static int mount_it(const struct mounting *m)
{
	pid_t pid;
	int i;

	img_catch_signals();
	pid = fork();
	if (pid < 0)
		return print_error("cannot start nbdfuse: %s", strerror(errno));
	if (!pid)
		start(m);
	for (i = 0; i < WAIT_MS / STEP_MS && !is_mounted(m) && !img_interrupted(); i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return print_error("cannot mount '%s'", m->image.path);
		step();
	}
	if (is_mounted(m) && !img_interrupted())
		return 0;
	undo(m, pid);
	return print_error(img_interrupted() ? "interrupted; nothing was left behind" : "nbdfuse does not show '%s'", m->image.path);
}

/* Whatever can be told before is told in our words. */
static int try_image(const struct mounting *m)
{
	unsigned int flags = img_open_flags(&m->image) | (m->raw_parent ? VHD_O_RAW_PARENT : 0), i;
	struct vhd_error err;
	struct vhd *v;

	for (i = 0; i < m->keys; i++) {
		if (!strncmp(m->key[i], "key=fd:", 7))
			return 0;
		if (img_key_add(m->key[i] + 4))
			return LODGE_EXIT_FAILURE;
	}
	if (img_open(m->image.path, flags | (m->writable ? 0 : VHD_O_RDONLY), &v, &err))
		return print_error("%s", err.text);
	return vhd_close(v) ? print_error("cannot close '%s'", m->image.path) : 0;
}

static int empty_directory(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	if (!d)
		return print_error("'%s': %s", path, strerror(errno));
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n ? print_error("the directory '%s' is not empty", path) : 0;
}

static int key_take(struct mounting *m, const char *word)
{
	char real[PATH_MAX];

	if (m->keys == KEYS || !strcmp(word, "-")) {
		print_error(m->keys == KEYS ? "there are too many keys" : "the key must be in a file, or fd:N");
		return LODGE_EXIT_USAGE;
	}
	if (!strncmp(word, "fd:", 3))
		snprintf(real, sizeof(real), "%s", word);
	else if (!realpath(word, real))
		return print_error("cannot read a key from '%s': %s", word, strerror(errno));
	snprintf(m->key[m->keys++], sizeof(m->key[0]), "key=%s", real);
	return 0;
}

static int img_mount(const struct command *c, int argc, char **argv)
{
	static struct mounting m;
	const char *format = NULL;
	char file[PATH_MAX - 8];
	struct command_args a;
	int id, ret = 0;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == 'f')
			format = a.opts.arg;
		if (id == OPT_KEY)
			ret = key_take(&m, a.opts.arg);
		if (ret)
			return ret;
		m.writable |= id == 'w';
		m.raw_parent |= id == OPT_RAW_PARENT;
	}
	if (id != OPTS_END)
		return command_code(id);
	if (img_name_parse(a.word[0], format, &m.image))
		return LODGE_EXIT_USAGE;
	if (!realpath(m.image.path, file) || !realpath(a.word[1], m.where))
		return print_error("cannot find '%s': %s", file[0] ? a.word[1] : m.image.path, strerror(errno));
	snprintf(m.file, sizeof(m.file), "file=%s", file);
	snprintf(m.shown, sizeof(m.shown), "%s/" SHOWN, m.where);
	find_plugin(m.plugin, sizeof(m.plugin));
	ret = empty_directory(m.where);
	if (!ret)
		ret = try_image(&m);
	if (!ret)
		ret = mount_it(&m);
	if (!ret)
		printf("%s/" SHOWN "\n", a.word[1]);
	return ret;
}

const struct command img_mount_command = {
	.name = "img mount",
	.summary = "show a disk as a raw file in a directory",
	.operands = "FILE DIRECTORY",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Shows what a guest would see, as DIRECTORY/" SHOWN ", until lodge img umount. Tools for raw\n"
		"files then work on it: fdisk, fsck, losetup -P and mount, dd. Read-only unless --write\n"
		"is given; the image is locked meanwhile. nbdkit and nbdfuse are needed, and FUSE.\n",
	.examples = "  lodge img mount disk.vhd /mnt\n"
		    "  lodge img mount --write disk.vhd /mnt && fsck.ext4 /mnt/" SHOWN "; lodge img umount /mnt\n",
	.opts = (const struct opt[]) {
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_KEY, "key", "FILE", "the key of an encrypted image: a file, or fd:N; may be repeated" },
		{ OPT_RAW_PARENT, "raw-parent", NULL, "allow an image that stands on a raw file" },
		{ 'w', "write", NULL, "let the file be written to" },
		{ 0 },
	},
	.run = img_mount,
};

/* Whether process @pid is the nbdfuse that shows @shown. */
static bool shows(const char *pid, const char *shown)
{
	char path[64], line[2 * PATH_MAX], *p;
	size_t n = 0;
	bool ours = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	if (strcmp(line, "nbdfuse"))
		return false;
	for (p = line; p < line + n; p += strlen(p) + 1)
		ours |= !strcmp(p, shown);
	return ours;
}

static pid_t find_server(const char *shown)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t pid = 0;

	while (d && !pid && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && shows(e->d_name, shown))
			pid = atoi(e->d_name);
	if (d)
		closedir(d);
	return pid;
}

static int unmount(const char *where)
{
	const char *const argv[] = { "fusermount3", "-u", where, NULL };
	int status;
	pid_t pid;

	if (!umount2(where, UMOUNT_NOFOLLOW))
		return 0;
	if (errno != EPERM)
		return print_error("cannot unmount '%s': %s", where,
				   errno == EBUSY ? "something there is in use" : strerror(errno));
	pid = fork();
	if (!pid) {
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return print_error("cannot unmount '%s' (fusermount3 -u)", where);
	return 0;
}

static int img_umount(const struct command *c, int argc, char **argv)
{
	char where[PATH_MAX], shown[PATH_MAX + 16];
	struct img_args a;
	pid_t pid;
	int i, ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (!realpath(a.words.word[0], where))
		return print_error("cannot find '%s': %s", a.words.word[0], strerror(errno));
	snprintf(shown, sizeof(shown), "%s/" SHOWN, where);
	pid = find_server(shown);
	if (!pid)
		return print_error("no disk is mounted at '%s'", a.words.word[0]);
	ret = unmount(where);
	for (i = 0; !ret && find_server(shown) == pid; i++) {
		if (i == WAIT_MS / STEP_MS)
			return print_error("it is unmounted, but process %d does not end, and has the image open", (int)pid);
		step();
	}
	return ret;
}

const struct command img_umount_command = {
	.name = "img umount",
	.summary = "end what mount has begun",
	.operands = "DIRECTORY",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Unmounts, and waits until the image is closed: it can be used again afterwards.\n",
	.examples = "  lodge img umount /mnt\n",
	.run = img_umount,
};
