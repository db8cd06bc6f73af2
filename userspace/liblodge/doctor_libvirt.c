// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clients that know /dev/kvm alone: who is behind that name, and whether libvirt lets QEMU open the node.
 *
 * libvirt allows a guest's QEMU some device nodes by name, twice: in the guest's cgroup (cgroup_device_acl
 * in qemu.conf) and in its AppArmor profile. Debian's lists have /dev/kvm. With kvm_node=1 that is
 * Lodge's node and nothing is missing; an emulator that opens /dev/lodge needs it in both.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "liblodge/doctor.h"

/* Whether some file of modprobe's configuration has a line "KEY ... WORD". */
static bool modprobe_says(struct doctor *d, const char *key, const char *word)
{
	static const char *const dirs[] = { "/etc/modprobe.d", "/run/modprobe.d", "/lib/modprobe.d" };
	char full[512], file[512];
	bool found = false;
	struct dirent *e;
	size_t i;
	DIR *dir;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && !found; i++) {
		dir = doctor_path(d, full, sizeof(full), dirs[i]) ? opendir(full) : NULL;
		while (dir && !found && (e = readdir(dir))) {
			size_t len = strlen(e->d_name);

			if (len < 5 || strcmp(e->d_name + len - 5, ".conf"))
				continue;
			if ((size_t)snprintf(file, sizeof(file), "%s/%s", dirs[i], e->d_name) < sizeof(file))
				found = doctor_has(d, file, key, word);
		}
		if (dir)
			closedir(dir);
	}
	return found;
}

static bool have_node(struct doctor *d)
{
	char text[8];

	return doctor_read(d, "/sys/module/lodge/parameters/kvm_node", text, sizeof(text)) > 0 && text[0] == 'Y';
}

static void check_kvm_node(struct doctor *d, bool have)
{
	bool wanted = modprobe_says(d, "options lodge", "kvm_node=1");
	const char *stock = doctor_exists(d, "/sys/module/kvm_amd")   ? "kvm_amd" :
			    doctor_exists(d, "/sys/module/kvm_intel") ? "kvm_intel" :
									NULL;
	bool kept_out = modprobe_says(d, "blacklist", "kvm_amd") && modprobe_says(d, "blacklist", "kvm_intel");

	if (have)
		doctor_add(d, "/dev/kvm", kept_out ? DOCTOR_OK : DOCTOR_OPTIONAL,
			   "blacklist kvm_amd and kvm_intel in modprobe.d, as lodge-kvm-node.conf does: who loads first has the node",
			   "it is lodge's (kvm_node=1)%s", kept_out ? "" : ", and at the next boot perhaps the stock module's");
	else if (wanted && stock)
		doctor_add(d, "/dev/kvm", DOCTOR_MISSING,
			   "modprobe -r kvm_amd kvm_intel kvm lodge; modprobe lodge. To keep it so: blacklist both in modprobe.d, "
			   "update-initramfs -u",
			   "modprobe.d wants kvm_node=1, but %s is loaded and has the node", stock);
	else if (wanted)
		doctor_add(d, "/dev/kvm", DOCTOR_MISSING, "modprobe -r lodge; modprobe lodge", "modprobe.d wants kvm_node=1, but lodge %s",
			   doctor_exists(d, "/sys/module/lodge") ? "was loaded without it" : "is not loaded");
	else
		doctor_add(d, "/dev/kvm", DOCTOR_OPTIONAL,
			   "for libvirt and other clients with a fixed path: kvm_node=1, see lodge-kvm-node.conf", "%s",
			   stock ? "it is the stock module's" : "nobody has it");
}

/* A list in qemu.conf: on the line of its name, or on lines of its own that begin with a quote. */
static bool acl_has(struct doctor *d, const char *node)
{
	static const char conf[] = "/etc/libvirt/qemu.conf";

	return doctor_has(d, conf, "cgroup_device_acl", node) || doctor_has(d, conf, "\"", node);
}

static void check_cgroup(struct doctor *d, bool have)
{
	/* Without a list of the administrator's it is libvirt's own, which has /dev/kvm. */
	bool lodge = acl_has(d, "/dev/lodge"), kvm = acl_has(d, "/dev/kvm") || !acl_has(d, "/dev/null");

	if (have ? kvm : lodge)
		doctor_add(d, "libvirt devices", DOCTOR_OK, "", "cgroup_device_acl has %s", have ? "/dev/kvm" : "/dev/lodge");
	else
		doctor_add(d, "libvirt devices", DOCTOR_OPTIONAL,
			   have ? "add \"/dev/kvm\" to cgroup_device_acl in /etc/libvirt/qemu.conf, restart libvirtd" :
				  "kvm_node=1; or, for an emulator that opens /dev/lodge, add \"/dev/lodge\" to cgroup_device_acl in "
				  "/etc/libvirt/qemu.conf, restart libvirtd",
			   "cgroup_device_acl lacks %s", have ? "/dev/kvm" : "/dev/lodge");
}

static void check_apparmor(struct doctor *d, bool have)
{
	static const char base[] = "/etc/apparmor.d/abstractions/libvirt-qemu";
	static const char local[] = "/etc/apparmor.d/local/abstractions/libvirt-qemu";
	const char *node = have ? "/dev/kvm" : "/dev/lodge";
	char text[8];

	if (doctor_read(d, "/sys/module/apparmor/parameters/enabled", text, sizeof(text)) <= 0 || text[0] != 'Y' ||
	    !doctor_exists(d, base))
		return;
	if (doctor_has(d, base, "/dev/", node) || doctor_has(d, local, "/dev/", node))
		doctor_add(d, "apparmor", DOCTOR_OK, "", "the profile of libvirt's guests allows %s", node);
	else
		doctor_add(d, "apparmor", DOCTOR_OPTIONAL,
			   "kvm_node=1; or add '/dev/lodge rw,' to /etc/apparmor.d/local/abstractions/libvirt-qemu, "
			   "then systemctl reload apparmor",
			   "the profile of libvirt's guests does not allow %s", node);
}

void doctor_libvirt(struct doctor *d)
{
	bool have = have_node(d);

	check_kvm_node(d, have);
	if (!doctor_exists(d, "/etc/libvirt/qemu.conf"))
		return;
	check_cgroup(d, have);
	check_apparmor(d, have);
}
