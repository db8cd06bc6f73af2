/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device.h: a virtio 1.x device over PCI, without saying which.
 *
 * A device type embeds `struct virtio_dev`, fills in its features, configuration bytes and queues, and joins the PCI bus.
 * This layer owns negotiation, status, queue set-up, doorbells, interrupts and reset; the type owns what its requests mean.
 *
 * Threads and locks. Registers are accessed on vCPU threads under dev->lock. A queue's ring is touched only under its own
 * vq->lock, by whoever serves it: normally the event loop the queue was bound to, woken by the queue's doorbell. Order:
 * dev->lock before vq->lock; of two queues, the one that takes from the guest before the one that gives to it (transmit
 * before receive). Code that holds a vq->lock never takes dev->lock: the status bit NEEDS_RESET is therefore set
 * atomically.
 *
 * Reset: every queue is stopped first, which means that no handler runs, none will run, and every asynchronous request
 * has come back (vq->in_flight is 0); only then does the type's reset() run.
 *
 * What the guest does wrong ends in virtio_dev_break(): NEEDS_RESET, a count, and silence until it resets the device.
 */
#ifndef LODGE_VIRTIO_DEVICE_H
#define LODGE_VIRTIO_DEVICE_H

#include <pthread.h>

#include "board/board.h"
#include "common/err.h"
#include "common/loop.h"
#include "virtio/queue.h"

/* Interrupt vectors are one for the configuration and one per queue. */
#define VIRTIO_QUEUES_MAX (PCI_MSIX_MAX - 1)

/* Options common to all device types. */
#define VIRTIO_OPT_PACKED	(1u << 0)	/* offer packed rings */
#define VIRTIO_OPT_NO_EVENT_IDX	(1u << 1)
#define VIRTIO_OPT_NO_INDIRECT	(1u << 2)

struct virtio_dev;
struct virtio_queue;

struct virtio_ops {
	/* All features are agreed and DRIVER_OK is set: queues that are enabled are about to run. dev->lock held. */
	void (*driver_ok)(struct virtio_dev *dev);
	/* The guest wrote to the configuration bytes, which are already stored where config_mask allows. dev->lock held. */
	void (*config_write)(struct virtio_dev *dev, unsigned int off, unsigned int len);
	/* Whether this set of features is one the device can run with. Optional. */
	bool (*features_ok)(struct virtio_dev *dev, u64 features);
	/* Forget the guest. All queues are stopped, or this queue alone. dev->lock held. */
	void (*reset)(struct virtio_dev *dev);
	void (*queue_reset)(struct virtio_queue *vq);
	/* The queue is being stopped: bring back chains that would not come back by themselves. vq->lock held. Optional. */
	void (*queue_release)(struct virtio_queue *vq);
	/* A reset is asked for and the queues still run: take back those of an outside server (vhost). dev->lock held. Optional. */
	void (*quiesce)(struct virtio_dev *dev);
	/* Free the device; virtio_dev_fini() is the type's to call. */
	void (*destroy)(struct virtio_dev *dev);
};

/* What the guest set of a queue: its registers. */
struct virtio_queue_regs {
	u64 desc, avail, used;
	u16 size;
	u16 vector;
	u16 enable;
	u16 pad;
};

struct virtio_queue {
	struct virtio_dev *dev;
	u16 index;
	u16 max_size;
	u16 max_segments;
	struct virtio_queue_regs regs;	/* dev->lock */

	pthread_mutex_t lock;
	pthread_cond_t idle;		/* in_flight became 0 */
	struct virtq ring;		/* lock */
	bool running;			/* lock */
	unsigned int in_flight;		/* lock; chains that a later event completes */
	void (*handle)(struct virtio_queue *vq);	/* called with lock */
	void *priv;			/* the type's */

	int kick_fd;
	struct loop_source source;	/* kick_fd in the loop it was bound to */
	bool external;			/* another server (vhost) takes kick_fd and the ring */
	int call_fd;			/* -1 until virtio_queue_forward() */
	struct loop_source call_source;
};

/* The device's registers: what a saved guest needs besides queues and configuration bytes. */
struct virtio_regs {
	u64 driver_features;
	u32 device_feature_select;
	u32 driver_feature_select;
	u16 config_vector;
	u16 queue_select;
	u8 status;			/* atomic: see above */
	u8 generation;
	u8 pad[2];
};

struct virtio_dev {
	struct pci_dev pci;
	const struct virtio_ops *ops;
	struct guest_mem *mem;
	struct virtq_mem accessor;
	u16 type;			/* VIRTIO_ID_* */
	u64 features;			/* offered */
	char name[24];

	pthread_mutex_t lock;
	struct virtio_regs regs;	/* lock */
	u8 *config;			/* lock; device-specific configuration, little-endian */
	const u8 *config_mask;		/* which of its bits the guest may write; NULL: none */
	unsigned int config_len;
	u64 faults;			/* atomic; guest errors since creation */
	int last_fault;			/* enum virtq_fault, or -1 for one of the device type's */

	struct virtio_queue *queue;
	unsigned int num_queues;
	unsigned int pci_cfg_cap;	/* offset of the PCI configuration access capability */
	bool on_bus;
};

/*
 * Step 1, on zeroed memory: type, offered features (without the ring's own, which opts decide), queues. -ENOMEM, or what
 * eventfd() said. On failure virtio_dev_fini() still has to be called.
 */
int virtio_dev_init(struct virtio_dev *dev, const char *name, u16 type, u32 pci_class, u64 features, unsigned int opts,
		    const struct virtio_ops *ops, struct guest_mem *mem, unsigned int num_queues, struct err *e);
void virtio_dev_set_config(struct virtio_dev *dev, void *config, const void *mask, unsigned int len);
/* Describe queue `index`; handle() is called when the guest kicks it. */
struct virtio_queue *virtio_dev_set_queue(struct virtio_dev *dev, unsigned int index, u16 max_size, u16 max_segments,
					  void (*handle)(struct virtio_queue *vq));
/* Serve the queue's doorbell in that loop. On the loop's thread or before it runs. */
int virtio_queue_bind(struct virtio_queue *vq, struct loop *loop);
void virtio_queue_unbind(struct virtio_queue *vq, struct loop *loop);
/* For a queue with another server: prepares what virtio_queue_call_fd() needs. On the loop's thread or before it runs. */
int virtio_queue_forward(struct virtio_queue *vq, struct loop *loop);
/*
 * What that server signals to interrupt the guest: the queue's MSI-X vector, or, while the guest has MSI-X off, a descriptor
 * whose signals the loop turns into INTA#. -1: the guest wants no interrupt. With dev->lock.
 */
int virtio_queue_call_fd(struct virtio_queue *vq);
/* Step 2: join the bus. From here on pci.ops->destroy ends the device. */
int virtio_dev_add(struct virtio_dev *dev, struct pci_bus *bus, struct err *e);
/* Threads of the type must have ended. Does not free dev. */
void virtio_dev_fini(struct virtio_dev *dev);

bool virtio_dev_has(const struct virtio_dev *dev, unsigned int feature);
bool virtio_dev_live(const struct virtio_dev *dev);
/* The guest broke a rule. Any thread, with or without a queue's lock. */
void virtio_dev_break(struct virtio_dev *dev, int fault);
/* Tell the guest that configuration bytes changed; call with dev->lock held, after changing them. */
void virtio_dev_config_changed(struct virtio_dev *dev);
/* As at power-on. */
void virtio_dev_reset(struct virtio_dev *dev);

/* Publish what was filled, and interrupt when the guest wants it. With vq->lock. */
void virtio_queue_call(struct virtio_queue *vq);
/* Pop, and break the device when the ring is bad. True: *e is a chain. With vq->lock. */
bool virtio_queue_pop(struct virtio_queue *vq, struct virtq_elem *e);
/* Have handle() called again soon, from the queue's own loop. Any thread. */
void virtio_queue_rekick(struct virtio_queue *vq);
/* An asynchronous chain began or came back. With vq->lock. */
void virtio_queue_begin(struct virtio_queue *vq);
void virtio_queue_end(struct virtio_queue *vq);

/*
 * Serve a queue whose requests complete at once: serve() answers the bytes written, or -EAGAIN when it cannot go on now
 * (the chain goes back, and somebody must rekick), or -EPROTO when the request is malformed (the device breaks). At most
 * `budget` chains, then the loop gets its turn and handle() is called again. With vq->lock.
 */
void virtio_queue_serve(struct virtio_queue *vq, struct virtq_elem *e, unsigned int budget,
			s64 (*serve)(struct virtio_queue *vq, struct virtq_elem *e));

/* virtio_pci.c: registers. */
extern const struct pci_dev_ops virtio_pci_ops;
int virtio_pci_describe(struct virtio_dev *dev);
int virtio_pci_doorbells(struct virtio_dev *dev);
/* device.c, for virtio_pci.c, with dev->lock: writes of the status, and of a queue's enable and reset registers. */
void virtio_dev_write_status(struct virtio_dev *dev, u8 status);
void virtio_dev_enable_queue(struct virtio_dev *dev, struct virtio_queue *vq);
void virtio_dev_reset_queue(struct virtio_dev *dev, struct virtio_queue *vq);

#endif
