/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace points, under events/lodge.  Numbers are printed raw; a reason is enum lodge_exit_reason of x86/exit.h.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM lodge

#if !defined(LODGE_CORE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define LODGE_CORE_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

TRACE_EVENT(lodge_entry,
	TP_PROTO(u32 vcpu_id, u64 rip),
	TP_ARGS(vcpu_id, rip),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->rip = rip;
	),
	TP_printk("vcpu %u rip %#llx", __entry->vcpu_id, __entry->rip)
);

TRACE_EVENT(lodge_exit,
	TP_PROTO(u32 vcpu_id, unsigned int reason, u64 rip, u64 info),
	TP_ARGS(vcpu_id, reason, rip, info),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(unsigned int, reason)
		__field(u64, rip)
		__field(u64, info)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->reason = reason;
		__entry->rip = rip;
		__entry->info = info;
	),
	TP_printk("vcpu %u reason %u rip %#llx info %#llx", __entry->vcpu_id, __entry->reason, __entry->rip, __entry->info)
);

TRACE_EVENT(lodge_userspace_exit,
	TP_PROTO(u32 vcpu_id, u32 reason, int ret),
	TP_ARGS(vcpu_id, reason, ret),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u32, reason)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->reason = reason;
		__entry->ret = ret;
	),
	TP_printk("vcpu %u exit_reason %u ret %d", __entry->vcpu_id, __entry->reason, __entry->ret)
);

TRACE_EVENT(lodge_pio,
	TP_PROTO(bool write, u16 port, unsigned int size, unsigned int count, u32 val),
	TP_ARGS(write, port, size, count, val),
	TP_STRUCT__entry(
		__field(bool, write)
		__field(u16, port)
		__field(unsigned int, size)
		__field(unsigned int, count)
		__field(u32, val)
	),
	TP_fast_assign(
		__entry->write = write;
		__entry->port = port;
		__entry->size = size;
		__entry->count = count;
		__entry->val = val;
	),
	TP_printk("%s port %#x size %u count %u val %#x", __entry->write ? "out" : "in", __entry->port, __entry->size,
		  __entry->count, __entry->val)
);

TRACE_EVENT(lodge_mmio,
	TP_PROTO(bool write, unsigned int len, u64 gpa, u64 val),
	TP_ARGS(write, len, gpa, val),
	TP_STRUCT__entry(
		__field(bool, write)
		__field(unsigned int, len)
		__field(u64, gpa)
		__field(u64, val)
	),
	TP_fast_assign(
		__entry->write = write;
		__entry->len = len;
		__entry->gpa = gpa;
		__entry->val = val;
	),
	TP_printk("%s len %u gpa %#llx val %#llx", __entry->write ? "write" : "read", __entry->len, __entry->gpa, __entry->val)
);

TRACE_EVENT(lodge_msr,
	TP_PROTO(bool write, u32 msr, u64 val, bool fault),
	TP_ARGS(write, msr, val, fault),
	TP_STRUCT__entry(
		__field(bool, write)
		__field(bool, fault)
		__field(u32, msr)
		__field(u64, val)
	),
	TP_fast_assign(
		__entry->write = write;
		__entry->fault = fault;
		__entry->msr = msr;
		__entry->val = val;
	),
	TP_printk("%s %#x = %#llx%s", __entry->write ? "wrmsr" : "rdmsr", __entry->msr, __entry->val,
		  __entry->fault ? " #GP" : "")
);

TRACE_EVENT(lodge_cpuid,
	TP_PROTO(u32 leaf, u32 index, u32 eax, u32 ebx, u32 ecx, u32 edx),
	TP_ARGS(leaf, index, eax, ebx, ecx, edx),
	TP_STRUCT__entry(
		__field(u32, leaf)
		__field(u32, index)
		__field(u32, eax)
		__field(u32, ebx)
		__field(u32, ecx)
		__field(u32, edx)
	),
	TP_fast_assign(
		__entry->leaf = leaf;
		__entry->index = index;
		__entry->eax = eax;
		__entry->ebx = ebx;
		__entry->ecx = ecx;
		__entry->edx = edx;
	),
	TP_printk("%#x.%u: %#x %#x %#x %#x", __entry->leaf, __entry->index, __entry->eax, __entry->ebx, __entry->ecx,
		  __entry->edx)
);

TRACE_EVENT(lodge_page_fault,
	TP_PROTO(u32 vcpu_id, u64 gpa, unsigned int access),
	TP_ARGS(vcpu_id, gpa, access),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u64, gpa)
		__field(unsigned int, access)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->gpa = gpa;
		__entry->access = access;
	),
	TP_printk("vcpu %u gpa %#llx access %#x", __entry->vcpu_id, __entry->gpa, __entry->access)
);

TRACE_EVENT(lodge_inj_virq,
	TP_PROTO(u32 vcpu_id, u8 vector, bool soft),
	TP_ARGS(vcpu_id, vector, soft),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u8, vector)
		__field(bool, soft)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->vector = vector;
		__entry->soft = soft;
	),
	TP_printk("vcpu %u vector %#x%s", __entry->vcpu_id, __entry->vector, __entry->soft ? " soft" : "")
);

TRACE_EVENT(lodge_inj_nmi,
	TP_PROTO(u32 vcpu_id),
	TP_ARGS(vcpu_id),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
	),
	TP_printk("vcpu %u", __entry->vcpu_id)
);

TRACE_EVENT(lodge_inj_exception,
	TP_PROTO(u32 vcpu_id, u8 vector, bool has_error, u32 error, bool again),
	TP_ARGS(vcpu_id, vector, has_error, error, again),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u8, vector)
		__field(bool, has_error)
		__field(bool, again)
		__field(u32, error)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->vector = vector;
		__entry->has_error = has_error;
		__entry->again = again;
		__entry->error = error;
	),
	TP_printk("vcpu %u vector %u error %#x%s%s", __entry->vcpu_id, __entry->vector, __entry->error,
		  __entry->has_error ? "" : " (none)", __entry->again ? " again" : "")
);

TRACE_EVENT(lodge_emulate_insn,
	TP_PROTO(u32 vcpu_id, u64 rip, bool failed),
	TP_ARGS(vcpu_id, rip, failed),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(bool, failed)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->failed = failed;
		__entry->rip = rip;
	),
	TP_printk("vcpu %u rip %#llx%s", __entry->vcpu_id, __entry->rip, __entry->failed ? " failed" : "")
);

TRACE_EVENT(lodge_hypercall,
	TP_PROTO(u32 vcpu_id, u64 nr, u64 a0, u64 a1, u64 a2, u64 a3),
	TP_ARGS(vcpu_id, nr, a0, a1, a2, a3),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u64, nr)
		__field(u64, a0)
		__field(u64, a1)
		__field(u64, a2)
		__field(u64, a3)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->nr = nr;
		__entry->a0 = a0;
		__entry->a1 = a1;
		__entry->a2 = a2;
		__entry->a3 = a3;
	),
	TP_printk("vcpu %u nr %#llx (%#llx, %#llx, %#llx, %#llx)", __entry->vcpu_id, __entry->nr, __entry->a0, __entry->a1,
		  __entry->a2, __entry->a3)
);

TRACE_EVENT(lodge_vcpu_wakeup,
	TP_PROTO(u32 vcpu_id, u64 ns, bool slept),
	TP_ARGS(vcpu_id, ns, slept),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u64, ns)
		__field(bool, slept)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->ns = ns;
		__entry->slept = slept;
	),
	TP_printk("vcpu %u %s %llu ns", __entry->vcpu_id, __entry->slept ? "slept" : "polled", __entry->ns)
);

TRACE_EVENT(lodge_halt_poll,
	TP_PROTO(u32 vcpu_id, bool grow, u64 new_ns, u64 old_ns),
	TP_ARGS(vcpu_id, grow, new_ns, old_ns),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(bool, grow)
		__field(u64, new_ns)
		__field(u64, old_ns)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->grow = grow;
		__entry->new_ns = new_ns;
		__entry->old_ns = old_ns;
	),
	TP_printk("vcpu %u halt_poll_ns %llu (%s %llu)", __entry->vcpu_id, __entry->new_ns,
		  __entry->grow ? "grown from" : "shrunk from", __entry->old_ns)
);

TRACE_EVENT(lodge_set_irq,
	TP_PROTO(u32 gsi, int level, int source),
	TP_ARGS(gsi, level, source),
	TP_STRUCT__entry(
		__field(u32, gsi)
		__field(int, level)
		__field(int, source)
	),
	TP_fast_assign(
		__entry->gsi = gsi;
		__entry->level = level;
		__entry->source = source;
	),
	TP_printk("gsi %u level %d source %d", __entry->gsi, __entry->level, __entry->source)
);

TRACE_EVENT(lodge_ack_irq,
	TP_PROTO(u32 chip, u32 pin),
	TP_ARGS(chip, pin),
	TP_STRUCT__entry(
		__field(u32, chip)
		__field(u32, pin)
	),
	TP_fast_assign(
		__entry->chip = chip;
		__entry->pin = pin;
	),
	TP_printk("chip %u pin %u", __entry->chip, __entry->pin)
);

TRACE_EVENT(lodge_msi,
	TP_PROTO(u64 address, u32 data),
	TP_ARGS(address, data),
	TP_STRUCT__entry(
		__field(u64, address)
		__field(u32, data)
	),
	TP_fast_assign(
		__entry->address = address;
		__entry->data = data;
	),
	TP_printk("address %#llx data %#x", __entry->address, __entry->data)
);

TRACE_EVENT(lodge_ioapic,
	TP_PROTO(u64 redir, u32 pin, bool coalesced),
	TP_ARGS(redir, pin, coalesced),
	TP_STRUCT__entry(
		__field(u64, redir)
		__field(u32, pin)
		__field(bool, coalesced)
	),
	TP_fast_assign(
		__entry->redir = redir;
		__entry->pin = pin;
		__entry->coalesced = coalesced;
	),
	TP_printk("pin %u entry %#llx%s", __entry->pin, __entry->redir, __entry->coalesced ? " coalesced" : "")
);

TRACE_EVENT(lodge_lapic_accept,
	TP_PROTO(u32 vcpu_id, u8 vector, bool level, bool coalesced),
	TP_ARGS(vcpu_id, vector, level, coalesced),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u8, vector)
		__field(bool, level)
		__field(bool, coalesced)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->vector = vector;
		__entry->level = level;
		__entry->coalesced = coalesced;
	),
	TP_printk("vcpu %u vector %#x %s%s", __entry->vcpu_id, __entry->vector, __entry->level ? "level" : "edge",
		  __entry->coalesced ? " coalesced" : "")
);

TRACE_EVENT(lodge_lapic_ipi,
	TP_PROTO(u32 vcpu_id, u64 icr),
	TP_ARGS(vcpu_id, icr),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u64, icr)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->icr = icr;
	),
	TP_printk("vcpu %u icr %#llx", __entry->vcpu_id, __entry->icr)
);

TRACE_EVENT(lodge_eoi,
	TP_PROTO(u32 vcpu_id, u8 vector),
	TP_ARGS(vcpu_id, vector),
	TP_STRUCT__entry(
		__field(u32, vcpu_id)
		__field(u8, vector)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->vector = vector;
	),
	TP_printk("vcpu %u vector %#x", __entry->vcpu_id, __entry->vector)
);

TRACE_EVENT(lodge_invalidate,
	TP_PROTO(unsigned long start, unsigned long end, bool begin),
	TP_ARGS(start, end, begin),
	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(bool, begin)
	),
	TP_fast_assign(
		__entry->start = start;
		__entry->end = end;
		__entry->begin = begin;
	),
	TP_printk("%s hva %#lx-%#lx", __entry->begin ? "begin" : "end", __entry->start, __entry->end)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH core
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
