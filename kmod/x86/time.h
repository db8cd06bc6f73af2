/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest time: TSC offset and rate, TSC_ADJUST, kvmclock (x86/pvclock.c), KVM_GET/SET_CLOCK, steal time.
 */
#ifndef LODGE_X86_TIME_H
#define LODGE_X86_TIME_H

#include <linux/types.h>

struct x86_vcpu;
struct x86_vm;

int time_init_vm(struct x86_vm *vm);
void time_destroy_vm(struct x86_vm *vm);
int time_init_vcpu(struct x86_vcpu *vcpu);
void time_destroy_vcpu(struct x86_vcpu *vcpu);
void time_load(struct x86_vcpu *vcpu, int cpu);		/* preemption off: another CPU's TSC may differ; steal time */
void time_put(struct x86_vcpu *vcpu);
u64 time_read_tsc(struct x86_vcpu *vcpu, u64 host_tsc);
int time_write_tsc(struct x86_vcpu *vcpu, u64 tsc, bool host);
/* LODGE_REQ_CLOCK, LODGE_REQ_STEAL: on the vCPU's thread, may sleep. */
void time_update_clock(struct x86_vcpu *vcpu);
void time_update_steal(struct x86_vcpu *vcpu);

#endif
