// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * take_minor - a driver that has the device number 10:251, for load.sh.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static const struct file_operations take_fops = { .owner = THIS_MODULE };
static struct miscdevice take_misc = { .minor = 251, .name = "lodge-test-251", .fops = &take_fops };
module_misc_device(take_misc);

MODULE_DESCRIPTION("device number 10:251, for a test");
MODULE_LICENSE("GPL");
