# SPDX-License-Identifier: GPL-2.0-or-later
"""machine - one QEMU process in the box: its monitor (QMP), its console as text, and the agent in its guest.

Everything waits with a limit and says on failure what it waited for and what was seen instead.  Limits are for
an emulated host on a busy machine: generous, and reached only when something is wrong.
"""
import json
import os
import re
import signal
import socket
import subprocess
import time

LIMIT = 150
APPEND = "console=ttyS0 quiet mitigations=off no_timer_check panic=-1"


class Wrong(Exception):
    """The row has failed; the text says why."""


class Skip(Exception):
    """The row cannot be tried here; the text says why."""


class Gone(Wrong):
    """QEMU has closed its monitor."""


def need(condition, text):
    if not condition:
        raise Wrong(text)


def until(what, check, limit=LIMIT, pause=0.1):
    """Calls check until it returns something; Wrong after limit seconds."""
    end = time.time() + limit
    while True:
        got = check()
        if got:
            return got
        if time.time() > end:
            raise Wrong(f"no {what} within {limit} s")
        time.sleep(pause)


def connect(path, limit=30):
    s = socket.socket(socket.AF_UNIX)

    def attempt():
        try:
            s.connect(path)
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    until(f"socket {path}", attempt, limit)
    s.settimeout(LIMIT)
    return s


class Qmp:
    """The machine protocol: commands, and events that are kept until somebody asks for them."""

    def __init__(self, path):
        self.file = connect(path).makefile("rw", encoding="utf-8")
        self.events = []
        self.read()
        self.command("qmp_capabilities")

    def read(self):
        try:
            line = self.file.readline()
        except TimeoutError as e:
            raise Wrong(f"QMP: no answer within {LIMIT} s") from e
        except OSError:
            line = ""
        if not line:
            raise Gone()
        return json.loads(line)

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}})
                        + "\n")
        self.file.flush()
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Wrong(f"{name}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def human(self, line):
        """A command of the human monitor; its errors are text."""
        return self.command("human-monitor-command", command_line=line).strip()

    def event(self, name, limit=LIMIT):
        def look():
            self.command("query-name")      # brings in what has come meanwhile
            return next((e for e in self.events if e["event"] == name), None)
        event = until(f"event {name}", look, limit)
        self.events.remove(event)
        return event


class Agent:
    """The shell on the guest's second serial line (selftests/clients/guest/agent)."""

    def __init__(self, machine, fresh=True):
        self.machine = machine
        self.socket = connect(machine.path("agent"))
        self.text = ""
        if fresh:
            self.wait("@@ ready")
        else:
            self.attach()

    def wait(self, pattern, limit=LIMIT):
        end = time.time() + limit
        while True:
            hit = re.search(pattern + r"\r?\n", self.text)
            if hit:
                before, self.text = self.text[:hit.start()], self.text[hit.end():]
                return before, hit
            self.socket.settimeout(1)
            try:
                got = self.socket.recv(4096)
            except TimeoutError:
                got = None
            if got == b"" or self.machine.ended():
                raise Wrong("the guest's QEMU ended: " + self.machine.tail())
            if got:
                self.text += got.decode(errors="replace").replace("\r", "")
            if time.time() > end:
                raise Wrong(f"the guest did not say '{pattern}' within {limit} s, but: {self.text[-120:]!r}; "
                            + self.machine.tail())

    def run(self, line, limit=LIMIT):
        """Output and status of a line of shell in the guest."""
        self.socket.sendall(line.encode() + b"\n")
        before, hit = self.wait(r"@@ (\d+)", limit)
        return before.strip(), int(hit.group(1))

    def sh(self, line, limit=LIMIT):
        """The same, for a line that must succeed."""
        out, status = self.run(line, limit)
        need(status == 0, f"in the guest '{line}' ended with {status}: {out[-200:]}")
        return out

    def attach(self):
        """Finds the agent of a guest that came from elsewhere: what it was still saying then is thrown away."""
        mark = f"attached-{time.time():.3f}"
        # The first newline ends what was half typed when the guest left.
        self.socket.sendall(f"\necho {mark}\n".encode())
        self.wait(mark)
        self.wait(r"@@ 0")

    def close(self):
        self.socket.close()


class Machine:
    """A QEMU.  name: its files' prefix in /tmp; kernel=None for one without -kernel."""
    count = 0

    def __init__(self, machine="pc", cpus=1, mem=192, options=(), kernel="vmlinuz", initrd="initrd", append="run=agent",
                 cpu="host,-xsave", agent=True, emulator="qemu-system-x86_64", accel="kvm"):
        Machine.count += 1
        self.name = f"/tmp/qemu{Machine.count}"
        argv = [emulator, "-L", "/usr/share/qemu", "-M", machine, "-accel", accel, "-cpu", cpu, "-smp", str(cpus),
                "-m", str(mem), "-nodefaults", "-no-user-config", "-display", "none",
                "-qmp", f"unix:{self.path('qmp')},server=on,wait=off", "-serial", f"file:{self.path('console')}"]
        if agent:
            argv += ["-serial", f"unix:{self.path('agent')},server=on,wait=off"]
        if kernel:
            argv += ["-kernel", kernel]
        if kernel and initrd:
            argv += ["-initrd", initrd]
        if kernel and append is not None:
            argv += ["-append", f"{APPEND} {append}"]
        with open(self.path("out"), "wb") as out:
            self.process = subprocess.Popen([*argv, *options], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.qmp = None

    def path(self, what):
        return f"{self.name}.{what}"

    def __enter__(self):
        try:
            self.qmp = Qmp(self.path("qmp"))
        except Wrong as e:
            raise Wrong(f"QEMU's monitor: {e}; {self.tail()}") from e
        return self

    def __exit__(self, *unused):
        if not self.ended():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for what in ("qmp", "agent", "console", "out"):
            if os.path.exists(self.path(what)):
                os.unlink(self.path(what))

    def ended(self):
        return self.process.poll() is not None

    def read(self, what):
        try:
            with open(self.path(what), "rb") as f:
                return f.read().decode(errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""

    def console(self):
        """What the guest wrote on its first serial line, without the terminal's escape sequences."""
        return re.sub(r"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|c)", "", self.read("console"))

    def parting(self):
        """Why QEMU ended, from the events that it sent before it closed its monitor."""
        if not self.ended() or not self.qmp:
            return ""
        try:
            self.qmp.events += [json.loads(line) for line in self.qmp.file if '"event"' in line]
        except (OSError, ValueError):
            pass
        return " ".join(f"{e['event']} {e.get('data', {}).get('reason', '')};" for e in self.qmp.events) + " "

    def tail(self):
        return self.parting() + "QEMU said: " + " | ".join((self.read("out").splitlines() + self.console().splitlines()[-4:])[-6:])[-300:]

    def says(self, pattern, limit=LIMIT):
        """Waits for the console to match."""
        def look():
            hit = re.search(pattern, self.console())
            if not hit and self.ended():
                raise Wrong(f"QEMU ended with {self.process.returncode} before '{pattern}': {self.tail()}")
            return hit
        try:
            return until(f"'{pattern}' on the console", look, limit, 0.3)
        except Wrong as e:
            raise Wrong(f"{e}; {self.tail()}") from e

    def ends(self, limit=60):
        """Waits for the process's end and wants it clean."""
        until("end of QEMU", self.ended, limit)
        need(self.process.returncode == 0, f"QEMU ended with {self.process.returncode}: {self.tail()}")

    def agent(self, fresh=True):
        """fresh: the guest has just been started, and not been brought here in the middle of its life."""
        return Agent(self, fresh)

    def resident(self):
        """KiB of the process that are in memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def worker_start(agent, mib):
    agent.sh(f"rm -f /tmp/stop; (worker {mib} /tmp/passes /tmp/stop >/tmp/worker 2>&1; echo $? >/tmp/worker.status) &")


def worker_passes(agent, limit=LIMIT):
    out, _ = agent.run("cat /tmp/passes", limit)
    return int(out) if out.isdigit() else 0


def worker_beyond(agent, passes, limit=LIMIT):
    """Waits until the worker has made more passes than that; it does not stop for a wrong word, so see worker_stop."""
    def look():
        out, status = agent.run("cat /tmp/worker.status /tmp/worker 2>/dev/null")
        need(status, f"the worker has ended: {out}")
        return max(worker_passes(agent) - passes, 0)
    return until(f"pass {passes + 1} of the worker", look, limit, 0.5) + passes


def worker_stop(agent):
    """Ends the worker, which looks at all its memory once more, and wants no word wrong."""
    agent.sh("touch /tmp/stop; while [ ! -e /tmp/worker.status ]; do sleep 0.2; done")
    out = agent.sh("cat /tmp/worker; cat /tmp/worker.status; rm /tmp/worker.status")
    need(re.search(r" 0 words wrong\s+0$", out), f"the worker's memory: {out}")
    return int(out.split()[1])
