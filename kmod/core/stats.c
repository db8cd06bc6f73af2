// SPDX-License-Identifier: GPL-2.0-only
/*
 * Statistics of VMs and vCPUs: the binary descriptor of KVM_GET_STATS_FD, and text in debugfs.
 *
 * The descriptor reads as one file: header, identification, descriptors (flags, unit, name, offset of the value), values.  Its
 * constant part is made by the compiler from the lists in core/stats.h.  Values are read while they change; each is one u64.
 */
#include <linux/anon_inodes.h>
#include <linux/atomic.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core/stats.h"
#include "core/vcpu.h"
#include "core/vm.h"

#define NAME_SIZE	48

struct stat_desc {
	u32 flags;
	s16 exponent;
	u16 size;
	u32 offset;
	u32 bucket_size;
	char name[NAME_SIZE];
};
static_assert(offsetof(struct stat_desc, name) == sizeof(struct kvm_stats_desc));

#define FLAGS_COUNT	(KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define FLAGS_GAUGE	(KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define FLAGS_NS	(KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10)
#define FLAGS_FLAG	(KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN | KVM_STATS_BASE_POW10)
#define EXPONENT_COUNT	0
#define EXPONENT_GAUGE	0
#define EXPONENT_NS	-9
#define EXPONENT_FLAG	0

#define STAT_DESC(type, field, kind) \
	{ .flags = FLAGS_##kind, .exponent = EXPONENT_##kind, .size = 1, .offset = offsetof(type, field), .name = #field },
#define VM_DESC(field, kind)	STAT_DESC(struct lodge_vm_stats, field, kind)
#define VCPU_DESC(field, kind)	STAT_DESC(struct lodge_vcpu_stats, field, kind)

static const struct stat_desc vm_descs[] = { LODGE_VM_STATS(VM_DESC) };
static const struct stat_desc vcpu_descs[] = { LODGE_VCPU_STATS(VCPU_DESC) };

/* ---- the binary descriptor ---- */

struct stats_fd {
	struct lodge_vm *vm;			/* a reference */
	struct kvm_stats_header header;
	char id[NAME_SIZE];
	const struct stat_desc *descs;
	const void *values;
	size_t values_size;
};

/* Copy what of [@at, @at + @size) the read wants; advances it. */
static int read_part(char __user **to, size_t *count, loff_t *pos, loff_t at, const void *from, size_t size)
{
	size_t skip, n;

	if (!*count || *pos < at || *pos >= at + (loff_t)size)
		return 0;
	skip = *pos - at;
	n = min(size - skip, *count);
	if (copy_to_user(*to, from + skip, n))
		return -EFAULT;
	*to += n;
	*count -= n;
	*pos += n;
	return 0;
}

static ssize_t stats_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	struct stats_fd *s = file->private_data;
	size_t asked = count;

	if (*pos < 0)
		return -EINVAL;
	if (read_part(&to, &count, pos, 0, &s->header, sizeof(s->header)) ||
	    read_part(&to, &count, pos, s->header.id_offset, s->id, sizeof(s->id)) ||
	    read_part(&to, &count, pos, s->header.desc_offset, s->descs, s->header.num_desc * sizeof(*s->descs)) ||
	    read_part(&to, &count, pos, s->header.data_offset, s->values, s->values_size))
		return -EFAULT;
	return asked - count;
}

static int stats_release(struct inode *inode, struct file *file)
{
	struct stats_fd *s = file->private_data;

	lodge_vm_put(s->vm);
	kfree(s);
	return 0;
}

static const struct file_operations stats_fops = {
	.owner = THIS_MODULE,
	.read = stats_read,
	.release = stats_release,
	.llseek = noop_llseek,
};

static int stats_open(struct stats_fd *s, const char *name)
{
	struct file *file;
	int fd;

	s->header.name_size = NAME_SIZE;
	s->header.id_offset = sizeof(s->header);
	s->header.desc_offset = s->header.id_offset + sizeof(s->id);
	s->header.data_offset = s->header.desc_offset + s->header.num_desc * sizeof(*s->descs);

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	file = anon_inode_getfile(name, &stats_fops, s, O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	file->f_mode |= FMODE_PREAD;
	lodge_vm_get(s->vm);
	fd_install(fd, file);
	return fd;

free:
	kfree(s);
	return fd;
}

int lodge_stats_vm_fd(struct lodge_vm *vm)
{
	struct stats_fd *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return -ENOMEM;
	s->vm = vm;
	s->descs = vm_descs;
	s->header.num_desc = ARRAY_SIZE(vm_descs);
	s->values = &vm->stats;
	s->values_size = offsetof(struct lodge_vm_stats, unused);
	snprintf(s->id, sizeof(s->id), "kvm-%d", task_pid_nr(current));
	return stats_open(s, "lodge-vm-stats");
}

int lodge_stats_vcpu_fd(struct lodge_vcpu *vcpu)
{
	struct stats_fd *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return -ENOMEM;
	s->vm = vcpu->vm;
	s->descs = vcpu_descs;
	s->header.num_desc = ARRAY_SIZE(vcpu_descs);
	s->values = &vcpu->stats;
	s->values_size = offsetof(struct lodge_vcpu_stats, unused);
	snprintf(s->id, sizeof(s->id), "kvm-%d/vcpu-%u", task_pid_nr(current), vcpu->id);
	return stats_open(s, "lodge-vcpu-stats");
}

/* ---- debugfs ---- */

static struct dentry *debugfs_root;

static void show_values(struct seq_file *m, const struct stat_desc *d, unsigned int n, const void *values)
{
	for (; n; n--, d++)
		seq_printf(m, "%s %llu\n", d->name, READ_ONCE(*(const u64 *)(values + d->offset)));
}

/* debugfs lets no reader in, and waits for those inside, before the directory is gone: the objects need no reference. */
static int vm_stats_show(struct seq_file *m, void *unused)
{
	struct lodge_vm *vm = m->private;

	show_values(m, vm_descs, ARRAY_SIZE(vm_descs), &vm->stats);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vm_stats);

static int vcpu_stats_show(struct seq_file *m, void *unused)
{
	struct lodge_vcpu *vcpu = m->private;

	show_values(m, vcpu_descs, ARRAY_SIZE(vcpu_descs), &vcpu->stats);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vcpu_stats);

void lodge_stats_vm_debugfs(struct lodge_vm *vm, int fd)
{
	static atomic_t serial;
	struct dentry *taken;
	char name[48];
	int n;

	/* A VM that lives on in a duplicate of its descriptor keeps the name: the next one under that number is told apart. */
	n = snprintf(name, sizeof(name), "%d-%d", task_pid_nr(current), fd);
	taken = debugfs_lookup(name, debugfs_root);
	if (taken) {
		dput(taken);
		snprintf(name + n, sizeof(name) - n, ".%u", atomic_inc_return(&serial));
	}
	vm->debugfs = debugfs_create_dir(name, debugfs_root);
	debugfs_create_file("stats", 0444, vm->debugfs, vm, &vm_stats_fops);
}

void lodge_stats_vcpu_debugfs(struct lodge_vcpu *vcpu)
{
	char name[16];

	if (IS_ERR_OR_NULL(vcpu->vm->debugfs))
		return;
	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	vcpu->debugfs = debugfs_create_dir(name, vcpu->vm->debugfs);
	debugfs_create_file("stats", 0444, vcpu->debugfs, vcpu, &vcpu_stats_fops);
}

void lodge_stats_init(void)
{
	debugfs_root = debugfs_create_dir("lodge", NULL);
}

void lodge_stats_exit(void)
{
	debugfs_remove(debugfs_root);
}
