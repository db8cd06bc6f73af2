// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * slirp.c: a network without privileges, through libslirp: the guest's TCP and UDP become sockets of this process. It has a
 * DHCP server, a gateway that is also the host (.2) and a name server (.3); ports of the host can be forwarded in.
 *
 * libslirp is one thread's: before it sleeps it says which descriptors it wants polled, and after, it is told the results.
 * Its set changes with every packet, so it is not translated into epoll sources; instead this back end replaces the
 * thread's loop by run(): one poll() over libslirp's descriptors and our event loop's own.
 *
 * Frames for a guest without receive buffers wait in a short queue; beyond that they are dropped, which TCP knows how to
 * handle. Timers are few (libslirp has one, for IPv6) and looked at on every turn.
 *
 * Offloads: a guest may leave TCP and UDP checksums to us (we fill them in before libslirp checks them), and is told that
 * what it receives needs no check, because libslirp has just computed it.
 */
#include "net/net.h"

#include <errno.h>
#include <slirp/libslirp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "net/library.h"

#define WAITING_MAX	256
#define POLLS_MAX	1024
#define TIMERS_MAX	4

#define FEATURE(n)	(1ULL << (n))

/* libslirp's functions, loaded with the first user network. */
static struct {
	typeof(slirp_new) *new;
	typeof(slirp_cleanup) *cleanup;
	typeof(slirp_input) *input;
	typeof(slirp_pollfds_fill) *pollfds_fill;
	typeof(slirp_pollfds_poll) *pollfds_poll;
	typeof(slirp_add_hostfwd) *add_hostfwd;
} lib;

static int load_library(struct err *e)
{
	static const struct library_symbol symbols[] = {
		{ "slirp_new", &lib.new },
		{ "slirp_cleanup", &lib.cleanup },
		{ "slirp_input", &lib.input },
		{ "slirp_pollfds_fill", &lib.pollfds_fill },
		{ "slirp_pollfds_poll", &lib.pollfds_poll },
		{ "slirp_add_hostfwd", &lib.add_hostfwd },
	};

	if (lib.new)
		return 0;
	return library_load("libslirp.so.0", "libslirp0", symbols, sizeof(symbols) / sizeof(symbols[0]), e);
}

struct frame {
	struct frame *next;
	size_t len;
	u8 data[];
};

struct slirp_timer {
	bool used;
	s64 expires_ms;			/* -1: not armed */
	SlirpTimerCb fn;
	void *ctx;
};

struct slirp {
	struct net net;
	Slirp *lib;
	struct loop *loop;
	bool halted;			/* set by a function posted to the loop */
	struct frame *head, **tail;	/* waiting for room */
	unsigned int waiting;
	bool unflushed;
	struct pollfd poll[POLLS_MAX];
	unsigned int polls;
	struct slirp_timer timer[TIMERS_MAX];
	struct log_limit complaints;
	u8 out[NET_FRAME_MAX];
};

static struct slirp *from_net(struct net *net)
{
	return container_of(net, struct slirp, net);
}

/* ---- towards the guest ---- */

static void slirp_drop(struct slirp *s)
{
	__atomic_fetch_add(&s->net.dropped, 1, __ATOMIC_RELAXED);
}

static bool give(struct slirp *s, const u8 *data, size_t len)
{
	if (s->net.client.receive(s->net.client.ctx, 0, data, len) == -EAGAIN)
		return false;
	s->unflushed = true;
	return true;
}

static void keep(struct slirp *s, const u8 *data, size_t len)
{
	struct frame *f = s->waiting < WAITING_MAX ? malloc(sizeof(*f) + len) : NULL;

	if (!f) {
		slirp_drop(s);
		return;
	}
	f->next = NULL;
	f->len = len;
	memcpy(f->data, data, len);
	*s->tail = f;
	s->tail = &f->next;
	s->waiting++;
}

static void give_waiting(struct slirp *s)
{
	struct frame *f;

	while ((f = s->head)) {
		if (!give(s, f->data, f->len))
			break;
		s->head = f->next;
		if (!s->head)
			s->tail = &s->head;
		s->waiting--;
		free(f);
	}
}

static void flush(struct slirp *s)
{
	if (!s->unflushed)
		return;
	s->unflushed = false;
	s->net.client.flush(s->net.client.ctx, 0);
}

/* libslirp's frames have no header: put one in front. */
static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
	struct slirp *s = opaque;
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	u8 frame[NET_HDR_LEN + 2048], *data = frame;

	if (len > NET_FRAME_MAX - NET_HDR_LEN)
		return -1;
	if (len > sizeof(frame) - NET_HDR_LEN) {
		data = malloc(NET_HDR_LEN + len);
		if (!data)
			return -1;
	}
	memcpy(data, &hdr, NET_HDR_LEN);
	memcpy(data + NET_HDR_LEN, buf, len);
	if (s->head || !give(s, data, NET_HDR_LEN + len))
		keep(s, data, NET_HDR_LEN + len);
	if (data != frame)
		free(data);
	return len;
}

static void slirp_room(struct net *net, unsigned int queue)
{
	(void)queue;
	give_waiting(from_net(net));
	flush(from_net(net));
}

/* ---- from the guest ---- */

static u32 sum16(const u8 *p, size_t len, u32 sum)
{
	for (; len > 1; len -= 2, p += 2) {
		sum += p[0] << 8 | p[1];
		sum = (sum & 0xffff) + (sum >> 16);
	}
	if (len)
		sum += p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The guest left the checksum to us: it has put the pseudo header's sum where the checksum goes. */
static bool complete_checksum(const struct virtio_net_hdr_v1 *hdr, u8 *data, size_t len)
{
	size_t start = le16toh(hdr->csum_start), at = start + le16toh(hdr->csum_offset);
	u16 sum;

	if (start > len || at + 2 > len || at + 2 < at)
		return false;
	sum = ~sum16(data + start, len - start, 0);
	/* Zero means "no checksum" in UDP; its other form means the same sum. */
	if (!sum)
		sum = 0xffff;
	data[at] = sum >> 8;
	data[at + 1] = sum;
	return true;
}

static int slirp_send(struct net *net, unsigned int queue, const struct iovec *iov, int cnt)
{
	struct slirp *s = from_net(net);
	struct virtio_net_hdr_v1 hdr;
	size_t len = 0;

	(void)queue;
	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > sizeof(s->out) - len) {
			slirp_drop(s);
			return -EMSGSIZE;
		}
		memcpy(s->out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (len < NET_HDR_LEN + 14) {
		slirp_drop(s);
		return -EINVAL;
	}
	memcpy(&hdr, s->out, sizeof(hdr));
	len -= NET_HDR_LEN;
	if (hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE ||
	    ((hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !complete_checksum(&hdr, s->out + NET_HDR_LEN, len))) {
		slirp_drop(s);
		return -EINVAL;
	}
	lib.input(s->lib, s->out + NET_HDR_LEN, len);
	return 0;
}

/* ---- libslirp's environment ---- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int64_t cb_clock(void *opaque)
{
	(void)opaque;
	return now_ns();
}

static void cb_guest_error(const char *msg, void *opaque)
{
	struct slirp *s = opaque;

	log_line_limited(&s->complaints, LOG_LEVEL_DEBUG, "user network: %s", msg);
}

static void *cb_timer_new(SlirpTimerCb fn, void *ctx, void *opaque)
{
	struct slirp *s = opaque;

	for (int i = 0; i < TIMERS_MAX; i++) {
		if (s->timer[i].used)
			continue;
		s->timer[i] = (struct slirp_timer){ true, -1, fn, ctx };
		return &s->timer[i];
	}
	return NULL;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct slirp_timer *t = timer;

	(void)opaque;
	if (t)
		t->used = false;
}

static void cb_timer_mod(void *timer, int64_t expires_ms, void *opaque)
{
	struct slirp_timer *t = timer;

	(void)opaque;
	if (t)
		t->expires_ms = expires_ms;
}

static void cb_nothing_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

/* The poll set is made anew on every turn, on this same thread: nothing to wake. */
static void cb_notify(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_nothing_fd,
	.unregister_poll_fd = cb_nothing_fd,
	.notify = cb_notify,
};

static int cb_add_poll(int fd, int events, void *opaque)
{
	struct slirp *s = opaque;
	short want = 0;

	/* A descriptor beyond the table is not polled in this turn: get_revents() then says that nothing came. */
	if (s->polls == POLLS_MAX)
		return POLLS_MAX;
	if (events & SLIRP_POLL_IN)
		want |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		want |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		want |= POLLPRI;
	s->poll[s->polls] = (struct pollfd){ fd, want, 0 };
	return s->polls++;
}

static int cb_get_revents(int idx, void *opaque)
{
	struct slirp *s = opaque;
	short got = idx >= 0 && idx < (int)s->polls ? s->poll[idx].revents : 0;

	return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* ---- the thread ---- */

static void run_timers(struct slirp *s)
{
	s64 now = now_ns() / 1000000;

	for (int i = 0; i < TIMERS_MAX; i++) {
		struct slirp_timer *t = &s->timer[i];

		if (!t->used || t->expires_ms < 0 || t->expires_ms > now)
			continue;
		t->expires_ms = -1;
		t->fn(t->ctx);
	}
}

static u32 timers_limit(const struct slirp *s, u32 timeout)
{
	s64 now = now_ns() / 1000000;

	for (int i = 0; i < TIMERS_MAX; i++) {
		const struct slirp_timer *t = &s->timer[i];
		s64 left = t->expires_ms - now;

		if (t->used && t->expires_ms >= 0 && left < (s64)timeout)
			timeout = left > 0 ? left : 0;
	}
	return timeout;
}

static void slirp_turn(struct slirp *s)
{
	u32 timeout = UINT32_MAX;
	int n;

	s->polls = 1;
	s->poll[0] = (struct pollfd){ loop_fd(s->loop), POLLIN, 0 };
	lib.pollfds_fill(s->lib, &timeout, cb_add_poll, s);
	timeout = timers_limit(s, timeout);
	n = poll(s->poll, s->polls, timeout > INT32_MAX ? -1 : (int)timeout);
	lib.pollfds_poll(s->lib, n < 0, cb_get_revents, s);
	run_timers(s);
	if (n > 0 && s->poll[0].revents)
		loop_run_once(s->loop, 0);
	flush(s);
}

static void slirp_run(struct net *net)
{
	struct slirp *s = from_net(net);

	while (!s->halted)
		slirp_turn(s);
	s->halted = false;
}

static void halt_posted(void *ctx)
{
	struct slirp *s = ctx;

	s->halted = true;
}

static void slirp_halt(struct net *net)
{
	/* Without memory for eight bytes the process is lost anyhow; try until there is. */
	while (loop_post(from_net(net)->loop, halt_posted, from_net(net)) < 0)
		poll(NULL, 0, 10);
}

static int slirp_start(struct net *net, unsigned int queue, struct loop *loop)
{
	(void)queue;
	from_net(net)->loop = loop;
	return 0;
}

static void slirp_stop(struct net *net, unsigned int queue, struct loop *loop)
{
	(void)net;
	(void)queue;
	(void)loop;
}

static void slirp_close(struct net *net)
{
	struct slirp *s = from_net(net);
	struct frame *f;

	if (s->lib)
		lib.cleanup(s->lib);
	while ((f = s->head)) {
		s->head = f->next;
		free(f);
	}
	free(s);
}

static const struct net_ops slirp_ops = {
	.start = slirp_start,
	.stop = slirp_stop,
	.send = slirp_send,
	.room = slirp_room,
	.run = slirp_run,
	.halt = slirp_halt,
	.close = slirp_close,
};

static int add_forwards(struct slirp *s, const struct net_spec *spec, struct err *e)
{
	for (unsigned int i = 0; i < spec->forwards; i++) {
		const struct net_forward *f = &spec->forward[i];
		struct in_addr host = { htonl(f->host_addr) };
		struct in_addr guest = { htonl(f->guest_addr ? f->guest_addr : spec->subnet + 15) };

		errno = 0;
		if (lib.add_hostfwd(s->lib, f->udp, host, f->host_port, guest, f->guest_port) < 0)
			return err_set(e, errno ? errno : EADDRINUSE,
				       "network: cannot listen on %s port %u of the host: %s; try: another port",
				       f->udp ? "UDP" : "TCP", f->host_port, strerror(errno ? errno : EADDRINUSE));
	}
	return 0;
}

struct net *slirp_open(const struct net_spec *spec, struct err *e)
{
	struct slirp *s = calloc(1, sizeof(*s));
	SlirpConfig cfg = {
		.version = 1,
		.restricted = spec->restricted,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(spec->subnet),
		.vnetmask.s_addr = htonl(~0u << (32 - spec->prefix)),
		.vhost.s_addr = htonl(spec->subnet + 2),
		.vnameserver.s_addr = htonl(spec->subnet + 3),
		.vdhcp_start.s_addr = htonl(spec->subnet + 15),
		.vhostname = "lodge",
		.if_mtu = spec->mtu,
	};

	if (load_library(e) < 0) {
		free(s);
		return NULL;
	}
	if (!s) {
		err_set(e, ENOMEM, "user network: out of memory");
		return NULL;
	}
	s->net.ops = &slirp_ops;
	s->net.features = FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM);
	s->net.ring_features = ~0ULL;
	s->net.max_queues = 1;
	strcpy(s->net.name, "user");
	s->tail = &s->head;
	s->complaints = (struct log_limit)LOG_LIMIT_INIT;
	s->lib = lib.new(&cfg, &callbacks, s);
	if (!s->lib) {
		err_set(e, EINVAL, "user network: libslirp refuses its configuration");
		slirp_close(&s->net);
		return NULL;
	}
	if (add_forwards(s, spec, e) < 0) {
		slirp_close(&s->net);
		return NULL;
	}
	return &s->net;
}
