// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_devices.c: a guest that does whatever it likes to the whole board. The real buses, PCI with MSI-X and INTx, virtio-pci,
 * disk, network card, console, entropy, balloon, serial port, clock and power chip are driven by a script of register
 * accesses, memory contents and doorbells, with events from the host's side in between. Whatever the script, every step ends,
 * nothing outside guest memory is touched (the sanitizers see that), read-only registers stay, and a reset of the bus brings
 * every device back.
 *
 * Only the hypervisor and the threads are replaced: interrupts go nowhere, and the devices' loops are run here after each
 * step until they are idle, so that a script does the same each time.
 *
 * Input: steps, each one byte of kind and what that kind takes. Sensible values are made likely: rings where there is memory,
 * offsets of registers that exist, descriptors one after the other.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c userspace/virtio/device.c
 * LINK: userspace/virtio/virtio_pci.c userspace/virtio/virtio_blk.c userspace/virtio/blk_request.c userspace/virtio/blk_share.c userspace/board/share.c userspace/virtio/virtio_rng.c userspace/virtio/virtio_net.c
 * LINK: userspace/virtio/virtio_balloon.c userspace/virtio/virtio_console.c
 * LINK: userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/irq.c
 * LINK: userspace/board/mem.c userspace/dev/serial.c userspace/dev/rtc.c userspace/dev/power.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c userspace/block/throttle.c
 */
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "../virtio/fake_block.h"
#include "board/board.h"
#include "dev/power.h"
#include "dev/rtc.h"
#include "dev/serial.h"
#include "virtio/iothread.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_console.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_rng.h"

#define RAM (2 * MIB)
#define DEVICES 5
#define STEPS 400

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* ---- the hypervisor and the threads ---- */

int kvm_doorbell_add(struct kvm *kvm, const struct kvm_doorbell *d)
{
	(void)kvm;
	(void)d;
	return 0;
}

int kvm_doorbell_remove(struct kvm *kvm, const struct kvm_doorbell *d)
{
	return kvm_doorbell_add(kvm, d);
}

int kvm_irqfd_add(struct kvm *kvm, int fd, u32 gsi)
{
	(void)kvm;
	(void)fd;
	(void)gsi;
	return 0;
}

int kvm_irqfd_remove(struct kvm *kvm, int fd, u32 gsi)
{
	return kvm_irqfd_add(kvm, fd, gsi);
}

int kvm_irq_line(struct kvm *kvm, u32 gsi, bool level)
{
	(void)kvm;
	(void)level;
	if (gsi >= IRQ_PINS)
		abort();
	return 0;
}

int kvm_signal_msi(struct kvm *kvm, u64 addr, u32 data)
{
	(void)kvm;
	(void)addr;
	(void)data;
	return 0;
}

int kvm_set_region(struct kvm *kvm, u32 slot, u32 flags, u64 gpa, u64 size, void *hva, struct err *e)
{
	(void)kvm;
	(void)slot;
	(void)flags;
	(void)gpa;
	(void)size;
	(void)hva;
	(void)e;
	return 0;
}

static struct loop *loops[8];
static unsigned int num_loops;

int iothread_init(struct iothread *io, struct err *e)
{
	(void)e;
	memset(io, 0, sizeof(*io));
	io->loop = loop_create();
	if (!io->loop || num_loops == ARRAY_SIZE(loops))
		abort();
	loops[num_loops++] = io->loop;
	return 0;
}

int iothread_start(struct iothread *io, const char *name, struct err *e)
{
	(void)io;
	(void)name;
	(void)e;
	return 0;
}

void iothread_stop(struct iothread *io)
{
	(void)io;
}

void iothread_fini(struct iothread *io)
{
	(void)io;
}

/* ---- what is behind the devices ---- */

static u8 sum;

static int wire_start(struct net *net, unsigned int queue, struct loop *loop)
{
	(void)net;
	(void)queue;
	(void)loop;
	return 0;
}

static void wire_stop(struct net *net, unsigned int queue, struct loop *loop)
{
	wire_start(net, queue, loop);
}

static int wire_send(struct net *net, unsigned int queue, const struct iovec *iov, int cnt)
{
	(void)net;
	(void)queue;
	for (int i = 0; i < cnt; i++)
		for (size_t k = 0; k < iov[i].iov_len; k++)
			sum += ((const u8 *)iov[i].iov_base)[k];
	return sum & 1 ? -EAGAIN : 0;
}

static void wire_room(struct net *net, unsigned int queue)
{
	(void)net;
	(void)queue;
}

static int wire_offloads(struct net *net, u64 features)
{
	(void)net;
	return features & 1 ? -EINVAL : 0;
}

static int wire_queues(struct net *net, unsigned int queues)
{
	if (!queues || queues > net->max_queues)
		abort();
	return 0;
}

static const struct net_ops wire_ops = {
	.start = wire_start,
	.stop = wire_stop,
	.send = wire_send,
	.room = wire_room,
	.set_offloads = wire_offloads,
	.set_queues = wire_queues,
};

void net_close(struct net *net)
{
	(void)net;
}

static struct net wire = {
	.ops = &wire_ops,
	.features = 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM | 1ULL << VIRTIO_NET_F_HOST_TSO4 |
		    1ULL << VIRTIO_NET_F_GUEST_TSO4,
	.ring_features = ~0ULL,
	.max_queues = 2,
	.mac = { 2, 0, 0, 0, 0, 1 },
	.mtu = 1500,
	.name = "wire",
};

static size_t port_out(void *ctx, const void *buf, size_t len)
{
	const u8 *p = buf;

	(void)ctx;
	for (size_t i = 0; i < len; i++)
		sum += p[i];
	return len > 100 ? len / 2 : len;
}

static void port_room(void *ctx)
{
	(void)ctx;
}

static void serial_sink(void *ctx, const void *data, size_t len)
{
	port_out(ctx, data, len);
}

static void power_event(void *ctx, enum power_event ev)
{
	(void)ctx;
	(void)ev;
}

/* ---- the board ---- */

static struct kvm kvm = { .dev = -1, .vm = -1 };
static struct guest_mem mem;
static struct bus pio, mmio;
static struct irq irq;
static struct pci_bus pci;
static struct board board;
static struct block disk;
static struct serial *com;
static struct power *power;
static struct rtc *rtc;
static struct virtio_dev *dev[DEVICES];	/* disk, card, console, entropy, balloon */

static void build(void)
{
	static const struct virtio_console_port_ops ops = { .out = port_out, .room = port_room };
	struct virtio_console_port ports[2] = { { NULL, &ops, NULL }, { "a", &ops, NULL } };
	struct virtio_blk_opts blk = { .queues = 2, .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct virtio_net_opts net = { .queue_size = 64, .flags = VIRTIO_OPT_PACKED };
	struct err e = ERR_INIT;

	board = (struct board){ &kvm, &mem, &pio, &mmio, &irq, &pci, loop_create() };
	loops[num_loops++] = board.loop;
	pthread_mutex_init(&disk.lock, NULL);
	if (mem_init(&mem, RAM, &e) || bus_init(&pio, "pio") || bus_init(&mmio, "mmio") || irq_init(&irq, &kvm) ||
	    pci_bus_init(&pci, &kvm, &pio, &mmio, &irq, &e))
		abort();
	com = serial_create(&board, SERIAL_COM1, SERIAL_COM1_PIN, serial_sink, port_room, NULL, &e);
	power = power_create(&board, power_event, NULL, &e);
	rtc = rtc_create(&board, &e);
	dev[0] = virtio_blk_create(&board, &disk, &blk, &e);
	dev[1] = virtio_net_create(&board, &wire, &net, &e);
	dev[2] = virtio_console_create(&board, ports, 2, VIRTIO_OPT_PACKED, &e);
	dev[3] = virtio_rng_create(&board, VIRTIO_OPT_PACKED, &e);
	dev[4] = virtio_balloon_create(&board, VIRTIO_OPT_PACKED, &e);
	if (!com || !power || !rtc || !dev[0] || !dev[1] || !dev[2] || !dev[3] || !dev[4])
		abort();
}

static void settle(void)
{
	for (unsigned int turns = 0, busy = 1; busy; turns++) {
		if (turns == 100000)
			abort();	/* the devices never come to rest */
		busy = 0;
		for (unsigned int i = 0; i < num_loops; i++)
			busy |= loop_run_once(loops[i], 0) > 0;
	}
}

/* ---- the script ---- */

static const u8 *input;
static size_t left;

static u64 take(unsigned int n)
{
	u64 v = 0;

	if (n > left)
		n = left;
	memcpy(&v, input, n);
	input += n;
	left -= n;
	return v;
}

static unsigned int take_len(void)
{
	return 1u << (take(1) & 3);
}

static void access_bus(struct bus *bus, u64 addr, unsigned int len, bool write)
{
	u8 data[8];

	bus_put(data, 8, write ? take(len) : 0);
	if (write)
		bus_write(bus, addr, data, len);
	else
		bus_read(bus, addr, data, len);
}

static void set_bar(struct virtio_dev *d, u64 off, unsigned int len, u64 val)
{
	u8 data[8];

	bus_put(data, 8, val);
	if (d->pci.bar[0].mapped)
		bus_write(&mmio, d->pci.bar[0].addr + off, data, len);
}

/* A driver's start as it should be, with features and ring places of the script's choice. */
static void bring_up(struct virtio_dev *d)
{
	u64 features = d->features & (take(8) | 1ULL << VIRTIO_F_VERSION_1);

	set_bar(d, 20, 1, 0);
	set_bar(d, 20, 1, 3);
	set_bar(d, 8, 4, 0);
	set_bar(d, 12, 4, features);
	set_bar(d, 8, 4, 1);
	set_bar(d, 12, 4, features >> 32);
	set_bar(d, 20, 1, 11);
	for (unsigned int q = 0; q < d->num_queues; q++) {
		u64 at = (take(1) & 127) * 0x1000;

		set_bar(d, 22, 2, q);
		set_bar(d, 24, 2, 1u << (take(1) & 7));
		set_bar(d, 26, 2, q);
		set_bar(d, 32, 8, at);
		set_bar(d, 40, 8, at + 0x800);
		set_bar(d, 48, 8, at + 0xa00);
		set_bar(d, 28, 2, 1);
	}
	set_bar(d, 20, 1, 15);
}

/* A chain in a split ring's or packed ring's descriptors, and the ring's index raised. */
static void put_chain(struct virtio_dev *d)
{
	struct virtio_queue *vq = &d->queue[take(1) % d->num_queues];
	u64 desc = vq->regs.desc, avail = vq->regs.avail;
	unsigned int n = 1 + take(1) % 5, first = take(1) & 63, idx;
	u8 *p;

	for (unsigned int i = 0; i < n; i++) {
		u8 flags = take(1), raw[16];

		p = mem_ptr(&mem, desc + (first + i) * 16, 16);
		if (!p)
			return;
		bus_put(raw, 8, (take(2) & 0x1ff) * 0x1000 + (flags & 64 ? take(1) : 0));
		bus_put(raw + 8, 4, flags & 128 ? take(4) : take(2) & 0x1fff);
		bus_put(raw + 12, 2, (flags & 6) | (i + 1 < n));
		bus_put(raw + 14, 2, first + i + 1);
		if (virtio_dev_has(d, VIRTIO_F_RING_PACKED)) {
			bus_put(raw + 12, 2, first + i);
			bus_put(raw + 14, 2, (flags & 6) | (i + 1 < n) | (flags & 8 ? 0x80 : 0x8000));
		}
		memcpy(p, raw, 16);
	}
	p = mem_ptr(&mem, avail, 4 + 2 * 256);
	if (!p || virtio_dev_has(d, VIRTIO_F_RING_PACKED))
		return;
	idx = p[2] | p[3] << 8;
	bus_put(p + 4 + 2 * (idx % (vq->regs.size ? vq->regs.size : 1)), 2, first);
	bus_put(p + 2, 2, idx + 1);
}

static void poke_memory(void)
{
	u64 at = (take(1) & 127) * 0x1000 + (take(1) & 15) * 0x100;
	unsigned int len = take(1);

	for (unsigned int i = 0; i < len; i++) {
		u8 b = take(1);

		if (mem_write(&mem, at + i, &b, 1))
			return;
	}
}

static void from_host(void)
{
	static u8 frame[4096];
	struct virtio_balloon_stats stats;
	unsigned int len;

	switch (take(1) % 8) {
	case 0:
		len = NET_HDR_LEN + take(2) % (sizeof(frame) - NET_HDR_LEN);
		memset(frame, 0, NET_HDR_LEN);
		for (unsigned int q = take(1) & 1, i = 0; i < 3; i++)
			if (!wire.client.receive(wire.client.ctx, q, frame, len))
				wire.client.flush(wire.client.ctx, q);
		break;
	case 1:
		virtio_console_write(dev[2], take(1) & 1, frame, take(2) % sizeof(frame));
		break;
	case 2:
		virtio_console_resume(dev[2], take(1) & 1);
		break;
	case 3:
		virtio_console_resize(dev[2], take(1), take(1));
		break;
	case 4:
		virtio_balloon_set_target(dev[4], take(4));
		virtio_balloon_poll(dev[4]);
		virtio_balloon_stats(dev[4], &stats);
		break;
	case 5:
		serial_input(com, frame, take(1) & 31);
		break;
	case 6:
		power_press_button(power);
		serial_break(com);
		break;
	case 7:
		virtio_net_set_link(dev[1], take(1) & 1);
		break;
	}
}

static void any_port(bool write)
{
	static const u16 ports[] = { 0xcf8, 0xcfc, 0x3f8, 0x70, 0x600, 0x505, 0x64, 0x2f8 };
	u16 at = ports[take(1) & 7] + (take(1) & 7);

	access_bus(&pio, at, 1u << (take(1) % 3), write);
}

static void any_register(struct virtio_dev *d, bool write)
{
	u64 off = (take(1) & 7) * 0x1000 + (take(1) & 127);

	if (d->pci.bar[0].mapped)
		access_bus(&mmio, d->pci.bar[0].addr + off, take_len(), write);
}

static void step(void)
{
	u8 kind = take(1);
	struct virtio_dev *d = dev[(kind >> 4) % DEVICES];

	switch (kind & 15) {
	case 0:
	case 1:
		any_register(d, kind & 1);
		break;
	case 2:
	case 3:
		access_bus(&mmio, PCI_ECAM_BASE + (take(2) & 0x7fff), take_len(), kind & 1);
		break;
	case 4:
	case 5:
		any_port(kind & 1);
		break;
	case 6:
		access_bus(&mmio, PCI_ECAM_BASE + (d->pci.slot << 15) + take(1), take_len(), true);
		break;
	case 7:
		bring_up(d);
		break;
	case 8:
	case 9:
	case 10:
		put_chain(d);
		break;
	case 11:
	case 12:
		set_bar(d, 0x3000 + 4 * (take(1) % d->num_queues), 2, 0);
		break;
	case 13:
		poke_memory();
		break;
	case 14:
		from_host();
		break;
	case 15:
		set_bar(d, 0x4000 + (take(1) & 127), 4, take(4));
		break;
	}
	settle();
}

static void check(void)
{
	u8 id[4];

	for (unsigned int i = 0; i < DEVICES; i++) {
		bus_read(&mmio, PCI_ECAM_BASE + (dev[i]->pci.slot << 15), id, 4);
		if (bus_get(id, 2) != 0x1af4 || bus_get(id + 2, 2) != 0x1040u + dev[i]->type)
			abort();
	}
}

static void reset(void)
{
	struct err e;

	pci_bus_unmap(&pci);
	if (pci_bus_reset(&pci, &e))
		abort();
	serial_reset(com);
	power_reset(power);
	rtc_reset(rtc);
	settle();
	for (unsigned int i = 0; i < DEVICES; i++)
		if (dev[i]->regs.status || dev[i]->pci.intx.asserted || !dev[i]->pci.bar[0].mapped)
			abort();
	memset(mem_ptr(&mem, 0, RAM), 0, RAM);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (!dev[0])
		build();
	input = data;
	left = size;
	for (unsigned int i = 0; i < STEPS && left; i++)
		step();
	check();
	reset();
	return 0;
}
