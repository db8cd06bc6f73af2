/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OpenSSL's libcrypto, loaded when the first key comes.
 *
 * It brings more than a megabyte of pages and its relocations to every process that is linked with it, and few disks are
 * encrypted.  It is never unloaded.
 */
#ifndef VHD_OPENSSL_H
#define VHD_OPENSSL_H

#include <openssl/evp.h>

#include "lodge/vhd.h"

/* clang-format off */
#define OPENSSL_FUNCTIONS(f) \
	f(EVP_CIPHER_CTX_new) f(EVP_CIPHER_CTX_free) f(EVP_aes_128_xts) f(EVP_aes_256_xts) f(EVP_CipherInit_ex) \
	f(EVP_CipherUpdate) f(EVP_MD_CTX_new) f(EVP_MD_CTX_free) f(EVP_sha256) f(EVP_DigestInit_ex) f(EVP_DigestUpdate) \
	f(EVP_DigestFinal_ex)
/* clang-format on */

/* Each by its own name, with the type that OpenSSL's header gives it. */
#define OPENSSL_MEMBER(name) __typeof__(name) *name;
extern struct openssl {
	OPENSSL_FUNCTIONS(OPENSSL_MEMBER)
} openssl;

/* Fills the table above. Any thread that may open files. 0, or -ENOENT with a message that names the package. */
int openssl_load(struct vhd_error *err);

#endif
