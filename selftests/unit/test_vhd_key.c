// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio -lcrypto
// CFLAGS: -Wl,--wrap=dlopen,--wrap=dlsym
/*
 * Encrypted images: the cipher against IEEE 1619's vectors, the key's hash,
 * what is on the disk, and chains in which some images are encrypted.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

#define DISK	(8u << 20)

static char dir[] = "/tmp/lodge-key-XXXXXX";

static const uint8_t key32[32] = { 0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60,
				   0x28, 0x74, 0x71, 0x35, 0x26, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58,
				   0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95 };
static const uint8_t key64[64] = {
	0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60, 0x28, 0x74, 0x71, 0x35, 0x26,
	0x62, 0x49, 0x77, 0x57, 0x24, 0x70, 0x93, 0x69, 0x99, 0x59, 0x57, 0x49, 0x66, 0x96, 0x76, 0x27,
	0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95,
	0x02, 0x88, 0x41, 0x97, 0x16, 0x93, 0x99, 0x37, 0x51, 0x05, 0x82, 0x09, 0x74, 0x94, 0x45, 0x92
};

static struct vhd_keys *ring(const void *key, size_t bytes)
{
	struct vhd_keys *k = vhd_keys_create();
	struct vhd_error err;

	ck_assert_ptr_nonnull(k);
	ck_assert_msg(!vhd_keys_add(k, key, bytes, &err), "%s", err.text);
	return k;
}

static struct vhd_key *only(const struct vhd_keys *k)
{
	struct vhd_keyhash h = { .nonce = { 1, 2, 3 } };

	ck_assert(!keys_hash(k, &h));
	return keys_find(k, &h);
}

/*
 * Vectors 4, 5 and 10 of IEEE 1619: units of 512 bytes, numbers 0, 1 and 255. They hold 00 01 ... ff 00 ... ff, but
 * the second what the first has become.
 */
START_TEST(cipher_is_the_standard_s)
{
	static const struct {
		bool large;
		uint64_t sector;
		uint8_t want[16];
	} vector[] = {
		{ false, 0, { 0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76, 0x48, 0x9f, 0x30, 0x8c, 0xd4, 0xcf, 0xa6, 0xe2 } },
		{ false, 1, { 0x26, 0x4d, 0x3c, 0xa8, 0x51, 0x21, 0x94, 0xfe, 0xc3, 0x12, 0xc8, 0xc9, 0x89, 0x1f, 0x27, 0x9f } },
		{ true, 255, { 0x1c, 0x3b, 0x3a, 0x10, 0x2f, 0x77, 0x03, 0x86, 0xe4, 0x83, 0x6c, 0x99, 0xe3, 0x70, 0xcf, 0x9b } },
	};
	uint8_t plain[1024], buf[1024], other[1024];
	struct vhd_keys *k;
	unsigned int i, n;

	for (i = 0; i < sizeof(plain); i++)
		plain[i] = i;
	for (n = 0; n < sizeof(vector) / sizeof(vector[0]); n++) {
		k = vector[n].large ? ring(key64, 64) : ring(key32, 32);
		if (n == 1)
			ck_assert_int_eq(key_sectors(only(k), n, true, plain, 512, 0), 0);
		memcpy(buf, plain, sizeof(buf));
		ck_assert_int_eq(key_sectors(only(k), n, true, buf, 1024, vector[n].sector), 0);
		ck_assert_mem_eq(buf, vector[n].want, 16);
		/* Each sector by itself. */
		memcpy(other, plain, sizeof(other));
		ck_assert_int_eq(key_sectors(only(k), n, true, other + 512, 512, vector[n].sector + 1), 0);
		ck_assert_mem_eq(buf + 512, other + 512, 512);
		/* Only 32 bits of the number count, as in tapdisk and dm-crypt's "plain". */
		memcpy(other, plain, sizeof(other));
		ck_assert_int_eq(key_sectors(only(k), n, true, other, 1024, vector[n].sector + (1ull << 32)), 0);
		ck_assert_mem_eq(buf, other, 1024);
		ck_assert_int_eq(key_sectors(only(k), n, false, buf, 1024, vector[n].sector), 0);
		ck_assert_mem_eq(buf, plain, 1024);
		if (n == 1)
			ck_assert_int_eq(key_sectors(only(k), n, false, plain, 512, 0), 0);
		vhd_keys_free(k);
	}
}
END_TEST

START_TEST(hash_is_of_nonce_and_key)
{
	/* sha256 of bytes 0 to 31 and key32. */
	struct vhd_keys *k = ring(key32, 32), *other = ring(key64, 64);
	struct vhd_keyhash h = { 0 };
	uint8_t both[64], want[32];
	unsigned int i, n;

	for (i = 0; i < 32; i++)
		h.nonce[i] = i;
	memcpy(both, h.nonce, 32);
	memcpy(both + 32, key32, 32);
	ck_assert_int_eq(EVP_Digest(both, 64, want, &n, EVP_sha256(), NULL), 1);
	ck_assert_int_eq(keys_hash(k, &h), 0);
	ck_assert_mem_eq(h.hash, want, 32);
	ck_assert_ptr_nonnull(keys_find(k, &h));
	ck_assert_ptr_null(keys_find(other, &h));
	ck_assert_ptr_null(keys_find(NULL, &h));
	vhd_keys_free(k);
	vhd_keys_free(other);
}
END_TEST

START_TEST(bad_keys_are_refused)
{
	static const uint8_t same[32];
	struct vhd_keys *k = vhd_keys_create();
	struct vhd_error err;

	ck_assert_int_eq(vhd_keys_add(k, key64, 31, &err), -EINVAL);
	ck_assert_int_eq(vhd_keys_add(k, key64, 33, &err), -EINVAL);
	ck_assert_int_eq(vhd_keys_add(k, key64, 0, &err), -EINVAL);
	ck_assert_int_eq(vhd_keys_add(k, same, 32, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "halves"), "%s", err.text);
	ck_assert_int_eq(vhd_keys_add_file(k, "/nowhere/key", &err), -ENOENT);
	ck_assert_int_eq(vhd_keys_add_file(k, "fd:x", &err), -EBADF);
	ck_assert_int_eq(vhd_keys_add_file(k, "/dev/zero", &err), -EINVAL);
	ck_assert(!keys_any(k));
	vhd_keys_free(k);
}
END_TEST

static bool no_library, no_symbol;

void *__real_dlopen(const char *file, int flags);
void *__wrap_dlopen(const char *file, int flags);
void *__real_dlsym(void *lib, const char *name);
void *__wrap_dlsym(void *lib, const char *name);

void *__wrap_dlopen(const char *file, int flags)
{
	return __real_dlopen(no_library ? "/nowhere/libcrypto.so.3" : file, flags);
}

void *__wrap_dlsym(void *lib, const char *name)
{
	return no_symbol && !strcmp(name, "EVP_sha256") ? NULL : __real_dlsym(lib, name);
}

/* The tests have a process each: nothing is loaded yet. */
START_TEST(without_openssl_there_are_no_keys)
{
	struct vhd_keys *k = vhd_keys_create();
	char name[] = "/tmp/lodge-key-file-XXXXXX";
	struct vhd_error err;
	int fd = mkstemp(name);

	ck_assert_int_eq(write(fd, key32, 32), 32);
	no_library = true;
	ck_assert_int_eq(vhd_keys_add(k, key32, 32, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "apt-get install libssl3"), "%s", err.text);
	ck_assert_int_eq(vhd_keys_add_file(k, name, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "cannot be used") && !strstr(err.text, "no key"), "%s", err.text);
	no_library = false;
	no_symbol = true;
	ck_assert_int_eq(vhd_keys_add(k, key32, 32, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "EVP_sha256"), "%s", err.text);
	ck_assert(!keys_any(k));
	no_symbol = false;
	ck_assert_int_eq(vhd_keys_add_file(k, name, &err), 0);
	ck_assert(keys_any(k));
	vhd_keys_free(k);
	close(fd);
	unlink(name);
}
END_TEST

static const char *at(const char *name)
{
	static char path[2][100];
	static int turn;

	turn ^= 1;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void make(const char *name, const char *parent, struct vhd_keys *keys)
{
	struct vhd_params p = { .type = parent ? VHD_DIFF : VHD_DYNAMIC, .size = parent ? 0 : DISK, .keys = keys };
	struct vhd_error err;
	char below[100];

	if (parent) {
		snprintf(below, sizeof(below), "%s", at(parent));
		p.parent = below;
	}
	ck_assert_msg(!vhd_create(at(name), &p, &err), "%s", err.text);
}

static void fill(const char *name, struct vhd_keys *keys, uint64_t from, uint64_t bytes, uint8_t value)
{
	uint8_t *buf = malloc(bytes);
	struct vhd_queue *q;
	struct vhd_error err;
	struct vhd *v;

	memset(buf, value, bytes);
	ck_assert_msg(!vhd_open_keys(at(name), VHD_O_INTERNAL, keys, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 8);
	ck_assert_int_eq(vhd_pwrite(q, buf, bytes, from), 0);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(v), 0);
	free(buf);
}

static int opens(const char *name, unsigned int flags, struct vhd_keys *keys)
{
	struct vhd_error err;
	struct vhd *v;
	int ret = vhd_open_keys(at(name), VHD_O_RDONLY | flags, keys, &v, &err);

	if (!ret)
		vhd_close(v);
	return ret;
}

static uint8_t byte_at(const char *name, struct vhd_keys *keys, uint64_t offset)
{
	uint8_t buf[512];
	struct vhd_queue *q;
	struct vhd_error err;
	struct vhd *v;

	ck_assert_msg(!vhd_open_keys(at(name), VHD_O_RDONLY, keys, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 8);
	ck_assert_int_eq(vhd_pread(q, buf, 512, offset / 512 * 512), 0);
	ck_assert_mem_eq(buf, buf + 1, 511);
	vhd_queue_destroy(q);
	vhd_close(v);
	return buf[offset % 512];
}

START_TEST(chain_of_plain_and_encrypted_images)
{
	struct vhd_keys *one = ring(key32, 32), *two = ring(key64, 64), *both = ring(key32, 32), *none = vhd_keys_create();
	struct vhd_error err;

	ck_assert(!vhd_keys_add(both, key64, 64, &err));
	/* plain <- one <- one (inherited) <- two */
	make("plain.vhd", NULL, NULL);
	fill("plain.vhd", NULL, 0, 4096, 1);
	make("one.vhd", "plain.vhd", one);
	fill("one.vhd", one, 4096, 4096, 2);
	make("inherits.vhd", "one.vhd", NULL);
	ck_assert_int_eq(opens("inherits.vhd", 0, NULL), -ENOKEY);
	ck_assert_int_eq(opens("inherits.vhd", 0, none), -ENOKEY);
	ck_assert_int_eq(opens("inherits.vhd", 0, two), -EKEYREJECTED);
	fill("inherits.vhd", one, 8192, 4096, 3);
	make("two.vhd", "inherits.vhd", two);
	fill("two.vhd", both, 12288, 4096, 4);
	ck_assert_int_eq(opens("two.vhd", 0, one), -EKEYREJECTED);
	ck_assert_int_eq(opens("two.vhd", 0, two), -EKEYREJECTED);
	ck_assert_int_eq(opens("two.vhd", VHD_O_NOKEY, NULL), 0);
	ck_assert_int_eq(byte_at("two.vhd", both, 0), 1);
	ck_assert_int_eq(byte_at("two.vhd", both, 4096), 2);
	ck_assert_int_eq(byte_at("two.vhd", both, 8192 + 512), 3);
	ck_assert_int_eq(byte_at("two.vhd", both, 12288), 4);
	ck_assert_int_eq(byte_at("two.vhd", both, 16384), 0);
	ck_assert_int_eq(byte_at("plain.vhd", NULL, 0), 1);
	vhd_keys_free(one);
	vhd_keys_free(two);
	vhd_keys_free(both);
	vhd_keys_free(none);
}
END_TEST

START_TEST(without_its_key_nothing_is_read_or_written)
{
	struct vhd_keys *one = ring(key32, 32);
	uint8_t buf[512] = { 0 };
	struct vhd_error err;
	struct vhd_queue *q;
	struct vhd *v;

	make("a.vhd", NULL, one);
	fill("a.vhd", one, 0, 4096, 7);
	ck_assert(!vhd_open(at("a.vhd"), VHD_O_NOKEY, &v, &err));
	q = vhd_queue_create(v, 4);
	ck_assert_int_eq(vhd_pread(q, buf, 512, 0), -ENOKEY);
	ck_assert_int_eq(vhd_pwrite(q, buf, 512, 0), -ENOKEY);
	ck_assert_int_eq(vhd_discard(q, 0, DISK), -ENOKEY);
	ck_assert_int_eq(vhd_write_zeroes(q, 0, 512, 0), -ENOKEY);
	ck_assert_int_eq(vhd_flush(q), 0);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(v), 0);
	ck_assert_int_eq(byte_at("a.vhd", one, 0), 7);
	vhd_keys_free(one);
}
END_TEST

/* What tapdisk would find: its marks, the header of its map behind the table, data as its cipher has them. */
START_TEST(file_is_as_tapdisk_has_it)
{
	struct vhd_keys *one = ring(key32, 32);
	uint8_t *file, want[512], footer[512];
	struct vhd_header h;
	struct vhd_footer f;
	uint64_t map_at;
	uint32_t entry;
	long bytes;
	FILE *in;

	make("t.vhd", NULL, one);
	fill("t.vhd", one, 2 * VHD_DEFAULT_BLOCK + 512 * 9, 512, 0x33);
	in = fopen(at("t.vhd"), "rb");
	ck_assert_ptr_nonnull(in);
	fseek(in, 0, SEEK_END);
	bytes = ftell(in);
	rewind(in);
	file = malloc(bytes);
	ck_assert_uint_eq(fread(file, 1, bytes, in), bytes);
	fclose(in);
	memcpy(footer, file + bytes - 512, 512);
	ck_assert_mem_eq(file, footer, 512);
	ck_assert(!vhd_footer_decode(footer, &f, NULL));
	ck_assert_mem_eq(f.creator, "tap", 4);
	ck_assert_uint_eq(f.creator_version, 0x00010003);
	ck_assert(!vhd_header_decode(file + 512, &h, NULL));
	map_at = h.table_offset + h.max_entries * 4;
	ck_assert_uint_eq(map_at % 512, 0);
	ck_assert_mem_eq(file + map_at, "tdbatmap", 8);
	ck_assert_uint_eq(file[map_at + 29], 1);
	ck_assert_mem_eq(file + map_at + 20, "\x00\x01\x00\x02\xff\xff\xff\xff", 8);
	memcpy(&entry, file + h.table_offset + 2 * 4, 4);
	entry = __builtin_bswap32(entry);
	memset(want, 0x33, 512);
	ck_assert_int_eq(key_sectors(only(one), 0, true, want, 512, 2 * 4096 + 9), 0);
	ck_assert_mem_eq(file + (entry + 1 + 9) * 512ull, want, 512);
	/* Only what was written is there. */
	ck_assert_uint_eq(file[entry * 512ull + 1], 0x40);
	ck_assert_uint_eq(file[entry * 512ull], 0);
	free(file);
	vhd_keys_free(one);
}
END_TEST

START_TEST(disk_grows_and_shrinks)
{
	struct vhd_keys *one = ring(key32, 32);
	struct vhd_error err;

	make("g.vhd", NULL, one);
	fill("g.vhd", one, 0, DISK, 5);
	ck_assert_msg(!vhd_resize(at("g.vhd"), (3u << 20) + 512, VHD_RESIZE_SHRINK, 0, &err), "%s", err.text);
	ck_assert_msg(!vhd_resize(at("g.vhd"), 1ull << 30, 0, 0, &err), "%s", err.text);
	ck_assert_int_eq(byte_at("g.vhd", one, 3u << 20), 5);
	ck_assert_int_eq(byte_at("g.vhd", one, (3u << 20) + 512), 0);
	ck_assert_int_eq(byte_at("g.vhd", one, (4u << 20) - 512), 0);
	ck_assert_int_eq(byte_at("g.vhd", one, 4u << 20), 0);
	ck_assert_int_eq(vhd_resize(at("g.vhd"), 1ull << 40, 0, 0, &err), -EOPNOTSUPP);
	vhd_keys_free(one);
}
END_TEST

static uint8_t map_byte(const char *name, uint64_t *sum)
{
	struct layout l;
	struct vhd_error err;
	struct store *s;
	uint8_t b;

	ck_assert(!store_file_open(at(name), VHD_O_RDONLY | VHD_O_NOLOCK, &s, &err));
	ck_assert(!layout_read(s, &l, &err));
	ck_assert(l.batmap.present && l.batmap.usable);
	ck_assert(!s->ops->pread(s, &b, 1, l.batmap.at));
	*sum = l.batmap.checksum;
	s->ops->close(s);
	return b;
}

/* tapdisk's map of full blocks says what is full, never more, and nothing while the image is open. */
START_TEST(map_of_full_blocks_is_kept)
{
	struct vhd_keys *one = ring(key32, 32);
	struct vhd_check c = { .bitmaps = true };
	struct vhd_queue *q;
	struct vhd_error err;
	struct vhd *v;
	uint64_t sum;

	make("m.vhd", NULL, one);
	ck_assert_uint_eq(map_byte("m.vhd", &sum), 0);
	fill("m.vhd", one, 0, 3 * VHD_DEFAULT_BLOCK, 5);
	fill("m.vhd", one, 3 * VHD_DEFAULT_BLOCK, 4096, 5);
	fill("m.vhd", one, 0, 4096, 6);
	ck_assert_uint_eq(map_byte("m.vhd", &sum), 0xe0);
	ck_assert_uint_eq(sum, ~0xe0u);
	ck_assert(!vhd_open_keys(at("m.vhd"), 0, one, &v, &err));
	ck_assert_uint_eq(map_byte("m.vhd", &sum), 0);
	ck_assert_uint_eq(sum, ~0u);
	q = vhd_queue_create(v, 4);
	ck_assert_int_eq(vhd_discard(q, VHD_DEFAULT_BLOCK, VHD_DEFAULT_BLOCK), 0);
	vhd_queue_destroy(q);
	ck_assert_int_eq(vhd_close(v), 0);
	ck_assert_uint_eq(map_byte("m.vhd", &sum), 0xa0);
	ck_assert_int_eq(vhd_check(at("m.vhd"), &c, &err), 0);
	ck_assert_uint_eq(c.corruptions + c.leaks, 0);
	vhd_keys_free(one);
}
END_TEST

START_TEST(only_an_empty_image_gets_a_key)
{
	struct vhd_keys *one = ring(key32, 32), *two = ring(key64, 64);
	struct vhd_error err;

	make("e.vhd", NULL, NULL);
	ck_assert_int_eq(vhd_set_key(at("e.vhd"), one, &err), -EOPNOTSUPP);
	make("f.vhd", NULL, one);
	ck_assert_int_eq(vhd_set_key(at("f.vhd"), two, &err), -EEXIST);
	fill("e.vhd", NULL, 0, 512, 1);
	ck_assert_int_eq(vhd_set_key(at("e.vhd"), one, &err), -ENOTEMPTY);
	vhd_keys_free(one);
	vhd_keys_free(two);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		cipher_is_the_standard_s, hash_is_of_nonce_and_key, bad_keys_are_refused,
		without_openssl_there_are_no_keys,
		chain_of_plain_and_encrypted_images, without_its_key_nothing_is_read_or_written,
		file_is_as_tapdisk_has_it, disk_grows_and_shrinks, map_of_full_blocks_is_kept,
		only_an_empty_image_gets_a_key,
	};
	Suite *s = suite_create("vhd_key");
	TCase *t = tcase_create("keys");
	SRunner *r = srunner_create(s);
	char command[100];
	unsigned int i;
	int failed;

	if (!mkdtemp(dir))
		return 1;
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(t, tests[i]);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) || failed ? 1 : 0;
}
