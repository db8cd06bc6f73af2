# SPDX-License-Identifier: GPL-2.0-or-later
"""client_qemu - Debian's unmodified QEMU: what its boxes hold, and which rows each of them tries.

The rows themselves are in box/, as files rows_NAME.py; each is a group, and so has a box of its own.
"""
import importlib.util
import os
import subprocess
import sys

from disks import grub_bios_disk, grub_efi_disk
from group import BUILD, HERE, OUT, TOP, Group, python

GUEST = os.path.join(HERE, "guest")
SHARE = "/usr/share/qemu"
FIRMWARE = {"bios-256k.bin": "/usr/share/seabios/bios-256k.bin", "bios-microvm.bin": "/usr/share/seabios/bios-microvm.bin",
            "linuxboot_dma.bin": SHARE + "/linuxboot_dma.bin", "kvmvapic.bin": SHARE + "/kvmvapic.bin",
            "pvh.bin": SHARE + "/pvh.bin", "vgabios-stdvga.bin": "/usr/share/seabios/vgabios-stdvga.bin",
            "efi-virtio.rom": "/usr/lib/ipxe/qemu/efi-virtio.rom", "efi-e1000.rom": "/usr/lib/ipxe/qemu/efi-e1000.rom"}
SECONDS = 420       # the longest silence that is not a hang: OVMF's way to a kernel on a busy machine


def build(argv, **kwargs):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode:
        sys.exit(f"clients: {' '.join(argv[:2])} failed: {done.stdout[-500:]}")


def make_initrd():
    """The tests' initrd, and behind it the agent and the worker."""
    subprocess.run([os.path.join(TOP, "selftests/qemu/guest-image"), "--boot-files"], check=True)
    root = os.path.join(OUT, "initrd.root")
    os.makedirs(os.path.join(root, "bin"), exist_ok=True)
    build(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", root + "/bin/worker", GUEST + "/worker.c"])
    build(["install", "-m", "755", GUEST + "/agent", root + "/bin/agent"])
    build(["sh", "-c", f"cat {BUILD}/guest/test-initrd >{OUT}/initrd && cd {root} && find . | LC_ALL=C sort | "
           f"cpio --quiet -o -H newc -R 0:0 --reproducible >>{OUT}/initrd"])


def make_debuggee():
    """The debugger's guest and its symbols, as options for a box."""
    out = OUT + "/debuggee"
    build(["gcc", "-c", "-m32", "-o", out + ".o", GUEST + "/debuggee.S"])
    build(["ld", "-m", "elf_i386", "-z", "noseparate-code", "--section-start=.note.xen=0x201000", "-Ttext", "0x202000",
           "-o", out, out + ".o"])
    build(["sh", "-c", f"nm {out} >{out}.map"])
    return [out, out + ".map", HERE + "/box/rsp.py"]


def box(module, files, linux=True, bochs=False, mem="2G"):
    options = ["--bochs", "ryzen"] if bochs else ["--smp", "2", "--mem", mem]
    options += [*python(), "--file", "/usr/bin/qemu-system-x86_64"]
    if linux:
        files = [BUILD + "/guest/vmlinuz", OUT + "/initrd", *files]
    for name, path in FIRMWARE.items():
        if os.path.exists(path):
            options += ["--file", f"{path}:{SHARE}/{name}"]
    for path in [f"{HERE}/box/main.py", f"{HERE}/box/machine.py", f"{HERE}/box/{module}.py", *files]:
        options += ["--file", path]
    return options


def load(module):
    sys.path.insert(0, os.path.join(HERE, "box"))
    spec = importlib.util.spec_from_file_location(module, f"{HERE}/box/{module}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def group(module, files=(), rows=None, **kwargs):
    return Group(module[len("rows_"):], box(module, files, **kwargs), ["python3", "/root/main.py", module],
                 list(rows or load(module).ROWS), SECONDS)


def groups():
    os.makedirs(OUT, exist_ok=True)
    make_initrd()
    debuggee, debug = make_debuggee(), load("rows_debug")
    boot = [grub_bios_disk(), grub_efi_disk(), "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"]
    guests = ["/boot/memtest86+ia32.bin", "/boot/memtest86+x64.bin", "/usr/lib/ipxe/ipxe.lkrn", HERE + "/box/rows_boot.py"]
    return [
        group("rows_boot", boot, mem="3G"),
        group("rows_state", ["/usr/bin/qemu-img"]),
        group("rows_devices"),
        group("rows_guests", guests),
        group("rows_debug", debuggee, [r for r in debug.ROWS if r not in debug.BOCHS], linux=False),
        group("rows_debug", debuggee, debug.BOCHS, linux=False, bochs=True),
    ]
