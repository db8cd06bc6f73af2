// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vCPU loop.
 *
 * Leaving the guest at once, whatever it does: the controller shuts the gate, sets immediate_exit
 * in the shared page and sends a signal. If the signal comes before KVM_RUN, immediate_exit makes
 * that call return; if it comes during it, the signal does. immediate_exit is cleared only under
 * the gate's lock while the gate is open, so neither can be lost.
 *
 * A port or MMIO read is completed by the hypervisor on the next KVM_RUN; nothing is done for an
 * access that is pending when the machine is reset or ends.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/thread.h"

#define KICK_SIGNAL SIGRTMIN

#define CR0_PE 0x1
#define CR0_ET 0x10
#define CR0_NE 0x20
#define CR0_PG 0x80000000UL
#define CR4_PAE 0x20
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define MSR_MISC_ENABLE 0x1a0
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLED_WB (1 << 11 | 6)
#define MISC_ENABLE_FAST_STRING 1

static void on_kick(int sig)
{
	(void)sig;
}

int vcpu_install_kick(void)
{
	struct sigaction sa = { .sa_handler = on_kick };

	return sigaction(KICK_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

static int vcpu_fail(struct vcpu *v, const char *what, struct err *e)
{
	return err_set(e, errno, "cannot %s: vCPU %u on %s: %s", what, v->id, v->env->kvm->path,
		       strerror(errno));
}

static int set_msrs(struct vcpu *v, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[2];
	} m = {
		.head.nmsrs = 2,
		.e = { { .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		       { .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WB } },
	};
	int r = ioctl(v->fd, KVM_SET_MSRS, &m);

	if (r < 0)
		return vcpu_fail(v, "set model-specific registers", e);
	if (r < 2)
		log_debug("vCPU %u: MSR %#x was refused", v->id, m.e[r].index);
	return 0;
}

int vcpu_open(struct vcpu *v, const struct vcpu_env *env, unsigned int id,
	      const struct cpuid_table *cpuid, struct err *e)
{
	struct cpuid_table own = *cpuid;
	int r;

	v->env = env;
	v->id = id;
	v->run = MAP_FAILED;
	v->fd = ioctl(env->kvm->vm, KVM_CREATE_VCPU, (unsigned long)id);
	if (v->fd < 0)
		return vcpu_fail(v, "create", e);
	v->run = mmap(NULL, env->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		r = vcpu_fail(v, "map the shared page", e);
		goto fail;
	}
	if (ioctl(v->fd, KVM_SET_CPUID2, &own.head) < 0) {
		r = vcpu_fail(v, "set CPUID", e);
		goto fail;
	}
	r = set_msrs(v, e);
	if (r < 0)
		goto fail;
	return 0;
fail:
	vcpu_close(v);
	return r;
}

void vcpu_close(struct vcpu *v)
{
	if (v->run && v->run != MAP_FAILED)
		munmap(v->run, v->env->kvm->run_size);
	v->run = NULL;
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

static struct kvm_segment segment(u16 selector, u8 type, bool code, bool long_mode)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !(code && long_mode),
		.l = code && long_mode,
	};
}

static void write_gdt(struct guest_mem *mem, bool long_mode)
{
	u64 gdt[4] = {
		0,
		0,
		long_mode ? 0x00af9b000000ffffULL : 0x00cf9b000000ffffULL,
		0x00cf93000000ffffULL,
	};

	mem_write(mem, BOOT_GDT, gdt, sizeof(gdt));
}

int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct guest_mem *mem,
		   struct err *e)
{
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct kvm_regs regs = { .rip = entry->ip, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return vcpu_fail(v, "read system registers", e);
	write_gdt(mem, entry->long_mode);
	s.gdt.base = BOOT_GDT;
	s.gdt.limit = 31;
	s.idt.base = s.idt.limit = 0;
	s.cs = segment(0x10, 11, true, entry->long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(0x18, 3, false, entry->long_mode);
	s.tr.base = 0;
	s.tr.limit = 0x67;
	s.tr.type = 11;
	s.tr.present = 1;
	s.tr.s = 0;
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (entry->long_mode) {
		s.cr0 |= CR0_PG;
		s.cr3 = BOOT_PML4;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
		regs.rsi = entry->arg;
	} else {
		regs.rbx = entry->arg;
	}
	if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0)
		return vcpu_fail(v, "set system registers", e);
	if (ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return vcpu_fail(v, "set registers", e);
	if (ioctl(v->fd, KVM_SET_FPU, &fpu) < 0)
		return vcpu_fail(v, "set floating point state", e);
	return 0;
}

static void handle_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	u8 *data = (u8 *)run + run->io.data_offset;
	u32 i;

	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(v->env->pio, run->io.port, data, run->io.size);
		else
			bus_write(v->env->pio, run->io.port, data, run->io.size);
	}
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	if (run->mmio.is_write)
		bus_write(v->env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(v->env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

/* Where the vCPU stands: what a bug report needs when the guest cannot speak any more. */
static void state_text(struct vcpu *v, char *buf, size_t room)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_REGS, &r) < 0 || ioctl(v->fd, KVM_GET_SREGS, &s) < 0) {
		snprintf(buf, room, "vCPU %u", v->id);
		return;
	}
	snprintf(buf, room,
		 "vCPU %u at %#x:%#llx, rflags %#llx, rsp %#llx, cr0 %#llx, cr2 %#llx, cr3 %#llx, cr4 %#llx, efer %#llx, idt %#llx+%#x",
		 v->id, s.cs.selector, r.rip, r.rflags, r.rsp, s.cr0, s.cr2, s.cr3, s.cr4, s.efer,
		 s.idt.base, s.idt.limit);
}

/* The instruction that could not be emulated, and, from our own module, why it was to be. */
static void insn_text(const struct kvm_run *run, char *buf, size_t room)
{
	size_t n = 0;
	unsigned int i;

	buf[0] = 0;
	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION || run->internal.ndata < 3 ||
	    !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	for (i = 0; i < run->emulation_failure.insn_size && i < sizeof(run->emulation_failure.insn_bytes); i++)
		n += snprintf(buf + n, room - n, "%s%02x", i ? " " : ", instruction ", run->emulation_failure.insn_bytes[i]);
	if (run->internal.ndata == 5)
		snprintf(buf + n, room - n, ", exit %llu at %#llx", run->internal.data[3], run->internal.data[4]);
}

static void fail_text(struct vcpu *v, char *buf, size_t room)
{
	struct kvm_run *run = v->run;
	char state[VCPU_WHY_MAX - 240], insn[128];

	state_text(v, state, sizeof(state));
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		snprintf(buf, room, "the CPU refused the guest's state (reason %#llx): %s",
			 run->fail_entry.hardware_entry_failure_reason, state);
	} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		insn_text(run, insn, sizeof(insn));
		snprintf(buf, room, "the hypervisor gave up (suberror %u%s): %s", run->internal.suberror, insn, state);
	} else {
		snprintf(buf, room, "unexpected exit %u: %s", run->exit_reason, state);
	}
}

static void vcpu_event_set(struct vcpu *v, enum vcpu_event ev, const char *why)
{
	gate_set(v->env->gate, GATE_SHUT);
	v->env->event(v->env->ctx, ev, why);
}

static void handle_exit(struct vcpu *v)
{
	char why[VCPU_WHY_MAX];

	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(v);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		/* The kernel has reset the vCPU by now: its registers tell nothing. */
		vcpu_event_set(v, VCPU_TRIPLE_FAULT, "the guest's CPU shut down (triple fault)");
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		vcpu_event_set(v,
			       v->run->system_event.type == KVM_SYSTEM_EVENT_RESET ?
				       VCPU_SYSTEM_RESET :
				       VCPU_SYSTEM_OFF,
			       "");
		break;
	default:
		fail_text(v, why, sizeof(why));
		vcpu_event_set(v, VCPU_FAILED, why);
	}
}

static void run_until_shut(struct vcpu *v)
{
	char why[96];

	while (gate_is_open(v->env->gate)) {
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			v->exits++;
			handle_exit(v);
			continue;
		}
		if (errno == EINTR || errno == EAGAIN)
			continue;
		snprintf(why, sizeof(why), "vCPU %u cannot run: %s", v->id, strerror(errno));
		vcpu_event_set(v, VCPU_FAILED, why);
	}
}

static void clear_kick(void *ctx)
{
	struct vcpu *v = ctx;

	v->run->immediate_exit = 0;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	while (gate_enter(v->env->gate, clear_kick, v)) {
		run_until_shut(v);
		gate_leave(v->env->gate);
	}
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	char name[16];
	int r;

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	r = thread_start(&v->thread, name, THREAD_VCPU, vcpu_main, v);
	if (r < 0)
		return err_set(e, -r, "cannot start the thread of vCPU %u: %s", v->id,
			       strerror(-r));
	v->started = true;
	return 0;
}

void vcpu_kick(struct vcpu *v)
{
	if (!v->started)
		return;
	if (v->run)
		v->run->immediate_exit = 1;
	pthread_kill(v->thread, KICK_SIGNAL);
}

void vcpu_join(struct vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	v->started = false;
}
