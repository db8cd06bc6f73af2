# SPDX-License-Identifier: GPL-2.0-or-later
"""rows_debug - QEMU's gdbstub: stop, registers, memory, single step, breakpoints and watchpoints.

The guest is a loop of a few instructions (selftests/clients/guest/debuggee.S); /root/debuggee.map has its symbols.  QEMU's
own emulator cannot do two things that these rows need of the host's CPU, on any hypervisor: it does not intercept INT3
for the host, and does not arm breakpoints from the DR7 that VMRUN loads.  The rows that need them (BOCHS) run under Bochs,
whose SVM does both, and which in turn dies of single-stepping a guest, again on any hypervisor.
"""
import os
import time

from machine import LIMIT, Machine, Wrong, need
from rsp import HARDWARE, SOFTWARE, WRITE, Rsp

TRAP = "T05"


def symbols():
    with open("/root/debuggee.map", encoding="utf-8") as f:
        return {line.split()[2]: int(line.split()[0], 16) for line in f}


class Debuggee:
    """The guest, stopped before its first instruction, and the debugger at it."""

    def __init__(self):
        self.machine = Machine("microvm,x-option-roms=off,pit=off,pic=off,rtc=off", mem=32, kernel="/root/debuggee", initrd=None,
                               append=None, agent=False,
                               options=["-S", "-gdb", "unix:/tmp/gdb,server=on,wait=off"])

    def __enter__(self):
        self.machine.__enter__()
        self.gdb = Rsp("/tmp/gdb")
        return self.gdb, symbols()

    def __exit__(self, *what):
        self.machine.__exit__(*what)
        os.unlink("/tmp/gdb")


def running(gdb, sym):
    """Lets the guest come into its loop."""
    end = time.time() + LIMIT
    while time.time() < end:
        gdb.start()
        gdb.runs(1)
        stop = gdb.interrupt()
        need(stop.startswith("T02"), f"the interrupt ended with {stop}")
        if sym["_start"] <= gdb.registers()["rip"] < sym["_start"] + 0x100:
            return
    raise Wrong(f"the guest is not in its loop but at {gdb.registers()['rip']:#x}")


def stop_and_look():
    with Debuggee() as (gdb, sym):
        running(gdb, sym)
        before = int.from_bytes(gdb.memory(sym["counter"], 4), "little")
        need(before > 0, "the guest has not counted")
        gdb.start()
        need(gdb.runs(1), "the guest did not go on")
        gdb.interrupt()
        after = int.from_bytes(gdb.memory(sym["counter"], 4), "little")
        need(after > before, f"the counter stayed at {before}")
        gdb.write(sym["flag"], b"\1\0\0\0")
        gdb.start()
        need(gdb.runs(1), "the guest did not go on after a write to its memory")
        gdb.interrupt()
        need(gdb.memory(sym["other"], 4) != bytes(4), "the guest does not see what the debugger wrote")


def single_step():
    with Debuggee() as (gdb, sym):
        running(gdb, sym)
        seen, previous = [], gdb.registers()["rip"]
        for _ in range(60):
            now = gdb.step()
            need(now != previous, f"a step stayed at {now:#x}")
            seen.append(now)
            previous = now
        loop = [sym["around"], sym["around"] + 1, sym["called"], sym["called"] + 5, sym["called"] + 7, sym["leaf_end"]]
        at = seen.index(sym["around"])
        need(seen[at:at + 6] == loop, f"stepped {[hex(a) for a in seen[at:at + 6]]}, want {[hex(a) for a in loop]}")
        before = gdb.memory(sym["counter"], 4)
        gdb.start()
        need(gdb.runs(0.5), "the guest did not go on after stepping")
        gdb.interrupt()
        need(gdb.memory(sym["counter"], 4) != before, "the guest does not run after stepping")


def breaks(kind):
    """Two places in turn, so that nobody has to step over a breakpoint; when they are removed, no more stops."""
    with Debuggee() as (gdb, sym):
        running(gdb, sym)
        counts = []
        for name in ("called", "around", "called", "around", "called"):
            gdb.insert(kind, sym[name])
            stop, rip = gdb.go(), gdb.registers()["rip"]
            need(stop.startswith(TRAP) and rip == sym[name], f"stopped with {stop} at {rip:#x}, want {sym[name]:#x}")
            need(gdb.memory(sym["called"], 1) == b"\xb8", "the debugger sees its own breakpoint in memory")
            if name == "called":
                counts.append(int.from_bytes(gdb.memory(sym["counter"], 4), "little"))
            gdb.remove(kind, sym[name])
        need(counts[1] == counts[0] + 1 and counts[2] == counts[1] + 1, f"rounds between stops: {counts}")
        gdb.start()
        need(gdb.runs(1), "stopped at a breakpoint that was removed")
        gdb.interrupt()
        after = int.from_bytes(gdb.memory(sym["counter"], 4), "little")
        need(after > counts[2] + 1, "the guest does not run after its breakpoints")


def watchpoint():
    with Debuggee() as (gdb, sym):
        running(gdb, sym)
        gdb.insert(WRITE, sym["other"], 4)
        gdb.write(sym["flag"], b"\1\0\0\0")
        stop = gdb.go()
        need(stop.startswith(TRAP), f"stopped with {stop}")
        rip = gdb.registers()["rip"]
        need(rip in (sym["store"], sym["stored"]), f"stopped at {rip:#x}, want {sym['stored']:#x}")
        gdb.remove(WRITE, sym["other"], 4)


ROWS = {"gdbstub: stop, read and write": stop_and_look, "gdbstub: single step": single_step}
BOCHS = {
    "gdbstub: hardware breakpoint": lambda: breaks(HARDWARE),
    "gdbstub: software breakpoint": lambda: breaks(SOFTWARE),
    "gdbstub: watchpoint": watchpoint,
}
ROWS.update(BOCHS)
