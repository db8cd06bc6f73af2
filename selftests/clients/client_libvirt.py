# SPDX-License-Identifier: GPL-2.0-or-later
"""client_libvirt - Debian's unmodified libvirt and virsh, with Debian's QEMU, on /dev/kvm.

The box has a second root on a disk, made by libvirt/root out of Debian's packages; libvirt/enter goes there, and libvirt/verbs
tries the features.  On Lodge /dev/kvm is the module's own node, by kvm_node=1.
"""
import os
import re
import subprocess

from group import BUILD, HERE, OUT, TOP, Group

LIBVIRT = os.path.join(HERE, "libvirt")
SECONDS = 300       # the longest silence that is not a hang: a guest's boot on a busy machine


def features():
    """The functions verb_NAME of the script, in its order; - for _ in the name."""
    with open(LIBVIRT + "/verbs", encoding="utf-8") as f:
        return [name.replace("_", "-") for name in re.findall(r"^verb_(\w+)\(\)", f.read(), re.M)]


def groups():
    subprocess.run([os.path.join(TOP, "selftests/qemu/guest-image"), "--boot-files"], check=True)
    subprocess.run([LIBVIRT + "/root"], check=True)
    options = ["--smp", "2", "--mem", "3G", "--module-args", "kvm_node=1", "--modprobe", "ext4 overlay bridge tun veth virtio_blk",
               "--disk", OUT + "/libvirt.ext4,ro"]
    for path in (BUILD + "/guest/vmlinuz", OUT + "/libvirt-initrd", LIBVIRT + "/enter", LIBVIRT + "/verbs",
                 LIBVIRT + "/domain.xml"):
        options += ["--file", path]
    return [Group("libvirt", options, ["sh", "/root/enter"], features(), SECONDS)]
