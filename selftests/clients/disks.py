# SPDX-License-Identifier: GPL-2.0-or-later
"""disks - disk images for firmware to boot from: an MBR with GRUB's boot sector and core in front of an ext4 partition,
and an MBR with an EFI system partition.  Made without root and without loop devices, by writing each part to its place.
"""
import os
import struct
import subprocess
import sys

from group import BUILD, OUT

MIB = 1 << 20
SECTOR = 512
KERNEL_LINE = "console=ttyS0 earlyprintk=ttyS0,115200 mitigations=off no_timer_check panic=-1 run="
GRUB_CFG = """
serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
set timeout=0
menuentry lodge {
	echo "GRUB: menu entry starts"
	%s
	linux /vmlinuz %s
	initrd /initrd
	boot
}
"""
# What a PC's GRUB can be asked in real mode (E820) and in protected mode (CPUID).  The kernel then comes from the second
# disk: SeaBIOS reads IDE by one port access a sector and some more that ask for its state, 40,000 sectors would take minutes.
BIOS_ASKS = """insmod lsmmap
	lsmmap
	insmod cpuid
	if cpuid -l; then echo "GRUB: 64-bit CPU"; fi
	set root=(hd1,msdos1)"""


def tool(argv, **kwargs):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode:
        sys.exit(f"clients: {' '.join(argv[:3])}: {done.stdout[-500:]}")


def partition_table(kind, size):
    """One active partition from 1 MiB on; CHS values that say 'use the LBA'."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", MIB // SECTOR, size // SECTOR)
    return entry + bytes(48) + b"\x55\xaa"


def assemble(path, head, kind, partition):
    """head: what is in front of the partition, boot sector first."""
    with open(partition, "rb") as f:
        content = f.read()
    head = bytearray(head.ljust(MIB, b"\0"))
    head[446:512] = partition_table(kind, len(content))
    with open(path, "wb") as f:
        f.write(head)
        f.write(content)
    os.unlink(partition)
    return path


def grub_bios_disk():
    path, root, modules = OUT + "/grub-bios.img", OUT + "/grub-bios.root", "/usr/lib/grub/i386-pc"
    os.makedirs(root + "/boot/grub/i386-pc", exist_ok=True)
    tool(["sh", "-c", f"cp {modules}/*.mod {modules}/*.lst {root}/boot/grub/i386-pc/ && "
          f"cp {BUILD}/guest/vmlinuz {OUT}/initrd {root}/"])
    with open(root + "/boot/grub/grub.cfg", "w", encoding="utf-8") as f:
        f.write(GRUB_CFG % (BIOS_ASKS, KERNEL_LINE + "cpus"))
    tool(["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", OUT + "/core.img",
          "biosdisk", "part_msdos", "ext2"])
    # Not a 64-bit or checksummed file system: GRUB 2.06 reads those, but there is no need to depend on it.
    tool(["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^64bit", "-d", root, OUT + "/grub-bios.ext4", "56M"])
    with open(modules + "/boot.img", "rb") as boot, open(OUT + "/core.img", "rb") as core:
        # boot.img looks for the core at sector 1, and the core's first sector knows its length.
        return assemble(path, boot.read() + core.read(), 0x83, OUT + "/grub-bios.ext4")


def grub_efi_disk():
    path, fat = OUT + "/grub-efi.img", OUT + "/grub-efi.fat"
    with open(OUT + "/grub-efi.cfg", "w", encoding="utf-8") as f:
        f.write(GRUB_CFG % ("", KERNEL_LINE + "agent"))
    tool(["grub-mkimage", "-O", "x86_64-efi", "-p", "/grub", "-o", OUT + "/bootx64.efi", "part_msdos", "fat", "normal",
          "configfile", "linux", "serial", "terminal", "echo", "boot"])
    with open(fat, "wb") as f:
        f.truncate(48 * MIB)
    tool(["mformat", "-i", fat, "-F", "::"])
    tool(["mmd", "-i", fat, "::/EFI", "::/EFI/BOOT", "::/grub"])
    tool(["mcopy", "-i", fat, OUT + "/bootx64.efi", "::/EFI/BOOT/BOOTX64.EFI"])
    tool(["mcopy", "-i", fat, OUT + "/grub-efi.cfg", "::/grub/grub.cfg"])
    tool(["mcopy", "-i", fat, BUILD + "/guest/vmlinuz", OUT + "/initrd", "::/"])
    return assemble(path, b"", 0xEF, fat)
