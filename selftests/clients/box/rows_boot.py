# SPDX-License-Identifier: GPL-2.0-or-later
"""rows_boot - Debian's kernel to its /init on every machine type and number of CPUs, by QEMU's loader, by GRUB from a
disk's boot sector under SeaBIOS, and by GRUB from an EFI system partition under OVMF.

The guest computes on every CPU (run=cpus of selftests/qemu/test-init, or the worker) and ends when all is right.
"""
import re
import shutil

from machine import Machine, need, worker_beyond, worker_start, worker_stop


def computes(m, cpus, limit=150):
    """The guest counts its CPUs right, computes on each, and ends."""
    m.says("guest: done", limit)
    text = m.console()
    seen = re.search(r"guest: cpus (\d+)", text)
    need(seen and int(seen.group(1)) == cpus, f"the guest has {seen and seen.group(1)} CPUs, not {cpus}")
    need("guest: sums 1" in text, "CPUs computed different things: " + text[-200:])
    m.ends()


def loader(machine, cpus):
    end = "reboot" if machine.startswith("microvm") else "poweroff"
    with Machine(machine, cpus, agent=False, append=f"run=cpus end={end}", options=["-no-reboot"]) as m:
        computes(m, cpus)


def grub_bios(cpus):
    """boot.img, core.img, modules, configuration, kernel: all come through INT 13h of SeaBIOS, its IDE and its virtio."""
    disk = []
    for n, device in enumerate(("ide-hd", "virtio-blk-pci")):
        disk += ["-drive", f"file=/root/grub-bios.img,format=raw,if=none,id=d{n},snapshot=on",
                 "-device", f"{device},drive=d{n},bootindex={n}"]
    with Machine("pc", cpus, agent=False, kernel=None, options=[*disk, "-no-reboot"]) as m:
        m.says("GRUB: menu entry starts")
        computes(m, cpus, 300)
        text = m.console()
        need(re.search(r"base_addr = 0x100000, length = 0x[0-9a-f]+, (type = )?.*RAM", text), "lsmmap: " + text[:300])
        need("GRUB: 64-bit CPU" in text, "cpuid -l said no: " + text[:300])


def ovmf(machine, cpus):
    shutil.copy("/root/OVMF_VARS.fd", "/tmp/vars.fd")
    flash = ["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/root/OVMF_CODE.fd",
             "-drive", "if=pflash,format=raw,unit=1,file=/tmp/vars.fd"]
    disk = ["-drive", "file=/root/grub-efi.img,format=raw,if=none,id=d0,snapshot=on", "-device", "virtio-blk-pci,drive=d0"]
    with Machine(machine, cpus, 320, kernel=None, options=[*flash, *disk, "-no-reboot"]) as m:
        m.says("GRUB: menu entry starts", 300)
        agent = m.agent()
        agent.sh("test -d /sys/firmware/efi", 200)
        agent.sh(f"test $(nproc) = {cpus}")
        worker_start(agent, 4)
        worker_beyond(agent, 1)
        worker_stop(agent)
        agent.socket.sendall(b"quit\n")     # it ends without an answer
        m.ends()


ROWS = {}
for _cpus in (1, 2, 4):
    for _machine in ("microvm", "pc", "q35"):
        ROWS[f"{_machine}, {_cpus} CPU"] = lambda m=_machine, c=_cpus: loader(m, c)
    ROWS[f"pc, SeaBIOS, GRUB, {_cpus} CPU"] = lambda c=_cpus: grub_bios(c)
    ROWS[f"q35, OVMF, GRUB, {_cpus} CPU"] = lambda c=_cpus: ovmf("q35", c)
