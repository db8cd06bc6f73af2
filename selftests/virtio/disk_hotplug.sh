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
head -c 64 /dev/urandom >/scratch/key
truncate -s 16M /scratch/busy
echo "keep me busy" | dd of=/scratch/busy conv=notrunc 2>/dev/null
lodge img convert /scratch/busy /scratch/busy.vhd

# shellcheck disable=SC2317 # wait_for calls it
seen() # seen DISKS: the guest has, and has looked at them
{
	tr -d '\r' <out | grep 'guest: seen ' | tail -n 1 | grep -q "guest: seen $1\$"
}

# shellcheck disable=SC2317 # likewise
let_go() # let_go DISK: and its number is free
{
	! lodge disk list plug | grep -q "^ *$1 "
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

# The key's library is loaded by a process that has given up its rights.
lodge img create --key /scratch/key /scratch/secret.vhd 4M &&
	lodge disk attach plug /scratch/secret.vhd,key=/scratch/key >made 2>&1 && wait_for 30 seen 'vda=131072 vdb=0 vdc=0 vdd=8192'
result $? "an encrypted disk is attached" "$(cat made; tail -n 2 out)"
lodge disk detach plug 3 && wait_for 30 seen 'vda=131072 vdb=0 vdc=0'
result $? "and let go" "$(tail -n 2 out)"

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

# Taken by force, from a guest that does nothing with it, that reads and writes, and that does not answer.
others='vda=262144 vdb=0 vdc=0'
lodge disk detach --force plug 3
result $? "a disk is taken away by force"
wait_for 30 seen "$others" && wait_for 30 let_go 3
result $? "the guest lets go of it" "$(tail -n 2 out)"
lodge disk attach plug /scratch/busy.vhd,iops=20 >made && wait_for 60 seen "$others vdd=32768" && grep -q 'guest: busy' out
result $? "the next takes its place, and the guest is busy with it" "$(cat made; tail -n 2 out)"
refused 'in use' lodge img resize /scratch/busy.vhd 32M
result $? "its image is in use" "$(cat refusal)"
lodge disk detach --force plug 3 && lodge img resize /scratch/busy.vhd 32M >resized 2>&1
result $? "taken by force, the image is free at once" "$(cat resized)"
wait_for 30 grep -q 'guest: lost write: .*Input/output error' out && wait_for 30 grep -q 'guest: lost read: .*Input/output error' out
result $? "the guest has I/O errors" "$(grep lost out)"
wait_for 30 seen "$others" && wait_for 30 let_go 3
result $? "and lets go" "$(tail -n 2 out)"
lodge img check /scratch/busy.vhd >checked 2>&1
result $? "the image is in order" "$(cat checked)"
lodge disk attach plug raw:/scratch/one >made && grep -q 'disk 3' made && wait_for 30 seen "$others vdd=16384"
result $? "its number and its place are free" "$(cat made; tail -n 2 out)"
lodge pause plug
lodge disk detach --force plug 3 && lodge disk list plug | grep -q '^ *3 .* gone .*/scratch/one$'
result $? "while the guest does not answer the disk is called gone" "$(lodge disk list plug)"
lodge disk list --json plug | grep -q '"gone": true'
result $? "in JSON too" "$(lodge disk list --json plug)"
refused 'is gone' lodge disk detach plug 3
result $? "it is not detached twice" "$(cat refusal)"
refused 'is gone' lodge disk throttle --iops 5 plug 3
result $? "nor can it be changed" "$(cat refusal)"
lodge disk attach plug raw:/scratch/one >made && grep -q 'disk 4' made
result $? "its file can be used again, its number not" "$(cat made)"
lodge resume plug
wait_for 30 seen "$others vd[de]=16384" && wait_for 30 let_go 3
result $? "when the guest goes on it lets go of the one and takes the other" "$(tail -n 2 out)"
lodge disk attach plug raw:/scratch/two >made && grep -q 'disk 3' made && wait_for 30 seen "$others.* vd[def]=4096.*"
result $? "then the number is free" "$(cat made; tail -n 2 out)"
last=$(told)
reaches $((last + 5))
result $? "and the guest goes on with the others" "$(tail -n 2 out)"
grep -q 'guest: failed' out
[ $? = 1 ]
result $? "none of whose writes has failed"
last=$(told)
lodge kill plug
wait $pid
lodge img check --bitmaps /scratch/disk.vhd >checked 2>&1
result $? "the larger image is in order" "$(cat checked)"
[ "$last" -lt 1000 ] && lodge img info --json /scratch/disk.vhd | grep -q '"size": 134217728' && holds /scratch/disk.vhd "$last" >why
result $? "and has all that was flushed" "$(cat why)"
finish
