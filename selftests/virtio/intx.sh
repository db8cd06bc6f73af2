#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# intx.sh - a guest whose kernel uses no message-signalled interrupts: disks and
# network under load with the level-triggered pins of the PCI bus.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 300
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 200
mkdir -p /tmp/www
dd if=/dev/urandom of=/tmp/www/file bs=1048576 count=2 2>/dev/null
want=$(sha256sum /tmp/www/file | cut -d' ' -f1)
httpd -p 127.0.0.1:8080 -h /tmp/www
nc -l -p 8081 -e sh -c 'cat >/tmp/sunk' &
truncate -s 64M /scratch/a.raw
truncate -s 1M /scratch/b.raw
kernel_args=pci=nomsi
vguest out intx,10.0.2.15/24,10.0.2.2,http://10.0.2.2:8080/file,8081 --cpus 2 --net user \
	--disk /scratch/a.raw --disk /scratch/b.raw,readonly=on
result $? "a guest with pci=nomsi runs and powers off" "$(tail -n 2 out)"
expect out msi 0 "no device has a message-signalled interrupt"
[ "$(value out pins)" -ge 5 ]
result $? "every device has a pin" "$(value out pins)"
expect out mismatches 0 "two CPUs read back from the disk what they wrote"
expect out discard 0 "a discard succeeds"
expect out sums 1 "four fetches at once bring the same"
expect out sha256 "$want" "it is what the server has"
expect out sent 0 "the guest sends"
[ "$(sha256sum </tmp/sunk | cut -d' ' -f1)" = "$want" ]
result $? "what it sent arrives" "$(wc -c </tmp/sunk)"
killall httpd
finish
