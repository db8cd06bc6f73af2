// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * device.c: the life of a virtio device between reset and DRIVER_OK and back, and of its queues.
 *
 * Two things are delicate. (1) Stopping a queue while its server is at work: `running` goes false under the queue's lock,
 * so that after the lock is free no handler touches the ring; then we wait on a condition until the last asynchronous
 * request came back, because it will still write into guest memory. Requests end by themselves, so the wait does.
 * (2) A doorbell rung before DRIVER_OK, or while the queue was not running, is lost on purpose; so starting a queue
 * rings its own doorbell once.
 */
#include "virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"

#define FEATURE(n) (1ULL << (n))
#define ISR_QUEUE 1
#define ISR_CONFIG 2
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

static void *accessor_map(void *opaque, uint64_t gpa, uint64_t len)
{
	return mem_ptr(opaque, gpa, len);
}

int virtio_dev_init(struct virtio_dev *dev, const char *name, u16 type, u32 pci_class, u64 features, unsigned int opts,
		    const struct virtio_ops *ops, struct guest_mem *mem, unsigned int num_queues, struct err *e)
{
	struct pci_id id = {
		.vendor = 0x1af4,
		.device = 0x1040 + type,
		.subsys_vendor = 0x1af4,
		.subsys = 0x1040 + type,
		.class_code = pci_class,
		.revision = 1,
	};

	snprintf(dev->name, sizeof(dev->name), "%s", name);
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->mem = mem;
	dev->accessor = (struct virtq_mem){ accessor_map, mem };
	dev->type = type;
	dev->regs.config_vector = PCI_MSIX_NO_VECTOR;
	dev->features = features | FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_F_RING_RESET);
	if (!(opts & VIRTIO_OPT_NO_EVENT_IDX))
		dev->features |= FEATURE(VIRTIO_RING_F_EVENT_IDX);
	if (!(opts & VIRTIO_OPT_NO_INDIRECT))
		dev->features |= FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
	if (opts & VIRTIO_OPT_PACKED)
		dev->features |= FEATURE(VIRTIO_F_RING_PACKED);
	pci_dev_init(&dev->pci, dev->name, &id, &virtio_pci_ops);
	if (num_queues > VIRTIO_QUEUES_MAX)
		return err_set(e, EINVAL, "%s: %u queues: at most %d are possible", name, num_queues,
			       VIRTIO_QUEUES_MAX);
	dev->queue = calloc(num_queues, sizeof(*dev->queue));
	if (!dev->queue)
		return err_set(e, ENOMEM, "%s: out of memory", name);
	for (; dev->num_queues < num_queues; dev->num_queues++) {
		struct virtio_queue *vq = &dev->queue[dev->num_queues];

		vq->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vq->kick_fd < 0)
			return err_set(e, errno, "%s: cannot make an eventfd: %s", name, strerror(errno));
		vq->dev = dev;
		vq->call_fd = -1;
		vq->index = dev->num_queues;
		vq->regs.vector = PCI_MSIX_NO_VECTOR;
		pthread_mutex_init(&vq->lock, NULL);
		pthread_cond_init(&vq->idle, NULL);
	}
	return 0;
}

void virtio_dev_set_config(struct virtio_dev *dev, void *config, const void *mask, unsigned int len)
{
	dev->config = config;
	dev->config_mask = mask;
	dev->config_len = len;
}

struct virtio_queue *virtio_dev_set_queue(struct virtio_dev *dev, unsigned int index, u16 max_size, u16 max_segments,
					  void (*handle)(struct virtio_queue *vq))
{
	struct virtio_queue *vq = &dev->queue[index];

	vq->max_size = max_size;
	vq->max_segments = max_segments;
	vq->regs.size = max_size;
	vq->handle = handle;
	return vq;
}

static void queue_kicked(void *ctx, u32 events)
{
	struct virtio_queue *vq = ctx;

	(void)events;
	pthread_mutex_lock(&vq->lock);
	if (vq->running)
		vq->handle(vq);
	pthread_mutex_unlock(&vq->lock);
}

int virtio_queue_bind(struct virtio_queue *vq, struct loop *loop)
{
	/* Edge-triggered: each ring is one event, and the counter need never be read back. */
	return loop_add(loop, &vq->source, vq->kick_fd, EPOLLIN | EPOLLET, queue_kicked, vq);
}

void virtio_queue_unbind(struct virtio_queue *vq, struct loop *loop)
{
	loop_del(loop, &vq->source);
}

int virtio_dev_add(struct virtio_dev *dev, struct pci_bus *bus, struct err *e)
{
	int r = virtio_pci_describe(dev);

	if (r < 0)
		return err_set(e, -r, "%s: cannot describe the PCI device: %s", dev->name, strerror(-r));
	r = pci_bus_add(bus, &dev->pci, e);
	if (r < 0)
		return r;
	dev->on_bus = true;
	/* A doorbell that could not be had costs time only: the write then comes to us as an access to the BAR. */
	r = virtio_pci_doorbells(dev);
	if (r < 0)
		log_debug("%s: no doorbell: error %d", dev->name, -r);
	return 0;
}

void virtio_dev_fini(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->num_queues; i++) {
		struct virtio_queue *vq = &dev->queue[i];

		if (dev->on_bus)
			pci_doorbell_remove(&dev->pci, vq->kick_fd);
		close(vq->kick_fd);
		if (vq->call_fd >= 0)
			close(vq->call_fd);
		pthread_cond_destroy(&vq->idle);
		pthread_mutex_destroy(&vq->lock);
	}
	free(dev->queue);
	dev->queue = NULL;
	dev->num_queues = 0;
	pci_dev_fini(&dev->pci);
	pthread_mutex_destroy(&dev->lock);
}

bool virtio_dev_has(const struct virtio_dev *dev, unsigned int feature)
{
	return dev->regs.driver_features & FEATURE(feature);
}

static u8 status_get(const struct virtio_dev *dev)
{
	return __atomic_load_n(&dev->regs.status, __ATOMIC_ACQUIRE);
}

bool virtio_dev_live(const struct virtio_dev *dev)
{
	u8 status = status_get(dev);

	return (status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* The ISR status register is the PCI device's causes of INTA#. With MSI-X only changed configuration shows there. */
static void dev_raise(struct virtio_dev *dev, u16 vector, u8 isr)
{
	bool msix = pci_msix_enabled(&dev->pci);

	if (!msix || isr == ISR_CONFIG)
		pci_intx_raise(&dev->pci, isr);
	if (msix && vector != PCI_MSIX_NO_VECTOR)
		pci_msix_raise(&dev->pci, vector);
}

static u16 vector_get(const u16 *vector)
{
	return __atomic_load_n(vector, __ATOMIC_RELAXED);
}

static void queue_called(void *ctx, u32 events)
{
	struct virtio_queue *vq = ctx;

	(void)events;
	dev_raise(vq->dev, vector_get(&vq->regs.vector), ISR_QUEUE);
}

int virtio_queue_forward(struct virtio_queue *vq, struct loop *loop)
{
	vq->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vq->call_fd < 0)
		return -errno;
	return loop_add(loop, &vq->call_source, vq->call_fd, EPOLLIN | EPOLLET, queue_called, vq);
}

int virtio_queue_call_fd(struct virtio_queue *vq)
{
	if (!pci_msix_enabled(&vq->dev->pci))
		return vq->call_fd;
	return vq->regs.vector == PCI_MSIX_NO_VECTOR ? -1 : pci_msix_fd(&vq->dev->pci, vq->regs.vector);
}

void virtio_dev_break(struct virtio_dev *dev, int fault)
{
	u8 old = __atomic_fetch_or(&dev->regs.status, VIRTIO_CONFIG_S_NEEDS_RESET, __ATOMIC_ACQ_REL);

	if (old & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	__atomic_fetch_add(&dev->faults, 1, __ATOMIC_RELAXED);
	dev->last_fault = fault;
	log_debug("%s: guest error: %s", dev->name, fault < 0 ? "malformed request" : virtq_fault_name(fault));
	if (old & VIRTIO_CONFIG_S_DRIVER_OK)
		dev_raise(dev, vector_get(&dev->regs.config_vector), ISR_CONFIG);
}

void virtio_dev_config_changed(struct virtio_dev *dev)
{
	dev->regs.generation++;
	if (status_get(dev) & VIRTIO_CONFIG_S_DRIVER_OK)
		dev_raise(dev, vector_get(&dev->regs.config_vector), ISR_CONFIG);
}

static unsigned int ring_flags(const struct virtio_dev *dev)
{
	return (virtio_dev_has(dev, VIRTIO_F_RING_PACKED) ? VIRTQ_F_PACKED : 0) |
	       (virtio_dev_has(dev, VIRTIO_RING_F_EVENT_IDX) ? VIRTQ_F_EVENT_IDX : 0) |
	       (virtio_dev_has(dev, VIRTIO_RING_F_INDIRECT_DESC) ? VIRTQ_F_INDIRECT : 0);
}

static void queue_start(struct virtio_queue *vq)
{
	struct virtio_dev *dev = vq->dev;
	int r;

	pthread_mutex_lock(&vq->lock);
	r = virtq_init(&vq->ring, &dev->accessor, ring_flags(dev), vq->regs.size, vq->max_segments, vq->regs.desc,
		       vq->regs.avail, vq->regs.used);
	vq->running = !r && !vq->external;
	pthread_mutex_unlock(&vq->lock);
	if (r)
		virtio_dev_break(dev, VIRTQ_BAD_ADDRESS);
}

static void queue_stop(struct virtio_queue *vq)
{
	pthread_mutex_lock(&vq->lock);
	vq->running = false;
	if (vq->dev->ops->queue_release)
		vq->dev->ops->queue_release(vq);
	while (vq->in_flight)
		pthread_cond_wait(&vq->idle, &vq->lock);
	memset(&vq->ring, 0, sizeof(vq->ring));
	pthread_mutex_unlock(&vq->lock);
}

static void queue_clear(struct virtio_queue *vq)
{
	memset(&vq->regs, 0, sizeof(vq->regs));
	vq->regs.size = vq->max_size;
	vq->regs.vector = PCI_MSIX_NO_VECTOR;
}

static void reset_locked(struct virtio_dev *dev)
{
	if (dev->ops->quiesce)
		dev->ops->quiesce(dev);
	for (unsigned int i = 0; i < dev->num_queues; i++)
		queue_stop(&dev->queue[i]);
	if (dev->ops->reset)
		dev->ops->reset(dev);
	for (unsigned int i = 0; i < dev->num_queues; i++)
		queue_clear(&dev->queue[i]);
	if (dev->on_bus)
		pci_intx_take(&dev->pci);
	memset(&dev->regs, 0, sizeof(dev->regs));
	dev->regs.config_vector = PCI_MSIX_NO_VECTOR;
}

void virtio_dev_reset(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	reset_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

static void driver_ok(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->num_queues; i++)
		if (dev->queue[i].regs.enable)
			queue_start(&dev->queue[i]);
	if (dev->ops->driver_ok)
		dev->ops->driver_ok(dev);
	for (unsigned int i = 0; i < dev->num_queues; i++)
		if (dev->queue[i].regs.enable && !dev->queue[i].external)
			virtio_queue_rekick(&dev->queue[i]);
}

static bool features_ok(struct virtio_dev *dev)
{
	u64 f = dev->regs.driver_features;

	return !(f & ~dev->features) && (f & FEATURE(VIRTIO_F_VERSION_1)) &&
	       (!dev->ops->features_ok || dev->ops->features_ok(dev, f));
}

void virtio_dev_write_status(struct virtio_dev *dev, u8 status)
{
	u8 old = status_get(dev);

	if (!status) {
		reset_locked(dev);
		return;
	}
	/* Bits are only ever added; NEEDS_RESET is ours. */
	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	status |= old;
	if ((status & ~old & VIRTIO_CONFIG_S_FEATURES_OK) && !features_ok(dev))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	__atomic_fetch_or(&dev->regs.status, status, __ATOMIC_ACQ_REL);
	if (status & ~old & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(dev);
}

void virtio_dev_enable_queue(struct virtio_dev *dev, struct virtio_queue *vq)
{
	if (vq->regs.enable || !vq->max_size)
		return;
	vq->regs.enable = 1;
	if (!(status_get(dev) & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	queue_start(vq);
	virtio_queue_rekick(vq);
}

void virtio_dev_reset_queue(struct virtio_dev *dev, struct virtio_queue *vq)
{
	if (!virtio_dev_has(dev, VIRTIO_F_RING_RESET))
		return;
	queue_stop(vq);
	if (dev->ops->queue_reset)
		dev->ops->queue_reset(vq);
	queue_clear(vq);
}

void virtio_queue_rekick(struct virtio_queue *vq)
{
	u64 one = 1;

	/* It fails only when the counter is full: then the event is there already. */
	if (write(vq->kick_fd, &one, sizeof(one)) < 0)
		return;
}

bool virtio_queue_pop(struct virtio_queue *vq, struct virtq_elem *e)
{
	int r;

	if (!virtio_dev_live(vq->dev))
		return false;
	r = virtq_pop(&vq->ring, e);
	if (r < 0)
		virtio_dev_break(vq->dev, vq->ring.fault);
	return r > 0;
}

void virtio_queue_call(struct virtio_queue *vq)
{
	virtq_flush(&vq->ring);
	if (virtq_needs_call(&vq->ring))
		dev_raise(vq->dev, vector_get(&vq->regs.vector), ISR_QUEUE);
}

void virtio_queue_begin(struct virtio_queue *vq)
{
	vq->in_flight++;
}

void virtio_queue_end(struct virtio_queue *vq)
{
	if (!--vq->in_flight)
		pthread_cond_broadcast(&vq->idle);
}

void virtio_queue_serve(struct virtio_queue *vq, struct virtq_elem *e, unsigned int budget,
			s64 (*serve)(struct virtio_queue *vq, struct virtq_elem *e))
{
	unsigned int done = 0;
	bool stuck = false;

	do {
		virtq_disable_kicks(&vq->ring);
		while (done < budget && !stuck && virtio_queue_pop(vq, e)) {
			s64 r = serve(vq, e);

			if (r == -EAGAIN) {
				virtq_unpop(&vq->ring, e);
				stuck = true;
			} else if (r < 0) {
				virtio_dev_break(vq->dev, -1);
			} else {
				virtq_fill(&vq->ring, e, r);
				done++;
			}
		}
		virtio_queue_call(vq);
		if (done >= budget) {
			virtio_queue_rekick(vq);
			return;
		}
	} while (!stuck && virtio_dev_live(vq->dev) && virtq_enable_kicks(&vq->ring));
}
