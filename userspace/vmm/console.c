// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The console ring and its readers.
 *
 * Positions are byte counts since the start, so "how far behind" is a subtraction. Writers are
 * vCPU or device threads; all reading, and everything about file descriptors, happens on the main
 * loop, which is woken by one eventfd. Standard output is opened anew through /proc, so that it
 * can be non-blocking without changing the mode for whoever shares it with us.
 */
#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/terminal.h"

#define RING (64 * 1024)
#define CLIENTS 8
#define INPUT_ROOM 4096
#define CHUNK 4096
#define KEY_ESCAPE 1	/* Ctrl-A */

const char console_hint[] = "C-a x ends the guest, C-a p presses its power button, C-a h helps";

struct reader {
	struct console *con;
	struct loop_source src;		/* client: both ways; output: only when full */
	int fd;
	u64 pos;			/* con->lock */
	bool active;
	bool plain;			/* a regular file: cannot be polled, never blocks */
};

struct console {
	struct loop *loop;
	const struct console_ops *ops;
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t drained;
	char ring[RING];		/* lock */
	u64 head;			/* lock: bytes ever written */
	bool abort;			/* lock */
	bool starved;			/* main thread: an offer was not taken whole */
	int wake_fd;
	atomic_bool woken;
	struct loop_source wake_src;
	struct reader out;
	struct reader client[CLIENTS];
	struct loop_source in_src;
	bool in_tty, in_open, in_plain, escaped;
	bool end_due;			/* main thread: input_end() is yet to be accepted */
	char input[INPUT_ROOM];		/* main thread */
	size_t input_len;
	unsigned int match_begin, match_end;	/* lock: progress in the panic texts */
};

static void wake(struct console *c)
{
	u64 one = 1;

	if (atomic_exchange(&c->woken, true))
		return;
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		return;	/* the counter is full: it is readable anyway */
}

/* ---- output ---- */

static void watch_panic(struct console *c, char ch, int *seen)
{
	static const char begin[] = "Kernel panic - not syncing";
	static const char end[] = "end Kernel panic";

	c->match_begin = ch == begin[c->match_begin] ? c->match_begin + 1 : ch == begin[0];
	c->match_end = ch == end[c->match_end] ? c->match_end + 1 : ch == end[0];
	if (!begin[c->match_begin]) {
		c->match_begin = 0;
		*seen |= 1;
	}
	if (!end[c->match_end]) {
		c->match_end = 0;
		*seen |= 2;
	}
}

void console_output(struct console *c, const void *data, size_t len)
{
	const char *p = data;
	int seen = 0;
	size_t i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < len; i++) {
		while (c->out.active && !c->abort && c->head - c->out.pos >= RING) {
			wake(c);
			pthread_cond_wait(&c->drained, &c->lock);
		}
		c->ring[c->head++ % RING] = p[i];
		watch_panic(c, p[i], &seen);
	}
	pthread_mutex_unlock(&c->lock);
	wake(c);
	if (seen && c->ops->panic)
		c->ops->panic(c->ctx, seen & 2);
}

size_t console_offer(struct console *c, const void *data, size_t len)
{
	const char *p = data;
	int seen = 0;
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	while (n < len && (!c->out.active || c->head - c->out.pos < RING)) {
		c->ring[c->head++ % RING] = p[n];
		watch_panic(c, p[n++], &seen);
	}
	pthread_mutex_unlock(&c->lock);
	c->starved = n < len;
	wake(c);
	if (seen && c->ops->panic)
		c->ops->panic(c->ctx, seen & 2);
	return n;
}

static void reader_close(struct reader *r)
{
	struct console *c = r->con;

	loop_del(c->loop, &r->src);
	if (r->fd > STDERR_FILENO)
		close(r->fd);
	pthread_mutex_lock(&c->lock);
	r->active = false;
	pthread_cond_broadcast(&c->drained);
	pthread_mutex_unlock(&c->lock);
}

/* Copies what the reader has not seen, up to CHUNK bytes, without moving it. */
static size_t reader_peek(struct reader *r, char *buf)
{
	struct console *c = r->con;
	size_t n, i;

	pthread_mutex_lock(&c->lock);
	if (c->head - r->pos > RING)
		r->pos = c->head - RING;
	n = c->head - r->pos;
	if (n > CHUNK)
		n = CHUNK;
	for (i = 0; i < n; i++)
		buf[i] = c->ring[(r->pos + i) % RING];
	pthread_mutex_unlock(&c->lock);
	return n;
}

static void reader_advance(struct reader *r, size_t n)
{
	pthread_mutex_lock(&r->con->lock);
	r->pos += n;
	pthread_cond_broadcast(&r->con->drained);
	pthread_mutex_unlock(&r->con->lock);
}

/* Writes until it would block. */
static void reader_pump(struct reader *r)
{
	bool is_out = r == &r->con->out;
	char buf[CHUNK];
	size_t len = 0;
	ssize_t n;

	while (r->active && (len = reader_peek(r, buf))) {
		n = write(r->fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			reader_close(r);
			return;
		}
		reader_advance(r, n);
	}
	if (is_out && r->con->starved && !len) {
		r->con->starved = false;
		if (r->con->ops->drained)
			r->con->ops->drained(r->con->ctx);
	}
	if (!r->active || !r->src.active)
		return;
	if (is_out)
		loop_mod(r->con->loop, &r->src, len ? EPOLLOUT : 0);
	else
		loop_mod(r->con->loop, &r->src, EPOLLIN | (len ? EPOLLOUT : 0));
}

/* ---- input ---- */

static void input_push(struct console *c)
{
	size_t took;

	if (!c->input_len) {
		if (c->end_due)
			c->end_due = !c->ops->input_end(c->ctx);
		return;
	}
	took = c->ops->input(c->ctx, c->input, c->input_len);
	memmove(c->input, c->input + took, c->input_len - took);
	c->input_len -= took;
	if (took && !c->input_len && c->end_due)
		c->end_due = !c->ops->input_end(c->ctx);
}

static size_t input_room(const struct console *c)
{
	return INPUT_ROOM - c->input_len;
}

static void input_add(struct console *c, char ch)
{
	if (c->input_len < INPUT_ROOM)
		c->input[c->input_len++] = ch;
}

static void escape_key(struct console *c, char ch)
{
	static const char help[] =
		"\r\nC-a x  end the guest now\r\nC-a p  press its power button\r\n"
		"C-a b  send a break (SysRq)\r\nC-a C-a  send C-a\r\n";

	switch (ch) {
	case 'x':
		c->ops->key(c->ctx, CONSOLE_KEY_QUIT);
		break;
	case 'p':
		c->ops->key(c->ctx, CONSOLE_KEY_POWER);
		break;
	case 'b':
		c->ops->key(c->ctx, CONSOLE_KEY_BREAK);
		break;
	case KEY_ESCAPE:
		input_add(c, ch);
		break;
	default:
		if (write(STDERR_FILENO, help, sizeof(help) - 1) < 0)
			return;
	}
}

static void stdin_bytes(struct console *c, const char *buf, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (!c->in_tty) {
			input_add(c, buf[i]);
		} else if (c->escaped) {
			c->escaped = false;
			escape_key(c, buf[i]);
		} else if (buf[i] == KEY_ESCAPE) {
			c->escaped = true;
		} else {
			input_add(c, buf[i]);
		}
	}
}

static void stdin_pump(struct console *c)
{
	char buf[512];
	size_t want;
	ssize_t n;

	if (!c->in_open)
		return;
	want = input_room(c) < sizeof(buf) ? input_room(c) : sizeof(buf);
	if (!want) {
		/* Unregistered rather than silenced: a hang-up is reported even then. */
		loop_del(c->loop, &c->in_src);
		return;
	}
	n = read(STDIN_FILENO, buf, want);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		/* The end of input is not the end of the guest. */
		c->in_open = false;
		loop_del(c->loop, &c->in_src);
		c->end_due = c->ops->input_end != NULL;
		input_push(c);
		return;
	}
	stdin_bytes(c, buf, n);
	input_push(c);
}

static void on_stdin(void *ctx, u32 events)
{
	(void)events;
	stdin_pump(ctx);
}

static void on_client(void *ctx, u32 events)
{
	struct reader *r = ctx;
	char buf[512];
	size_t want, i;
	ssize_t n;

	if (events & EPOLLOUT)
		reader_pump(r);
	if (!r->active || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	want = input_room(r->con) < sizeof(buf) ? input_room(r->con) : sizeof(buf);
	if (!want)
		return;
	n = read(r->fd, buf, want);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		reader_close(r);
		return;
	}
	for (i = 0; i < (size_t)n; i++)
		input_add(r->con, buf[i]);
	input_push(r->con);
}

static void on_wake(void *ctx, u32 events)
{
	struct console *c = ctx;
	unsigned int i;
	u64 n;

	(void)events;
	if (read(c->wake_fd, &n, sizeof(n)) < 0)
		return;
	atomic_store(&c->woken, false);
	if (c->out.active)
		reader_pump(&c->out);
	for (i = 0; i < CLIENTS; i++)
		if (c->client[i].active)
			reader_pump(&c->client[i]);
	input_push(c);
	if (!c->in_open || !input_room(c))
		return;
	if (c->in_plain)
		stdin_pump(c);
	else if (!c->in_src.active)
		loop_add(c->loop, &c->in_src, STDIN_FILENO, EPOLLIN, on_stdin, c);
}

static void on_out(void *ctx, u32 events)
{
	if (events & (EPOLLERR | EPOLLHUP))
		reader_close(ctx);
	else
		reader_pump(ctx);
}

/* ---- life ---- */

static void open_output(struct console *c, int fd)
{
	struct reader *r = &c->out;
	char path[32];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	r->con = c;
	r->plain = S_ISREG(st.st_mode);
	r->fd = -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!r->plain)
		r->fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (r->fd < 0)
		r->fd = fd;
	r->active = true;
	if (!r->plain)
		loop_add(c->loop, &r->src, r->fd, 0, on_out, r);
}

static void open_stdin(struct console *c, bool raw)
{
	int r;

	if (fcntl(STDIN_FILENO, F_GETFL) < 0)
		return;
	if (isatty(STDIN_FILENO)) {
		if (!terminal_usable(STDIN_FILENO))
			return;
		c->in_tty = raw && terminal_raw(STDIN_FILENO) == 0;
	}
	c->in_open = true;
	r = loop_add(c->loop, &c->in_src, STDIN_FILENO, EPOLLIN, on_stdin, c);
	if (r == -EPERM) {
		c->in_plain = true;
		wake(c);
	}
}

struct console *console_create(struct loop *loop, const struct console_config *cfg,
			       const struct console_ops *ops, void *ctx, struct err *e)
{
	struct console *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		err_set(e, ENOMEM, "no memory for the console");
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->drained, NULL);
	c->loop = loop;
	c->ops = ops;
	c->ctx = ctx;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = loop_add(loop, &c->wake_src, c->wake_fd, EPOLLIN, on_wake, c);
	if (r < 0) {
		err_set(e, -r, "cannot set the console up: %s", strerror(-r));
		console_destroy(c);
		return NULL;
	}
	open_output(c, cfg->out_fd);
	if (cfg->use_stdin)
		open_stdin(c, cfg->raw);
	return c;
}

void console_destroy(struct console *c)
{
	unsigned int i;
	int tries;

	if (!c)
		return;
	for (tries = 0; c->out.active && c->head != c->out.pos && tries < 20; tries++) {
		struct pollfd p = { c->out.fd, POLLOUT, 0 };

		reader_pump(&c->out);
		if (c->out.active && c->head != c->out.pos)
			poll(&p, 1, 100);
	}
	if (c->in_tty)
		terminal_restore();
	loop_del(c->loop, &c->in_src);
	loop_del(c->loop, &c->wake_src);
	if (c->out.active)
		reader_close(&c->out);
	for (i = 0; i < CLIENTS; i++) {
		if (c->client[i].active) {
			reader_pump(&c->client[i]);
			reader_close(&c->client[i]);
		}
	}
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_cond_destroy(&c->drained);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void console_room(struct console *c)
{
	wake(c);
}

void console_abort(struct console *c, bool on)
{
	pthread_mutex_lock(&c->lock);
	c->abort = on;
	pthread_cond_broadcast(&c->drained);
	pthread_mutex_unlock(&c->lock);
}

int console_attach(struct console *c, int fd, struct err *e)
{
	struct reader *r = NULL;
	unsigned int i;
	int ret;

	for (i = 0; i < CLIENTS && !r; i++)
		if (!c->client[i].active)
			r = &c->client[i];
	if (!r)
		return err_set(e, EBUSY, "%d consoles are attached already", CLIENTS);
	memset(r, 0, sizeof(*r));
	r->con = c;
	r->fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ret = loop_add(c->loop, &r->src, fd, EPOLLIN, on_client, r);
	if (ret < 0)
		return err_set(e, -ret, "cannot attach: %s", strerror(-ret));
	pthread_mutex_lock(&c->lock);
	r->pos = c->head > RING ? c->head - RING : 0;
	r->active = true;
	pthread_mutex_unlock(&c->lock);
	reader_pump(r);
	return 0;
}

size_t console_log(struct console *c, char *buf, size_t room)
{
	size_t n, i;
	u64 from;

	pthread_mutex_lock(&c->lock);
	n = c->head < RING ? c->head : RING;
	if (n > room)
		n = room;
	from = c->head - n;
	for (i = 0; i < n; i++)
		buf[i] = c->ring[(from + i) % RING];
	pthread_mutex_unlock(&c->lock);
	return n;
}
