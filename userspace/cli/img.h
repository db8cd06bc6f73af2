/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of `lodge img`. */
#ifndef CLI_IMG_H
#define CLI_IMG_H

#include <lodge/vhd.h>

#include "common/command.h"

/* Exit codes, beside 0 and those of all commands. */
#define IMG_EXIT_CORRUPT	3	/* check: the image is damaged */
#define IMG_EXIT_LEAK		4	/* check: only lost space, or not closed properly */
#define IMG_EXIT_DIFFER		5	/* compare: the contents differ */

extern const struct command img_backup_command;
extern const struct command img_check_command;
extern const struct command img_clone_command;
extern const struct command img_coalesce_command;
extern const struct command img_compare_command;
extern const struct command img_convert_command;
extern const struct command img_copy_command;
extern const struct command img_create_command;
extern const struct command img_delete_command;
extern const struct command img_info_command;
extern const struct command img_key_command;
extern const struct command img_map_command;
extern const struct command img_mount_command;
extern const struct command img_rebase_command;
extern const struct command img_repair_command;
extern const struct command img_resize_command;
extern const struct command img_snapshot_command;
extern const struct command img_tree_command;
extern const struct command img_umount_command;

/* Options that several of them have. */
enum { IMG_OPT_JSON = 512, IMG_OPT_FORCE, IMG_OPT_RAW_PARENT, IMG_OPT_SHRINK, IMG_OPT_KEEP, IMG_OPT_FLATTEN, IMG_OPT_RELEASE,
       IMG_OPT_KEY, IMG_OPT_TARGET_KEY };

struct img_args {
	struct command_args words;
	bool json, dry, progress, force, raw_parent, shrink, keep, flatten, release, unsafe;
	const char *format, *format2, *parent;
	struct vhd_keys *target_key;
};

/* Takes the command line; 0, or an exit code + 1 to leave with at once. */
int img_args_take(const struct command *c, struct img_args *a, int argc, char **argv);

/* A file name with its format, as given or as its ending says. */
struct img_name {
	const char *path;
	bool vhd;
};

/* "raw:FILE", "vhd:FILE" or FILE; @format overrides (NULL: none). 0 or 2 after a message. */
int img_name_parse(const char *word, const char *format, struct img_name *name);
/* "fixed" or "dynamic" (NULL: dynamic for VHD). 0 or 2 after a message. */
int img_type_parse(const char *word, bool vhd, enum vhd_type *type);
/* What --block-size says, in bytes; too much for a VHD image when more than 32 bits. 0 or -errno. */
int img_block_parse(const char *word, uint32_t *bytes, struct err *e);
unsigned int img_open_flags(const struct img_name *name);
void img_print_size(uint64_t bytes);
void img_print_hex(const uint8_t *p, size_t bytes);

/* Adds what --key names to the ring that img_open() uses. 0, or an exit code after a message. */
int img_key_add(const char *path);
/* ... what --target-key names to a ring of its own. */
int img_target_key_add(const char *path, struct vhd_keys **target);
/* The ring; NULL: no key was given. */
struct vhd_keys *img_keys(void);
/* vhd_open() with all keys that were given; a missing one is told of in the command's words. */
int img_open(const char *path, unsigned int flags, struct vhd **v, struct vhd_error *err);
/* Whether the image itself is. 0, or an exit code after a message. */
int img_encrypted(const char *path, bool *encrypted);

#define IMG_KEY_OPTION { IMG_OPT_KEY, "key", "FILE", "a key: a file, - (standard input), fd:N; may be repeated" }
#define IMG_TARGET_KEY_OPTION { IMG_OPT_TARGET_KEY, "target-key", "FILE", "encrypt the target with this key" }

/*
 * A file in the making: it appears under its own name complete or not at all,
 * also when we are interrupted by a signal.
 */
struct img_output {
	char path[4096];
	char temporary[4096];	/* the path itself for a block device */
	bool device;
	bool force;
};

int img_output_begin(struct img_output *o, const char *path, bool force);
int img_output_commit(struct img_output *o);
void img_output_abort(struct img_output *o);
/* Whether @name is @disk's second name: a snapshot was cut off between the two, and may go on. */
bool img_snapshot_half(const char *disk, const char *name);
/* From now on SIGINT, SIGTERM and SIGHUP only ask us to stop; img_output_begin() does it too. */
void img_catch_signals(void);
/* True once SIGINT, SIGTERM or SIGHUP has asked us to stop. */
bool img_interrupted(void);

#endif
