// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Running one command in a guest.
 *
 * The archive holds our init, the command's words, and the modules of the virtio drivers if this
 * host has them for the kernel that is booted (a distribution's kernel has them as modules, a
 * self-made one mostly built in). Modules are taken from /lib/modules/RELEASE with their
 * dependencies, in loading order.
 *
 * Standard output and error are each a console object without input: they hold the guest back
 * while nobody reads.
 */
#include "vmm/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "vmm/boot_bzimage.h"
#include "vmm/cpio.h"
#include "vmm/exec_wire.h"

#define ACK_RETRY_NS 5000000ULL
#define MODULES_MAX 48
#define MODULE_SIZE_MAX (16 * MIB)
#define DEP_SIZE_MAX (4 * MIB)

extern const u8 guest_init_start[], guest_init_end[];

struct decoder {
	u8 head[EXEC_HEADER];
	unsigned int head_len;
	u8 type;
	unsigned int left;
};

struct exec {
	struct cpio archive;
	struct devices *devices;
	struct console *out, *err;
	struct decoder dec[2];		/* serial port, virtio port: a guest may use both at once */
	_Atomic int status;		/* -1: unknown */
	atomic_bool hello;
	u8 tx[EXEC_HEADER + EXEC_PAYLOAD_MAX];	/* main thread */
	unsigned int tx_len, tx_at;
	struct loop *loop;
	struct loop_timer ack;
	bool acked;
};

/* ---- the archive ---- */

struct modset {
	char *dep;			/* modules.dep */
	char dir[128];
	const char *file[MODULES_MAX];	/* pointers into dep */
	unsigned int count;
};

static void *read_file(const char *path, size_t max, size_t *len)
{
	struct stat st;
	char *buf = NULL;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && st.st_size > 0 && (size_t)st.st_size <= max)
		buf = malloc(st.st_size + 1);
	if (buf) {
		n = read(fd, buf, st.st_size);
		if (n != st.st_size) {
			free(buf);
			buf = NULL;
		} else {
			buf[n] = '\0';
			*len = n;
		}
	}
	close(fd);
	return buf;
}

/* Whether path's last part is NAME.ko or NAME.ko.xz and the like; '-' and '_' are the same. */
static bool is_module(const char *path, size_t len, const char *name)
{
	size_t start = len, i;

	while (start && path[start - 1] != '/')
		start--;
	for (i = 0; name[i]; i++) {
		char c = start + i < len ? path[start + i] : 0;

		if ((c == '-' ? '_' : c) != name[i])
			return false;
	}
	return len - start - i >= 3 && !strncmp(path + start + i, ".ko", 3);
}

static void modset_append(struct modset *m, const char *path, size_t len)
{
	char *copy;
	unsigned int i;

	for (i = 0; i < m->count; i++)
		if (strlen(m->file[i]) == len && !memcmp(m->file[i], path, len))
			return;
	copy = m->count < MODULES_MAX ? strndup(path, len) : NULL;
	if (copy)
		m->file[m->count++] = copy;
}

/* Adds a module and, before it, what it needs: a line is "FILE: DEP DEP...", nearest first. */
static void modset_want(struct modset *m, const char *name)
{
	const char *line, *end, *colon, *p, *q;

	for (line = m->dep; *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		colon = memchr(line, ':', end - line);
		if (!colon || !is_module(line, colon - line, name))
			continue;
		for (q = end; q > colon + 1; q = p) {
			while (q > colon + 1 && q[-1] == ' ')
				q--;
			for (p = q; p > colon + 1 && p[-1] != ' '; p--)
				;
			if (p < q)
				modset_append(m, p, q - p);
		}
		modset_append(m, line, colon - line);
		return;
	}
}

static void add_modules(struct exec *x, const struct run_options *o, int kernel_fd)
{
	struct modset m = { .dep = NULL };
	char release[80], path[400], name[64];
	unsigned int i;
	size_t len;
	void *data;

	if (bzimage_release(kernel_fd, release, sizeof(release)) < 0)
		return;
	snprintf(m.dir, sizeof(m.dir), "/lib/modules/%s", release);
	snprintf(path, sizeof(path), "%s/modules.dep", m.dir);
	m.dep = read_file(path, DEP_SIZE_MAX, &len);
	if (!m.dep)
		return;
	modset_want(&m, "virtio_pci");
	modset_want(&m, "virtio_console");
	if (o->disks) {
		modset_want(&m, "virtio_blk");
		modset_want(&m, "crc32c_generic");
		modset_want(&m, "ext4");
	}
	modset_want(&m, "virtio_net");
	for (i = 0; i < m.count; i++) {
		snprintf(path, sizeof(path), "%s/%s", m.dir, m.file[i]);
		data = read_file(path, MODULE_SIZE_MAX, &len);
		if (data) {
			snprintf(name, sizeof(name), "lodge-modules/%02u-%.40s", i,
				 basename(m.file[i]));
			cpio_add(&x->archive, name, S_IFREG | 0644, data, len);
		} else {
			log_warn("module %s cannot be read and is left out", path);
		}
		free(data);
		free((char *)m.file[i]);
	}
	free(m.dep);
}

static int add_command(struct exec *x, const struct run_options *o)
{
	size_t len = 0, at;
	unsigned int i;
	char *buf;

	for (i = 0; i < o->command_len; i++)
		len += strlen(o->command[i]) + 1;
	buf = malloc(len + 16);
	if (!buf)
		return -ENOMEM;
	at = sprintf(buf, "%s", o->disks ? "/dev/vda" : "") + 1;
	for (i = 0; i < o->command_len; i++)
		at += sprintf(buf + at, "%s", o->command[i]) + 1;
	cpio_add(&x->archive, "lodge-exec", S_IFREG | 0600, buf, at);
	free(buf);
	return 0;
}

/* Without any root of the user's, the host's busybox makes one. */
static int add_busybox(struct exec *x, struct err *e)
{
	size_t len;
	void *data = read_file("/bin/busybox", MODULE_SIZE_MAX, &len);

	if (!data)
		return err_set(e, ENOENT,
			       "COMMAND has no root file system: give a DISK or an initrd (-i), or "
			       "install busybox-static on this host");
	cpio_add(&x->archive, "bin", S_IFDIR | 0755, NULL, 0);
	cpio_add(&x->archive, "bin/busybox", S_IFREG | 0755, data, len);
	cpio_add(&x->archive, "bin/sh", S_IFLNK | 0777, "busybox", 7);
	free(data);
	return 0;
}

struct exec *exec_create(const struct run_options *o, int kernel_fd, struct err *e)
{
	static const char *const dirs[] = { "dev", "proc", "sys", "root", "tmp", "run",
					    "lodge-root", "lodge-modules" };
	struct exec *x = calloc(1, sizeof(*x));
	unsigned int i;
	int r = 0;

	if (!x) {
		err_set(e, ENOMEM, "no memory for the command");
		return NULL;
	}
	x->status = -1;
	cpio_init(&x->archive);
	for (i = 0; i < ARRAY_SIZE(dirs); i++)
		cpio_add(&x->archive, dirs[i], S_IFDIR | 0755, NULL, 0);
	cpio_add_device(&x->archive, "dev/console", S_IFCHR | 0600, 5, 1);
	cpio_add(&x->archive, EXEC_INIT_PATH + 1, S_IFREG | 0755, guest_init_start,
		 guest_init_end - guest_init_start);
	if (!o->disks && !o->initrd)
		r = add_busybox(x, e);
	if (!r)
		r = add_command(x, o);
	if (!r) {
		add_modules(x, o, kernel_fd);
		r = cpio_finish(&x->archive);
		if (r < 0)
			err_set(e, -r, "no memory for the command's archive");
	}
	if (r < 0) {
		exec_destroy(x);
		return NULL;
	}
	return x;
}

void exec_archive(struct exec *x, const void **data, size_t *len)
{
	*data = x->archive.data;
	*len = x->archive.len;
}

void exec_destroy(struct exec *x)
{
	if (!x)
		return;
	if (x->loop)
		loop_timer_fini(x->loop, &x->ack);
	console_destroy(x->out);
	console_destroy(x->err);
	cpio_fini(&x->archive);
	free(x);
}

/* ---- to the guest ---- */

static u8 head_check(const u8 *h)
{
	return ~(h[1] + h[2] + h[3]);
}

static bool tx_flush(struct exec *x)
{
	if (x->tx_at < x->tx_len)
		x->tx_at += devices_exec_input(x->devices, x->tx + x->tx_at,
					       x->tx_len - x->tx_at);
	return x->tx_at == x->tx_len;
}

static void tx_frame(struct exec *x, enum exec_type type, const void *data, size_t len)
{
	x->tx[0] = EXEC_MAGIC;
	x->tx[1] = type;
	x->tx[2] = len;
	x->tx[3] = len >> 8;
	x->tx[4] = head_check(x->tx);
	memcpy(x->tx + EXEC_HEADER, data, len);
	x->tx_len = EXEC_HEADER + len;
	x->tx_at = 0;
	tx_flush(x);
}

/* On the main thread; again and again until earlier input is out of the way. */
static void send_ack(void *ctx)
{
	struct exec *x = ctx;

	if (!x->devices)
		return;
	if (!x->acked && tx_flush(x)) {
		x->acked = true;
		tx_frame(x, EXEC_ACK, "", 0);
	}
	if (!tx_flush(x))
		loop_timer_arm(&x->ack, ACK_RETRY_NS, 0);
}

/* ---- from the guest ---- */

static size_t no_input(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	(void)data;
	return len;
}

static void on_drained(void *ctx)
{
	struct exec *x = ctx;

	if (x->devices)
		devices_exec_drained(x->devices);
}

static const struct console_ops out_ops = { .input = no_input, .drained = on_drained };

int exec_connect(struct exec *x, struct devices *d, struct loop *loop, struct err *e)
{
	struct console_config cfg = { .out_fd = STDOUT_FILENO };

	x->devices = d;
	x->loop = loop;
	if (loop_timer_init(loop, &x->ack, send_ack, x) < 0)
		return err_set(e, errno, "cannot make a timer");
	x->out = console_create(loop, &cfg, &out_ops, x, e);
	cfg.out_fd = STDERR_FILENO;
	x->err = x->out ? console_create(loop, &cfg, &out_ops, x, e) : NULL;
	return x->err ? 0 : -EIO;
}

void exec_disconnect(struct exec *x)
{
	x->devices = NULL;
}

void exec_abort(struct exec *x, bool on)
{
	if (x->out)
		console_abort(x->out, on);
	if (x->err)
		console_abort(x->err, on);
}

/* To a console: all of it on a vCPU thread, what there is room for on the main thread. Returns how much. */
static size_t show(struct console *con, const u8 *p, size_t n, bool may_wait)
{
	if (!may_wait)
		return console_offer(con, p, n);
	console_output(con, p, n);
	return n;
}

static size_t payload(struct exec *x, enum exec_type type, const u8 *p, size_t n, bool may_wait)
{
	switch (type) {
	case EXEC_STDOUT:
		return show(x->out, p, n, may_wait);
	case EXEC_STDERR:
	case EXEC_MESSAGE:
		return show(x->err, p, n, may_wait);
	case EXEC_STATUS:
		atomic_store(&x->status, p[0]);
		loop_post(x->loop, send_ack, x);
		return n;
	default:
		return n;
	}
}

/* Collects a header; true when one is complete. A bad one is slid along by a byte. */
static bool head_byte(struct decoder *d, u8 b)
{
	d->head[d->head_len++] = b;
	while (d->head_len && d->head[0] != EXEC_MAGIC)
		memmove(d->head, d->head + 1, --d->head_len);
	if (d->head_len < EXEC_HEADER)
		return false;
	d->left = d->head[2] | d->head[3] << 8;
	if (head_check(d->head) != d->head[4] || d->left > EXEC_PAYLOAD_MAX) {
		d->left = 0;
		d->head[0] = 0;
		while (d->head_len && d->head[0] != EXEC_MAGIC)
			memmove(d->head, d->head + 1, --d->head_len);
		return false;
	}
	d->type = d->head[1];
	d->head_len = 0;
	return true;
}

size_t exec_output(void *ctx, const void *data, size_t len, bool may_wait)
{
	struct exec *x = ctx;
	struct decoder *d = &x->dec[!may_wait];
	const u8 *p = data;
	size_t i = 0, n, took;

	while (i < len) {
		if (!d->left) {
			if (head_byte(d, p[i++]) && d->type == EXEC_HELLO) {
				atomic_store(&x->hello, true);
				devices_input_ready(x->devices);
			}
			continue;
		}
		n = len - i < d->left ? len - i : d->left;
		took = payload(x, d->type, p + i, n, may_wait);
		d->left -= took;
		i += took;
		if (took < n)
			break;
	}
	return i;
}

int exec_status(struct exec *x)
{
	return atomic_load(&x->status);
}

/* ---- input ---- */

size_t exec_stdin(struct exec *x, const void *data, size_t len)
{
	if (!x->devices || !atomic_load(&x->hello) || !tx_flush(x) || !len)
		return 0;
	if (len > EXEC_PAYLOAD_MAX)
		len = EXEC_PAYLOAD_MAX;
	tx_frame(x, EXEC_STDIN, data, len);
	return len;
}

bool exec_stdin_end(struct exec *x)
{
	if (!x->devices || !atomic_load(&x->hello) || !tx_flush(x))
		return false;
	tx_frame(x, EXEC_STDIN, "", 0);
	return true;
}
