#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# user.sh - lodge run by a user who is not root: the node's group is all that it takes, the user-mode network included.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# HOST: box
# NODES: kvm? lodge
# TIMEOUT: 300
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
echo 'member:x:1000:101::/tmp/user:/bin/sh' >>/etc/passwd
echo 'stranger:x:1001:1001::/tmp/user:/bin/sh' >>/etc/passwd
mkdir -p /tmp/user /tmp/www
cp vmlinuz test-initrd /tmp/user
cp "$(command -v lodge)" /tmp/user/lodge
chown -R 1000:101 /tmp/user
chmod 1777 /tmp
chmod 755 /tmp/user
chgrp 101 "$node"
chmod 660 "$node"
head -c 100000 /dev/urandom >/tmp/www/file
want=$(sha256sum </tmp/www/file | cut -d' ' -f1)
httpd -p 127.0.0.1:8080 -h /tmp/www

# as USER OPTION...: a guest of his, with his output in the file out
as()
{
	user=$1
	shift
	within 150 su -s /bin/sh "$user" -c "cd /tmp/user && exec ./lodge run --device $node -q --no-stdin -m 192M -k vmlinuz \
		-i test-initrd $*" >out 2>&1 </dev/null
}

# Root's run directory is in nobody's way.
mkdir -p /run/lodge
chmod 755 /run /run/lodge
as stranger --net none
status=$?
[ $status = 5 ] && grep -q "$node" out
result $? "without the group: exit code 5, and an error that names the node" "status $status: $(cat out)"
as member --cpus 2 --net user -a "'quiet no_timer_check panic=-1 stretch=$stretch run=net,http://10.0.2.2:8080/file'"
status=$?
tr -d '\r' <out >out.text
mv out.text out
sed 's/^/# /' out | tail -n 20
[ $status = 0 ] && done_well out
result $? "with it: a guest runs, with a network" "status $status: $(tail -n 2 out)"
[ "$(value out sha256)" = "$want" ]
result $? "and fetches what a server has" "$(value out sha256)"
as member --net tap,bridge=br0
status=$?
[ $status = 3 ] && grep -qi 'tap' out
result $? "a tap is for root: an error that says so" "status $status: $(cat out)"
killall httpd
finish
