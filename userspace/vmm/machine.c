// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The machine.
 *
 * A reset throws the hypervisor's VM away and makes a new one: what the hypervisor keeps of a
 * guest (registers, interrupt chips, clocks) is then at power-on state by construction. The
 * process, its device objects, open disks and threads stay. Order: stop vCPUs; unmap devices from
 * the old VM; close it; zero memory; new VM; slots; devices reset and mapped; kernel; vCPUs.
 *
 * vCPU threads report events by storing the first one and signalling an eventfd; they never call
 * into the machine otherwise.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "board/acpi.h"
#include "common/log.h"
#include "dev/power.h"
#include "dev/rtc.h"
#include "vmm/vcpu.h"

struct machine {
	struct machine_config cfg;
	struct board board;
	struct kvm *kvm;
	struct guest_mem mem;
	struct bus pio, mmio;
	struct irq irq;
	struct pci_bus pci;
	struct power *power;
	struct rtc *rtc;
	struct gate gate;
	struct vcpu_env env;
	struct vcpu vcpu[MACHINE_CPUS_MAX];
	enum machine_state state;
	machine_reset_fn *on_reset;
	void *on_reset_ctx;
	int event_fd;
	struct loop_source event_src;
	_Atomic int event;
	char why[VCPU_WHY_MAX];		/* written by whoever set event, before the eventfd */
	bool threads;
};

void machine_report(struct machine *m, enum machine_event ev, const char *why)
{
	int none = MACHINE_NONE;
	u64 one = 1;

	if (!atomic_compare_exchange_strong(&m->event, &none, ev))
		return;
	snprintf(m->why, sizeof(m->why), "%s", why);
	if (write(m->event_fd, &one, sizeof(one)) < 0)
		log_error("cannot report the end of the guest");
}

static void on_vcpu_event(void *ctx, enum vcpu_event ev, const char *why)
{
	static const enum machine_event map[] = {
		[VCPU_TRIPLE_FAULT] = MACHINE_LOST,
		[VCPU_SYSTEM_RESET] = MACHINE_RESET,
		[VCPU_SYSTEM_OFF] = MACHINE_OFF,
		[VCPU_FAILED] = MACHINE_FAILED,
	};

	machine_report(ctx, map[ev], why);
}

static void on_power_event(void *ctx, enum power_event ev)
{
	static const enum machine_event map[] = {
		[POWER_OFF] = MACHINE_OFF,
		[POWER_RESET] = MACHINE_RESET,
		[POWER_PANIC] = MACHINE_PANIC,
	};
	struct machine *m = ctx;

	gate_set(&m->gate, GATE_SHUT);
	machine_report(m, map[ev], "");
}

static void on_event_fd(void *ctx, u32 events)
{
	struct machine *m = ctx;
	enum machine_event ev;
	u64 n;

	(void)events;
	if (read(m->event_fd, &n, sizeof(n)) < 0)
		return;
	machine_pause(m);
	ev = atomic_load(&m->event);
	atomic_store(&m->event, MACHINE_NONE);
	m->cfg.event(m->cfg.ctx, ev, m->why);
}

static int build_board(struct machine *m, struct loop *loop, struct err *e)
{
	int r;

	m->board = (struct board){ m->kvm, &m->mem, &m->pio, &m->mmio, &m->irq, &m->pci, loop, NULL };
	if (bus_init(&m->pio, "pio") || bus_init(&m->mmio, "mmio") || irq_init(&m->irq, m->kvm))
		return err_set(e, ENOMEM, "cannot build the board");
	r = pci_bus_init(&m->pci, m->kvm, &m->pio, &m->mmio, &m->irq, e);
	if (r < 0)
		return r;
	m->board.hotplug = hotplug_create(&m->pio, &m->irq, &m->pci, loop, e);
	if (!m->board.hotplug)
		return -EIO;
	m->power = power_create(&m->board, on_power_event, m, e);
	if (!m->power)
		return -EIO;
	m->rtc = rtc_create(&m->board, e);
	return m->rtc ? 0 : -EIO;
}

struct machine *machine_create(struct kvm *kvm, struct loop *loop,
			       const struct machine_config *cfg, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));
	unsigned int i;
	int r;

	if (!m) {
		err_set(e, ENOMEM, "no memory for a machine");
		return NULL;
	}
	m->cfg = *cfg;
	m->kvm = kvm;
	m->state = MACHINE_BUILT;
	for (i = 0; i < MACHINE_CPUS_MAX; i++)
		m->vcpu[i].fd = -1;
	gate_init(&m->gate);
	m->env = (struct vcpu_env){ kvm, &m->pio, &m->mmio, &m->gate, on_vcpu_event, m };
	if (!kvm->has_tsc_deadline)
		m->cfg.legacy_timer = true;
	m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = kvm_create_vm(kvm, m->cfg.legacy_timer, e);
	if (!r)
		r = cfg->share ? mem_init_shared(&m->mem, cfg->mem, kvm->dev, cfg->share_group, e) :
				 mem_init(&m->mem, cfg->mem, e);
	if (!r)
		r = mem_attach(&m->mem, kvm, e);
	if (!r)
		r = build_board(m, loop, e);
	if (!r)
		r = loop_add(loop, &m->event_src, m->event_fd, EPOLLIN, on_event_fd, m);
	if (r < 0) {
		machine_destroy(m);
		return NULL;
	}
	return m;
}

static void close_vcpus(struct machine *m)
{
	unsigned int i;

	for (i = 0; i < m->cfg.cpus; i++)
		vcpu_close(&m->vcpu[i]);
}

void machine_destroy(struct machine *m)
{
	unsigned int i;

	if (!m)
		return;
	gate_set(&m->gate, GATE_QUIT);
	if (m->cfg.unblock)
		m->cfg.unblock(m->cfg.ctx, true);
	for (i = 0; i < m->cfg.cpus; i++)
		vcpu_kick(&m->vcpu[i]);
	for (i = 0; i < m->cfg.cpus; i++)
		vcpu_join(&m->vcpu[i]);
	if (m->pci.kvm) {
		pci_bus_unmap(&m->pci);
		pci_bus_fini(&m->pci);
	}
	hotplug_destroy(m->board.hotplug);
	power_destroy(m->power);
	rtc_destroy(m->rtc);
	close_vcpus(m);
	kvm_close_vm(m->kvm);
	if (m->event_src.active)
		loop_del(m->board.loop, &m->event_src);
	if (m->event_fd >= 0)
		close(m->event_fd);
	mem_fini(&m->mem);
	if (m->pio.name)
		bus_fini(&m->pio);
	if (m->mmio.name)
		bus_fini(&m->mmio);
	if (m->irq.kvm)
		irq_fini(&m->irq);
	gate_fini(&m->gate);
	free(m);
}

struct board *machine_board(struct machine *m)
{
	return &m->board;
}

enum machine_state machine_state(const struct machine *m)
{
	return m->state;
}

u64 machine_exits(const struct machine *m)
{
	unsigned int i;
	u64 n = 0;

	for (i = 0; i < m->cfg.cpus; i++)
		n += m->vcpu[i].exits;
	return n;
}

void machine_on_reset(struct machine *m, machine_reset_fn *fn, void *ctx)
{
	m->on_reset = fn;
	m->on_reset_ctx = ctx;
}

int machine_load(struct machine *m, struct err *e)
{
	struct acpi_config acpi = { m->cfg.cpus, m->cfg.legacy_timer };
	struct boot_entry entry;
	struct cpuid_table offer, own;
	unsigned int i;
	int r;

	r = acpi_write(&m->mem, &acpi, &m->cfg.boot.rsdp, e);
	if (!r)
		r = boot_load(&m->mem, &m->cfg.boot, &entry, e);
	if (!r)
		r = cpuid_supported(m->kvm, &offer, e);
	for (i = 0; i < m->cfg.cpus && !r; i++) {
		own = offer;
		cpuid_adjust(&own, i, m->cfg.cpus, m->kvm->has_tsc_deadline);
		r = vcpu_open(&m->vcpu[i], &m->env, i, &own, e);
	}
	if (!r)
		r = vcpu_set_entry(&m->vcpu[0], &entry, &m->mem, e);
	return r;
}

int machine_start(struct machine *m, struct err *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < m->cfg.cpus && !m->threads; i++) {
		r = vcpu_start(&m->vcpu[i], e);
		if (r < 0)
			return r;
	}
	m->threads = true;
	m->state = MACHINE_RUNNING;
	gate_set(&m->gate, GATE_OPEN);
	return 0;
}

void machine_pause(struct machine *m)
{
	unsigned int i;

	gate_set(&m->gate, GATE_SHUT);
	if (m->cfg.unblock)
		m->cfg.unblock(m->cfg.ctx, true);
	for (i = 0; i < m->cfg.cpus; i++)
		vcpu_kick(&m->vcpu[i]);
	gate_wait_empty(&m->gate);
	if (m->cfg.unblock)
		m->cfg.unblock(m->cfg.ctx, false);
	m->state = MACHINE_PAUSED;
}

int machine_reset(struct machine *m, struct err *e)
{
	int r;

	machine_pause(m);
	if (m->on_reset)
		m->on_reset(m->on_reset_ctx);
	pci_bus_unmap(&m->pci);
	close_vcpus(m);
	kvm_close_vm(m->kvm);
	mem_discard(&m->mem);
	r = kvm_create_vm(m->kvm, m->cfg.legacy_timer, e);
	if (!r)
		r = mem_attach(&m->mem, m->kvm, e);
	if (r < 0)
		return r;
	irq_reset(&m->irq);
	hotplug_reset(m->board.hotplug);
	power_reset(m->power);
	rtc_reset(m->rtc);
	r = pci_bus_reset(&m->pci, e);
	return r ? r : machine_load(m, e);
}

void machine_press_power(struct machine *m)
{
	power_press_button(m->power);
}
