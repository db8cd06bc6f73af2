// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel: whether the module fits it, is installed, loaded, and would be let in; and the IOMMU.
 *
 * Secure Boot by itself changes nothing for the kernel; the lockdown that Debian's kernel switches on
 * with it does: from "integrity" on, modules must have a signature by a key that the firmware, the
 * kernel or the machine's owner (mokutil) has vouched for. Whether a signature is such a one is only
 * known when the kernel has been asked.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "liblodge/doctor.h"

#define SIGNATURE	"~Module signature appended~\n"
#define SECURE_BOOT	"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static bool kernel_release(struct doctor *d, char *buf, size_t room)
{
	return doctor_read(d, "/proc/sys/kernel/osrelease", buf, room) > 0;
}

/* Path of the module that modprobe would load, relative to root; false if there is none. */
static bool installed_module(struct doctor *d, char *buf, size_t room)
{
	static const char *const places[] = {
		"updates/dkms/lodge.ko", "updates/lodge.ko", "updates/dkms/lodge.ko.xz", "extra/lodge.ko",
	};
	char release[128];
	size_t i;

	if (!kernel_release(d, release, sizeof(release)))
		return false;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if ((size_t)snprintf(buf, room, "/lib/modules/%s/%s", release, places[i]) < room && doctor_exists(d, buf))
			return true;
	}
	return false;
}

static void check_release(struct doctor *d)
{
	char release[128];

	if (!kernel_release(d, release, sizeof(release)))
		return;
	doctor_add(d, "kernel", strncmp(release, "6.1.", 4) ? DOCTOR_MISSING : DOCTOR_OK,
		   "boot Debian 12's kernel (linux-image-amd64): the module is made for Linux 6.1", "Linux %s", release);
}

static void check_module(struct doctor *d)
{
	char version[64], path[256];

	if (doctor_exists(d, "/sys/module/lodge")) {
		doctor_read(d, "/sys/module/lodge/version", version, sizeof(version));
		doctor_add(d, "module", DOCTOR_OK, "", "lodge %s is loaded", version);
	} else if (installed_module(d, path, sizeof(path))) {
		doctor_add(d, "module", DOCTOR_MISSING,
			   "modprobe lodge; \"Key was rejected\" means Secure Boot: enrol the signing key with mokutil --import",
			   "lodge is installed (%s) and not loaded", path);
	} else {
		doctor_add(d, "module", DOCTOR_MISSING, "make install or make install-dkms, then modprobe lodge; or insmod build/lodge.ko",
			   "lodge is not installed for this kernel");
	}
}

static bool is_signed(struct doctor *d, const char *path)
{
	char full[512], tail[sizeof(SIGNATURE)] = "";
	bool yes = false;
	FILE *f;

	f = doctor_path(d, full, sizeof(full), path) ? fopen(full, "re") : NULL;
	if (f && !fseek(f, -(long)strlen(SIGNATURE), SEEK_END) && fread(tail, 1, strlen(SIGNATURE), f) == strlen(SIGNATURE))
		yes = !memcmp(tail, SIGNATURE, strlen(SIGNATURE));
	if (f)
		fclose(f);
	return yes;
}

static bool lockdown(struct doctor *d, char *mode, size_t room)
{
	char text[128], *from, *to;

	snprintf(mode, room, "none");
	if (doctor_read(d, "/sys/kernel/security/lockdown", text, sizeof(text)) <= 0)
		return false;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		snprintf(mode, room, "%.*s", (int)(to - from - 1), from + 1);
	return strcmp(mode, "none");
}

/* The variable is four bytes of attributes and one of value. */
static bool secure_boot(struct doctor *d)
{
	char text[16];

	return doctor_read(d, SECURE_BOOT, text, sizeof(text)) >= 5 && text[4] == 1;
}

static void check_signature(struct doctor *d)
{
	static const char enrol[] = "mokutil --import the certificate that signed it (DKMS: /var/lib/dkms/mok.pub), reboot and confirm; "
				    "or switch Secure Boot off";
	char mode[32], sig[8], path[256];
	bool secure = secure_boot(d), locked = lockdown(d, mode, sizeof(mode));
	bool must = doctor_read(d, "/sys/module/module/parameters/sig_enforce", sig, sizeof(sig)) > 0 && sig[0] == 'Y';

	must = must || locked;
	if (!must || doctor_exists(d, "/sys/module/lodge")) {
		doctor_add(d, "secure boot", DOCTOR_OK, "", "Secure Boot %s, lockdown %s: %s", secure ? "on" : "off", mode,
			   must ? "the module was let in" : "modules need no signature");
		return;
	}
	if (!installed_module(d, path, sizeof(path)))
		doctor_add(d, "secure boot", DOCTOR_OPTIONAL, "make install-dkms: DKMS signs what it builds; then enrol its key with mokutil",
			   "Secure Boot %s, lockdown %s: modules need a signature", secure ? "on" : "off", mode);
	else if (!is_signed(d, path))
		doctor_add(d, "secure boot", DOCTOR_MISSING,
			   "make install-dkms: DKMS signs what it builds; then mokutil --import /var/lib/dkms/mok.pub and reboot",
			   "lockdown %s: modules need a signature, and the module has none", mode);
	else
		doctor_add(d, "secure boot", DOCTOR_OPTIONAL, enrol, "lockdown %s: the module is signed; its key must be enrolled", mode);
}

static int entries(struct doctor *d, const char *path)
{
	char full[512];
	struct dirent *e;
	int n = 0;
	DIR *dir = doctor_path(d, full, sizeof(full), path) ? opendir(full) : NULL;

	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static void check_iommu(struct doctor *d)
{
	int units = entries(d, "/sys/class/iommu"), groups = entries(d, "/sys/kernel/iommu_groups");

	if (units && groups)
		doctor_add(d, "iommu", DOCTOR_OK, "", "%d IOMMU%s, %d device groups", units, units > 1 ? "s" : "", groups);
	else
		doctor_add(d, "iommu", DOCTOR_OPTIONAL,
			   "only passing devices to guests needs it: switch it on in the firmware (AMD-Vi, VT-d), kernel argument "
			   "intel_iommu=on for Intel",
			   "%s", units ? "an IOMMU without device groups" : "no IOMMU is in use");
}

void doctor_kernel(struct doctor *d)
{
	check_release(d);
	check_module(d);
	check_signature(d);
	check_iommu(d);
}
