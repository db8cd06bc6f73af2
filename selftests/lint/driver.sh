#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# driver.sh - selftests/run judges second runs of whole guests as it says and compiles what it must, and
# selftests/perf/run keeps other suites' rows and measures nobody who loses a guest's state.  Boxes and programs are
# made up here.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

cat >"$tmp/judge.py" <<'PYTHON'
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import types

sys.dont_write_bytecode = True
sys.path[:0] = ["selftests/perf", "selftests/lib"]
TMP = sys.argv[1]


def load(name, path):
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


run, perf = load("run", "selftests/run"), load("perf", "selftests/perf/run")
run.say = lambda text: None
run.BUILD = TMP


def check(what, good):
    if not good:
        print(what)


class Box:
    """Its programs fail in the first box as @first says, and in the second those that @twice names."""
    first, twice = {}, set()

    def __init__(self, key, tests, args, results, prefix=""):
        self.tests, self.results, self.again = tests, results, prefix

    def run(self):
        for source, _ in self.tests:
            how = Box.first.get(source.name)
            failed = source.name in Box.twice if self.again else bool(how)
            tap = run.Tap("guest", source.name)
            tap.line("1..1")
            for line in (how or "").split("|"):
                tap.line(f"# {line}")
            tap.line(("not " if failed else "") + "ok 1 - it")
            if failed and how == "the host warned":
                self.results.certain.add(source.name)
            tap.finish(self.results, int(failed))


run.Box = Box


def judged(first, twice=()):
    Box.first, Box.twice = first, set(twice)
    results = run.Results()
    tests = [(types.SimpleNamespace(name=n), n) for n in [*first, "good"]]
    run.run_guests(("guest", "lodge", ""), tests, types.SimpleNamespace(bochs=None), results)
    results.judge_second_runs()
    return results


r = judged({"a": "it stood still", "b": "it stood still"})
check("two that passed at the second run are no failure", r.count("fail") == 0 and r.count("skip") == 2)
check("both are named", [m[0] for m in r.mended] == ["guest/a", "guest/b"])
check("what passed is taken as it is", r.count("pass") == 1)
r = judged({n: "it stood still" for n in "abc"})
check("three are a failure", [f.name for f in r.list if f.verdict == "fail"] == ["second runs"])
r = judged({n: "int3: 0000 [#1] PREEMPT SMP" for n in "abc"})
check("a lost translation does not count", r.count("fail") == 0 and all(m[2] for m in r.mended))
r = judged({"a": "it stood still"}, twice="a")
check("what fails twice has failed", r.count("fail") == 1 and not r.mended)
r = judged({"a": "the host warned"})
check("a complaint of the host's kernel is not mended", r.count("fail") == 1 and not r.mended)

path = os.path.join(TMP, "perf.json")
perf.write_rows(path, ["boot"], [{"suite": "boot", "name": "x"}])
perf.write_rows(path, ["exit"], [{"suite": "exit", "name": "y"}, {"suite": "exit", "name": "old"}])
perf.write_rows(path, ["exit"], [{"suite": "exit", "name": "z"}])
with open(path, encoding="utf-8") as f:
    check("other suites' rows stay, its own go", [r["name"] for r in json.load(f)] == ["z", "x"])

perf.compile_client = lambda name: name


def exits(stock, ours, status=1, loses=False):
    """The rows' names, or what could not be measured, of boxes that print these lines."""
    def box(args, command):
        lost = stock if "--stock" in args else ours
        return types.SimpleNamespace(stdout="\n".join(["empty 9", "cpuid 100", *lost]), returncode=status if lost else 0)
    perf.box = box
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return [r["name"] for r in perf.exit_rows("exit", [], 1.0, 1.0, emulator_loses=loses)][:1]
    except perf.CannotMeasure as e:
        return str(e)


x87, cr2 = "state cpuid: x87 state", "state cpuid: CR2"
check("who loses nothing is measured", exits([], []) == ["cpuid"])
check("what we lose is told", "on lodge: cpuid: CR2" in exits([], [cr2]))
check("what stock KVM loses is told", "on stock KVM: cpuid: CR2" in exits([cr2], []))
check("the emulator's loss is neither's", exits([x87, cr2], [cr2], loses=True) == ["cpuid"])
check("what we alone lose is ours there too", "on lodge: cpuid: CR2" in exits([x87], [cr2], loses=True))
check("another line is no result", "Bail out!" in exits([], ["Bail out!"], loses=True))
check("nor is another status", "status 124" in exits([cr2], [cr2], 124, loses=True))
PYTHON
cat >"$tmp/build.py" <<'PYTHON'
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path[:0] = ["selftests/lib"]
import objects

TMP = sys.argv[1]
CLOCK = [1000000000]


def write(name, text):
    path = os.path.join(TMP, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.utime(path, (CLOCK[0], CLOCK[0]))
    return path


def build(out, flags=()):
    """As another run would, a while later: what it printed, or what was wrong; and what was compiled."""
    p = objects.Programs(TMP, os.path.join(TMP, "objects"))
    compiled = []
    compile_one = p.compile
    p.compile = lambda source, *rest: compiled.append(os.path.basename(source)) or compile_one(source, *rest)
    error = p.program([one, two], os.path.join(TMP, out), ["gcc"], ["-I", TMP, *flags], [])
    return error or subprocess.run([os.path.join(TMP, out)], capture_output=True, text=True).stdout, compiled


def check(what, good):
    if not good:
        print(what)


write("it.h", "#define IT 1\n")
one = write("one.c", '#include <stdio.h>\n#include "it.h"\n#ifndef MORE\n#define MORE 0\n#endif\n'
            'int two(void);\nint main(void) { printf("%d %d", IT + MORE, two()); return 0; }\n')
two = write("two.c", "int two(void) { return 2; }\n")
check("a program is made of all its files", build("a") == ("1 2", ["one.c", "two.c"]))
check("what did not change is not compiled again", build("a") == ("1 2", []))
check("another program takes the same objects", build("b") == ("1 2", []))
check("other flags are other objects", build("c", ["-DMORE=4"]) == ("5 2", ["one.c", "two.c"]))
CLOCK[0] = 4000000000
write("it.h", "#define IT 7\n")
check("a header that is newer counts", build("a") == ("7 2", ["one.c"]))
write("two.c", "int two(void) { return }\n")
check("an error is told", build("a")[0].startswith("does not compile: ") and "two.c:1" in build("a")[0])
write("two.c", "int three(void) { return 3; }\n")
check("what is missing is told", "undefined reference to `two'" in build("a")[0])
os.unlink(os.path.join(TMP, "it.h"))
check("a header that is gone counts", "it.h" in build("a")[0])
PYTHON
python3 "$tmp/judge.py" "$tmp" >"$tmp/bad" 2>&1
result "second runs, rows of other suites and lost state are judged as documented" "$tmp/bad"
python3 "$tmp/build.py" "$tmp" >"$tmp/bad" 2>&1
result "programs of the tests are compiled when they must be, and not when they need not" "$tmp/bad"
finish
