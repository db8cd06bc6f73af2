# SPDX-License-Identifier: GPL-2.0-or-later
"""main - in the box: tries the features that are named, and says a line about each (see selftests/clients/run).

usage: main.py MODULE NODE FEATURE...
"""
import importlib
import os
import sys
import time
import traceback

from machine import Skip, Wrong


def attempt(row):
    try:
        row()
        return "pass", ""
    except Skip as e:
        return "skip", str(e)
    except Wrong as e:
        return "fail", str(e)
    except Exception:       # pylint: disable=broad-except # a row's own fault is a failed row, not a lost one
        return "fail", " ".join(traceback.format_exc().splitlines()[-3:])


def main():
    module, node, features = sys.argv[1], sys.argv[2], sys.argv[3:]
    rows = importlib.import_module(module).ROWS
    if node != "/dev/kvm" and not os.path.exists("/dev/kvm"):
        os.symlink(node, "/dev/kvm")        # the path that Debian's QEMU knows
    os.makedirs("/var/tmp", exist_ok=True)  # where it keeps what snapshot=on does not write
    failed = 0
    for feature in features:
        start = time.time()
        verdict, reason = attempt(rows[feature])
        reason = " ".join(reason.replace("\t", " ").split())
        print(f"@@ROW\t{feature}\t{verdict}\t{time.time() - start:.1f}\t{reason}", flush=True)
        failed |= verdict == "fail"
    return failed


if __name__ == "__main__":
    sys.exit(main())
