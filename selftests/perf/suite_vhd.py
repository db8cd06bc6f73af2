# SPDX-License-Identifier: GPL-2.0-or-later
"""suite_vhd - disk images: our engine against itself on a raw file, and against qemu-img bench.

Native, in build/selftests/perf/vhd, all on one file system in one run. What is
compared is measured in turn, several times, and the best of each is taken:
whatever else the machine does only ever adds time.
"""
import glob
import os
import re
import shutil
import struct
import subprocess
import time

MIB = 1 << 20
DISK = 256 * MIB
SCATTERED = MIB + 4096          # a step that comes to another block each time
TIMES = 5
BLOCKS_1T = 1 << 19


class Bench:
    def __init__(self, top, build):
        self.dir = os.path.join(build, "selftests/perf/vhd")
        self.lodge = os.path.join(build, "lodge")
        self.tool = os.path.join(build, "selftests/perf/vhd_bench")
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-std=gnu11", "-D_GNU_SOURCE=", "-I", top + "/include", "-I",
                        top + "/userspace", "-o", self.tool, top + "/selftests/perf/vhd_bench.c",
                        *glob.glob(top + "/userspace/vhd/*.c"), "-laio", "-lcrypto", "-pthread"], check=True)
        self.instructions = None

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *words):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=self.dir)

    def img(self, *words):
        self.run(self.lodge, "img", *words)

    def ours(self, name, op, count, size, depth, step, seed=0):
        """Seconds."""
        r = subprocess.run([self.tool, self.path(name), op, str(count), str(size), str(depth), str(step), str(seed)],
                           check=True, stdout=subprocess.PIPE, text=True)
        ns, self.instructions = map(int, r.stdout.split())
        return ns / 1e9

    def qemu(self, name, fmt, op, count, size, depth, step):
        r = subprocess.run(["qemu-img", "bench", "-f", fmt, "-t", "none", "-n", "-c", str(count), "-d", str(depth), "-s",
                            str(size), "-S", str(step), *(["-w", "--flush-interval", str(count)] if op == "write" else []),
                            self.path(name)], check=True, stdout=subprocess.PIPE, text=True)
        return float(re.search(r"completed in ([0-9.]+)", r.stdout).group(1))


def best(*measures):
    """Each is called in turn; the best times."""
    times = [[m() for m in measures] for _ in range(TIMES)]
    return [min(t) for t in zip(*times)]


def timed(call, *words):
    start = time.monotonic()
    call(*words)
    return time.monotonic() - start


def make_images(b):
    with open(b.path("r.raw"), "wb") as f:
        for _ in range(DISK // MIB):
            f.write(os.urandom(MIB))
        os.fsync(f.fileno())
    b.img("convert", "r.raw", "d.vhd")
    b.run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on", "r.raw", "q.vpc")
    b.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "r.raw", "q.qcow2")
    b.run("sync", "r.raw", "d.vhd", "q.vpc", "q.qcow2")


def steady(b, row):
    """On images whose blocks are all there."""
    rows = []
    for name, op, count, size, step, raw_goal, vpc_goal in (
            ("read-4k", "read", 20000, 4096, SCATTERED, 0.95, 1.0), ("write-4k", "write", 4000, 4096, SCATTERED, 0.95, 8.0),
            ("read-1m", "read", 256, MIB, MIB, 0.95, 1.5), ("write-1m", "write", 256, MIB, MIB, 0.95, 1.0)):
        raw, ours, vpc, qcow2 = best(lambda: b.ours("r.raw", op, count, size, 32, step),
                                     lambda: b.ours("d.vhd", op, count, size, 32, step),
                                     lambda: b.qemu("q.vpc", "vpc", op, count, size, 32, step),
                                     lambda: b.qemu("q.qcow2", "qcow2", op, count, size, 32, step))
        for peer, peer_name, goal in ((raw, "raw, same engine", raw_goal), (vpc, "qemu-img vpc", vpc_goal),
                                      (qcow2, "qemu-img qcow2", 1.0)):
            rows.append(row("vhd", name, round(ours, 4), round(peer, 4), peer_name, "s", round(1 / goal, 3)))
    return rows


def random_access(b, row):
    rows = []
    for op, count in (("read", 20000), ("write", 4000)):
        raw, ours = best(lambda: b.ours("r.raw", op, count, 4096, 32, "random"),
                         lambda: b.ours("d.vhd", op, count, 4096, 32, "random"))
        rows.append(row("vhd", op + "-4k-random", round(ours, 4), round(raw, 4), "raw, same engine", "s", 1.053))
    if b.instructions:
        rows.append(row("vhd", "instructions-4k", b.instructions, 1, "none", "user instructions", None))
    return rows


def first_writes(b, row):
    def fresh(name, *make):
        if os.path.exists(b.path(name)):
            os.unlink(b.path(name))
        b.run(*make)

    def ours():
        fresh("n.vhd", b.lodge, "img", "create", "n.vhd", str(DISK))
        return b.ours("n.vhd", "write", 2000, 65536, 32, 65536)

    def raw():
        fresh("n.raw", "truncate", "-s", str(DISK), "n.raw")
        return b.ours("n.raw", "write", 2000, 65536, 32, 65536)

    def qemu(fmt):
        name = "n." + fmt
        fresh(name, "qemu-img", "create", "-q", "-f", fmt, name, str(DISK))
        return b.qemu(name, fmt, "write", 2000, 65536, 32, 65536)

    us, *peers = best(ours, raw, lambda: qemu("vpc"), lambda: qemu("qcow2"))
    return [row("vhd", "first-write-64k", round(us, 4), round(p, 4), n, "s", g)
            for p, n, g in zip(peers, ("raw, same engine", "qemu-img vpc", "qemu-img qcow2"), (1.429, 1.0, 1.0))]


def deep_chain(b, row):
    b.img("clone", "d.vhd", "c1.vhd")
    for i in range(2, 64):
        b.ours(f"c{i - 1}.vhd", "write", 24, 4096, 8, "random", i)
        b.img("clone", f"c{i - 1}.vhd", f"c{i}.vhd")
    b.img("convert", "c63.vhd", "flat.vhd")
    b.img("compare", "c63.vhd", "flat.vhd")
    deep, flat = best(lambda: b.ours("c63.vhd", "read", 60000, 4096, 32, "random"),
                      lambda: b.ours("flat.vhd", "read", 60000, 4096, 32, "random"))
    return [row("vhd", "read-4k-64-deep", round(deep, 4), round(flat, 4), "flat, same engine", "s", 1.111)]


def write_synced(path, size):
    with open(path, "wb") as f:
        f.write(b"\xff" * size)
        os.fsync(f.fileno())


def fill_table(path):
    """Gives every block of an empty 1 TiB image a place, as a full image's table has it; the file is sparse."""
    with open(path, "r+b") as f:
        footer = f.read(512)
        first = (1536 + BLOCKS_1T * 4 + 4095) // 4096 * 8 + 7
        f.seek(1536)
        f.write(struct.pack(">%dI" % BLOCKS_1T, *(first + 4104 * i for i in range(BLOCKS_1T))))
        f.truncate((first + 1 + 4096 + 4104 * (BLOCKS_1T - 1)) * 512)
        f.seek(0, os.SEEK_END)
        f.write(footer)


def large(b, row):
    def snapshot():
        for name in ("big.vhd", "s.vhd"):
            if os.path.exists(b.path(name)):
                os.unlink(b.path(name))
        b.img("create", "big.vhd", "1T")
        return timed(b.img, "snapshot", "big.vhd", "s.vhd")

    def bytes_alone():
        return timed(write_synced, b.path("bytes"), os.path.getsize(b.path("big.vhd")))

    took, peer = best(snapshot, bytes_alone)
    rows = [row("vhd", "snapshot-1t", round(took, 4), round(peer, 4), "write and fsync as much", "s", 2.0)]
    b.img("create", "full.vhd", "1T")
    fill_table(b.path("full.vhd"))
    took, = best(lambda: timed(b.img, "check", "full.vhd"))
    rows.append(row("vhd", "check-full-1t", round(took, 4), 2.0, "the goal", "s", 1.0))
    return rows


def coalesce(b, row):
    def merge():
        for name in ("child.vhd", "base.vhd"):
            if os.path.exists(b.path(name)):
                os.unlink(b.path(name))
        b.img("create", "base.vhd", str(DISK))
        b.img("clone", "base.vhd", "child.vhd")
        b.ours("child.vhd", "write", DISK // MIB, MIB, 8, MIB)
        b.run("cp", "child.vhd", "kept")
        return timed(b.img, "coalesce", "child.vhd")

    def copy():
        if os.path.exists(b.path("copied")):
            os.unlink(b.path("copied"))
        return timed(b.run, "sh", "-c", "cp --sparse=never --reflink=never kept copied && sync copied")

    took, peer = best(merge, copy)
    return [row("vhd", "coalesce-256m", round(took, 4), round(peer, 4), "cp and sync", "s", 1.2)]


def suite(top, build, row):
    b = Bench(top, build)
    try:
        make_images(b)
        return [r for part in (steady, random_access, first_writes, deep_chain, large, coalesce) for r in part(b, row)]
    finally:
        shutil.rmtree(b.dir, ignore_errors=True)
