// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /dev/pfnmap, for the test of the same name: mmap() gives pages of ordinary memory as a driver maps its device (VM_PFNMAP, by
 * remap_pfn_range()), read() tells in text how often each of them is referenced.
 *
 * A user of such a mapping must not take references: they are none of its business, and a page that is not the page allocator's
 * would be freed when the last one is dropped.
 */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define ORDER	2

static struct page *pages;

static int pfnmap_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long size = vma->vm_end - vma->vm_start;

	if (vma->vm_pgoff || size > PAGE_SIZE << ORDER)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start, page_to_pfn(pages), size, vma->vm_page_prot);
}

static ssize_t pfnmap_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	char text[64];
	int i, n = 0;

	for (i = 0; i < 1 << ORDER; i++)
		n += scnprintf(text + n, sizeof(text) - n, "%d ", page_count(pages + i));
	return simple_read_from_buffer(buf, len, pos, text, n);
}

static const struct file_operations pfnmap_fops = {
	.owner = THIS_MODULE,
	.mmap = pfnmap_mmap,
	.read = pfnmap_read,
	.llseek = default_llseek,
};

static struct miscdevice pfnmap_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pfnmap",
	.fops = &pfnmap_fops,
};

static int __init pfnmap_init(void)
{
	int r;

	pages = alloc_pages(GFP_KERNEL | __GFP_ZERO, ORDER);
	if (!pages)
		return -ENOMEM;
	split_page(pages, ORDER);
	r = misc_register(&pfnmap_dev);
	if (r) {
		int i;

		for (i = 0; i < 1 << ORDER; i++)
			__free_page(pages + i);
	}
	return r;
}

static void __exit pfnmap_exit(void)
{
	int i;

	misc_deregister(&pfnmap_dev);
	for (i = 0; i < 1 << ORDER; i++)
		__free_page(pages + i);
}

module_init(pfnmap_init);
module_exit(pfnmap_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Pages of memory mapped as a device's, for a test");
