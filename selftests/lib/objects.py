# SPDX-License-Identifier: GPL-2.0-or-later
"""objects - build the tests' programs out of objects that they share.

The tests of user space link the same few hundred files again and again, with
sanitizers, which is slow: three of four compilations would be repetitions.
So a file is compiled once for each set of flags, to DIR/NAME-KEY.o, KEY being
a hash of the command; DIR/NAME-KEY.d, which the compiler writes, lists all that it
includes, and as long as none of these is newer, the object stays.  A program is
linked again when one of its objects is newer, or when its command is another.

Threads, and other runs in the same checkout, may build at the same time: within
a process each object has a lock; whatever is complete takes its name by
rename(), objects after their lists.
"""
import collections
import hashlib
import os
import re
import subprocess
import threading


class Programs:
    """top: where sources' names begin, and compilers run; objects: the folder for objects."""

    def __init__(self, top, objects):
        self.top, self.objects = top, objects
        self.guard = threading.Lock()
        self.locks = collections.defaultdict(threading.Lock)
        self.known = {}     # object: what was wrong with it, '' if nothing was

    def program(self, sources, out, compiler, flags, libs):
        """Make out from sources, absolute paths; '' or what was wrong."""
        objects = []
        for source in sources:
            path, error = self.object(source, compiler + flags)
            if error:
                return error
            objects.append(path)
        command = compiler + flags + objects + libs
        note = out + ".cmd"
        if self.text(note) == repr(command) and os.path.exists(out) and \
                max(map(os.path.getmtime, objects)) < os.path.getmtime(out):
            return ""
        os.makedirs(os.path.dirname(out), exist_ok=True)
        fresh = self.fresh(out)
        error = self.run(command + ["-o", fresh])
        if error:
            return error
        os.replace(fresh, out)
        with open(note, "w") as f:
            f.write(repr(command))
        return ""

    def object(self, source, command):
        """Compile one file unless its object is good still: the object's path, and '' or what was wrong."""
        key = hashlib.sha256(repr(command + [source]).encode()).hexdigest()[:16]
        base = os.path.join(self.objects, f"{os.path.splitext(os.path.basename(source))[0]}-{key}")
        path = base + ".o"
        with self.guard:
            lock = self.locks[path]
        with lock:
            if path not in self.known:
                self.known[path] = "" if self.current(base) else self.compile(source, command, base)
            return path, self.known[path]

    def compile(self, source, command, base):
        os.makedirs(self.objects, exist_ok=True)
        fresh, listed = self.fresh(base + ".o"), self.fresh(base + ".d")
        error = self.run(command + ["-c", "-MMD", "-MF", listed, source, "-o", fresh])
        if error:
            return error
        os.replace(listed, base + ".d")
        os.replace(fresh, base + ".o")
        return ""

    def current(self, base):
        """Is nothing that the object was made of newer than it?"""
        try:
            made = os.path.getmtime(base + ".o")
            names = re.sub(r"\\\n|^\S+:", " ", self.text(base + ".d"), flags=re.M).split()
            return bool(names) and all(os.path.getmtime(os.path.join(self.top, n)) < made for n in names)
        except FileNotFoundError:
            return False

    def run(self, command):
        done = subprocess.run(command, cwd=self.top, capture_output=True, text=True)
        if not done.returncode:
            return ""
        errors = [l for l in done.stderr.splitlines() if "error" in l or "undefined" in l]
        return "does not compile: " + " | ".join((errors or done.stderr.splitlines())[:4])

    @staticmethod
    def fresh(path):
        return f"{path}.{os.getpid()}.{threading.get_ident()}"

    @staticmethod
    def text(path):
        try:
            with open(path) as f:
                return f.read()
        except FileNotFoundError:
            return ""
