#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# tap.sh - a guest on a bridge by a tap: one queue and several, in the VMM and by
# the kernel's vhost; fetched, sent and pinged with offloads on.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
modprobe tun
modprobe bridge
modprobe vhost_net
brctl addbr br0
ip addr add 192.168.77.1/24 dev br0
ip link set br0 up
ip link set lo up
mkdir -p www
dd if=/dev/urandom of=www/file bs=1048576 count=3 2>/dev/null
want=$(sha256sum <www/file | cut -d' ' -f1)
httpd -p 192.168.77.1:8080 -h www

# try NAME QUEUES NETSPEC [OPTION]...
try()
{
	name=$1 queues=$2 spec=$3
	shift 3
	rm -f got
	nc -l -p 9000 -e sh -c 'cat >got' &
	sink=$!
	vguest out "net,192.168.77.2/24,192.168.77.1,http://192.168.77.1:8080/file,9000" --cpus 2 --net "$spec" "$@"
	result $? "$name: the guest ends well" "$(tail -n 2 out)"
	expect out queues "$queues" "$name: the card has $queues queue(s)"
	expect out sums 1 "$name: four fetches at once bring the same"
	expect out sha256 "$want" "$name: it is what the server has"
	expect out pings 3 "$name: large pings return"
	kill $sink 2>/dev/null
	wait $sink 2>/dev/null
	[ "$(sha256sum <got | cut -d' ' -f1)" = "$want" ]
	result $? "$name: what the guest sends arrives" "$(wc -c <got) bytes"
}

try "one queue" 1 tap,ifname=lt0,bridge=br0,queues=1,vhost=off
expect out csum "1 tso 1 mrg 1 mq 0" "one queue: offloads are agreed"
try "two queues" 2 tap,ifname=lt1,bridge=br0,queues=2,vhost=off
try "packed ring" 1 tap,ifname=lt2,bridge=br0,queues=1,vhost=off --ring packed
if [ -c /dev/vhost-net ]; then
	try "vhost" 1 tap,ifname=lt3,bridge=br0,queues=1,vhost=on
	try "vhost, two queues" 2 tap,ifname=lt4,bridge=br0,queues=2,vhost=on
	kernel_args=pci=nomsi
	try "vhost without MSI-X" 1 tap,ifname=lt5,bridge=br0,queues=1,vhost=on
	kernel_args=
else
	n=$((n + 1))
	echo "ok $n - vhost # SKIP no /dev/vhost-net here"
fi
[ ! -e /sys/class/net/lt0 ]
result $? "interfaces are gone with their guests"
! lodge run --device "$node" -k vmlinuz --net tap,bridge=nosuch --quiet </dev/null >out 2>&1 &&
	grep -q 'no bridge nosuch' out
result $? "a bridge that is not there is a clear error" "$(cat out)"
killall httpd
finish
