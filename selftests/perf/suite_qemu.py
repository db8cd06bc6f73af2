# SPDX-License-Identifier: GPL-2.0-or-later
"""suite_qemu - the same unmodified QEMU and guest on lodge.ko and on the stock module, instructions under -icount.

The machine is QEMU's pc, with SeaBIOS and the kernel from the command line, one vCPU.  Its process 1 is workload.c.  The floor
of the boot is the same machine and kernel under TCG, without a hypervisor: what the guest and the firmware do themselves.
What QEMU does before the guest's clock runs is in neither.  Instructions are those of the whole box, as the guest's time
stamp counter sees them.
"""
import glob
import os
import re
import shutil
import subprocess

RAM = 256
FIRMWARE = {"bios-256k.bin": "/usr/share/seabios/bios-256k.bin", "linuxboot_dma.bin": "/usr/share/qemu/linuxboot_dma.bin",
            "kvmvapic.bin": "/usr/share/qemu/kvmvapic.bin"}
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check cryptomgr.notests mitigations=off"
COMMAND = ["-M", "pc", "-m", str(RAM), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
           "-no-reboot"]
# Files of userspace/ that are compiled in the guest: small and large, with many and with few headers.
SOURCES = ["common/command.c", "common/err.c", "common/log.c", "common/loop.c", "common/opts.c", "common/rundir.c",
           "common/size.c", "common/thread.c"]
GOALS = {"compile": 1.0, "exec": 1.0, "switch": 1.0}


def sources(top):
    """Twenty of them: those above, and the first ones of the engine of disk images."""
    found = [os.path.join(top, "userspace", s) for s in SOURCES]
    found += sorted(glob.glob(os.path.join(top, "userspace/vhd/*.c")))
    return found[:20]


def make_initrd(bench):
    """An initrd with process 1, the compiler proper and what it links, and preprocessed sources; its path."""
    top, build = bench.TOP, bench.BUILD
    out = os.path.join(build, "selftests/perf/qemu")
    root = os.path.join(out, "root")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(os.path.join(root, "source"))
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    shutil.copy(cc1, os.path.join(root, "cc1"))
    needs = subprocess.run(["ldd", cc1], stdout=subprocess.PIPE, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", needs):
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)
    for path in sources(top):
        subprocess.run(["gcc", "-E", "-P", "-D_GNU_SOURCE=", "-std=gnu11", "-I", f"{top}/include", "-I", f"{top}/userspace",
                        "-I", f"{build}/userspace/gen", path, "-o", f"{root}/source/{os.path.basename(path)}.i"], check=True)
    bench.pack_initrd(root, bench.compile_client("workload"))
    return os.path.join(out, "initrd")


def counts(text, what, error):
    """The guest's lines as numbers."""
    found = {}
    for line in text.splitlines():
        word = line.split()
        if len(word) == 2 and word[1].isdigit():
            found[word[0]] = int(word[1])
    if "workload done" not in text or not {"init", *GOALS} <= set(found):
        raise error(f"qemu on {what}: {text[-300:]}")
    return found


def suite(bench):
    """Rows; bench is the module that measures: selftests/perf/run."""
    kernel, initrd = bench.guest_kernel(), make_initrd(bench)
    linux = ["-kernel", "/kernel", "-initrd", "/initrd", "-append", CMDLINE]
    floor = subprocess.run(["qemu-system-x86_64", *COMMAND, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
                            "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1", "-cpu", "max",
                            "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=900, check=False)
    floor = counts(floor.stdout, "the emulator alone", bench.CannotMeasure)
    files = {"kernel": kernel, "initrd": initrd, "qemu": shutil.which("qemu-system-x86_64")}
    options = ["--icount", "--mem", "3G", "--timeout", "1800"]
    for name, path in files.items():
        options += ["--file", f"{path}:/{name}"]
    for name, path in FIRMWARE.items():
        options += ["--file", f"{path}:/fw/{name}"]
    found = {}
    for node, extra in (("kvm", ["--stock"]), ("lodge", ["--module-args", "kvm_node=1"])):
        done = bench.box(options + extra, ["/qemu", *COMMAND, "-L", "/fw", "-accel", "kvm", "-cpu", "host", *linux])
        found[node] = counts(done.stdout, "stock KVM" if node == "kvm" else "lodge", bench.CannotMeasure)
    ours, peer = found["lodge"], found["kvm"]
    rows = [bench.row("qemu", "init-above-floor", ours["init"] - floor["init"], peer["init"] - floor["init"], "kvm_amd",
                      "instructions", 0.7),
            bench.row("qemu", "init-whole", ours["init"], peer["init"], "kvm_amd", "instructions", None)]
    for name, goal in GOALS.items():
        rows.append(bench.row("qemu", name, ours[name], peer[name], "kvm_amd", "instructions", goal))
        rows.append(bench.row("qemu", name + "-above-floor", ours[name] - floor[name], peer[name] - floor[name], "kvm_amd",
                              "instructions", None))
    return rows
