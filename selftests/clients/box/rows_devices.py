# SPDX-License-Identifier: GPL-2.0-or-later
"""rows_devices - devices that come, go, grow and shrink while the guest runs, and the kernel's vhost-net.

The guest is asked through its agent what it sees, and uses what it got.
"""
import fcntl
import hashlib
import os
import re
import struct
import subprocess

from machine import Machine, Skip, need, until, worker_beyond, worker_start, worker_stop

NET = "192.168.78."


def total_kib(agent):
    return int(re.search(r"MemTotal:\s+(\d+)", agent.sh("cat /proc/meminfo")).group(1))


def guest_until(agent, what, line, limit=90):
    until(what, lambda: agent.run(line)[1] == 0, limit, 0.5)


def balloon():
    with Machine("pc", 1, 192, options=["-device", "virtio-balloon-pci,id=b0"]) as m:
        agent = m.agent()
        guest_until(agent, "balloon in the guest", "ls /sys/bus/virtio/drivers/virtio_balloon | grep -q virtio")
        # Every page is touched, so that the host has something to get back.
        agent.sh("mkdir -p /tmp/fill && mount -t tmpfs -o size=80m fill /tmp/fill && "
                 "dd if=/dev/zero of=/tmp/fill/x bs=1048576 count=64 2>/dev/null && rm /tmp/fill/x")
        full, before = total_kib(agent), m.resident()
        m.qmp.command("balloon", value=112 << 20)
        until("balloon of the size asked for", lambda: m.qmp.command("query-balloon")["actual"] == 112 << 20, 120, 0.5)
        need(total_kib(agent) <= full - 75 * 1024, f"the guest has {total_kib(agent)} of {full} KiB")
        need(m.resident() < before - 20 * 1024, f"the host got {before - m.resident()} KiB back")
        m.qmp.command("balloon", value=192 << 20)
        until("balloon given back", lambda: m.qmp.command("query-balloon")["actual"] == 192 << 20, 120, 0.5)
        need(total_kib(agent) == full, f"the guest has {total_kib(agent)} of {full} KiB again")
        worker_start(agent, 96)
        worker_beyond(agent, 0)
        worker_stop(agent)


ONLINE = "for f in /sys/devices/system/memory/memory*/state; do [ $(cat $f) = online ] || echo online_movable >$f; done"


def memory_hotplug():
    with Machine("pc", 1, "112,slots=4,maxmem=1G") as m:
        agent = m.agent()
        full = total_kib(agent)
        m.qmp.command("object-add", qom_type="memory-backend-ram", id="mem1", size=128 << 20)
        m.qmp.command("device_add", driver="pc-dimm", id="dimm1", memdev="mem1")

        def grown():
            agent.run(ONLINE)
            return total_kib(agent) >= full + 120 * 1024
        until("hot-plugged memory in the guest", grown, 90, 0.5)
        worker_start(agent, 100)        # more than there was free before
        worker_beyond(agent, 0)
        worker_stop(agent)
        m.qmp.command("device_del", id="dimm1")
        deleted = m.qmp.event("DEVICE_DELETED", 120)
        need(deleted["data"].get("device") == "dimm1", str(deleted))
        m.qmp.command("object-del", id="mem1")
        need(total_kib(agent) <= full, f"the guest still has {total_kib(agent)} KiB, {full} before")


def cpu_hotplug():
    with Machine("pc", "1,maxcpus=3") as m:
        agent = m.agent()
        free = [c for c in m.qmp.command("query-hotpluggable-cpus") if "qom-path" not in c]
        need(len(free) == 2, f"{len(free)} free places for CPUs")
        for n, cpu in enumerate(free):
            m.qmp.command("device_add", driver=cpu["type"], id=f"cpu{n}",
                          **{k.replace("-", "_"): v for k, v in cpu["props"].items()})
        guest_until(agent, "CPUs in the guest", "for c in /sys/devices/system/cpu/cpu[12]/online; do "
                    "[ $(cat $c) = 1 ] || echo 1 >$c; done; test $(nproc) = 3")
        worker_start(agent, 8)
        worker_beyond(agent, 1)
        worker_stop(agent)
        m.qmp.command("device_del", id="cpu1")
        m.qmp.event("DEVICE_DELETED", 120)
        guest_until(agent, "loss of the CPU", "test $(nproc) = 2")


def bus(machine):
    """Where a card can be plugged in, and the options for it."""
    if machine == "pc":
        return {}, []
    return {"bus": "rp0"}, ["-device", "pcie-root-port,id=rp0,chassis=1,slot=1"]


def disk_hotplug(machine):
    with open("/tmp/plug.img", "wb") as f:
        f.write(os.urandom(1 << 20) * 8)
    with open("/tmp/plug.img", "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    where, options = bus(machine)
    with Machine(machine, 2, options=options) as m:
        agent = m.agent()
        for turn in range(2):
            m.qmp.command("blockdev-add", driver="raw", node_name="plug",
                          file={"driver": "file", "filename": "/tmp/plug.img"})
            m.qmp.command("device_add", driver="virtio-blk-pci", id="disk", drive="plug", **where)
            guest_until(agent, "disk in the guest", "test -b /dev/vda")
            need(agent.sh("sha256sum </dev/vda").split()[0] == want, "the guest reads something else")
            agent.sh(f"yes turn{turn} | head -c 65536 | dd of=/dev/vda bs=65536 seek=2 conv=notrunc,fsync 2>/dev/null")
            m.qmp.command("device_del", id="disk")
            m.qmp.event("DEVICE_DELETED", 90)
            guest_until(agent, "loss of the disk", "test ! -e /dev/vda")
            m.qmp.command("blockdev-del", node_name="plug")
            with open("/tmp/plug.img", "rb") as f:
                content = f.read()
            written = (b"turn%d\n" % turn * 11000)[:65536]
            need(content[131072:131072 + 65536] == written, "the guest's write is not in the image")
            want = hashlib.sha256(content).hexdigest()
    os.unlink("/tmp/plug.img")


def net_hotplug(machine):
    where, options = bus(machine)
    with Machine(machine, 2, options=options) as m:
        agent = m.agent()
        for _ in range(2):
            m.qmp.command("netdev_add", type="user", id="n0", restrict=True)
            m.qmp.command("device_add", driver="virtio-net-pci", id="nic", netdev="n0", romfile="", **where)
            guest_until(agent, "card in the guest", "test -e /sys/class/net/eth0")
            agent.sh("ip link set lo up; ip link set eth0 up; udhcpc -i eth0 -s /dhcp -q -f -n -t 10 -T 2")
            agent.sh("ping -c 3 -W 5 10.0.2.2")
            m.qmp.command("device_del", id="nic")
            m.qmp.event("DEVICE_DELETED", 90)
            guest_until(agent, "loss of the card", "test ! -e /sys/class/net/eth0")
            m.qmp.command("netdev_del", id="n0")


def shell(line):
    done = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    need(done.returncode == 0, f"{line}: {done.stdout}")


def make_tap(name):
    """A tap that outlives its maker; TUNSETIFF with IFF_TAP and IFF_NO_PI, then TUNSETPERSIST."""
    with open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000))
        fcntl.ioctl(tun, 0x400454CB, 1)


def vhost_net(cpus):
    """A tap whose ring the host's kernel serves: irqfds, ioeventfds and the guest's memory are the module's."""
    shell("modprobe tun && modprobe vhost_net")
    if not os.path.exists("/dev/vhost-net"):
        raise Skip("no /dev/vhost-net here")
    make_tap("vt0")
    shell(f"ip addr add {NET}1/24 dev vt0 && ip link set vt0 up")
    shell(f"mkdir -p /tmp/www && dd if=/dev/urandom of=/tmp/www/file bs=1048576 count=4 2>/dev/null && "
          f"httpd -p {NET}1:8081 -h /tmp/www")
    try:
        nic = ["-netdev", "tap,id=n0,ifname=vt0,script=no,downscript=no,vhost=on,vhostforce=on",
               "-device", "virtio-net-pci,netdev=n0,romfile="]
        with Machine("pc", cpus, options=nic) as m:
            agent = m.agent()
            shell("ps | grep -q '[v]host-'")
            guest_until(agent, "card in the guest", "test -e /sys/class/net/eth0")
            agent.sh(f"ip link set lo up; ip link set eth0 up; ip addr add {NET}2/24 dev eth0")
            agent.sh(f"ping -c 3 -W 5 -s 1400 {NET}1")
            got = agent.sh(f"for i in 1 2 3; do wget -q -O /tmp/f$i http://{NET}1:8081/file & done; wait; "
                           "sha256sum /tmp/f? | cut -d' ' -f1 | sort -u")
            with open("/tmp/www/file", "rb") as f:
                want = hashlib.sha256(f.read()).hexdigest()
            need(got == want, f"fetched {got}, the server has {want}")
            irqs = agent.sh("grep -E 'virtio[0-9]+-input' /proc/interrupts")
            need(sum(int(n) for n in irqs.split()[1:1 + cpus]) > 0, "no MSI-X interrupt was counted: " + irqs)
    finally:
        subprocess.run(["sh", "-c", "killall httpd; ip link del vt0"], stderr=subprocess.DEVNULL, check=False)


ROWS = {
    "balloon": balloon, "memory hotplug (pc-dimm)": memory_hotplug, "CPU hotplug": cpu_hotplug,
    "vhost-net, 1 CPU": lambda: vhost_net(1), "vhost-net, 2 CPU": lambda: vhost_net(2),
}
for _machine in ("pc", "q35"):
    ROWS[f"disk hotplug, {_machine}"] = lambda m=_machine: disk_hotplug(m)
    ROWS[f"network hotplug, {_machine}"] = lambda m=_machine: net_hotplug(m)
