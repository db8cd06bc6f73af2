# SPDX-License-Identifier: GPL-2.0-or-later
"""local - the box's programs on this machine itself (make check HOST=local).

What a program finds in the box it finds here too: the files of its BOX line in
its working directory, which is first in PATH, and busybox's commands next.  A
shell test gets mount, network and PID namespaces of its own, since such tests
make bridges, mount file systems and kill servers by name; guests are registered
below its directory, so it sees no guest of the machine's user.  A test that
would do harm in spite of that says "HOST: box", and never comes here.

What this machine lacks is a reason to skip, and each reason says what is
missing: CPUs, memory, virtualization, a kernel for which the module was built,
or options that only an emulated machine can follow.
"""
import os
import platform
import re
import shlex
import shutil
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build")
KEEP = ("modprobe", "insmod", "rmmod", "depmod", "modinfo")     # busybox has them too, but not for every module


def words(options):
    """(option, value) of a BOX line; an option without a value has ''."""
    found = []
    for word in shlex.split(options):
        if word.startswith("--"):
            found.append((word, ""))
        elif found:
            found[-1] = (found[-1][0], word)
    return found


def memory_free():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable:\s*(\d+)", f.read()).group(1)) << 10


def size(text):
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]


def misfit(option, value):
    """Why this machine is not what a BOX option asks for, or ''."""
    if option == "--smp" and int(value) > os.cpu_count():
        return f"wants {value} CPUs, this machine has {os.cpu_count()}"
    if option == "--mem" and size(value) // 2 > memory_free():
        return f"wants {value} of memory, this machine has {memory_free() >> 20} MiB free"
    if option == "--file":
        source, _, place = value.partition(":")
        if place.startswith("/") or source.endswith(".ko"):
            return f"needs the box (--file {value})"
    elif option not in ("--smp", "--mem", "--modprobe"):
        return f"needs the box ({option} {value})"
    return ""


def obstacle(node, options, module):
    """Why programs that ask for this cannot run on this machine, or ''."""
    for option, value in words(options):
        if why := misfit(option, value):
            return why
    if os.geteuid():
        return "needs root"
    with open("/proc/cpuinfo") as f:
        flags = set(re.search(r"^flags\s*:(.*)$", f.read(), re.M).group(1).split())
    if not flags & {"svm", "vmx"}:
        return "this machine's CPU has, or shows, neither SVM nor VT-x"
    if node == "lodge":
        built = subprocess.run(["modinfo", "-F", "vermagic", module], capture_output=True, text=True).stdout.split()
        if built[:1] != [platform.release()]:
            return (f"{os.path.relpath(module, TOP)} is for Linux {' '.join(built[:1])}, this machine runs "
                    f"{platform.release()} (make module KDIR=/lib/modules/{platform.release()}/build)")
    elif not os.path.exists("/dev/kvm"):
        for vendor in ("kvm-amd", "kvm-intel"):
            subprocess.run(["modprobe", vendor], capture_output=True)
        if not os.path.exists("/dev/kvm"):
            return "there is no /dev/kvm, and the stock module does not load"
    return ""


def prepare(name, options, programs):
    """The programs' working directory, and what a shell test's command begins with."""
    root = os.path.join(BUILD, "selftests", f"local-{name}")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(os.path.join(root, "busybox"))
    for program in programs:
        shutil.copy(program, root)
        os.chmod(os.path.join(root, os.path.basename(program)), 0o755)
    for option, value in words(options):
        if option == "--file":
            source, _, place = value.partition(":")
            place = os.path.join(root, place or os.path.basename(source))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            (shutil.copytree if os.path.isdir(os.path.join(TOP, source)) else shutil.copy)(os.path.join(TOP, source), place)
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True).stdout.split()
    for applet in [a for a in listed if a not in KEEP]:
        os.symlink(shutil.which("busybox"), os.path.join(root, "busybox", applet))
    # util-linux's, by its path: busybox's, which comes first now, knows less.
    return root, f"{shutil.which('unshare')} --mount --net --pid --fork --kill-child --mount-proc "


def enter(node, options, root):
    """Lines of shell before the first test."""
    lines = [f"cd {shlex.quote(root)} || exit 120",
             f"export LODGE_RUN_DIR={shlex.quote(root)}/run PATH={shlex.quote(f'{root}:{root}/busybox')}:$PATH"]
    lines += [f"modprobe {shlex.quote(v)} || exit 120" for o, v in words(options) if o == "--modprobe"]
    if node == "lodge":
        lines += ["if grep -q '^lodge ' /proc/modules; then",
                  "	echo 'lodge is loaded already, perhaps another build: rmmod lodge first' >&2",
                  "	exit 120", "fi",
                  f"insmod {shlex.quote(BUILD)}/lodge.ko || exit 120"]
    return lines
