// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The binary statistics descriptor: its layout, and that it counts.
 *
 * CFLAGS: -mno-red-zone
 */
#include "binstats.h"
#include "tap.h"

static const char *node;

static void layout(int fd, const char *what)
{
	u32 i, bad = 0, end = 0;
	struct stats s;
	char byte;

	if (!tap_ok(stats_load(&s, fd), "%s: header, name and descriptors can be read", what))
		return;
	tap_ok(s.h.flags == 0 && s.h.num_desc > 0 && s.h.id_offset >= sizeof(s.h), "%s: the header is sane", what);
	tap_ok(memchr(s.id, 0, s.h.name_size) && !strncmp(s.id, "kvm-", 4), "%s: its name begins as clients expect", what);
	for (i = 0; i < s.h.num_desc; i++) {
		const struct kvm_stats_desc *d = stats_desc(&s, i);
		u32 unit = d->flags & KVM_STATS_UNIT_MASK;

		bad += !memchr(d->name, 0, s.h.name_size) || !d->name[0] || !d->size || d->offset % 8;
		bad += (d->flags & KVM_STATS_TYPE_MASK) > KVM_STATS_TYPE_MAX || unit > KVM_STATS_UNIT_MAX;
		bad += unit == KVM_STATS_UNIT_SECONDS && d->exponent > 0;
		if (d->offset + 8 * d->size > end)
			end = d->offset + 8 * d->size;
	}
	tap_eq(bad, 0, "descriptors are sane");
	tap_eq(pread(fd, &byte, 1, s.h.data_offset + end), 0, "the values end the file");
	tap_ok(pread(fd, &byte, 1, s.h.data_offset + end - 1) == 1, "%s: and reach to its end", what);
	tap_ok(pread(fd, &byte, 1, 1ull << 40) == 0, "%s: far behind the end is nothing", what);
	tap_ok(write(fd, "x", 1) < 0, "%s: it cannot be written", what);
	free(s.desc);
}

static GUEST void body(void)
{
	int i;

	for (i = 0; i < 10; i++)
		inb(0x5550);
	guest_exit();
}

int main(int argc, char **argv)
{
	struct guest g;
	struct stats s;
	int vm, vcpu;
	u64 before;

	node = tap_node(argc, argv);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	vm = ioctl(g.vm, KVM_GET_STATS_FD, 0);
	vcpu = ioctl(g.vcpu[0], KVM_GET_STATS_FD, 0);
	tap_ok(vm >= 0, "a VM gives a statistics descriptor");
	tap_ok(vcpu >= 0, "a vCPU gives one");
	layout(vm, "VM");
	layout(vcpu, "vCPU");

	stats_load(&s, vcpu);
	before = stats_value(&s, vcpu, "exits");
	guest_start64(&g, 0, body);
	while (guest_run(&g, 0) == KVM_EXIT_IO)
		;
	tap_ok(stats_value(&s, vcpu, "exits") >= before + 11, "exits are counted");
	tap_ok(stats_value(&s, vcpu, "io_exits") >= 11, "I/O exits are counted");
	free(s.desc);
	guest_destroy(&g);
	close(vm);
	close(vcpu);
	return tap_done();
}
