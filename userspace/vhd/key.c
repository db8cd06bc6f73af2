// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keys of encrypted images, and the cipher.
 *
 * As tapdisk does it: each sector of data is one unit of AES-XTS, its tweak
 * the low 32 bits of the disk's sector number, little-endian, padded with
 * zeros (dm-crypt's "plain"). A key is 32 bytes (AES-128) or 64 (AES-256).
 * Metadata stay clear, and so do sectors that were never written: they are
 * told by the sector bitmap, not by their bytes. An image holds a random
 * nonce and the SHA-256 of nonce and key, by which its key is recognised;
 * that is no secret, and tells nothing of the key. There is no check of
 * integrity: whoever can write to the file can spoil sectors, or put old
 * ones back.
 *
 * A ring holds the keys that its user gave. Each image of a chain takes the
 * one that is its own; images without a hash are not encrypted. The ring
 * lives until the last image that took a key from it is closed.
 *
 * OpenSSL's contexts belong to one thread at a time, and queues to many: a
 * key has a few contexts, and a queue uses the one of its number. All are
 * made with the ring: nothing is allocated or loaded by requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/image.h"
#include "vhd/openssl.h"

#define CONTEXTS	8
#define KEYS_MAX	64u

struct vhd_key {
	uint8_t bytes[64];
	size_t length;
	struct context {
		pthread_mutex_t lock;
		EVP_CIPHER_CTX *read, *write;	/* lock */
	} context[CONTEXTS];
};

struct vhd_keys {
	atomic_uint users;
	unsigned int n;
	struct vhd_key *key[KEYS_MAX];
};

struct vhd_keys *vhd_keys_create(void)
{
	struct vhd_keys *k = calloc(1, sizeof(*k));

	if (k)
		atomic_store(&k->users, 1);
	return k;
}

struct vhd_keys *keys_share(struct vhd_keys *k)
{
	if (k)
		atomic_fetch_add(&k->users, 1);
	return k;
}

static void key_free(struct vhd_key *key)
{
	int i;

	for (i = 0; i < CONTEXTS; i++) {
		openssl.EVP_CIPHER_CTX_free(key->context[i].read);
		openssl.EVP_CIPHER_CTX_free(key->context[i].write);
		pthread_mutex_destroy(&key->context[i].lock);
	}
	explicit_bzero(key, sizeof(*key));
	free(key);
}

void vhd_keys_free(struct vhd_keys *k)
{
	if (!k || atomic_fetch_sub(&k->users, 1) != 1)
		return;
	while (k->n)
		key_free(k->key[--k->n]);
	free(k);
}

static int contexts_make(struct vhd_key *key)
{
	const EVP_CIPHER *cipher = key->length == 32 ? openssl.EVP_aes_128_xts() : openssl.EVP_aes_256_xts();
	int i;

	for (i = 0; i < CONTEXTS; i++) {
		struct context *c = &key->context[i];

		pthread_mutex_init(&c->lock, NULL);
		c->read = openssl.EVP_CIPHER_CTX_new();
		c->write = openssl.EVP_CIPHER_CTX_new();
	}
	for (i = 0; i < CONTEXTS; i++) {
		struct context *c = &key->context[i];

		if (!c->read || !c->write || openssl.EVP_CipherInit_ex(c->read, cipher, NULL, key->bytes, NULL, 0) != 1 ||
		    openssl.EVP_CipherInit_ex(c->write, cipher, NULL, key->bytes, NULL, 1) != 1)
			return -ENOMEM;
	}
	return 0;
}

int vhd_keys_add(struct vhd_keys *k, const void *bytes, size_t length, struct vhd_error *err)
{
	struct vhd_key *key;
	int ret;

	if (length != 32 && length != 64)
		return vhd_fail(err, EINVAL, "a key has 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), not %zu", length);
	if (!memcmp(bytes, (const uint8_t *)bytes + length / 2, length / 2))
		return vhd_fail(err, EINVAL, "both halves of the key are the same, which would give secrets away; take random bytes");
	if (k->n == KEYS_MAX)
		return vhd_fail(err, E2BIG, "there are more than %u keys", KEYS_MAX);
	ret = openssl_load(err);
	if (ret)
		return ret;
	key = calloc(1, sizeof(*key));
	if (!key)
		return vhd_fail(err, ENOMEM, "out of memory");
	memcpy(key->bytes, bytes, length);
	key->length = length;
	if (contexts_make(key)) {
		key_free(key);
		return vhd_fail(err, ENOMEM, "out of memory, or OpenSSL has no AES-XTS");
	}
	k->key[k->n++] = key;
	return 0;
}

static int key_open(const char *path)
{
	char *end;
	long fd;

	if (!strncmp(path, "fd:", 3)) {
		errno = 0;
		fd = strtol(path + 3, &end, 10);
		if (errno || *end || end == path + 3 || fd < 0 || fd > 1 << 20) {
			errno = EBADF;
			return -1;
		}
		return dup(fd);
	}
	return strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : dup(STDIN_FILENO);
}

int vhd_keys_add_file(struct vhd_keys *k, const char *path, struct vhd_error *err)
{
	uint8_t bytes[65];
	struct vhd_error why;
	size_t n = 0;
	ssize_t r = 1;
	int fd = key_open(path), ret;

	if (fd < 0)
		return vhd_fail(err, errno, "cannot read a key from '%.300s': %s", path, strerror(errno));
	while (r && n < sizeof(bytes)) {
		r = read(fd, bytes + n, sizeof(bytes) - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			break;
		n += r;
	}
	ret = r < 0 ? -errno : 0;
	close(fd);
	if (ret) {
		vhd_fail(err, -ret, "cannot read a key from '%.300s': %s", path, strerror(-ret));
	} else if (n > 64) {
		ret = vhd_fail(err, EINVAL, "'%.300s' is no key: a key has 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), and this has more", path);
	} else {
		ret = vhd_keys_add(k, bytes, n, &why);
		if (ret == -EINVAL)
			vhd_fail(err, EINVAL, "'%.300s' is no key: %s", path, why.text);
		else if (ret)
			vhd_fail(err, why.code, "the key in '%.300s' cannot be used: %s", path, why.text);
	}
	explicit_bzero(bytes, sizeof(bytes));
	return ret;
}

static int hash_of(const struct vhd_key *key, const uint8_t nonce[32], uint8_t hash[32])
{
	EVP_MD_CTX *c = openssl.EVP_MD_CTX_new();
	unsigned int n = 0;
	bool good = c && openssl.EVP_DigestInit_ex(c, openssl.EVP_sha256(), NULL) == 1 && openssl.EVP_DigestUpdate(c, nonce, 32) == 1 &&
		    openssl.EVP_DigestUpdate(c, key->bytes, key->length) == 1 && openssl.EVP_DigestFinal_ex(c, hash, &n) == 1;

	openssl.EVP_MD_CTX_free(c);
	return good && n == 32 ? 0 : -ENOMEM;
}

int keys_hash(const struct vhd_keys *k, struct vhd_keyhash *h)
{
	if (!k || !k->n)
		return -ENOKEY;
	h->set = true;
	return hash_of(k->key[0], h->nonce, h->hash);
}

struct vhd_key *keys_find(const struct vhd_keys *k, const struct vhd_keyhash *h)
{
	uint8_t hash[32];
	unsigned int i;

	for (i = 0; k && i < k->n; i++)
		if (!hash_of(k->key[i], h->nonce, hash) && !memcmp(hash, h->hash, 32))
			return k->key[i];
	return NULL;
}

bool keys_any(const struct vhd_keys *k)
{
	return k && k->n;
}

int key_sectors(struct vhd_key *key, unsigned int number, bool write, uint8_t *buf, uint64_t bytes, uint64_t sector)
{
	struct context *c = &key->context[number % CONTEXTS];
	uint8_t tweak[16] = { 0 };
	uint64_t at;
	int n, ret = 0;

	pthread_mutex_lock(&c->lock);
	for (at = 0; at < bytes && !ret; at += VHD_SECTOR, sector++) {
		EVP_CIPHER_CTX *x = write ? c->write : c->read;

		tweak[0] = sector;
		tweak[1] = sector >> 8;
		tweak[2] = sector >> 16;
		tweak[3] = sector >> 24;
		if (openssl.EVP_CipherInit_ex(x, NULL, NULL, NULL, tweak, -1) != 1 ||
		    openssl.EVP_CipherUpdate(x, buf + at, &n, buf + at, VHD_SECTOR) != 1 || n != VHD_SECTOR)
			ret = -EIO;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}
