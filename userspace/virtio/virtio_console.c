// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_console.c: console and byte channels (virtio 1.2, chapter 5.3).
 *
 * Queues: 0 and 1 are receive and transmit of port 0, 2 and 3 those of the control channel, and from 4 on each further port
 * has a pair. Receive is towards the guest.
 *
 * The control channel tells the guest of its ports in a small dialogue: it says DEVICE_READY, we PORT_ADD each port; it says
 * PORT_READY, we name the port and open our end. What we still have to say is a set of bits per port, not a queue of
 * messages: so a guest that gives no buffers costs no memory, and asking the same thing twice is one message.
 *
 * Towards the guest nothing is buffered here: virtio_console_write() takes what the guest has room for, and room() calls
 * for the rest. From the guest, a chain that out() did not take in full goes back into the ring and is offered again,
 * less what was taken, after virtio_console_resume().
 *
 * The order of cols and rows in the RESIZE message is the one Linux has always read: rows first (the specification's
 * text says the opposite; both orders agree with no guest that anybody runs but this one).
 */
#include "virtio/virtio_console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE_SIZE	64
#define SEGMENTS	32
#define DRAIN_MS	200
#define DRAIN_STEP_MS	2
#define BUDGET		64
#define CTRL_RX		2
#define CTRL_TX		3
#define NAME_MAX_LEN	64

/* What the guest is still to be told of a port, in this order. */
enum { SAY_ADD, SAY_CONSOLE, SAY_NAME, SAY_OPEN, SAY_RESIZE, SAYINGS };

struct port {
	struct virtio_console_port host;
	bool guest_open;		/* atomic */
	bool starved;			/* receive queue's lock: somebody waits for room() */
	size_t skip;			/* transmit queue's lock: taken of the chain at the head */
	unsigned int say;		/* control receive queue's lock: bits of SAY_* */
};

struct virtio_console {
	struct virtio_dev dev;
	struct loop *loop;
	struct virtio_console_config config;
	unsigned int num_ports;
	u32 closing;			/* atomic; ports that a reset closed and whose owner does not know yet */
	struct port port[VIRTIO_CONSOLE_PORTS_MAX];
};

static struct virtio_console *from_dev(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_console, dev);
}

static unsigned int rx_of(unsigned int port)
{
	return port ? 2 + 2 * port : 0;
}

static unsigned int port_of(unsigned int queue)
{
	return queue < 2 ? 0 : queue / 2 - 1;
}

/* ---- control channel ---- */

static size_t say_message(struct virtio_console *con, unsigned int id, unsigned int saying, u8 *buf)
{
	static const u16 event[SAYINGS] = {
		[SAY_ADD] = VIRTIO_CONSOLE_PORT_ADD,	     [SAY_CONSOLE] = VIRTIO_CONSOLE_CONSOLE_PORT,
		[SAY_NAME] = VIRTIO_CONSOLE_PORT_NAME,	     [SAY_OPEN] = VIRTIO_CONSOLE_PORT_OPEN,
		[SAY_RESIZE] = VIRTIO_CONSOLE_RESIZE,
	};
	struct virtio_console_control msg = {
		.id = htole32(id),
		.event = htole16(event[saying]),
		.value = htole16(1),
	};
	size_t len = sizeof(msg);

	memcpy(buf, &msg, sizeof(msg));
	if (saying == SAY_NAME) {
		/* The name goes without a terminating zero. */
		size_t n = strnlen(con->port[id].host.name, NAME_MAX_LEN);

		memcpy(buf + len, con->port[id].host.name, n);
		len += n;
	} else if (saying == SAY_RESIZE) {
		memcpy(buf + len, &con->config.rows, 2);
		memcpy(buf + len + 2, &con->config.cols, 2);
		len += 4;
	}
	return len;
}

/* Say what can be said. With the control receive queue's lock. */
static void control_flush(struct virtio_console *con)
{
	struct virtio_queue *vq = &con->dev.queue[CTRL_RX];
	u8 buf[sizeof(struct virtio_console_control) + NAME_MAX_LEN];
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	if (!vq->running)
		return;
	for (unsigned int id = 0; id < con->num_ports; id++) {
		for (unsigned int s = 0; s < SAYINGS; s++) {
			if (!(con->port[id].say & (1u << s)))
				continue;
			if (!virtio_queue_pop(vq, &e)) {
				virtio_queue_call(vq);
				if (!virtio_dev_live(&con->dev) || !virtq_enable_kicks(&vq->ring) ||
				    !virtio_queue_pop(vq, &e))
					return;
			}
			con->port[id].say &= ~(1u << s);
			virtq_fill(&vq->ring, &e, virtq_elem_write(&e, 0, buf, say_message(con, id, s, buf)));
		}
	}
	virtio_queue_call(vq);
}

static void control_rx_handle(struct virtio_queue *vq)
{
	control_flush(from_dev(vq->dev));
}

static void say(struct virtio_console *con, unsigned int id, unsigned int bits)
{
	struct virtio_queue *vq = &con->dev.queue[CTRL_RX];

	pthread_mutex_lock(&vq->lock);
	con->port[id].say |= bits;
	control_flush(con);
	pthread_mutex_unlock(&vq->lock);
}

static void tell_closed(struct virtio_console *con)
{
	u32 closing = __atomic_exchange_n(&con->closing, 0, __ATOMIC_ACQ_REL);

	for (unsigned int i = 0; i < con->num_ports; i++) {
		const struct virtio_console_port *host = &con->port[i].host;

		if ((closing & (1u << i)) && host->ops && host->ops->open)
			host->ops->open(host->ctx, false);
	}
}

static void set_open(struct virtio_console *con, unsigned int id, bool open)
{
	struct port *p = &con->port[id];

	/* An owner hears of the old guest's end before it hears of the new guest. */
	tell_closed(con);
	if (__atomic_exchange_n(&p->guest_open, open, __ATOMIC_ACQ_REL) != open && p->host.ops && p->host.ops->open)
		p->host.ops->open(p->host.ctx, open);
}

static void port_ready(struct virtio_console *con, unsigned int id)
{
	unsigned int bits = 1u << SAY_OPEN;

	if (con->port[id].host.name)
		bits |= 1u << SAY_NAME;
	if (!id) {
		bits |= 1u << SAY_CONSOLE;
		if (con->config.cols)
			bits |= 1u << SAY_RESIZE;
	}
	say(con, id, bits);
}

static s64 control_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct virtio_console *con = from_dev(vq->dev);
	struct virtio_console_control msg;
	u32 id;

	if (virtq_elem_read(e, 0, &msg, sizeof(msg)) != sizeof(msg))
		return -EPROTO;
	id = le32toh(msg.id);
	if (le16toh(msg.event) == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned int i = 0; msg.value && i < con->num_ports; i++)
			say(con, i, 1u << SAY_ADD);
		return 0;
	}
	if (id >= con->num_ports)
		return 0;
	if (le16toh(msg.event) == VIRTIO_CONSOLE_PORT_READY && msg.value)
		port_ready(con, id);
	else if (le16toh(msg.event) == VIRTIO_CONSOLE_PORT_OPEN)
		set_open(con, id, msg.value);
	return 0;
}

static void control_tx_handle(struct virtio_queue *vq)
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	virtio_queue_serve(vq, &e, BUDGET, control_serve);
}

/* ---- data ---- */

static s64 tx_serve(struct virtio_queue *vq, struct virtq_elem *e)
{
	struct virtio_console *con = from_dev(vq->dev);
	struct port *p = &con->port[port_of(vq->index)];
	size_t skip = p->skip;

	for (unsigned int i = 0; i < e->out_num && p->host.ops && p->host.ops->out; i++) {
		size_t len = e->iov[i].iov_len, n;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len -= skip;
		n = p->host.ops->out(p->host.ctx, (char *)e->iov[i].iov_base + skip, len);
		p->skip += n;
		skip = 0;
		if (n < len)
			return -EAGAIN;
	}
	p->skip = 0;
	return 0;
}

static void tx_handle(struct virtio_queue *vq)
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };

	virtio_queue_serve(vq, &e, BUDGET, tx_serve);
}

static void rx_handle(struct virtio_queue *vq)
{
	struct port *p = &from_dev(vq->dev)->port[port_of(vq->index)];

	virtq_disable_kicks(&vq->ring);
	if (!p->starved)
		return;
	p->starved = false;
	/* room() will write, which takes the lock; nothing of the ring is in use here. */
	pthread_mutex_unlock(&vq->lock);
	if (p->host.ops && p->host.ops->room)
		p->host.ops->room(p->host.ctx);
	pthread_mutex_lock(&vq->lock);
}

static size_t rx_fill(struct virtio_queue *vq, const char *buf, size_t len)
{
	struct iovec iov[SEGMENTS];
	struct virtq_elem e = { .iov = iov };
	size_t done = 0, n;

	while (done < len && virtio_queue_pop(vq, &e)) {
		n = virtq_elem_write(&e, 0, buf + done, len - done);
		virtq_fill(&vq->ring, &e, n);
		done += n;
	}
	virtio_queue_call(vq);
	return done;
}

size_t virtio_console_write(struct virtio_dev *dev, unsigned int port, const void *buf, size_t len)
{
	struct virtio_console *con = from_dev(dev);
	struct virtio_queue *vq;
	size_t done = 0;

	if (port >= con->num_ports)
		return 0;
	vq = &dev->queue[rx_of(port)];
	pthread_mutex_lock(&vq->lock);
	if (vq->running) {
		do
			done += rx_fill(vq, (const char *)buf + done, len - done);
		while (done < len && virtio_dev_live(dev) && virtq_enable_kicks(&vq->ring));
	}
	con->port[port].starved = done < len;
	pthread_mutex_unlock(&vq->lock);
	return done;
}

void virtio_console_resume(struct virtio_dev *dev, unsigned int port)
{
	if (port < from_dev(dev)->num_ports)
		virtio_queue_rekick(&dev->queue[rx_of(port) + 1]);
}

void virtio_console_resize(struct virtio_dev *dev, u16 cols, u16 rows)
{
	struct virtio_console *con = from_dev(dev);

	pthread_mutex_lock(&dev->lock);
	con->config.cols = htole16(cols);
	con->config.rows = htole16(rows);
	virtio_dev_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	/* Before the port is ready the guest would not understand; PORT_READY says it then. */
	if (virtio_console_is_open(dev, 0) && virtio_dev_has(dev, VIRTIO_CONSOLE_F_MULTIPORT))
		say(con, 0, 1u << SAY_RESIZE);
}

bool virtio_console_is_open(struct virtio_dev *dev, unsigned int port)
{
	struct virtio_console *con = from_dev(dev);

	return port < con->num_ports && __atomic_load_n(&con->port[port].guest_open, __ATOMIC_ACQUIRE);
}

/* ---- the device ---- */

static void closed_by_reset(void *ctx)
{
	tell_closed(ctx);
}

static void opened_without_dialogue(void *ctx)
{
	struct virtio_console *con = ctx;

	if (virtio_dev_live(&con->dev))
		set_open(con, 0, true);
}

/* A driver without MULTIPORT has no way to say that it opened the console: it is open. */
static void console_driver_ok(struct virtio_dev *dev)
{
	struct virtio_console *con = from_dev(dev);

	if (!virtio_dev_has(dev, VIRTIO_CONSOLE_F_MULTIPORT))
		loop_post(con->loop, opened_without_dialogue, con);
}

/*
 * A guest that powers off resets its console right behind its last words. They are on a ring that the loop has been kicked for:
 * give it a moment, on the vCPU's thread that asks for the reset, but never wait for an owner who does not take them.
 */
static void console_quiesce(struct virtio_dev *dev)
{
	static const struct timespec step = { .tv_nsec = DRAIN_STEP_MS * 1000000L };
	struct virtio_console *con = from_dev(dev);
	bool waiting = true;

	for (unsigned int ms = 0; waiting && ms < DRAIN_MS; ms += DRAIN_STEP_MS) {
		waiting = false;
		for (unsigned int port = 0; port < con->num_ports; port++) {
			struct virtio_queue *vq = &dev->queue[rx_of(port) + 1];

			pthread_mutex_lock(&vq->lock);
			waiting |= vq->running && virtio_dev_live(dev) && virtq_pending(&vq->ring);
			pthread_mutex_unlock(&vq->lock);
		}
		if (waiting)
			nanosleep(&step, NULL);
	}
}

static void console_reset(struct virtio_dev *dev)
{
	struct virtio_console *con = from_dev(dev);
	u32 closed = 0;

	for (unsigned int i = 0; i < con->num_ports; i++) {
		con->port[i].skip = 0;
		con->port[i].say = 0;
		if (__atomic_exchange_n(&con->port[i].guest_open, false, __ATOMIC_ACQ_REL))
			closed |= 1u << i;
	}
	if (!closed)
		return;
	__atomic_fetch_or(&con->closing, closed, __ATOMIC_ACQ_REL);
	/* This may be a vCPU's thread; the ports' owners live on the loop's. */
	loop_post(con->loop, closed_by_reset, con);
}

static void console_queue_reset(struct virtio_queue *vq)
{
	if (vq->index != CTRL_RX && vq->index != CTRL_TX && (vq->index & 1))
		from_dev(vq->dev)->port[port_of(vq->index)].skip = 0;
}

static void console_destroy(struct virtio_dev *dev)
{
	struct virtio_console *con = from_dev(dev);

	for (unsigned int i = 0; i < dev->num_queues; i++)
		virtio_queue_unbind(&dev->queue[i], con->loop);
	virtio_dev_fini(dev);
	free(con);
}

static const struct virtio_ops console_ops = {
	.driver_ok = console_driver_ok,
	.quiesce = console_quiesce,
	.reset = console_reset,
	.queue_reset = console_queue_reset,
	.destroy = console_destroy,
};

static int console_init(struct virtio_console *con, struct board *board, unsigned int flags, struct err *e)
{
	unsigned int queues = 2 * con->num_ports + 2;
	int r;

	r = virtio_dev_init(&con->dev, "virtio-console", VIRTIO_ID_CONSOLE, 0x078000,
			    1ULL << VIRTIO_CONSOLE_F_SIZE | 1ULL << VIRTIO_CONSOLE_F_MULTIPORT, flags, &console_ops,
			    board->mem, queues, e);
	if (r < 0)
		return r;
	con->config.max_nr_ports = htole32(con->num_ports);
	virtio_dev_set_config(&con->dev, &con->config, NULL, offsetof(struct virtio_console_config, emerg_wr));
	for (unsigned int i = 0; i < queues; i++) {
		void (*handle)(struct virtio_queue *) = i == CTRL_RX ? control_rx_handle :
							i == CTRL_TX ? control_tx_handle :
							i & 1	     ? tx_handle :
								       rx_handle;

		r = virtio_queue_bind(virtio_dev_set_queue(&con->dev, i, QUEUE_SIZE, SEGMENTS, handle), board->loop);
		if (r < 0)
			return err_set(e, -r, "console: cannot watch a queue: %s", strerror(-r));
	}
	return virtio_dev_add(&con->dev, board->pci, e);
}

struct virtio_dev *virtio_console_create(struct board *board, const struct virtio_console_port *ports,
					 unsigned int num_ports, unsigned int flags, struct err *e)
{
	struct virtio_console *con;

	if (!num_ports || num_ports > VIRTIO_CONSOLE_PORTS_MAX) {
		err_set(e, EINVAL, "console: %u ports: must be 1 to %d", num_ports, VIRTIO_CONSOLE_PORTS_MAX);
		return NULL;
	}
	con = calloc(1, sizeof(*con));
	if (!con) {
		err_set(e, ENOMEM, "console: out of memory");
		return NULL;
	}
	con->loop = board->loop;
	con->num_ports = num_ports;
	for (unsigned int i = 0; i < num_ports; i++)
		con->port[i].host = ports[i];
	if (console_init(con, board, flags, e) < 0) {
		console_destroy(&con->dev);
		return NULL;
	}
	return &con->dev;
}
