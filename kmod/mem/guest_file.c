// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest-memory files: a shmem file of our own mount, with our own file operations.
 *
 * The inode is shmem's, so everything that the kernel does with shmem pages works: swap, cgroup charges, NUMA policy, the reverse
 * map, huge pages as the mount says.  The file is ours: whatever user space does to it comes here first (mmap, fallocate and thus
 * MADV_REMOVE, ioctl), and nothing reaches the pages behind our back:
 *
 *   - the inode's own operations, which an open through /proc/PID/fd would get, refuse to open;
 *   - seals fix the size, as ftruncate goes to the inode, not to the file;
 *   - VMAs bear VM_DONTEXPAND, which keeps khugepaged and MADV_COLLAPSE away: they would fill holes with zeros that are not holes
 *     to us.  Its price is that mlock() does nothing on such memory;
 *   - userfaultfd registers only what has shmem's own vm_operations.
 *
 * shmem's fault handler is reached through the operations that its mmap gives to a VMA.  It is called with a VMA made up for the
 * call, whose flags say for each page whether it may become a huge one, whatever the mount and the caller's VMA would have.
 *
 * A page that a fault returns is locked and stays so until its entry is in the page table.  So whoever takes a page away holds
 * sem for writing (no new fault), then locks the page (no fault is on its way), then unmaps.
 *
 * The descriptor holds the module, VMAs hold the file.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "core/ext.h"
#include "mem/guest_file.h"
#include "mem/reserve.h"
#include "mem/share.h"
#include "mem/share_scan.h"

#define SIZE_LIMIT	(1ull << 43)	/* counts of pages fit an int */

static struct vfsmount *mem_mount;
static const struct vm_operations_struct *shmem_ops;
static struct vm_operations_struct guest_vm_ops;

/* Would the huge page around @index lie within the file? */
static bool huge_fits(const struct guest_file *f, pgoff_t index)
{
	return !f->small && round_up(index + 1, HPAGE_PMD_NR) <= f->npages;
}

vm_fault_t guest_file_page(struct guest_file *f, pgoff_t index, struct mm_struct *mm, unsigned int flags, unsigned long huge,
			   struct page **page)
{
	struct vm_area_struct vma;
	struct vm_fault vmf = { .vma = &vma, .pgoff = index, .flags = flags };
	vm_fault_t ret;

	vma_init(&vma, mm);
	vma.vm_file = f->file;
	vma.vm_flags = VM_SHARED | (huge_fits(f, index) ? huge : VM_NOHUGEPAGE);
	ret = shmem_ops->fault(&vmf);
	*page = vmf.page;
	return ret;
}

/* A write found a shared page: the fault is to be tried again when that has been made private, or there was a wait for memory. */
static vm_fault_t break_fault(struct guest_file *f, pgoff_t index)
{
	int ret;

	down_write(&f->sem);
	ret = share_break(f, index);
	f->stats.breaks_waited += ret == -ENOMEM;
	up_write(&f->sem);
	if (ret == -EHWPOISON)
		return VM_FAULT_HWPOISON;
	if (ret == -ENOMEM)
		reserve_wait();
	return VM_FAULT_NOPAGE;
}

static vm_fault_t file_fault(struct vm_fault *vmf)
{
	const struct vm_area_struct *vma = vmf->vma;
	struct guest_file *f = vma->vm_file->private_data;
	unsigned long huge = VM_NOHUGEPAGE;
	enum share_kind kind;
	struct page *page;
	vm_fault_t ret;

	down_read(&f->sem);
	kind = share_kind(f, vmf->pgoff, &page);
	if (kind == SHARE_SHARED && (vmf->flags & FAULT_FLAG_WRITE)) {
		up_read(&f->sem);
		return break_fault(f, vmf->pgoff);
	}
	if (kind == SHARE_PRIVATE) {
		if (!(vma->vm_flags & VM_NOHUGEPAGE) && !share_near(f, vmf->pgoff))
			huge = VM_HUGEPAGE;
		ret = guest_file_page(f, vmf->pgoff, vma->vm_mm, vmf->flags, huge, &vmf->page);
	} else if (PageHWPoison(page)) {
		ret = VM_FAULT_HWPOISON;
	} else {
		get_page(page);
		lock_page(page);
		vmf->page = page;
		ret = VM_FAULT_LOCKED;
	}
	up_read(&f->sem);
	return ret;
}

/* The first write through an entry that was installed by a read. */
static vm_fault_t file_mkwrite(struct vm_fault *vmf)
{
	struct guest_file *f = vmf->vma->vm_file->private_data;
	vm_fault_t ret = VM_FAULT_NOPAGE;
	enum share_kind kind;
	struct page *page;

	down_read(&f->sem);
	kind = share_kind(f, vmf->pgoff, &page);
	if (kind == SHARE_SHARED) {
		up_read(&f->sem);
		return break_fault(f, vmf->pgoff);
	}
	lock_page(vmf->page);
	if (kind == SHARE_OWNED ? page == vmf->page : page_folio(vmf->page)->mapping == f->mapping)
		ret = VM_FAULT_LOCKED;
	else
		unlock_page(vmf->page);
	up_read(&f->sem);
	return ret;
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* A private mapping would keep bytes that its guest has long changed. */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vma->vm_flags |= VM_DONTEXPAND;
	vma->vm_ops = &guest_vm_ops;
	return 0;
}

/* Part of a page becomes zeros where the overlay has it; f->sem is held for writing. */
static int zero_part(struct guest_file *f, loff_t at, loff_t end)
{
	struct page *page;
	int ret;

	if (at >= end)
		return 0;
	ret = share_break(f, at >> PAGE_SHIFT);
	if (!ret && share_kind(f, at >> PAGE_SHIFT, &page) == SHARE_OWNED)
		memzero_page(page, offset_in_page(at), end - at);
	return ret;
}

static long file_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct guest_file *f = file->private_data;
	loff_t size = (loff_t)f->npages << PAGE_SHIFT, end = min(offset + len, size);
	loff_t first = round_up(offset, PAGE_SIZE), last = round_down(end, PAGE_SIZE);
	long ret;

	/* Filling is what MADV_POPULATE_WRITE is for: it goes the way of faults. */
	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (offset >= size)
		return 0;
	down_write(&f->sem);
	ret = zero_part(f, offset, min(first, end)) ?: zero_part(f, max(last, first), end);
	if (!ret) {
		if (first < last)
			unmap_mapping_range(f->mapping, first, last - first, 0);
		share_drop(f, first >> PAGE_SHIFT, last >> PAGE_SHIFT);
		shmem_truncate_range(file_inode(file), offset, end - 1);
	}
	up_write(&f->sem);
	return ret;
}

static loff_t file_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, i_size_read(file_inode(file)));
}

static __poll_t file_poll(struct file *file, struct poll_table_struct *wait)
{
	reserve_poll_wait(file, wait);
	return reserve_is_low() ? EPOLLPRI : 0;
}

static long file_blocks(void *obj, void *arg)
{
	return share_blocks(obj, arg);
}

static long file_scan(void *obj, void *arg)
{
	return share_scan(obj, arg);
}

static long file_range(void *obj, void *arg)
{
	struct lodge_guest_range *r = arg;
	struct guest_file *f = obj;
	pgoff_t first = r->offset >> PAGE_SHIFT, n = r->len >> PAGE_SHIFT;
	unsigned long *map = NULL;

	if ((r->flags & ~LODGE_RANGE_NO_SHARE) || r->reserved || !PAGE_ALIGNED(r->offset | r->len) || first > f->npages ||
	    n > f->npages - first)
		return -EINVAL;
	if (!READ_ONCE(f->no_share)) {
		map = kvcalloc(BITS_TO_LONGS(f->npages), sizeof(long), GFP_KERNEL_ACCOUNT);
		if (!map)
			return -ENOMEM;
	}
	down_write(&f->sem);
	if (!f->no_share)
		swap(f->no_share, map);
	if (r->flags)
		bitmap_set(f->no_share, first, n);
	else
		bitmap_clear(f->no_share, first, n);
	up_write(&f->sem);
	kvfree(map);
	return r->flags ? share_break_range(f, first, first + n) : 0;
}

static long file_group(void *obj, void *arg)
{
	struct lodge_guest_group *g = arg;
	struct guest_file *f = obj;
	int ret;

	if ((g->flags & ~LODGE_GUEST_FILE_SHARE) || g->reserved || (g->group && !g->flags))
		return -EINVAL;
	do {
		ret = share_break_range(f, 0, f->npages);
		if (ret)
			return ret;
		down_write(&f->sem);
		/* Another thread may have shared something since. */
		if (f->stats.shared_pages) {
			up_write(&f->sem);
			continue;
		}
		share_leave(f);
		ret = g->flags ? share_join(f, g->group) : 0;
		up_write(&f->sem);
		return ret;
	} while (!fatal_signal_pending(current));
	return -EINTR;
}

static long file_stats(void *obj, void *arg)
{
	struct lodge_guest_file_stats *st = arg;
	struct guest_file *f = obj;
	struct shmem_inode_info *info = SHMEM_I(f->mapping->host);

	share_stats(f, st);
	st->size = (u64)f->npages << PAGE_SHIFT;
	st->private_pages = READ_ONCE(info->alloced) + st->owned_pages;
	st->swapped_pages = READ_ONCE(info->swapped);
	return 0;
}

static const struct lodge_ioctl file_ioctls[] = {
	{ LODGE_GUEST_FILE_BLOCKS,	0,	file_blocks },
	{ LODGE_GUEST_FILE_RANGE,	0,	file_range },
	{ LODGE_GUEST_FILE_GROUP,	0,	file_group },
	{ LODGE_GUEST_FILE_SCAN,	0,	file_scan },
	{ LODGE_GUEST_FILE_STATS,	0,	file_stats },
};

static long file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct lodge_ioctl *row = lodge_ioctl_find(file_ioctls, ARRAY_SIZE(file_ioctls), cmd);

	return row ? lodge_ioctl_call(row, file->private_data, arg) : -ENOTTY;
}

static int file_release(struct inode *inode, struct file *file)
{
	struct guest_file *f = file->private_data;

	share_release(f);
	kvfree(f->no_share);
	kvfree(f->hashes);
	kfree(f);
	return 0;
}

static const struct file_operations file_fops = {
	.owner = THIS_MODULE,
	.mmap = file_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fallocate = file_fallocate,
	.fsync = noop_fsync,
	.llseek = file_llseek,
	.poll = file_poll,
	.unlocked_ioctl = file_ioctl,
	.compat_ioctl = file_ioctl,
	.release = file_release,
};

static int refuse_open(struct inode *inode, struct file *file)
{
	return -ENXIO;
}

static const struct file_operations inode_fops = {
	.owner = THIS_MODULE,
	.open = refuse_open,
};

/* shmem's file becomes ours; @f is its from here on. */
static struct file *file_make(struct guest_file *f)
{
	struct file *file = shmem_file_setup_with_mnt(mem_mount, "lodge-guest", (loff_t)f->npages << PAGE_SHIFT, VM_NORESERVE);
	struct inode *inode;

	if (IS_ERR(file))
		return file;
	inode = file_inode(file);
	inode->i_fop = &inode_fops;
	SHMEM_I(inode)->seals |= F_SEAL_SHRINK | F_SEAL_GROW;
	f->file = file;
	f->mapping = inode->i_mapping;
	file->private_data = f;
	__module_get(THIS_MODULE);
	file->f_op = &file_fops;
	file->f_mode &= ~(FMODE_CAN_READ | FMODE_CAN_WRITE);
	return file;
}

static long guest_file_create(void *obj, void *arg)
{
	struct lodge_guest_file *args = arg;
	struct guest_file *f;
	struct file *file;
	int fd;

	if ((args->flags & ~(LODGE_GUEST_FILE_SHARE | LODGE_GUEST_FILE_SMALL)) || args->reserved ||
	    memchr_inv(args->reserved2, 0, sizeof(args->reserved2)))
		return -EINVAL;
	if (!args->size || args->size > SIZE_LIMIT || !PAGE_ALIGNED(args->size))
		return -EINVAL;
	if (args->group && !(args->flags & LODGE_GUEST_FILE_SHARE))
		return -EINVAL;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->npages = args->size >> PAGE_SHIFT;
	f->small = args->flags & LODGE_GUEST_FILE_SMALL;
	init_rwsem(&f->sem);
	xa_init(&f->overlay);
	fd = args->flags & LODGE_GUEST_FILE_SHARE ? share_join(f, args->group) : 0;
	if (fd)
		goto free;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	file = file_make(f);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	fd_install(fd, file);
	return fd;

free:
	share_leave(f);
	kfree(f);
	return fd;
}

const struct lodge_ioctl lodge_ext_dev_ioctls[] = {
	{ LODGE_CREATE_GUEST_FILE,	0,	guest_file_create },
};

const unsigned int lodge_ext_nr_dev_ioctls = ARRAY_SIZE(lodge_ext_dev_ioctls);

int lodge_ext_check_extension(long ext)
{
	return ext == LODGE_CAP_GUEST_FILE ?
		LODGE_GUEST_FILE_HAS_FILES | LODGE_GUEST_FILE_HAS_BLOCKS | LODGE_GUEST_FILE_HAS_SCAN : 0;
}

/* shmem's vm_operations are static in there: a VMA that is never used gets hold of them. */
static int find_shmem_ops(void)
{
	struct file *file = shmem_file_setup_with_mnt(mem_mount, "lodge-guest", PAGE_SIZE, VM_NORESERVE);
	struct vm_area_struct vma;
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	vma_init(&vma, NULL);
	ret = file->f_op->mmap(file, &vma);
	fput(file);
	if (ret)
		return ret;
	shmem_ops = vma.vm_ops;
	guest_vm_ops = *shmem_ops;
	guest_vm_ops.fault = file_fault;
	guest_vm_ops.page_mkwrite = file_mkwrite;
	/* It would map what lies in shmem's mapping without asking us. */
	guest_vm_ops.map_pages = NULL;
	return 0;
}

int guest_file_init(void)
{
	struct file_system_type *type = get_fs_type("tmpfs");
	char options[] = "huge=advise";	/* taken apart in place */
	int ret;

	static_assert(sizeof(struct lodge_guest_file) == 64);
	static_assert(sizeof(struct lodge_guest_blocks) == 56);
	static_assert(sizeof(struct lodge_guest_range) == 24);
	static_assert(sizeof(struct lodge_guest_group) == 16);
	static_assert(sizeof(struct lodge_guest_scan) == 32);
	static_assert(sizeof(struct lodge_guest_file_stats) == 256);

	if (!type)
		return -ENODEV;
	mem_mount = vfs_kern_mount(type, SB_KERNMOUNT, "lodge",
				   IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? options : NULL);
	module_put(type->owner);
	if (IS_ERR(mem_mount))
		return PTR_ERR(mem_mount);
	ret = find_shmem_ops() ?: share_init();
	if (ret)
		kern_unmount(mem_mount);
	return ret;
}

void guest_file_exit(void)
{
	share_exit();
	kern_unmount(mem_mount);
}
