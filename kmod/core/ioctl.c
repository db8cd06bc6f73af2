// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calling a row of a command table: finds it, copies the argument in and out.
 *
 * The number of a command says how large its argument is and which way it goes.  User memory is read once, into a kernel
 * buffer, before the function sees it; the answer is written once, after it returned.  Small arguments live on the stack.
 */
#include <linux/compat.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core/ioctl.h"

#define IOCTL_STACK	192

const struct lodge_ioctl *lodge_ioctl_find(const struct lodge_ioctl *tab, unsigned int n, unsigned int cmd)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (tab[i].cmd == cmd)
			return &tab[i];
	}
	return NULL;
}

static void __user *user_arg(unsigned long arg)
{
	return in_compat_syscall() ? compat_ptr((compat_uptr_t)arg) : (void __user *)arg;
}

static long call_copied(const struct lodge_ioctl *row, void *obj, unsigned long arg, void *buf)
{
	unsigned int size = _IOC_SIZE(row->cmd), dir = _IOC_DIR(row->cmd);
	long ret;

	if (!(dir & _IOC_WRITE))
		memset(buf, 0, size);
	else if (copy_from_user(buf, user_arg(arg), size))
		return -EFAULT;

	ret = row->fn(obj, buf);
	if (ret >= 0 && (dir & _IOC_READ) && copy_to_user(user_arg(arg), buf, size))
		return -EFAULT;
	return ret;
}

long lodge_ioctl_call(const struct lodge_ioctl *row, void *obj, unsigned long arg)
{
	unsigned int size = _IOC_SIZE(row->cmd);
	u64 small[IOCTL_STACK / sizeof(u64)];
	void *buf;
	long ret;

	if ((row->flags & LODGE_IOCTL_RAW) || !size) {
		/* With a direction the value is a user pointer. */
		if (_IOC_DIR(row->cmd) != _IOC_NONE)
			arg = (unsigned long)user_arg(arg);
		return row->fn(obj, (void *)arg);
	}
	if (size <= sizeof(small))
		return call_copied(row, obj, arg, small);

	buf = kmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	ret = call_copied(row, obj, arg, buf);
	kfree(buf);
	return ret;
}

void *lodge_ioctl_dup(const void __user *from, size_t len)
{
	void *buf = kvmalloc(len, GFP_KERNEL_ACCOUNT);

	if (!buf)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(buf, from, len)) {
		kvfree(buf);
		return ERR_PTR(-EFAULT);
	}
	return buf;
}
