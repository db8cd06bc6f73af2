/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk is made of, for the files of this directory. */
#ifndef BLOCK_INNER_H
#define BLOCK_INNER_H

#include "block/block.h"
#include "block/spec.h"

struct block {
	struct vhd *vhd;
	struct block_mirror *mirror;	/* is told of what is written; NULL: there is none */
	struct vhd_keys *keys;		/* NULL: none */
	struct block_spec spec;
	struct vhd_info info;
};

#define BRANCH_QUEUES 64

struct block_queue {
	struct block *block;
	struct vhd_queue *vhd;
};

/* mirror.c: the content of those bytes may have changed; for those who may use a queue. */
void block_mirror_note(struct block_mirror *m, uint64_t offset, uint64_t length);

/* block.c: a specification whose relative path counts from @dir, if any. */
int block_spec_parse_at(const char *dir, const char *text, struct block_spec *spec, char **err);
/* Reads the key that the specification names, if any. */
int block_keys_open(struct block *b, char **err);
/* Opens what the specification names; the keys were opened. */
int block_medium_open(struct block *b, unsigned int flags, char **err);

/* The library's names of @n queues, at most BRANCH_QUEUES. */
int block_queues_of(struct vhd_queue **out, struct block_queue *const *q, unsigned int n, char **err);

#endif
