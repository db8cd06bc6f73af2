// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pfnmap - slots over mappings without struct pages of their own (VM_PFNMAP): a PCI device's BAR as sysfs maps it, and pages of
 * memory that a driver maps so (pfnmap/), whose reference counts must not move.
 *
 * CFLAGS: -mno-red-zone
 * BOX: --file build/selftests/vm/pfnmap.ko --qemu '-object memory-backend-ram,id=bar,size=1M,share=on -device ivshmem-plain,memdev=bar'
 * TIMEOUT: 120
 */
#include <dirent.h>
#include <sys/syscall.h>

#include "binstats.h"
#include "tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define PAGES	4
#define SIZE	(PAGES * 4096ul)

static const char *node;
static volatile u64 guest_address, guest_value;

static GUEST void reader(void)
{
	guest_value = *(volatile u64 *)guest_address;
	guest_exit();
}

static GUEST void writer(void)
{
	*(volatile u64 *)guest_address = guest_value;
	guest_exit();
}

struct view {
	const char *name;
	int fd;
	u8 *host;		/* read and write */
};

static int set(struct guest *g, u32 flags, void *host)
{
	struct kvm_userspace_memory_region r = {
		.slot = SLOT, .flags = flags, .guest_phys_addr = GPA, .memory_size = SIZE, .userspace_addr = (u64)host,
	};

	return ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static int step(struct guest *g, void (*fn)(void), u64 offset)
{
	guest_address = GPA + offset;
	guest_start64(g, 0, fn);
	return guest_run(g, 0);
}

static void create(struct guest *g)
{
	guest_create(g, node, GUEST_IRQCHIP);
	guest_vcpu(g, 0);
}

static void read_write(const struct view *v)
{
	u8 *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	volatile u64 *second = (volatile u64 *)(v->host + 0x1008);
	struct guest g;
	u64 i, bad = 0;

	create(&g);
	*(volatile u64 *)v->host = 0x1111;
	*second = 0;
	guest_must(set(&g, 0, map));
	tap_ok(step(&g, reader, 0) == GUEST_DONE && guest_value == 0x1111, "%s: the guest reads it", v->name);
	guest_value = 0x2222;
	tap_ok(step(&g, writer, 0x1008) == GUEST_DONE && *second == 0x2222, "%s: the guest writes where it has not read", v->name);
	guest_value = 0x3333;
	tap_ok(step(&g, writer, 0) == GUEST_DONE && *(volatile u64 *)v->host == 0x3333, "%s: and where it has", v->name);
	for (i = 0; i < 20; i++) {
		guest_value = i;
		bad += step(&g, writer, i % PAGES * 4096 + 16) != GUEST_DONE || *(volatile u64 *)(v->host + i % PAGES * 4096 + 16) != i;
	}
	tap_eq(bad, 0, "again and again, on all pages");
	munmap(map, SIZE);
	guest_address = GPA;
	guest_start64(&g, 0, reader);
	tap_ok(ioctl(g.vcpu[0], KVM_RUN, 0) < 0 && errno == EFAULT, "%s: after munmap KVM_RUN ends with EFAULT", v->name);
	guest_destroy(&g);
}

static void dirty_log(const struct view *v)
{
	u8 *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	struct kvm_dirty_log log = { .slot = SLOT };
	struct guest g;
	u64 bits = 0;

	log.dirty_bitmap = &bits;
	create(&g);
	guest_must(set(&g, KVM_MEM_LOG_DIRTY_PAGES, map));
	step(&g, reader, 0);
	guest_value = 7;
	step(&g, writer, 0x2000);
	guest_must(ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	/* Stock KVM's also has the page that was read. */
	tap_eq(strstr(node, "kvm") ? bits & ~1ull : bits, 4, "its dirty log has the page that was written");
	step(&g, writer, 0x2000);
	guest_must(ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	tap_eq(bits, 4, "and again");
	guest_destroy(&g);
	munmap(map, SIZE);
}

static void read_only(const struct view *v)
{
	u8 *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, v->fd, 0);
	struct guest g;
	int why;

	create(&g);
	*(volatile u64 *)v->host = 0x4444;
	guest_must(set(&g, KVM_MEM_READONLY, map));
	tap_ok(step(&g, reader, 0) == GUEST_DONE && guest_value == 0x4444, "%s: a read-only slot is read", v->name);
	guest_value = 0x5555;
	why = step(&g, writer, 0);
	tap_ok(why == KVM_EXIT_MMIO && g.run[0]->mmio.is_write && g.run[0]->mmio.phys_addr == GPA, "%s: a write to it is the VMM's", v->name);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && *(volatile u64 *)v->host == 0x4444, "%s: and changes nothing", v->name);
	guest_slot(&g, SLOT, 0, 0, NULL, 0);
	guest_must(set(&g, 0, map));
	tap_ok(step(&g, reader, 0) == GUEST_DONE && guest_value == 0x4444, "%s: a slot over a read-only mapping is read", v->name);
	guest_value = 0x6666;
	guest_address = GPA;
	guest_start64(&g, 0, writer);
	/* There is no right answer: the VMM's mapping forbids what its slot allows. */
	why = ioctl(g.vcpu[0], KVM_RUN, 0) < 0 ? -errno : (int)g.run[0]->exit_reason;
	tap_ok((why == -EFAULT || why == KVM_EXIT_MMIO) && *(volatile u64 *)v->host == 0x4444,
	       "%s: a write to it is refused, or the VMM's, and changes nothing (%d)", v->name, why);
	guest_destroy(&g);
	munmap(map, SIZE);
}

/* ---- where such mappings come from ---- */

/* Inter-VM shared memory of QEMU: memory behind a BAR. */
static int bar_open(void)
{
	DIR *d = opendir("/sys/bus/pci/devices");
	struct dirent *e;
	int fd = -1;

	while (d && fd < 0 && (e = readdir(d))) {
		char path[300], text[16] = { 0 };
		int id;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", e->d_name);
		id = open(path, O_RDONLY);
		if (id < 0)
			continue;
		if (read(id, text, sizeof(text) - 1) > 0 && !strncmp(text, "0x1110", 6)) {
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", e->d_name);
			close(id);
			id = open(path, O_WRONLY);
			if (write(id, "1", 1) != 1)
				tap_note("the device cannot be enabled");
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", e->d_name);
			fd = open(path, O_RDWR);
		}
		close(id);
	}
	if (d)
		closedir(d);
	return fd;
}

static void counts(int fd, char text[64])
{
	memset(text, 0, 64);
	guest_must(pread(fd, text, 63, 0));
}

int main(int argc, char **argv)
{
	char before[64], after[64];
	struct view v;
	int module, i;

	node = tap_node(argc, argv);
	for (i = 0; i < 2; i++) {
		if (i == 0) {
			v = (struct view){ .name = "a BAR", .fd = bar_open() };
		} else {
			module = open("/root/pfnmap.ko", O_RDONLY);
			if (syscall(SYS_finit_module, module, "", 0))
				tap_bail("pfnmap.ko cannot be loaded");
			v = (struct view){ .name = "a driver's memory", .fd = open("/dev/pfnmap", O_RDWR) };
			counts(v.fd, before);
		}
		if (v.fd < 0)
			tap_bail("no %s", v.name);
		v.host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v.fd, 0);
		if (v.host == MAP_FAILED)
			tap_bail("mmap of %s", v.name);
		read_write(&v);
		dirty_log(&v);
		read_only(&v);
		munmap(v.host, SIZE);
	}
	counts(v.fd, after);
	tap_note("references before: %s, after: %s", before, after);
	tap_ok(!strcmp(before, after), "no reference of its pages has come or gone");
	close(v.fd);
	syscall(SYS_delete_module, "pfnmap", 0);
	return tap_done();
}
