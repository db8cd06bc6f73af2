/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulator's files take from their surroundings: fixed-width types, memcpy and memset, and three macros.
 *
 * The emulator is built into the module and into user-space tests and fuzzers; this is the only place that knows which.
 */
#ifndef LODGE_EMUL_ENV_H
#define LODGE_EMUL_ENV_H

#ifdef __KERNEL__

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/types.h>

#else

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif
#ifndef fallthrough
#define fallthrough	__attribute__((__fallthrough__))
#endif

#endif

#endif
