/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: one root bus with up to 32 single-function devices, reached through ECAM and through the
 * ports 0xCF8/0xCFC.
 *
 * A device embeds `struct pci_dev`, describes itself (BARs, capabilities, MSI-X), and joins the
 * bus, which gives it a slot and addresses for its BARs; the guest may move them. All BARs are
 * 64-bit memory BARs and take two BAR numbers (0, 2 or 4). Interrupts are MSI-X, or INTA# for a
 * guest that leaves MSI-X off.
 *
 * Locks: configuration space is handled under the bus's lock, and the config hooks run under it.
 * bar_read/bar_write run on the vCPU's thread without a lock. pci_msix_raise() and
 * pci_intx_*() may be called from any thread. Order: bus lock, then the device's MSI-X lock, then
 * the bus's INTx lock, then irq's.
 */
#ifndef BOARD_PCI_H
#define BOARD_PCI_H

#include <pthread.h>

#include "board/bus.h"
#include "board/irq.h"
#include "board/kvm.h"

#define PCI_ECAM_BASE 0xe0000000ULL
#define PCI_ECAM_SIZE (1 * MIB)
#define PCI_MMIO_BASE 0xc0000000ULL
#define PCI_MMIO_SIZE (512 * MIB)

#define PCI_SLOTS 32
#define PCI_CONFIG_SIZE 256
#define PCI_BARS 6
#define PCI_MSIX_MAX 64
#define PCI_DOORBELLS 72
#define PCI_INTX_PINS 8

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX 0x11
#define PCI_MSIX_NO_VECTOR 0xffff

struct pci_dev;
struct pci_bus;

struct pci_dev_ops {
	/* Accesses to a BAR outside the MSI-X table and PBA. len is 1, 2, 4 or 8. */
	void (*bar_read)(struct pci_dev *dev, int bar, u64 off, void *data, unsigned int len);
	void (*bar_write)(struct pci_dev *dev, int bar, u64 off, const void *data,
			  unsigned int len);
	/* Optional: before a config read is answered / after a config write was stored. */
	void (*config_read)(struct pci_dev *dev, unsigned int off, unsigned int len);
	void (*config_write)(struct pci_dev *dev, unsigned int off, unsigned int len);
	/* Optional: an MSI-X vector went from masked to unmasked or back. */
	void (*msix_mask)(struct pci_dev *dev, unsigned int vec, bool masked);
	/* Back to power-on state. vCPUs are stopped; in-flight I/O must be waited for. */
	void (*reset)(struct pci_dev *dev);
	/* Frees the device. vCPUs and loop are gone. */
	void (*destroy)(struct pci_dev *dev);
};

struct pci_id {
	u16 vendor, device;
	u16 subsys_vendor, subsys;
	u32 class_code;		/* 24 bits: class, subclass, interface */
	u8 revision;
};

struct pci_bar {
	u64 size;		/* 0: not there */
	u64 addr;		/* where it is mapped now */
	u64 home;		/* where the bus puts it at reset */
	bool mapped;
	int nr;
	struct pci_dev *dev;
};

struct pci_doorbell {
	struct kvm_doorbell d;	/* d.addr is filled while active */
	u64 off;
	int bar;
	bool used, active;
};

struct pci_msix_vector {
	u64 addr;
	u32 data;
	bool masked;		/* the entry's own bit */
	bool pending;
	int fd;			/* eventfd, -1 until asked for */
	int gsi;		/* route of the fd, -1 */
	bool hooked;		/* fd is an irqfd now */
};

struct pci_msix {
	pthread_mutex_t lock;
	unsigned int count;	/* 0: no MSI-X */
	unsigned int cap;	/* config offset */
	int bar;
	u32 table, pba;		/* offsets in the BAR */
	bool enabled, all_masked;
	struct pci_msix_vector *vec;
};

struct pci_intx {		/* the bus's INTx lock */
	u8 causes;		/* not yet taken by the guest */
	u8 blocked;		/* why the line stays low: INTX_BLOCK_* */
	bool asserted;
};

struct pci_dev {
	const struct pci_dev_ops *ops;
	struct pci_bus *bus;
	const char *name;
	u8 slot;
	bool hidden;			/* bus lock; gone for the guest, not yet freed */
	u8 config[PCI_CONFIG_SIZE];	/* bus lock */
	u8 wmask[PCI_CONFIG_SIZE];	/* writable bits */
	u8 initial[PCI_CONFIG_SIZE];	/* config at reset */
	unsigned int next_cap;		/* first free byte for capabilities */
	unsigned int last_cap;
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	struct pci_intx intx;
	struct pci_doorbell doorbell[PCI_DOORBELLS];	/* bus lock */
};

struct pci_bus {
	pthread_mutex_t lock;
	struct kvm *kvm;
	struct bus *pio, *mmio;
	struct irq *irq;
	struct pci_dev *dev[PCI_SLOTS];
	u32 address;		/* the 0xCF8 latch */
	pthread_mutex_t intx_lock;
	unsigned int intx_users[PCI_INTX_PINS];	/* intx_lock: devices that assert the pin */
	u8 host_config[PCI_CONFIG_SIZE];
};

int pci_bus_init(struct pci_bus *bus, struct kvm *kvm, struct bus *pio, struct bus *mmio,
		 struct irq *irq, struct err *e);
/* Destroys every device on the bus. */
void pci_bus_fini(struct pci_bus *bus);
/* Takes mappings and doorbells out of the present VM; call before it is closed. */
void pci_bus_unmap(struct pci_bus *bus);
/* Resets every device and maps BARs anew, in a fresh VM. */
int pci_bus_reset(struct pci_bus *bus, struct err *e);

/* Step 1: identity. dev must be zeroed memory. ops and name must outlive it. */
void pci_dev_init(struct pci_dev *dev, const char *name, const struct pci_id *id,
		  const struct pci_dev_ops *ops);
/* Step 2: what it has. size is a power of two, at least 4 KiB; bar is 0, 2 or 4. */
int pci_dev_add_bar(struct pci_dev *dev, int bar, u64 size);
/* Appends a capability of len bytes (header included, its two bytes are filled in here).
 * Returns its offset in configuration space, or -ENOSPC. Read-only to the guest unless its
 * bytes of dev->wmask are set afterwards. */
int pci_dev_add_cap(struct pci_dev *dev, u8 id, const void *cap, unsigned int len);
/* MSI-X with count vectors; table and PBA lie in that BAR at the given offsets. */
int pci_dev_add_msix(struct pci_dev *dev, int bar, u32 table, u32 pba, unsigned int count);
/* Step 3: on the bus, with ops->destroy as its end. Main thread. */
int pci_bus_add(struct pci_bus *bus, struct pci_dev *dev, struct err *e);
/* The guest no longer sees what is in that slot. False: nothing is. Any thread. */
bool pci_slot_hide(struct pci_bus *bus, unsigned int slot);
/* Hides the device and destroys it. Main thread; no vCPU runs. */
void pci_bus_remove(struct pci_bus *bus, struct pci_dev *dev);
/* Frees what steps 2 and 3 allocated; for ops->destroy, and for devices that never joined. */
void pci_dev_fini(struct pci_dev *dev);

/*
 * Writes of len bytes (0: any) at off of the BAR signal fd. Follows the BAR when it moves.
 * match: NULL or the one value that counts. Returns 0 or -errno.
 */
int pci_doorbell_add(struct pci_dev *dev, int bar, u64 off, unsigned int len, const u64 *match,
		     int fd);
void pci_doorbell_remove(struct pci_dev *dev, int fd);

/* Adds causes to those that the guest is to be told of by INTA#. Only on the bus. Any thread. */
void pci_intx_raise(struct pci_dev *dev, u8 causes);
/* The guest has asked: answers the causes and forgets them, and the line falls. Any thread. */
u8 pci_intx_take(struct pci_dev *dev);

/* Raises a vector, or notes it as pending while masked. No-op for vec >= count. Any thread. */
void pci_msix_raise(struct pci_dev *dev, unsigned int vec);
/* True when MSI-X is enabled by the guest. */
bool pci_msix_enabled(struct pci_dev *dev);
/* An eventfd whose signal raises the vector, for writers outside the VMM. The fd stays the
 * device's; it is made on first use. Masked: signals are kept and delivered at unmask. -errno. */
int pci_msix_fd(struct pci_dev *dev, unsigned int vec);

#endif
