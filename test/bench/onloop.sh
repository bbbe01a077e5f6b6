#!/bin/bash
# Runs the benchmark in a directory on a fresh loop-mounted file system with a
# journal and direct I/O, so that neither the age of the root file system nor
# its possible lack of a journal shows in the figures. Needs root.
# usage: [FS=ext4|xfs|btrfs] [SIZE=MiB] onloop.sh PATH-TO-BENCH bench-arguments...
FS=${FS:-ext4} SIZE=${SIZE:-4096} BASE=${BENCH_BASE:-/var/tmp}
IMG=$(mktemp "$BASE/bench-img.XXXXXX") && MNT=$(mktemp -d "$BASE/bench-mnt.XXXXXX") || exit 1
LOOP=
cleanup() { cd /; mountpoint -q "$MNT" && umount "$MNT"; [ -n "$LOOP" ] && losetup -d "$LOOP"; rm -f "$IMG"; rmdir "$MNT"; }
trap cleanup EXIT
trap 'exit 1' INT TERM
dd if=/dev/zero of="$IMG" bs=1M count="$SIZE" conv=fsync status=none &&
  LOOP=$(losetup --find --show --direct-io=on "$IMG") &&
  "mkfs.$FS" -q $([ "$FS" = ext4 ] && echo -i 8192) "$LOOP" && mount -o noatime "$LOOP" "$MNT" && chmod 755 "$MNT" || exit 1
export BENCH_JOURNAL=yes
"$1" -dir "$MNT/bench" "${@:2}" &
BENCH=$!
trap 'kill "$BENCH"; wait "$BENCH"; exit 1' INT TERM
wait "$BENCH"
