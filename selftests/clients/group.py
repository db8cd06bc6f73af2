# SPDX-License-Identifier: GPL-2.0-or-later
"""group - what a client's file gives to the driver, and what several clients' files share: places, and
a Python for the box.

A group is a command for one box and the features that it can try.  Its command is called with the device
node and the features' names; 'seconds' is the longest silence that is not yet a hang.
"""
import collections
import os
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, "build")
OUT = os.path.join(BUILD, "clients")

Group = collections.namedtuple("Group", "name box command features seconds")

PYTHON = "/usr/bin/python3.11"
STDLIB = "/usr/lib/python3.11"
PACKAGES = ("collections", "encodings", "importlib", "json", "re")


def python():
    """Options for a box that put Debian's Python into it: the program, and its library's pure part as one archive."""
    os.makedirs(OUT, exist_ok=True)
    archive = os.path.join(OUT, "python311.zip")
    if not os.path.exists(archive) or os.path.getmtime(archive) < os.path.getmtime(__file__):
        with zipfile.PyZipFile(archive + ".new", "w", optimize=0) as z:
            for name in sorted(os.listdir(STDLIB)):
                if name.endswith(".py"):
                    z.writepy(os.path.join(STDLIB, name))
            for name in PACKAGES:
                z.writepy(os.path.join(STDLIB, name))
        os.replace(archive + ".new", archive)
    return ["--file", PYTHON + ":/usr/bin/python3", "--file", archive + ":/usr/lib/python311.zip"]
