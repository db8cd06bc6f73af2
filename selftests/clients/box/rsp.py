# SPDX-License-Identifier: GPL-2.0-or-later
"""rsp - a client of the GDB remote serial protocol, as much of it as a test needs.

Packets are $TEXT#CC with CC the sum of the text's bytes; each is answered by '+'.  Registers come as one string in
the order of GDB's amd64 description: rax rbx rcx rdx rsi rdi rbp rsp r8-r15 rip eflags ...
"""
import struct
import time

from machine import LIMIT, Wrong, connect, need

REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
SOFTWARE, HARDWARE, WRITE, READ, ACCESS = range(5)      # kinds of Z and z packets


class Rsp:
    def __init__(self, path):
        self.socket = connect(path)
        self.buffer = b""
        self.ask("qSupported:")
        self.ask("?")

    def byte(self, limit):
        if not self.buffer:
            self.socket.settimeout(limit)
            try:
                self.buffer = self.socket.recv(4096)
            except TimeoutError as e:
                raise Wrong(f"gdbstub: no answer within {limit} s") from e
            if not self.buffer:
                raise Wrong("gdbstub: connection closed")
        first, self.buffer = self.buffer[:1], self.buffer[1:]
        return first

    def send(self, text):
        data = text.encode()
        self.socket.sendall(b"$" + data + b"#%02x" % (sum(data) & 255))

    def receive(self, limit=LIMIT):
        end = time.time() + limit
        while self.byte(limit) != b"$":
            need(time.time() < end, f"gdbstub: no packet within {limit} s")
        data = b""
        while not data.endswith(b"#"):
            data += self.byte(limit)
        want = int(self.byte(limit) + self.byte(limit), 16)
        need(sum(data[:-1]) & 255 == want, "gdbstub: bad checksum")
        self.socket.sendall(b"+")
        return data[:-1].decode()

    def ask(self, text, limit=LIMIT):
        self.send(text)
        return self.receive(limit)

    def ok(self, text):
        answer = self.ask(text)
        need(answer == "OK", f"gdbstub: '{text}' answered '{answer}'")

    def registers(self):
        raw = bytes.fromhex(self.ask("g")[:len(REGISTERS) * 16].replace("x", "0"))
        return dict(zip(REGISTERS, struct.unpack(f"<{len(REGISTERS)}Q", raw)))

    def memory(self, address, length):
        answer = self.ask(f"m{address:x},{length:x}")
        need(not answer.startswith("E"), f"gdbstub: cannot read {address:#x}: {answer}")
        return bytes.fromhex(answer)

    def write(self, address, data):
        self.ok(f"M{address:x},{len(data):x}:{data.hex()}")

    def insert(self, kind, address, length=1):
        self.ok(f"Z{kind},{address:x},{length:x}")

    def remove(self, kind, address, length=1):
        self.ok(f"z{kind},{address:x},{length:x}")

    def go(self, limit=30):
        """Continues and returns the stop packet, which must come."""
        return self.ask("c", limit)

    def start(self):
        """Continues; the stop is somebody else's business."""
        self.send("c")

    def step(self, limit=30):
        stop = self.ask("s", limit)
        need(stop.startswith("T05"), f"gdbstub: a step ended with {stop}")
        return self.registers()["rip"]

    def interrupt(self, limit=30):
        self.socket.sendall(b"\x03")
        return self.receive(limit)

    def runs(self, seconds):
        """True if nothing stops the guest for so long."""
        end = time.time() + seconds
        while (left := end - time.time()) > 0:
            self.socket.settimeout(left)
            try:
                self.buffer += self.socket.recv(4096)
            except TimeoutError:
                break
            if self.buffer.strip(b"+"):
                return False
        self.buffer = b""
        return True
