// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Keys of encrypted images: the ring of those that were given to a command,
 * and lodge img key.
 *
 * A key is never on the command line, where everybody could read it; an
 * option names the file or descriptor that holds it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_family.h"
#include "cli/print.h"

static struct vhd_keys *ring;

static int ring_add(struct vhd_keys **k, const char *path)
{
	struct vhd_error err;

	if (!*k)
		*k = vhd_keys_create();
	if (!*k)
		return print_error("out of memory");
	return vhd_keys_add_file(*k, path, &err) ? print_error("%s", err.text) : 0;
}

int img_key_add(const char *path)
{
	return ring_add(&ring, path);
}

int img_target_key_add(const char *path, struct vhd_keys **target)
{
	return *target ? print_error("--target-key can be given once") : ring_add(target, path);
}

struct vhd_keys *img_keys(void)
{
	return ring;
}

int img_open(const char *path, unsigned int flags, struct vhd **v, struct vhd_error *err)
{
	size_t n;
	int ret = vhd_open_keys(path, flags, ring, v, err);

	if (ret != -ENOKEY && ret != -EKEYREJECTED)
		return ret;
	n = strlen(err->text);
	snprintf(err->text + n, sizeof(err->text) - n, "; name the file that holds its key with --key");
	return ret;
}

int img_encrypted(const char *path, bool *encrypted)
{
	struct vhd_error err;
	struct vhd_info info;
	struct vhd *v;

	if (vhd_open(path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT, &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, &info);
	vhd_close(v);
	*encrypted = info.encrypted;
	return 0;
}

void img_print_hex(const uint8_t *p, size_t bytes)
{
	while (bytes--)
		printf("%02x", *p++);
}

static int look(const char *path, struct vhd_info *info)
{
	struct vhd_error err;
	struct vhd *v;

	if (img_open(path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT, &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, info);
	vhd_close(v);
	return 0;
}

static int need_key(const struct command *c)
{
	if (ring)
		return 0;
	print_error("lodge %s needs --key FILE", c->name);
	return LODGE_EXIT_USAGE;
}

/* An empty image without room for the hash is made again, with it; its identity stays. */
static int make_again(const char *path)
{
	struct vhd_params p = { .keys = ring };
	char parent[4096];
	struct vhd_info info;
	struct vhd_error err;
	struct img_output o;
	bool raw = false;
	int ret = look(path, &info);

	if (ret)
		return ret;
	p.type = info.type;
	p.size = info.size;
	p.block_size = info.block_size;
	p.timestamp = info.timestamp;
	memcpy(p.uuid, info.uuid, 16);
	if (info.type == VHD_DIFF) {
		ret = img_parent_of(path, true, parent, sizeof(parent), &info, &raw);
		if (ret)
			return ret;
		p.parent = parent;
		p.parent_raw = raw;
	}
	ret = img_output_begin(&o, path, true);
	if (ret)
		return ret;
	if (vhd_create(o.temporary, &p, &err)) {
		img_output_abort(&o);
		return print_error("%s", err.text);
	}
	return img_output_commit(&o);
}

static int key_set(const struct command *c, int argc, char **argv)
{
	struct vhd_error err;
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	ret = need_key(c);
	if (ret)
		return ret;
	ret = vhd_set_key(a.words.word[0], ring, &err);
	if (ret == -EOPNOTSUPP)
		return make_again(a.words.word[0]);
	return ret ? print_error("%s", err.text) : 0;
}

static int key_check(const struct command *c, int argc, char **argv)
{
	struct vhd_info info;
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	ret = need_key(c);
	if (!ret)
		ret = look(a.words.word[0], &info);
	if (ret)
		return ret;
	if (!info.encrypted)
		return print_error("'%s' is not encrypted", a.words.word[0]);
	if (!info.keyed)
		return print_error("this is not the key of '%s'", a.words.word[0]);
	printf("This is the key of '%s'.\n", a.words.word[0]);
	return 0;
}

static int key_show(const struct command *c, int argc, char **argv)
{
	struct vhd_info info;
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	ret = look(a.words.word[0], &info);
	if (ret)
		return ret;
	if (a.json)
		printf("{\"encrypted\": %s", info.encrypted ? "true" : "false");
	else
		printf(info.encrypted ? "encrypted:  AES-XTS, each sector by itself\n" : "encrypted:  no\n");
	if (info.encrypted) {
		printf(a.json ? ", \"nonce\": \"" : "nonce:      ");
		img_print_hex(info.key_nonce, 32);
		printf(a.json ? "\", \"sha256\": \"" : "\nsha256:     ");
		img_print_hex(info.key_hash, 32);
		printf(a.json ? "\"" : " (of nonce and key)\n");
	}
	if (a.json)
		printf("}\n");
	return 0;
}

#define KEY_OPTION { IMG_OPT_KEY, "key", "FILE", "the key: a file's contents, - for standard input, fd:N" }

static const struct command key_set_command = {
	.name = "img key set",
	.summary = "encrypt an image that is still empty",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Encrypts a dynamic or differencing image to which nothing has been written. Images\n"
		"that are made with it as their parent have the same key. A key is 32 random bytes\n"
		"(AES-128-XTS) or 64 (AES-256-XTS). It cannot be changed later: copy the image.\n",
	.examples = "  head -c 64 /dev/urandom >secret.key\n"
		    "  lodge img key set --key secret.key disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		KEY_OPTION,
		{ 0 },
	},
	.run = key_set,
};

static const struct command key_check_command = {
	.name = "img key check",
	.summary = "say whether a key is an image's",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Exit code 0: it is. The key is compared by its hash; no data are read.\n",
	.examples = "  lodge img key check --key secret.key disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		KEY_OPTION,
		{ 0 },
	},
	.run = key_check,
};

static const struct command key_show_command = {
	.name = "img key show",
	.summary = "show what an image tells of its key",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Shows whether an image is encrypted, and the hash by which its key is recognised.\n",
	.examples = "  lodge img key show disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print JSON" },
		{ 0 },
	},
	.run = key_show,
};

static const struct command *const commands[] = { &key_check_command, &key_set_command, &key_show_command, NULL };

const struct command img_key_command = {
	.name = "img key",
	.summary = "keys of encrypted images",
	.text = "Images are encrypted as tapdisk does it: AES-XTS, a sector at a time. Sectors that were\n"
		"never written are not, nor is anything but data; and what is changed in the file\n"
		"behind our back is not noticed.\n",
	.examples = "  lodge img key set --key secret.key disk.vhd\n",
	.sub = commands,
};
