#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# net.sh - the user-mode network under load: DHCP, then four fetches at once of
# eight megabytes from a server on the host.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# NODES: kvm lodge
# TIMEOUT: 300
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
mkdir -p /tmp/www
dd if=/dev/urandom of=/tmp/www/file bs=1048576 count=8 2>/dev/null
want=$(sha256sum /tmp/www/file | cut -d' ' -f1)
httpd -p 127.0.0.1:8080 -h /tmp/www
guest out net,http://10.0.2.2:8080/file --cpus 2 --net user
result $? "lodge run ends with 0" "$(tail -n 2 out)"
done_well out
result $? "the guest has an address and fetches" "$(grep guest: out | tail -n 1)"
[ "$(value out sums)" = 1 ]
result $? "four fetches at once bring the same" "$(value out sums)"
[ "$(value out sha256)" = "$want" ]
result $? "it is what the server has" "$(value out sha256)"
killall httpd
finish
