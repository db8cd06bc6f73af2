# SPDX-License-Identifier: GPL-2.0-or-later
"""rows_state - a guest's whole state leaves its QEMU and comes back: savevm and loadvm, in the same process and in a
new one; live migration to another process while the guest works.

In each the worker (selftests/clients/guest/worker.c) runs on every CPU, and looks at every word of its memory.
"""
import json
import os
import subprocess
import time

from machine import Machine, Wrong, need, until, worker_beyond, worker_passes, worker_start, worker_stop

MEM = 128
WORKING_SET = 8


def snapshot_disk():
    path = "/tmp/snapshots.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "256M"], check=True)
    return ["-drive", f"file={path},format=qcow2,if=none,id=snap", "-device", "virtio-blk-pci,drive=snap"]


def human(m, line):
    answer = m.qmp.human(line)
    need(not answer, f"{line}: {answer}")


def save_and_load(cpus):
    """The marks /tmp/a (before) and /tmp/b (after) show which moment the guest is at."""
    disk = snapshot_disk()
    with Machine("pc", cpus, MEM, options=disk) as m:
        agent = m.agent()
        worker_start(agent, WORKING_SET)
        worker_beyond(agent, 1)
        agent.sh("touch /tmp/a")
        human(m, "savevm one")
        saved = worker_passes(agent)
        agent.sh("touch /tmp/b")
        worker_beyond(agent, saved + 1)
        human(m, "loadvm one")
        need(agent.run("test -e /tmp/a && test ! -e /tmp/b")[1] == 0, "loadvm did not take the guest back")
        now = worker_passes(agent)
        worker_beyond(agent, now + 1)
        worker_stop(agent)
    with Machine("pc", cpus, MEM, options=[*disk, "-loadvm", "one"]) as m:
        agent = m.agent(fresh=False)
        need(agent.run("test -e /tmp/a && test ! -e /tmp/b")[1] == 0, "-loadvm did not bring the guest back")
        now = worker_passes(agent)
        worker_beyond(agent, now + 1)
        worker_stop(agent)
        agent.sh("test $(nproc) = %d && sleep 1 && date +%%s" % cpus)
    os.unlink("/tmp/snapshots.qcow2")


def migrated(source, limit=240):
    def look():
        info = source.qmp.command("query-migrate")
        if info.get("status") == "failed":
            raise Wrong("migration failed: " + info.get("error-desc", json.dumps(info)))
        return info if info.get("status") == "completed" else None
    return until("end of migration", look, limit, 0.3)


def passes_while_moving(source, agent, passes, limit=60):
    """The last pass that the source's guest told of; it is stopped in the middle of an answer some time."""
    end = time.time() + limit
    while source.qmp.command("query-migrate").get("status") in ("setup", "active") and time.time() < end:
        try:
            passes = max(passes, worker_passes(agent, 5))
        except Wrong:
            break
    return passes


def migrate(cpus, machine="pc", accel="kvm", **capabilities):
    with Machine(machine, cpus, MEM, accel=accel) as source, \
         Machine(machine, cpus, MEM, accel=accel, options=["-incoming", "unix:/tmp/incoming"]) as target:
        agent = source.agent()
        worker_start(agent, WORKING_SET)
        before = worker_beyond(agent, 1)
        # A socket inside an emulated host is not a network: what is tested is that the guest goes on dirtying.
        source.qmp.command("migrate-set-parameters", max_bandwidth=8 << 20, downtime_limit=3000)
        for m in (source, target):
            m.qmp.command("migrate-set-capabilities",
                          capabilities=[{"capability": c, "state": True} for c in ("events", *capabilities)])
        source.qmp.command("migrate", uri="unix:/tmp/incoming")
        worked = passes_while_moving(source, agent, before)
        info = migrated(source)
        need(worked > before, "the guest did not work during the migration")
        need(info["ram"]["dirty-sync-count"] > 1, "no second pass over dirty memory: " + json.dumps(info["ram"]))
        need(source.qmp.command("query-status")["status"] == "postmigrate", "the source still runs")
        agent.close()
        target.qmp.event("RESUME")
        agent = target.agent(fresh=False)
        arrived = worker_passes(agent)
        need(arrived >= worked, f"pass {arrived} on the target after pass {worked} on the source")
        worker_beyond(agent, arrived + 1)
        worker_stop(agent)
        agent.sh("test $(nproc) = %d && sleep 1" % cpus)


ROWS = {f"savevm and loadvm, {c} CPU": lambda c=c: save_and_load(c) for c in (1, 2)}
ROWS.update({f"live migration, pc, {c} CPU": lambda c=c: migrate(c) for c in (1, 2)})
ROWS["live migration, q35, 1 CPU"] = lambda: migrate(1, "q35")
ROWS["live migration, split irqchip"] = lambda: migrate(2, "q35,kernel-irqchip=split")
ROWS["live migration, dirty ring"] = lambda: migrate(1, accel="kvm,dirty-ring-size=4096")
