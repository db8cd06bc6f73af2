/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of other programs, read and written by qemu-img. */
#ifndef CLI_IMG_FOREIGN_H
#define CLI_IMG_FOREIGN_H

#include <stdbool.h>

/*
 * "qcow2", "vmdk" or "vhdx", if @format (NULL: none) or @word's beginning or ending says so, else NULL. *@path is set to the
 * file's name then.
 */
const char *img_foreign_format(const char *word, const char *format, const char **path);
/* Makes the new raw file @raw from @path. 0, or an exit code after a message; @raw may be there in part. */
int img_foreign_read(const char *path, const char *format, const char *raw, bool progress);
/* Makes or replaces @path from @raw. */
int img_foreign_write(const char *raw, const char *path, const char *format, bool progress);

#endif
