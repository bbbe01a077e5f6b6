#!/bin/bash
# What "make crash" runs: first the kill test, then, on each journaled file
# system that this machine can make, the power-cut enumeration and disks that fail
# in several ways. All print their numbers; the exit status is 0 if all held.
# usage: [CRASH_FLAGS="-n 2000"] [POWER_FLAGS="-n 60"] [DEATH_FLAGS="-deaths 10"] [POWER_FS="ext4 xfs btrfs"] run.sh
set -u
cd "$(dirname "$0")/../.." || exit 1
GO=$(command -v go || echo /usr/local/go/bin/go)
mkdir -p bin/test
"$GO" build -o bin/test/crash ./test/crash || exit 1
failed=0
echo "== kill test"
bin/test/crash ${CRASH_FLAGS:-} || failed=1
echo "== power cuts and dying disks"
if [ "$(id -u)" != 0 ] || [ ! -c /dev/fuse ] || [ ! -c /dev/loop-control ]; then
  echo "SKIPPED: needs root, /dev/fuse and loop devices"
  exit $failed
fi
for p in mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs; do
  command -v "${p%:*}" > /dev/null || test/tools/apt-install.sh "${p#*:}" || echo "SKIPPED: no ${p%:*}"
done
(cd test/crash/power && "$GO" build -o ../../../bin/test/power .) || exit 1
for fs in ${POWER_FS:-ext4 xfs btrfs}; do
  command -v "mkfs.$fs" > /dev/null || { echo "SKIPPED: $fs: no mkfs.$fs"; continue; }
  grep -qw "$fs" /proc/filesystems || { echo "SKIPPED: the kernel has no $fs"; continue; }
  bin/test/power -fs "$fs" -files -n 150 || failed=1
  bin/test/power -fs "$fs" ${POWER_FLAGS:-} || failed=1
  if [ "$fs" != btrfs ]; then # which has no journal of new messages
    bin/test/power -fs "$fs" -o queue_syncfs=no ${POWER_FLAGS:-} || failed=1
    bin/test/power -fs "$fs" -o queue_journal=no ${POWER_FLAGS:-} || failed=1
  fi
  bin/test/power -fs "$fs" -n 8000 -deaths 2 ${DEATH_FLAGS:-} || failed=1
done
exit $failed
