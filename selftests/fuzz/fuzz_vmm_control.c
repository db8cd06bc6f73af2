// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_vmm_control.c: the control socket's server on arbitrary bytes, cut into pieces anywhere, from two clients at once; and
 * the client's library on arbitrary answers.
 *
 * The server must answer every line with one object that has "ok" (but for what follows "console"), stay usable for the next
 * client, and hand over to the machine only what it has checked. The client must end, whatever it is told.
 *
 * Input: a byte of options, then what the client sends; and the same again as an answer.
 *
 * LINK: userspace/vmm/control.c userspace/vmm/control_disk.c userspace/block/spec.c userspace/liblodge/client.c userspace/common/err.c
 * LINK: userspace/common/log.c userspace/common/loop.c userspace/common/rundir.c userspace/common/size.c
 * LIBS: -ljson-c
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uapi/lodge.h>

#include "liblodge/client.h"
#include "virtio/virtio_balloon.h"
#include "vmm/control.h"
#include "vmm/disk_job.h"
#include "vmm/disks.h"

#define MEM (256 * MIB)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* ---- the guest ---- */

static unsigned int asked_to_console;

enum machine_state machine_state(const struct machine *m)
{
	(void)m;
	return MACHINE_RUNNING;
}

u64 machine_exits(const struct machine *m)
{
	(void)m;
	return 7;
}

void machine_press_power(struct machine *m)
{
	(void)m;
}

void machine_pause(struct machine *m)
{
	(void)m;
}

int machine_start(struct machine *m, struct err *e)
{
	(void)m;
	return err_set(e, EBUSY, "\"quotes\" and \\ in a message");
}

size_t console_log(struct console *c, char *buf, size_t room)
{
	(void)c;
	memset(buf, '{', room);
	return room;
}

int console_attach(struct console *c, int fd, struct err *e)
{
	(void)c;
	(void)e;
	asked_to_console++;
	if (fd & 1)
		return -EBUSY;
	close(fd);
	return 0;
}

void devices_console_size(struct devices *d, unsigned int cols, unsigned int rows)
{
	(void)d;
	if (!cols || !rows || cols > 10000 || rows > 10000)
		abort();
}

struct virtio_dev *devices_balloon(struct devices *d)
{
	(void)d;
	return NULL;
}

void virtio_balloon_stats(struct virtio_dev *dev, struct virtio_balloon_stats *stats)
{
	(void)dev;
	memset(stats, 0, sizeof(*stats));
}

void virtio_balloon_set_target(struct virtio_dev *dev, u64 bytes)
{
	(void)dev;
	if (bytes > MEM - 16 * MIB)
		abort();
}

bool virtio_dev_live(const struct virtio_dev *dev)
{
	(void)dev;
	return true;
}

struct disks *devices_disks(struct devices *d)
{
	return (struct disks *)d;
}

struct board *machine_board(struct machine *m)
{
	static struct guest_mem mem;
	static struct board board = { .mem = &mem };

	(void)m;
	return &board;
}

int mem_file_stats(const struct guest_mem *mem, struct lodge_guest_file_stats *stats)
{
	(void)mem;
	memset(stats, 0xff, sizeof(*stats));
	return 0;
}

u64 disks_unread(const struct disks *d)
{
	(void)d;
	return 4096;
}

bool disks_has(const struct disks *d, unsigned int n)
{
	(void)d;
	return n < 3;
}

bool disks_gone(const struct disks *d, unsigned int n)
{
	(void)d;
	return n == 2;
}

static void disk_checked(unsigned int n)
{
	if (n > 1)
		abort();
}

const char *disks_path(const struct disks *d, unsigned int n)
{
	(void)d;
	disk_checked(n);
	return n ? "/var/lib/\"quoted\"" : "/a";
}

void disks_info(struct disks *d, unsigned int n, struct disk_info *info)
{
	*info = (struct disk_info){ .path = disks_path(d, n & 1), .format = "raw", .group = n ? "\"" : "", .gone = disks_gone(d, n) };
}

bool disks_stopped(struct disks *d, char *why, size_t room)
{
	(void)d;
	snprintf(why, room, "\"no\"");
	return true;
}

void disks_retry(struct disks *d)
{
	(void)d;
}

void disks_set_on_error(struct disks *d, unsigned int n, enum block_on_error on_error)
{
	(void)d;
	disk_checked(n);
	if (on_error > BLOCK_ERROR_IGNORE)
		abort();
}

int disks_set_limits(struct disks *d, unsigned int n, const struct throttle_limits *limits, const char *group, struct err *e)
{
	(void)d;
	(void)limits;
	(void)group;
	disk_checked(n);
	return n ? err_set(e, EIO, "\"no\"") : 0;
}

int disks_attach(struct disks *d, const char *dir, const char *spec, unsigned int *n, struct err *e)
{
	(void)d;
	if (dir[0] != '/' || !spec)
		abort();
	*n = 1;
	return spec[0] == 'a' ? 0 : err_set(e, EIO, "\"no\"");
}

int disks_detach(struct disks *d, unsigned int n, bool force, struct err *e)
{
	(void)d;
	disk_checked(n);
	return force ? 0 : err_set(e, EIO, "\"no\"");
}

int disks_insert(struct disks *d, unsigned int n, const char *dir, const char *spec, struct err *e)
{
	disk_checked(n);
	return spec ? disks_attach(d, dir, spec, &n, e) : 0;
}

int disks_grow(struct disks *d, unsigned int n, u64 size, u64 *pause_ns, struct err *e)
{
	(void)d;
	(void)size;
	disk_checked(n);
	*pause_ns = 5;
	return n ? err_set(e, EIO, "\"no\"") : 0;
}

int disks_coalesce(struct disks *d, unsigned int n, const char *image, unsigned int *job, struct err *e)
{
	(void)d;
	disk_checked(n);
	if (image && (image[0] != '/' || strlen(image) > 4095))
		abort();
	*job = 7;
	return n ? err_set(e, EBUSY, "\"no\"") : 0;
}

const char *const disk_job_kinds[] = { "coalesce", "mirror" };

int disks_mirror(struct disks *d, unsigned int n, const char *dir, const char *target, unsigned int *job, struct err *e)
{
	disk_checked(n);
	return disks_attach(d, dir, target, job, e);
}

/* Disk 0 has one that runs, the other one that failed or, every other time, none. */
bool disks_job(struct disks *d, unsigned int n, struct disk_job_info *info)
{
	static unsigned int calls;

	(void)d;
	disk_checked(n);
	memset(info, 0, sizeof(*info));
	info->running = !n;
	info->kind = n ? DISK_JOB_MIRROR : DISK_JOB_COALESCE;
	info->image = info->into = "\"\n";
	info->e.code = EIO;
	strcpy(info->e.msg, "\"no\"");
	return !n || calls++ % 2;
}

void disks_job_cancel(struct disks *d, unsigned int n)
{
	(void)d;
	disk_checked(n);
}

int disks_branch(struct disks *d, const struct disks_branch *list, unsigned int count, u64 *pause_ns, struct err *e)
{
	(void)d;
	if (!count || count > RUN_DISKS_MAX)
		abort();
	for (unsigned int i = 0; i < count; i++) {
		disk_checked(list[i].n);
		if (list[i].child[0] != '/' || list[i].snapshot[0] != '/' || strlen(list[i].child) > 4095 ||
		    strlen(list[i].snapshot) > 4095)
			abort();
	}
	*pause_ns = 5;
	return list[0].n ? err_set(e, EIO, "\"no\"") : 0;
}

static void kill_guest(void *ctx)
{
	(void)ctx;
}

/* ---- the server ---- */

static struct loop *loop;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void start(void)
{
	static const struct control_ops ops = { kill_guest };
	struct control_config cfg = { "g", "/dev/lodge", "kernel", MEM, 2 };
	static char dir[] = "/tmp/fuzz-control-XXXXXX";
	struct err e = ERR_INIT;

	if (!mkdtemp(dir) || setenv("LODGE_RUN_DIR", dir, 1))
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/g", dir);
	mkdir(address.sun_path, 0700);
	strcat(address.sun_path, "/ctl");
	loop = loop_create();
	if (!control_create(loop, NULL, NULL, NULL, &cfg, &ops, NULL, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	return fd;
}

static void run(void)
{
	while (loop_run_once(loop, 0) > 0)
		;
}

/* Lines of a reply up to the first that is followed by raw bytes. */
static void check_answers(char *text)
{
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line && *line == '{' && line[1] == '"'; line = strtok_r(NULL, "\n", &save)) {
		struct json_object *o = json_tokener_parse(line), *ok;
		bool raw = strstr(line, "\"length\":");

		if (!o || !json_object_object_get_ex(o, "ok", &ok))
			abort();
		json_object_put(o);
		if (raw)
			break;
	}
}

static void serve(const u8 *data, size_t size, unsigned int piece)
{
	static char text[1 << 20];
	int fd = client(), other = client();
	size_t at = 0, n = 0;
	ssize_t got;

	while (at < size) {
		size_t len = size - at < piece ? size - at : piece;

		if (send(at & 1 ? fd : other, data + at, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		at += len;
		run();
	}
	if (send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
		run();
	while (n < sizeof(text) - 1 && (got = recv(fd, text + n, sizeof(text) - 1 - n, MSG_DONTWAIT)) > 0)
		n += got;
	text[n] = '\0';
	asked_to_console = 0;
	check_answers(text);
	close(fd);
	close(other);
	run();
	/* The next one is served as if nothing had been. */
	fd = client();
	if (send(fd, "{\"cmd\":\"stop\"}\n", 15, MSG_NOSIGNAL) != 15)
		abort();
	run();
	got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (got <= 0 || strncmp(text, "{\"ok\":true", 10))
		abort();
	close(fd);
	run();
}

static void answer(const u8 *data, size_t size)
{
	struct json_object *reply = NULL;
	struct lodge_error err;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	if (send(pair[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && size)
		abort();
	shutdown(pair[1], SHUT_WR);
	r = client_ask(pair[0], "{\"cmd\":\"info\"}", &reply, &err);
	if (!r)
		json_object_put(reply);
	else if (!memchr(err.message, 0, sizeof(err.message)))
		abort();
	close(pair[0]);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (!loop)
		start();
	if (size < 2 || size > 32768)
		return 0;
	serve(data + 1, size - 1, data[0] & 0x80 ? size : 1 + (data[0] & 0x7f));
	answer(data + 1, size - 1);
	return 0;
}
