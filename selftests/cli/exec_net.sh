#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# exec_net.sh - a command in a guest has the network: address, default route and
# resolver, on the user-mode network and on a bridge with a DHCP server; and runs
# without where nobody answers.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# HOST: box
# NODES: lodge
# TIMEOUT: 500
# shellcheck shell=dash disable=SC2016
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

# The guest kernel's modules, where lodge run looks for them.
mkdir -p initrd && (cd initrd && cpio -id 2>/dev/null <../test-initrd)
release=$(strings initrd/modules/virtio_net.ko | sed -n 's/^vermagic=\([^ ]*\).*/\1/p')
mkdir -p "/lib/modules/$release"
before=
while read -r m; do
	cp "initrd/modules/$m" "/lib/modules/$release/"
	echo "$m:$before"
	before=" $m$before"
done <initrd/modules/order >"/lib/modules/$release/modules.dep"

# command NETSPEC WORD...: into out and err.
command_in()
{
	net=$1
	shift
	within 200 lodge run --device "$node" -q -m 128 -k vmlinuz --net "$net" --timeout $((180 * stretch)) \
		-a 'quiet no_timer_check' -- "$@" </dev/null >out 2>err
}

mkdir -p www
head -c 300000 /dev/urandom >www/file
want=$(sha256sum <www/file)
ip link set lo up
httpd -p 8080 -h www
command_in user sh -c 'busybox wget -q -O - http://10.0.2.2:8080/file | busybox sha256sum
	busybox ip -4 -o addr show; busybox ip route; busybox cat /etc/resolv.conf'
result $? "a command ends well" "$(cat err)"
[ "$(head -n 1 out)" = "$want" ]
result $? "it fetches a file from a server on the host" "$(head -n 1 out)"
grep -q 'eth0 *inet 10\.0\.2\.[0-9]*/24' out && grep -q 'lo *inet 127.0.0.1' out
result $? "the card has an address" "$(cat out)"
grep -q 'default via 10.0.2.2' out
result $? "there is a default route" "$(cat out)"
grep -q '^nameserver 10.0.2.3$' out
result $? "there is a resolver" "$(cat out)"
command_in none sh -c 'busybox ip -o link | busybox grep -c .'
status=$?
[ $status = 0 ] && [ "$(cat out)" = 1 ] && [ ! -s err ]
result $? "without a network there is no complaint" "$(cat out err)"

modprobe tun
modprobe bridge
brctl addbr br0
ip addr add 192.168.77.1/24 dev br0
ip link set br0 up
command_in tap,ifname=lt0,bridge=br0,vhost=off sh -c 'echo ran all the same'
status=$?
[ $status = 0 ] && [ "$(cat out)" = 'ran all the same' ] && grep -q 'no network: asking for an address' err
result $? "where no server answers the command runs, and this is told" "$(cat out err)"
cat >udhcpd.conf <<'C'
start 192.168.77.50
end 192.168.77.60
interface br0
lease_file /tmp/leases
option subnet 255.255.255.0
option router 192.168.77.1
option dns 192.168.77.1 9.9.9.9
option domain box.test
option mtu 1400
C
touch /tmp/leases
udhcpd -f udhcpd.conf >/dev/null 2>&1 &
server=$!
command_in tap,ifname=lt1,bridge=br0,vhost=off sh -c 'busybox wget -q -O - http://192.168.77.1:8080/file | busybox sha256sum
	busybox ip -4 -o addr show; busybox ip link show eth0; busybox ip route; busybox cat /etc/resolv.conf'
status=$?
[ $status = 0 ] && [ "$(head -n 1 out)" = "$want" ]
result $? "on a bridge the command has what the DHCP server gives" "$(cat out err)"
grep -q 'inet 192.168.77.5[0-9]/24' out && grep -q 'mtu 1400' out && grep -q 'default via 192.168.77.1' out
result $? "address, MTU and route" "$(cat out)"
grep -q '^search box.test$' out && grep -q '^nameserver 192.168.77.1$' out && grep -q '^nameserver 9.9.9.9$' out
result $? "resolvers and domain" "$(cat out)"
kill $server

# A root disk keeps its own resolv.conf.
modprobe ext4
modprobe loop
mkdir -p root/bin root/etc
cp /bin/busybox root/bin/
for a in sh cat; do ln -sf busybox root/bin/$a; done
echo 'nameserver 192.0.2.1' >root/etc/resolv.conf
truncate -s 16M disk.raw
mke2fs -F disk.raw >/dev/null 2>&1
mkdir -p mnt
mount -o loop disk.raw mnt && cp -a root/. mnt/ && umount mnt
within 200 lodge run --device "$node" -q -m 128 -k vmlinuz --timeout $((180 * stretch)) -a 'quiet no_timer_check' disk.raw -- cat /etc/resolv.conf \
	</dev/null >out 2>err
grep -q '^nameserver 10.0.2.3$' out
result $? "a command on a root disk sees the network's resolver" "$(cat out err)"
mount -o loop disk.raw mnt
[ "$(cat mnt/etc/resolv.conf)" = 'nameserver 192.0.2.1' ]
result $? "and the disk keeps its own" "$(cat mnt/etc/resolv.conf)"
umount mnt
killall httpd
finish
