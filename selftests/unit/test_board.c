// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest memory, buses, PCI configuration, MSI-X, the serial port and the clock, without a VM: the
 * hypervisor's calls fail there, and nothing tested here depends on them.
 *
 * LINK: userspace/board/mem.c userspace/board/bus.c userspace/board/pci.c userspace/board/msix.c userspace/board/intx.c userspace/board/hotplug.c
 * LINK: userspace/board/irq.c userspace/board/kvm.c userspace/dev/serial.c userspace/dev/rtc.c
 * LINK: userspace/common/err.c userspace/common/log.c userspace/common/loop.c
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "board/board.h"
#include "dev/rtc.h"
#include "dev/serial.h"

static struct kvm kvm = { .dev = -1, .vm = -1 };
static struct bus pio, mmio;
static struct irq irq;
static struct pci_bus pci;
static struct guest_mem mem;
static struct board board;
static struct err e;

static void setup(void)
{
	bus_init(&pio, "pio");
	bus_init(&mmio, "mmio");
	irq_init(&irq, &kvm);
	ck_assert_int_eq(pci_bus_init(&pci, &kvm, &pio, &mmio, &irq, &e), 0);
	board = (struct board){ &kvm, &mem, &pio, &mmio, &irq, &pci, loop_create(), NULL };
}

static void teardown(void)
{
	pci_bus_fini(&pci);
	irq_fini(&irq);
	bus_fini(&pio);
	bus_fini(&mmio);
	loop_destroy(board.loop);
}

/* ---- memory ---- */

START_TEST(mem_ptr_stays_inside_one_region)
{
	ck_assert_int_eq(mem_init(&mem, 4 * GIB, &e), 0);
	ck_assert_uint_eq(mem.count, 2);
	ck_assert_ptr_nonnull(mem_ptr(&mem, 0, MEM_LOW_END));
	ck_assert_ptr_null(mem_ptr(&mem, 0, MEM_LOW_END + 1));
	ck_assert_ptr_null(mem_ptr(&mem, MEM_LOW_END - 4, 8));
	ck_assert_ptr_null(mem_ptr(&mem, MEM_LOW_END, 1));
	ck_assert_ptr_nonnull(mem_ptr(&mem, MEM_HIGH_START, GIB));
	ck_assert_ptr_null(mem_ptr(&mem, MEM_HIGH_START, GIB + 1));
	ck_assert_ptr_null(mem_ptr(&mem, ~0ULL - 3, 8));
	ck_assert_ptr_null(mem_ptr(&mem, 4096, ~0ULL));
	mem_fini(&mem);
}
END_TEST

START_TEST(mem_write_marks_pages_dirty)
{
	ck_assert_int_eq(mem_init(&mem, 16 * MIB, &e), 0);
	mem.dirty = calloc(1, 16 * MIB / 4096 / 8);
	ck_assert_int_eq(mem_write(&mem, 3 * 4096 - 1, "ab", 2), 0);
	ck_assert_uint_eq(mem.dirty[0], 3 << 2);
	ck_assert_int_eq(mem_write(&mem, 16 * MIB - 1, "ab", 2), -EFAULT);
	mem_fini(&mem);
}
END_TEST

/* ---- buses ---- */

static u64 last_off;

static void probe_read(void *ctx, u64 off, void *data, unsigned int len)
{
	last_off = off;
	bus_put(data, len, (uintptr_t)ctx);
}

static void probe_write(void *ctx, u64 off, const void *data, unsigned int len)
{
	(void)ctx;
	(void)data;
	(void)len;
	last_off = off;
}

static const struct bus_ops probe = { probe_read, probe_write };

START_TEST(bus_finds_who_answers)
{
	u32 v = 0;

	ck_assert_int_eq(bus_add(&mmio, 0x1000, 0x100, &probe, (void *)1), 0);
	ck_assert_int_eq(bus_add(&mmio, 0x1100, 0x100, &probe, (void *)2), 0);
	ck_assert_int_eq(bus_add(&mmio, 0x10ff, 2, &probe, NULL), -EBUSY);
	ck_assert_int_eq(bus_add(&mmio, 0xfff, 2, &probe, NULL), -EBUSY);
	ck_assert_int_eq(bus_add(&mmio, 0x5000, 0, &probe, NULL), -EINVAL);
	ck_assert_int_eq(bus_add(&mmio, ~0ULL, 2, &probe, NULL), -EINVAL);
	ck_assert(bus_read(&mmio, 0x1104, &v, 4));
	ck_assert_uint_eq(v, 2);
	ck_assert_uint_eq(last_off, 4);
	ck_assert(!bus_read(&mmio, 0x10fe, &v, 4));	/* crosses the end */
	ck_assert_uint_eq(v, 0xffffffff);
	bus_remove(&mmio, 0x1100);
	ck_assert(!bus_write(&mmio, 0x1104, &v, 4));
}
END_TEST

/* ---- PCI ---- */

static void bar_read(struct pci_dev *dev, int bar, u64 off, void *data, unsigned int len)
{
	(void)dev;
	bus_put(data, len, 0x1000 * bar + off);
}

static void bar_write(struct pci_dev *dev, int bar, u64 off, const void *data, unsigned int len)
{
	(void)dev;
	(void)bar;
	(void)data;
	(void)len;
	last_off = off;
}

static void dev_destroy(struct pci_dev *dev)
{
	pci_dev_fini(dev);
	free(dev);
}

static const struct pci_dev_ops dev_ops = { .bar_read = bar_read, .bar_write = bar_write,
					    .destroy = dev_destroy };
static const struct pci_id id = { 0x1af4, 0x1041, 0x1af4, 1, 0x020000, 1 };

static struct pci_dev *add_dev(void)
{
	struct pci_dev *dev = calloc(1, sizeof(*dev));

	pci_dev_init(dev, "test", &id, &dev_ops);
	ck_assert_int_eq(pci_dev_add_bar(dev, 0, 0x4000), 0);
	ck_assert_int_eq(pci_dev_add_bar(dev, 1, 0x4000), -EINVAL);
	ck_assert_int_eq(pci_dev_add_bar(dev, 2, 0x3000), -EINVAL);
	ck_assert_int_eq(pci_dev_add_msix(dev, 0, 0x2000, 0x3000, 3), 0);
	ck_assert_int_eq(pci_bus_add(&pci, dev, &e), 0);
	return dev;
}

static u32 cfg_read(struct pci_dev *dev, u32 off)
{
	u32 v = 0;

	bus_read(&mmio, PCI_ECAM_BASE + (dev->slot << 15) + off, &v, 4);
	return v;
}

static void cfg_write(struct pci_dev *dev, u32 off, u32 v)
{
	bus_write(&mmio, PCI_ECAM_BASE + (dev->slot << 15) + off, &v, 4);
}

START_TEST(pci_config_is_the_same_through_ports)
{
	struct pci_dev *dev = add_dev();
	u32 addr = 0x80000000 | dev->slot << 11, v = 0;

	ck_assert_uint_eq(cfg_read(dev, 0), 0x10411af4);
	bus_write(&pio, 0xcf8, &addr, 4);
	bus_read(&pio, 0xcfc, &v, 4);
	ck_assert_uint_eq(v, 0x10411af4);
	cfg_write(dev, 0, 0);
	ck_assert_uint_eq(cfg_read(dev, 0), 0x10411af4);
	addr = 0x80000000 | 20 << 11;
	bus_write(&pio, 0xcf8, &addr, 4);
	bus_read(&pio, 0xcfc, &v, 4);
	ck_assert_uint_eq(v, 0xffffffff);
}
END_TEST

START_TEST(pci_bar_can_be_sized_and_moved)
{
	struct pci_dev *dev = add_dev();
	u64 home = dev->bar[0].home;
	u32 v = 0;

	ck_assert(bus_read(&mmio, home + 8, &v, 4));
	ck_assert_uint_eq(v, 8);
	cfg_write(dev, 0x10, 0xffffffff);
	ck_assert_uint_eq(cfg_read(dev, 0x10), 0xffffc004);
	cfg_write(dev, 0x10, 0xd0000000);
	cfg_write(dev, 0x14, 0);
	ck_assert(bus_read(&mmio, 0xd0000010, &v, 4));
	ck_assert_uint_eq(v, 0x10);
	ck_assert(!bus_read(&mmio, home + 8, &v, 4));
	cfg_write(dev, 4, 0);
	ck_assert(!bus_read(&mmio, 0xd0000010, &v, 4));
	ck_assert_int_eq(pci_bus_reset(&pci, &e), 0);
	ck_assert(bus_read(&mmio, home + 8, &v, 4));
}
END_TEST

static unsigned int ejected[PCI_SLOTS];

static void on_eject(void *ctx, unsigned int slot)
{
	(void)ctx;
	ejected[slot]++;
	pci_bus_remove(&pci, pci.dev[slot]);
}

static u32 port(u64 at)
{
	u32 v = 0;

	bus_read(&pio, at, &v, 4);
	return v;
}

/* What a guest does: told of a slot, it looks; asked, it lets go; then nothing answers there. */
START_TEST(devices_come_and_go)
{
	struct hotplug *h = hotplug_create(&pio, &irq, &pci, board.loop, &e);
	struct pci_dev *dev = add_dev();
	unsigned int slot = dev->slot;
	u64 home = dev->bar[0].home;
	u32 mask = 1U << slot, other = 1U << 31 | 1;

	ck_assert_ptr_nonnull(h);
	hotplug_on_eject(h, on_eject, NULL);
	hotplug_changed(h, slot);
	ck_assert_uint_eq(port(0x610), mask);
	ck_assert_uint_eq(port(0x610), 0);
	hotplug_ask(h, slot);
	ck_assert_uint_eq(port(0x614), mask);
	ck_assert_uint_eq(port(0x614), 0);
	/* Slots without a device, and the host bridge's, are nothing to eject. */
	bus_write(&pio, 0x618, &other, 4);
	loop_run_once(board.loop, 0);
	ck_assert_uint_eq(ejected[31] + ejected[0], 0);
	bus_write(&pio, 0x618, &mask, 4);
	bus_write(&pio, 0x618, &mask, 4);
	ck_assert_uint_eq(cfg_read(dev, 0), 0xffffffff);
	ck_assert(!dev->bar[0].mapped);
	loop_run_once(board.loop, 0);
	ck_assert_uint_eq(ejected[slot], 1);
	/* Its slot and its addresses are free again, however often. */
	for (int i = 0; i < 40000; i++) {
		dev = add_dev();
		ck_assert_uint_eq(dev->slot, slot);
		ck_assert_uint_eq(dev->bar[0].home, home);
		ck_assert(dev->bar[0].mapped);
		pci_bus_remove(&pci, dev);
	}
	hotplug_destroy(h);
}
END_TEST

START_TEST(pci_bar_cannot_leave_the_window)
{
	struct pci_dev *dev = add_dev();
	u32 v;

	cfg_write(dev, 0x10, 0x10000000);
	ck_assert(!bus_read(&mmio, 0x10000000, &v, 4));
	cfg_write(dev, 0x10, PCI_ECAM_BASE);
	ck_assert(!dev->bar[0].mapped);
}
END_TEST

START_TEST(msix_masked_interrupt_is_pending_until_unmasked)
{
	struct pci_dev *dev = add_dev();
	u64 table = dev->bar[0].addr + 0x2000, pba = dev->bar[0].addr + 0x3000, bits = 0;
	u32 zero = 0, addr = 0xfee00000;

	pci_msix_raise(dev, 1);
	bus_read(&mmio, pba, &bits, 8);
	ck_assert_uint_eq(bits, 0);	/* not enabled: lost */
	cfg_write(dev, dev->msix.cap, cfg_read(dev, dev->msix.cap) | 0x80000000);
	ck_assert(pci_msix_enabled(dev));
	pci_msix_raise(dev, 1);
	pci_msix_raise(dev, 99);
	bus_read(&mmio, pba, &bits, 8);
	ck_assert_uint_eq(bits, 2);
	bus_write(&mmio, table + 16, &addr, 4);
	bus_write(&mmio, table + 16 + 12, &zero, 4);
	bus_read(&mmio, pba, &bits, 8);
	ck_assert_uint_eq(bits, 0);
	bus_read(&mmio, table + 16, &addr, 4);
	ck_assert_uint_eq(addr, 0xfee00000);
	pci_bus_unmap(&pci);
	ck_assert(!pci_msix_enabled(dev));
}
END_TEST

START_TEST(intx_is_high_while_a_cause_is_not_taken)
{
	struct pci_dev *dev = add_dev();

	ck_assert_uint_eq(cfg_read(dev, 0x3c) & 0xffff, 0x100 | (16 + dev->slot % 8));
	ck_assert_uint_eq(cfg_read(dev, 4) & 0x80000, 0);
	pci_intx_raise(dev, 1);
	pci_intx_raise(dev, 2);
	ck_assert(dev->intx.asserted);
	ck_assert_uint_eq(cfg_read(dev, 4) & 0x80000, 0x80000);
	ck_assert_uint_eq(pci_intx_take(dev), 3);
	ck_assert(!dev->intx.asserted);
	ck_assert_uint_eq(cfg_read(dev, 4) & 0x80000, 0);
	ck_assert_uint_eq(pci_intx_take(dev), 0);
}
END_TEST

START_TEST(intx_disable_and_msix_hold_the_line_low)
{
	struct pci_dev *dev = add_dev();
	u32 msix = cfg_read(dev, dev->msix.cap);

	pci_intx_raise(dev, 1);
	cfg_write(dev, 4, 0x402);
	ck_assert(!dev->intx.asserted);
	ck_assert_uint_eq(cfg_read(dev, 4) & 0x80000, 0x80000);	/* the status bit does not care */
	cfg_write(dev, 4, 2);
	ck_assert(dev->intx.asserted);
	cfg_write(dev, dev->msix.cap, msix | 0x80000000);
	ck_assert(!dev->intx.asserted);
	ck_assert_uint_eq(cfg_read(dev, 4) & 0x80000, 0);
	cfg_write(dev, dev->msix.cap, msix);
	ck_assert(dev->intx.asserted);
	pci_bus_unmap(&pci);
	ck_assert(!dev->intx.asserted);
}
END_TEST

START_TEST(intx_pin_is_high_while_any_of_its_devices_asserts)
{
	struct pci_dev *dev[9];
	unsigned int i, pin;

	for (i = 0; i < 9; i++)
		dev[i] = add_dev();
	pin = dev[0]->slot % PCI_INTX_PINS;
	ck_assert_uint_eq(dev[8]->slot % PCI_INTX_PINS, pin);
	pci_intx_raise(dev[0], 1);
	pci_intx_raise(dev[8], 1);
	pci_intx_raise(dev[1], 1);
	ck_assert_uint_eq(pci.intx_users[pin], 2);
	pci_intx_take(dev[0]);
	ck_assert_uint_eq(pci.intx_users[pin], 1);
	pci_intx_take(dev[8]);
	ck_assert_uint_eq(pci.intx_users[pin], 0);
	ck_assert(dev[1]->intx.asserted);
}
END_TEST

/* ---- chips ---- */

static char sent[64];
static size_t sent_len;

static void sink(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	memcpy(sent + sent_len, data, len);
	sent_len += len;
}

static u8 in(u16 port)
{
	u8 v = 0;

	bus_read(&pio, port, &v, 1);
	return v;
}

static void out(u16 port, u8 v)
{
	bus_write(&pio, port, &v, 1);
}

START_TEST(serial_sends_and_receives)
{
	struct serial *s = serial_create(&board, 0x3f8, 4, sink, NULL, NULL, &e);
	char many[100] = "xy";

	sent_len = 0;
	out(0x3f8, 'A');
	ck_assert_uint_eq(sent_len, 1);
	ck_assert_int_eq(sent[0], 'A');
	out(0x3fb, 0x80);
	out(0x3f8, 1);		/* divisor, not data */
	out(0x3fb, 0x03);
	ck_assert_uint_eq(sent_len, 1);
	ck_assert_uint_eq(serial_input(s, many, sizeof(many)), 64);
	ck_assert_int_eq(in(0x3fd) & 1, 1);
	ck_assert_int_eq(in(0x3f8), 'x');
	ck_assert_int_eq(in(0x3f8), 'y');
	out(0x3fa, 3);
	ck_assert_int_eq(in(0x3fd) & 1, 0);
	serial_destroy(s);
}
END_TEST

START_TEST(serial_interrupts_say_their_cause)
{
	struct serial *s = serial_create(&board, 0x3f8, 4, sink, NULL, NULL, &e);

	ck_assert_int_eq(in(0x3fa) & 0xf, 1);
	out(0x3f9, 3);
	ck_assert_int_eq(in(0x3fa) & 0xf, 2);	/* reading clears it */
	ck_assert_int_eq(in(0x3fa) & 0xf, 1);
	serial_input(s, "z", 1);
	ck_assert_int_eq(in(0x3fa) & 0xf, 4);
	serial_break(s);
	out(0x3f9, 7);
	ck_assert_int_eq(in(0x3fa) & 0xf, 6);
	serial_destroy(s);
}
END_TEST

static u8 cmos(u8 reg)
{
	out(0x70, reg);
	return in(0x71);
}

START_TEST(rtc_tells_the_time_and_can_be_set)
{
	struct rtc *rtc = rtc_create(&board, &e);
	time_t t = time(NULL);
	struct tm tm;
	u8 year;

	ck_assert_ptr_nonnull(rtc);
	gmtime_r(&t, &tm);
	year = cmos(9);
	ck_assert_int_eq((year >> 4) * 10 + (year & 15), tm.tm_year % 100);
	out(0x70, 0x0b);
	out(0x71, 0x86);	/* stopped, binary, 24 hours */
	out(0x70, 9);
	out(0x71, 33);
	out(0x70, 0x0b);
	out(0x71, 0x06);
	ck_assert_int_eq(cmos(9), 33);
	ck_assert_int_eq(cmos(0x0d), 0x80);
	out(0x70, 0x40);
	out(0x71, 0x5a);
	rtc_reset(rtc);
	ck_assert_int_eq(cmos(0x40), 0x5a);
	rtc_destroy(rtc);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("board");
	TCase *t = tcase_create("board");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, mem_ptr_stays_inside_one_region);
	tcase_add_test(t, mem_write_marks_pages_dirty);
	tcase_add_test(t, bus_finds_who_answers);
	tcase_add_test(t, pci_config_is_the_same_through_ports);
	tcase_add_test(t, pci_bar_can_be_sized_and_moved);
	tcase_add_test(t, pci_bar_cannot_leave_the_window);
	tcase_add_test(t, devices_come_and_go);
	tcase_add_test(t, msix_masked_interrupt_is_pending_until_unmasked);
	tcase_add_test(t, intx_is_high_while_a_cause_is_not_taken);
	tcase_add_test(t, intx_disable_and_msix_hold_the_line_low);
	tcase_add_test(t, intx_pin_is_high_while_any_of_its_devices_asserts);
	tcase_add_test(t, serial_sends_and_receives);
	tcase_add_test(t, serial_interrupts_say_their_cause);
	tcase_add_test(t, rtc_tells_the_time_and_can_be_set);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
