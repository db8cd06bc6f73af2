/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * binstats.h - the binary statistics descriptor (KVM_GET_STATS_FD): its descriptors, and a value by name.
 *
 *	u64 n = stat_of(g.vcpu[0], "pf_fast");	(0 if there is no such name)
 */
#ifndef SELFTESTS_VM_BINSTATS_H
#define SELFTESTS_VM_BINSTATS_H

#include "guest.h"

struct stats {
	struct kvm_stats_header h;
	char id[64];
	u8 *desc;
	size_t stride;
};

static inline const struct kvm_stats_desc *stats_desc(const struct stats *s, u32 i)
{
	return (void *)(s->desc + i * s->stride);
}

static inline bool stats_load(struct stats *s, int fd)
{
	memset(s, 0, sizeof(*s));
	if (pread(fd, &s->h, sizeof(s->h), 0) != sizeof(s->h) || s->h.name_size > sizeof(s->id))
		return false;
	s->stride = sizeof(struct kvm_stats_desc) + s->h.name_size;
	s->desc = malloc(s->h.num_desc * s->stride);
	return pread(fd, s->id, s->h.name_size, s->h.id_offset) == (ssize_t)s->h.name_size &&
	       pread(fd, s->desc, s->h.num_desc * s->stride, s->h.desc_offset) == (ssize_t)(s->h.num_desc * s->stride);
}

static inline u64 stats_value(const struct stats *s, int fd, const char *name)
{
	u64 v = 0;
	u32 i;

	for (i = 0; i < s->h.num_desc; i++) {
		if (!strcmp(stats_desc(s, i)->name, name))
			guest_must(pread(fd, &v, 8, s->h.data_offset + stats_desc(s, i)->offset));
	}
	return v;
}

/* Of the VM or vCPU @fd. */
static inline u64 stat_of(int fd, const char *name)
{
	int stats = guest_must(ioctl(fd, KVM_GET_STATS_FD, 0));
	struct stats s;
	u64 v = 0;

	if (stats_load(&s, stats))
		v = stats_value(&s, stats, name);
	free(s.desc);
	close(stats);
	return v;
}

#endif
