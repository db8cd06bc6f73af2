# SPDX-License-Identifier: GPL-2.0-or-later
"""rows_guests - guests that are not Linux: programs that live in real mode, 32-bit protected mode and the BIOS.

memtest86+ tests the guest's memory, 32 and 64 bits, and is judged by its screen on the serial line: a test of its list
has ended and no error was found.  iPXE finds the network card, gets an address, and boots a kernel over HTTP; it speaks through
the BIOS, whose screen SeaBIOS mirrors on the serial line.  GRUB is in rows_boot.
"""
import os
import re
import subprocess

from machine import Machine, need, until
from rows_boot import computes

MEMTEST_LINE = "console=ttyS0,115200 nopause nobench nosm"


def memtest(cpus, **how):
    with Machine("pc", cpus, 24, agent=False, initrd=None, **how) as m:
        m.says(r"Memtest86\+")

        def progress():
            text = m.console()
            errors = [int(n) for n in re.findall(r"Errors:\s*(\d+)", text)]
            need(not any(errors), f"it found {max(errors, default=0)} errors")
            need(not m.ended(), m.tail())
            return len(set(re.findall(r"#(\d+)", text))) >= 3
        until("third test of memtest86+", progress, 300, 0.5)


def memtest_kernel(bits, cpus):
    memtest(cpus, kernel=f"/root/memtest86+{bits}.bin", append=MEMTEST_LINE)


def memtest_floppy():
    """Its own boot sector, by the BIOS, from a floppy: a guest that begins in real mode and has no loader but itself."""
    with open("/root/memtest86+ia32.bin", "rb") as f:
        image = f.read()
    with open("/tmp/floppy.img", "wb") as f:
        f.write(image.ljust(1474560, b"\0"))
    with Machine("pc", 1, 24, kernel=None, agent=False, options=[
            "-device", "VGA", "-drive", "if=floppy,format=raw,file=/tmp/floppy.img,snapshot=on", "-boot", "a"]) as m:
        def screen():
            text = vga_text(m)
            need(not m.ended(), m.tail())
            return text if "Memtest86+" in text and re.search(r"Errors:\s+0", text) and re.search(r"#[1-9]", text) else ""
        until("first test of memtest86+ on the screen", screen, 300, 1)
    os.unlink("/tmp/floppy.img")


def vga_text(m):
    """The text on a VGA's screen: characters at even addresses from 0xb8000 on."""
    m.qmp.command("pmemsave", val=0xb8000, size=4000, filename="/tmp/screen")
    with open("/tmp/screen", "rb") as f:
        return f.read()[::2].decode("cp437").replace("\0", " ")


IPXE_SCRIPT = """#!ipxe
dhcp net0
echo IPXE address ${net0/ip} from ${net0/dhcp-server} with ${net0/chip}
kernel http://10.0.2.2:8082/vmlinuz console=ttyS0 quiet mitigations=off no_timer_check panic=-1 run=cpus
initrd http://10.0.2.2:8082/initrd
echo IPXE has loaded both
boot
"""


def ipxe(nic):
    with open("/tmp/script.ipxe", "w", encoding="utf-8") as f:
        f.write(IPXE_SCRIPT)
    subprocess.run(["httpd", "-p", "127.0.0.1:8082", "-h", "/root"], check=True)
    try:
        with Machine("pc,graphics=off", 1, agent=False, kernel="/root/ipxe.lkrn", initrd="/tmp/script.ipxe", append=None, options=[
                "-netdev", "user,id=n0", "-device", f"{nic},netdev=n0,romfile=", "-no-reboot"]) as m:
            m.says(r"iPXE 1\.")
            m.says(r"IPXE address 10\.0\.2\.15")
            m.says("IPXE has loaded both", 300)
            computes(m, 1)
    finally:
        subprocess.run(["killall", "httpd"], check=False)


ROWS = {
    "memtest86+, 32 bits, 1 CPU": lambda: memtest_kernel("ia32", 1),
    "memtest86+, 32 bits, 2 CPU": lambda: memtest_kernel("ia32", 2),
    "memtest86+, 64 bits, 1 CPU": lambda: memtest_kernel("x64", 1),
    "memtest86+, boot sector": memtest_floppy,
    "iPXE boots by HTTP, virtio-net": lambda: ipxe("virtio-net-pci"),
    "iPXE boots by HTTP, e1000": lambda: ipxe("e1000"),
}
