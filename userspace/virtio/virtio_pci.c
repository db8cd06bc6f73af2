// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pci.c: the registers of a modern virtio device (virtio 1.2, chapter 4.1).
 *
 * One 32 KiB BAR holds everything:
 *
 *	0x0000  common configuration     0x1000  ISR status        0x2000  device configuration
 *	0x3000  notify area, 4 bytes a queue                       0x4000  MSI-X table   0x6000  MSI-X pending bits
 *
 * Each structure has a vendor capability that says where it is; a fifth capability is a window through configuration space
 * for firmware that cannot reach the BAR. Reads of the common structure are answered from a 64-byte image made for the
 * queue that is selected, so that any width at any offset gives the right bytes. Writes are by field: whole, or the two
 * halves of a 64-bit address; all else is ignored.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "virtio/device.h"

#define BAR		0
#define BAR_SIZE	0x8000
#define COMMON_AT	0x0000
#define COMMON_LEN	64
#define ISR_AT		0x1000
#define CONFIG_AT	0x2000
#define CONFIG_LEN	0x1000
#define NOTIFY_AT	0x3000
#define NOTIFY_STRIDE	4
#define MSIX_TABLE_AT	0x4000
#define MSIX_PBA_AT	0x6000

/* Fields of the common structure. */
enum {
	C_DEVICE_FEATURE_SELECT = 0,
	C_DEVICE_FEATURE = 4,
	C_DRIVER_FEATURE_SELECT = 8,
	C_DRIVER_FEATURE = 12,
	C_CONFIG_VECTOR = 16,
	C_NUM_QUEUES = 18,
	C_STATUS = 20,
	C_GENERATION = 21,
	C_QUEUE_SELECT = 22,
	C_QUEUE_SIZE = 24,
	C_QUEUE_VECTOR = 26,
	C_QUEUE_ENABLE = 28,
	C_QUEUE_NOTIFY_OFF = 30,
	C_QUEUE_DESC = 32,
	C_QUEUE_AVAIL = 40,
	C_QUEUE_USED = 48,
	C_QUEUE_NOTIFY_DATA = 56,
	C_QUEUE_RESET = 58,
};

static struct virtio_dev *from_pci(struct pci_dev *pci)
{
	return container_of(pci, struct virtio_dev, pci);
}

static struct virtio_queue *selected(struct virtio_dev *dev)
{
	return dev->regs.queue_select < dev->num_queues ? &dev->queue[dev->regs.queue_select] : NULL;
}

static u32 feature_word(u64 features, u32 select)
{
	return select < 2 ? features >> (32 * select) : 0;
}

static void common_image(struct virtio_dev *dev, u8 img[COMMON_LEN])
{
	const struct virtio_regs *r = &dev->regs;
	const struct virtio_queue *vq = selected(dev);

	memset(img, 0, COMMON_LEN);
	bus_put(img + C_DEVICE_FEATURE_SELECT, 4, r->device_feature_select);
	bus_put(img + C_DEVICE_FEATURE, 4, feature_word(dev->features, r->device_feature_select));
	bus_put(img + C_DRIVER_FEATURE_SELECT, 4, r->driver_feature_select);
	bus_put(img + C_DRIVER_FEATURE, 4, feature_word(r->driver_features, r->driver_feature_select));
	bus_put(img + C_CONFIG_VECTOR, 2, r->config_vector);
	bus_put(img + C_NUM_QUEUES, 2, dev->num_queues);
	bus_put(img + C_STATUS, 1, __atomic_load_n(&r->status, __ATOMIC_ACQUIRE));
	bus_put(img + C_GENERATION, 1, r->generation);
	bus_put(img + C_QUEUE_SELECT, 2, r->queue_select);
	if (!vq)
		return;
	bus_put(img + C_QUEUE_SIZE, 2, vq->regs.size);
	bus_put(img + C_QUEUE_VECTOR, 2, vq->regs.vector);
	bus_put(img + C_QUEUE_ENABLE, 2, vq->regs.enable);
	bus_put(img + C_QUEUE_NOTIFY_OFF, 2, vq->index);
	bus_put(img + C_QUEUE_DESC, 8, vq->regs.desc);
	bus_put(img + C_QUEUE_AVAIL, 8, vq->regs.avail);
	bus_put(img + C_QUEUE_USED, 8, vq->regs.used);
	bus_put(img + C_QUEUE_NOTIFY_DATA, 2, vq->index);
}

static u16 valid_vector(struct virtio_dev *dev, u64 val)
{
	return val < dev->pci.msix.count ? val : PCI_MSIX_NO_VECTOR;
}

static void write_driver_feature(struct virtio_dev *dev, u32 val)
{
	struct virtio_regs *r = &dev->regs;

	/* What was agreed stays agreed until reset. */
	if (r->driver_feature_select >= 2 || (r->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	r->driver_features &= ~(0xffffffffULL << (32 * r->driver_feature_select));
	r->driver_features |= (u64)val << (32 * r->driver_feature_select);
}

/* Both formats' limits: a split ring is a power of two, which virtq_init() checks; we only keep it in range. */
static void write_queue_size(struct virtio_queue *vq, u64 val)
{
	if (val && val <= vq->max_size && !vq->regs.enable)
		vq->regs.size = val;
}

static void write_address(struct virtio_queue *vq, unsigned int off, unsigned int len, u64 val)
{
	u64 *field = off < C_QUEUE_AVAIL ? &vq->regs.desc : off < C_QUEUE_USED ? &vq->regs.avail : &vq->regs.used;

	if (vq->regs.enable)
		return;
	if (len == 8 && off % 8 == 0)
		*field = val;
	else if (len == 4 && off % 8 == 0)
		*field = (*field & 0xffffffff00000000ULL) | val;
	else if (len == 4 && off % 8 == 4)
		*field = (*field & 0xffffffff) | val << 32;
}

static void write_queue_field(struct virtio_dev *dev, unsigned int off, unsigned int len, u64 val)
{
	struct virtio_queue *vq = selected(dev);

	if (!vq)
		return;
	if (off >= C_QUEUE_DESC && off < C_QUEUE_NOTIFY_DATA) {
		write_address(vq, off, len, val);
		return;
	}
	if (len != 2)
		return;
	switch (off) {
	case C_QUEUE_SIZE:
		write_queue_size(vq, val);
		break;
	case C_QUEUE_VECTOR:
		__atomic_store_n(&vq->regs.vector, valid_vector(dev, val), __ATOMIC_RELAXED);
		break;
	case C_QUEUE_ENABLE:
		if (val == 1)
			virtio_dev_enable_queue(dev, vq);
		break;
	case C_QUEUE_RESET:
		if (val == 1)
			virtio_dev_reset_queue(dev, vq);
		break;
	}
}

static void common_write(struct virtio_dev *dev, unsigned int off, unsigned int len, u64 val)
{
	struct virtio_regs *r = &dev->regs;

	switch (off << 4 | len) {
	case C_DEVICE_FEATURE_SELECT << 4 | 4:
		r->device_feature_select = val;
		break;
	case C_DRIVER_FEATURE_SELECT << 4 | 4:
		r->driver_feature_select = val;
		break;
	case C_DRIVER_FEATURE << 4 | 4:
		write_driver_feature(dev, val);
		break;
	case C_CONFIG_VECTOR << 4 | 2:
		__atomic_store_n(&r->config_vector, valid_vector(dev, val), __ATOMIC_RELAXED);
		break;
	case C_STATUS << 4 | 1:
		virtio_dev_write_status(dev, val);
		break;
	case C_QUEUE_SELECT << 4 | 2:
		r->queue_select = val;
		break;
	default:
		write_queue_field(dev, off, len, val);
	}
}

static void config_read(struct virtio_dev *dev, u64 off, u8 *data, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		data[i] = off + i < dev->config_len ? dev->config[off + i] : 0;
}

static void config_write(struct virtio_dev *dev, u64 off, const u8 *data, unsigned int len)
{
	bool any = false;

	if (!dev->config_mask)
		return;
	for (unsigned int i = 0; i < len && off + i < dev->config_len; i++) {
		u8 m = dev->config_mask[off + i];

		dev->config[off + i] = (dev->config[off + i] & ~m) | (data[i] & m);
		any |= m;
	}
	if (any && dev->ops->config_write)
		dev->ops->config_write(dev, off, len);
}

static void bar_read(struct pci_dev *pci, int bar, u64 off, void *data, unsigned int len)
{
	struct virtio_dev *dev = from_pci(pci);
	u8 img[COMMON_LEN];

	(void)bar;
	memset(data, 0, len);
	pthread_mutex_lock(&dev->lock);
	if (off < COMMON_LEN && len <= COMMON_LEN - off) {
		common_image(dev, img);
		memcpy(data, img + off, len);
	} else if (off == ISR_AT) {
		bus_put(data, len, pci_intx_take(pci));
	} else if (off >= CONFIG_AT && off < CONFIG_AT + CONFIG_LEN) {
		config_read(dev, off - CONFIG_AT, data, len);
	}
	pthread_mutex_unlock(&dev->lock);
}

static void notify_write(struct virtio_dev *dev, u64 off)
{
	u64 index = off / NOTIFY_STRIDE;

	if (index < dev->num_queues)
		virtio_queue_rekick(&dev->queue[index]);
}

static void bar_write(struct pci_dev *pci, int bar, u64 off, const void *data, unsigned int len)
{
	struct virtio_dev *dev = from_pci(pci);

	(void)bar;
	if (off >= NOTIFY_AT && off < MSIX_TABLE_AT) {
		notify_write(dev, off - NOTIFY_AT);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (off < COMMON_LEN && len <= COMMON_LEN - off)
		common_write(dev, off, len, bus_get(data, len));
	else if (off >= CONFIG_AT && off < CONFIG_AT + CONFIG_LEN)
		config_write(dev, off - CONFIG_AT, data, len);
	pthread_mutex_unlock(&dev->lock);
}

/* The window in configuration space: where it points now, or false when that is nothing of ours. */
static bool window(struct pci_dev *pci, u64 *off, unsigned int *len)
{
	const u8 *cap = pci->config + from_pci(pci)->pci_cfg_cap;

	*off = bus_get(cap + offsetof(struct virtio_pci_cap, offset), 4);
	*len = bus_get(cap + offsetof(struct virtio_pci_cap, length), 4);
	return cap[offsetof(struct virtio_pci_cap, bar)] == BAR && (*len == 1 || *len == 2 || *len == 4) &&
	       *off % *len == 0 && *off < MSIX_TABLE_AT;
}

static bool touches_window(struct pci_dev *pci, unsigned int off, unsigned int len)
{
	unsigned int at = from_pci(pci)->pci_cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return off < at + 4 && off + len > at;
}

static void pci_config_read(struct pci_dev *pci, unsigned int off, unsigned int len)
{
	u8 *data = pci->config + from_pci(pci)->pci_cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	unsigned int n;
	u64 at;

	if (touches_window(pci, off, len) && window(pci, &at, &n))
		bar_read(pci, BAR, at, data, n);
}

static void pci_config_write(struct pci_dev *pci, unsigned int off, unsigned int len)
{
	u8 *data = pci->config + from_pci(pci)->pci_cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	unsigned int n;
	u64 at;

	if (touches_window(pci, off, len) && window(pci, &at, &n))
		bar_write(pci, BAR, at, data, n);
}

static int add_cap(struct virtio_dev *dev, u8 type, u32 at, u32 len, unsigned int size, u32 extra)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {
			.cap_len = size,
			.cfg_type = type,
			.bar = type == VIRTIO_PCI_CAP_PCI_CFG ? 0 : BAR,
			.offset = htole32(at),
			.length = htole32(len),
		},
		.notify_off_multiplier = htole32(extra),
	};

	return pci_dev_add_cap(&dev->pci, PCI_CAP_VENDOR, &cap, size);
}

int virtio_pci_describe(struct virtio_dev *dev)
{
	int r = pci_dev_add_bar(&dev->pci, BAR, BAR_SIZE);
	u8 *mask;

	if (!r)
		r = pci_dev_add_msix(&dev->pci, BAR, MSIX_TABLE_AT, MSIX_PBA_AT, dev->num_queues + 1);
	if (!r)
		r = add_cap(dev, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, COMMON_LEN, sizeof(struct virtio_pci_cap), 0);
	if (r >= 0)
		r = add_cap(dev, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, 4, sizeof(struct virtio_pci_cap), 0);
	if (r >= 0)
		r = add_cap(dev, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, NOTIFY_STRIDE * dev->num_queues,
			    sizeof(struct virtio_pci_notify_cap), NOTIFY_STRIDE);
	if (r >= 0 && dev->config_len)
		r = add_cap(dev, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG_AT, dev->config_len, sizeof(struct virtio_pci_cap),
			    0);
	if (r >= 0)
		r = add_cap(dev, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, sizeof(struct virtio_pci_cfg_cap), 0);
	if (r < 0)
		return r;
	dev->pci_cfg_cap = r;
	mask = dev->pci.wmask + r;
	mask[offsetof(struct virtio_pci_cap, bar)] = 0xff;
	memset(mask + offsetof(struct virtio_pci_cap, offset), 0xff, 8);
	memset(mask + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), 0xff, 4);
	return 0;
}

int virtio_pci_doorbells(struct virtio_dev *dev)
{
	/* Of any length where the hypervisor can do that: then it need not even decode the guest's instruction. */
	unsigned int len = dev->pci.bus->kvm->has_ioeventfd_any ? 0 : 2;
	int r = 0;

	for (unsigned int i = 0; i < dev->num_queues && !r; i++)
		r = pci_doorbell_add(&dev->pci, BAR, NOTIFY_AT + NOTIFY_STRIDE * i, len, NULL, dev->queue[i].kick_fd);
	return r;
}

static void reset(struct pci_dev *pci)
{
	virtio_dev_reset(from_pci(pci));
}

static void destroy(struct pci_dev *pci)
{
	struct virtio_dev *dev = from_pci(pci);

	dev->ops->destroy(dev);
}

const struct pci_dev_ops virtio_pci_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.config_read = pci_config_read,
	.config_write = pci_config_write,
	.reset = reset,
	.destroy = destroy,
};
