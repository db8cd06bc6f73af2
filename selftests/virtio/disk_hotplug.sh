#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# disk_hotplug.sh - disks of a running guest come, go, change their medium and
# become larger, while the guest writes and flushes all the time.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 500
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 300
lodge img create /scratch/disk.vhd 64M
for f in one two; do
	truncate -s 3M /scratch/$f
	echo "$f has this" | dd of=/scratch/$f conv=notrunc 2>/dev/null
done
truncate -s 2M /scratch/two

# shellcheck disable=SC2317 # wait_for calls it
seen() # seen DISKS: the guest has, and has looked at them
{
	tr -d '\r' <out | grep 'guest: seen ' | tail -n 1 | grep -q "guest: seen $1\$"
}

start plug watch --disk /scratch/disk.vhd --disk removable=on,readonly=on --disk raw:/scratch/two,removable=on
wait_for 200 seen 'vda=131072 vdb=0 vdc=4096'
result $? "the guest has a disk, an empty drive, and one with a medium" "$(tail -n 2 out)"
lodge disk list plug | grep -q '(no medium)'
result $? "lodge disk list tells of the empty one" "$(lodge disk list plug)"
lodge disk insert plug 1 raw:/scratch/one
result $? "a medium is put into a drive"
wait_for 20 seen 'vda=131072 vdb=6144 vdc=4096'
result $? "the guest sees its size" "$(tail -n 2 out)"
tr -d '\r' <out | grep -q 'content vdb one has'
result $? "and what is on it" "$(tail -n 4 out)"
refused 'no drive' lodge disk insert plug 0 raw:/scratch/one
result $? "a disk that is no drive is refused" "$(cat refusal)"
refused 'No such file' lodge disk insert plug 1 raw:/scratch/none
result $? "so is a medium that is not there" "$(cat refusal)"
lodge disk eject plug 1 && lodge disk eject plug 2 && wait_for 20 seen 'vda=131072 vdb=0 vdc=0'
result $? "media come out of drives" "$(tail -n 2 out)"
dd if=/scratch/two bs=512 skip=1 count=1 2>/dev/null | grep -q '^guest was here'
result $? "with what the guest has written"
dd if=/scratch/one bs=512 skip=1 count=1 2>/dev/null | grep -q '^guest was here'
[ $? = 1 ]
result $? "but to the one that was to be read only"

cd /scratch || exit 1
lodge disk attach --json plug raw:one >made 2>&1 && [ "$(cat made)" = '{"disk": 3}' ]
result $? "a disk is attached, by a relative name" "$(cat made)"
cd - >/dev/null || exit 1
wait_for 30 seen 'vda=131072 vdb=0 vdc=0 vdd=6144'
result $? "the guest finds it" "$(tail -n 2 out)"
refused 'in use' lodge disk attach plug raw:/scratch/one
result $? "nobody else may have it" "$(cat refusal)"
lodge pause plug
refused 'has not let go' lodge disk detach --timeout 2 plug 3
result $? "a guest that does nothing lets go of nothing" "$(cat refusal)"
lodge disk list --json plug | grep -q '"leaving": true'
result $? "which shows" "$(lodge disk list --json plug)"
lodge resume plug
wait_for 30 seen 'vda=131072 vdb=0 vdc=0'
result $? "when it goes on it lets go" "$(tail -n 2 out)"
[ "$(lodge disk list plug | wc -l)" = 4 ]
result $? "and the disk is gone" "$(lodge disk list plug)"
dd if=/scratch/one bs=512 skip=1 count=1 2>/dev/null | grep -q '^guest was here'
result $? "with what the guest has written to it"
k=0
while [ $k -lt 3 ]; do
	lodge disk attach plug raw:/scratch/one >/dev/null || break
	wait_for 30 seen 'vda=131072 vdb=0 vdc=0 vdd=6144' || break
	lodge disk detach plug 3 || break
	wait_for 30 seen 'vda=131072 vdb=0 vdc=0' || break
	k=$((k + 1))
done
[ $k = 3 ]
result $? "it comes and goes several times" "$k times; $(tail -n 2 out)"

lodge disk resize --json plug 0 128M >made 2>&1
result $? "a disk becomes larger" "$(cat made)"
sed 's/^/# /' made
wait_for 20 seen 'vda=262144 vdb=0 vdc=0'
result $? "the guest sees it" "$(tail -n 2 out)"
lodge disk attach plug raw:/scratch/one >/dev/null && lodge disk resize plug 3 8M >/dev/null && wait_for 30 seen 'vda=262144 vdb=0 vdc=0 vdd=16384'
result $? "a raw one too" "$(tail -n 2 out)"
refused 'only become larger' lodge disk resize plug 0 64M
result $? "none becomes smaller" "$(cat refusal)"
now=$(told)
reaches $((now + 5))
result $? "the guest goes on" "$(tail -n 2 out)"
last=$(told)
grep -q 'guest: failed' out
[ $? = 1 ]
result $? "and no write of its has failed"
# Last, for Linux 6.1 waits for ever for the reset of a device that is not there any more, and takes no others then.
lodge disk detach --force plug 3 && ! lodge disk list plug | grep -q /scratch/one
result $? "a disk can be taken away without asking" "$(lodge disk list plug)"
last=$(told)
reaches $((last + 5))
result $? "and the guest goes on with the others" "$(tail -n 2 out)"
last=$(told)
lodge kill plug
wait $pid
lodge img check --bitmaps /scratch/disk.vhd >checked 2>&1
result $? "the larger image is in order" "$(cat checked)"
[ "$last" -lt 1000 ] && lodge img info --json /scratch/disk.vhd | grep -q '"size": 134217728' && holds /scratch/disk.vhd "$last" >why
result $? "and has all that was flushed" "$(cat why)"
finish
