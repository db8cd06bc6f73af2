/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest time: TSC offset and rate, TSC_ADJUST, kvmclock (x86/pvclock.c), KVM_GET/SET_CLOCK, steal time (x86/steal.c).
 */
#ifndef LODGE_X86_TIME_H
#define LODGE_X86_TIME_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/time64.h>
#include <linux/types.h>

#include "core/memslot.h"

struct x86_vcpu;
struct x86_vm;

struct vcpu_time {
	u64 tsc_adjust;
	u64 last_guest_tsc;	/* at the last put */
	u64 jump_seen;		/* vm_time.tsc_jump that the offset holds already */
	u32 khz;
	int cpu;		/* last loaded on, -1 = never */
	bool offset_stale;	/* the back end has not been told the offset yet */

	u64 clock_msr;		/* KVM_SYSTEM_TIME as written */
	bool clock_on;
	bool stopped;		/* tell the guest that it was stopped (KVM_KVMCLOCK_CTRL) */
	struct lodge_guest_cache clock_cache;

	u64 steal_msr;
	u64 steal_delay;	/* current->sched_info.run_delay when it was last accounted */
	bool steal_on;
	struct lodge_guest_cache steal_cache;
};

struct vm_time {
	spinlock_t lock;
	u64 tsc_written, tsc_written_ns, tsc_offset;	/* lock: the last write that others may be synchronised with */
	bool tsc_is_written;				/* lock */
	bool matched;					/* lock: every vCPU has the same offset */
	u64 tsc_jump;					/* lock: what the host's TSC fell back over the VM's life */
	s64 clock_offset;				/* lock: kvmclock = host's clock + this */
	bool master;					/* lock: one (TSC, time) pair serves all vCPUs */
	u64 master_tsc, master_ns, master_real;		/* lock */
	u64 wall_msr;
	struct x86_vm *vm;
	struct list_head link;				/* pvclock.c: VMs that follow the host's clock source */
};

int time_init_vm(struct x86_vm *vm);
void time_destroy_vm(struct x86_vm *vm);
int time_init_vcpu(struct x86_vcpu *vcpu);
void time_destroy_vcpu(struct x86_vcpu *vcpu);
void time_load(struct x86_vcpu *vcpu, int cpu);		/* preemption off: another CPU's TSC may differ; steal time */
void time_put(struct x86_vcpu *vcpu);
u64 time_read_tsc(struct x86_vcpu *vcpu, u64 host_tsc);
int time_write_tsc(struct x86_vcpu *vcpu, u64 tsc, bool host);
void time_write_tsc_adjust(struct x86_vcpu *vcpu, u64 val, bool host);
/* LODGE_REQ_CLOCK, LODGE_REQ_STEAL: on the vCPU's thread, may sleep. */
void time_update_clock(struct x86_vcpu *vcpu);
void time_update_steal(struct x86_vcpu *vcpu);

/* pvclock.c */
int pvclock_init_vm(struct x86_vm *vm);
void pvclock_destroy_vm(struct x86_vm *vm);
/* A TSC offset or the host's clock source changed: choose the common pair anew, every vCPU's page follows. */
void pvclock_refresh(struct x86_vm *vm);
/* The host's TSC and wall clock at one moment; false where the host's clock is not the TSC. */
bool pvclock_pair(struct x86_vm *vm, u64 *host_tsc, struct timespec64 *wall);
int pvclock_set_system_time(struct x86_vcpu *vcpu, u64 val);	/* the MSRs: 0, 1 = #GP */
int pvclock_set_wall_clock(struct x86_vcpu *vcpu, u64 val);

/* steal.c */
int steal_set_msr(struct x86_vcpu *vcpu, u64 val);
void steal_put(struct x86_vcpu *vcpu);

/* ---- ioctls ---- */
long time_ioctl_get_tsc_khz(void *obj, void *arg);	/* vCPU */
long time_ioctl_set_tsc_khz(void *obj, void *arg);	/* vCPU, value */
long time_ioctl_vm_get_tsc_khz(void *obj, void *arg);	/* VM */
long time_ioctl_vm_set_tsc_khz(void *obj, void *arg);	/* VM, value */
long time_ioctl_has_attr(void *obj, void *arg);		/* vCPU, struct kvm_device_attr */
long time_ioctl_get_attr(void *obj, void *arg);
long time_ioctl_set_attr(void *obj, void *arg);
long pvclock_ioctl_get(void *obj, void *arg);		/* VM, struct kvm_clock_data */
long pvclock_ioctl_set(void *obj, void *arg);
long pvclock_ioctl_ctrl(void *obj, void *arg);		/* vCPU */

#endif
