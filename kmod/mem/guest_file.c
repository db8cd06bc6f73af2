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
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "core/ext.h"
#include "mem/guest_file.h"

static struct vfsmount *mem_mount;
static const struct vm_operations_struct *shmem_ops;
static struct vm_operations_struct guest_vm_ops;

/* Would the huge page around @index lie within the file? */
static bool huge_fits(const struct guest_file *f, pgoff_t index)
{
	return !f->small && round_up(index + 1, HPAGE_PMD_NR) <= f->npages;
}

/* shmem's page at @index, allocated or swapped in: locked, with a reference.  @flags: FAULT_FLAG_*; @huge: VM_[NO]HUGEPAGE. */
static vm_fault_t shmem_page(struct guest_file *f, pgoff_t index, struct mm_struct *mm, unsigned int flags, unsigned long huge,
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

static vm_fault_t file_fault(struct vm_fault *vmf)
{
	const struct vm_area_struct *vma = vmf->vma;
	struct guest_file *f = vma->vm_file->private_data;
	vm_fault_t ret;

	down_read(&f->sem);
	ret = shmem_page(f, vmf->pgoff, vma->vm_mm, vmf->flags, vma->vm_flags & (VM_HUGEPAGE | VM_NOHUGEPAGE), &vmf->page);
	up_read(&f->sem);
	return ret;
}

/* The first write through an entry that was installed by a read. */
static vm_fault_t file_mkwrite(struct vm_fault *vmf)
{
	struct guest_file *f = vmf->vma->vm_file->private_data;

	lock_page(vmf->page);
	if (page_folio(vmf->page)->mapping == f->mapping)
		return VM_FAULT_LOCKED;
	unlock_page(vmf->page);
	return VM_FAULT_NOPAGE;
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

static long file_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct guest_file *f = file->private_data;
	loff_t size = (loff_t)f->npages << PAGE_SHIFT, end = min(offset + len, size);
	loff_t first = round_up(offset, PAGE_SIZE), last = round_down(end, PAGE_SIZE);

	/* Filling is what MADV_POPULATE_WRITE is for: it goes the way of faults. */
	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (offset >= size)
		return 0;
	down_write(&f->sem);
	if (first < last)
		unmap_mapping_range(f->mapping, first, last - first, 0);
	shmem_truncate_range(file_inode(file), offset, end - 1);
	up_write(&f->sem);
	return 0;
}

static loff_t file_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, i_size_read(file_inode(file)));
}

static const struct lodge_ioctl file_ioctls[] = {
};

static long file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct lodge_ioctl *row = lodge_ioctl_find(file_ioctls, ARRAY_SIZE(file_ioctls), cmd);

	return row ? lodge_ioctl_call(row, file->private_data, arg) : -ENOTTY;
}

static int file_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations file_fops = {
	.owner = THIS_MODULE,
	.mmap = file_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fallocate = file_fallocate,
	.fsync = noop_fsync,
	.llseek = file_llseek,
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
	if (!args->size || args->size > MAX_LFS_FILESIZE || !PAGE_ALIGNED(args->size))
		return -EINVAL;
	if (args->group && !(args->flags & LODGE_GUEST_FILE_SHARE))
		return -EINVAL;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->npages = args->size >> PAGE_SHIFT;
	f->small = args->flags & LODGE_GUEST_FILE_SMALL;
	init_rwsem(&f->sem);
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
	kfree(f);
	return fd;
}

const struct lodge_ioctl lodge_ext_dev_ioctls[] = {
	{ LODGE_CREATE_GUEST_FILE,	0,	guest_file_create },
};

const unsigned int lodge_ext_nr_dev_ioctls = ARRAY_SIZE(lodge_ext_dev_ioctls);

int lodge_ext_check_extension(long ext)
{
	return ext == LODGE_CAP_GUEST_FILE ? LODGE_GUEST_FILE_HAS_FILES : 0;
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
	char options[] = "huge=within_size";	/* taken apart in place */
	int ret;

	static_assert(sizeof(struct lodge_guest_file) == 64);
	static_assert(sizeof(struct lodge_guest_blocks) == 56);
	static_assert(sizeof(struct lodge_guest_range) == 24);
	static_assert(sizeof(struct lodge_guest_group) == 16);
	static_assert(sizeof(struct lodge_guest_file_stats) == 256);

	if (!type)
		return -ENODEV;
	mem_mount = vfs_kern_mount(type, SB_KERNMOUNT, "lodge",
				   IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? options : NULL);
	module_put(type->owner);
	if (IS_ERR(mem_mount))
		return PTR_ERR(mem_mount);
	ret = find_shmem_ops();
	if (ret)
		kern_unmount(mem_mount);
	return ret;
}

void guest_file_exit(void)
{
	kern_unmount(mem_mount);
}
