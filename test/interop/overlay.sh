#!/bin/bash
# Makes a root file system in which a package is installed that this machine
# must not have, over the machine's own: an overlay, kept between runs.
# usage: overlay.sh up NAME PROGRAM PACKAGE...   (prints the root's path)
#        overlay.sh down NAME
set -e
base=${INTEROP_BASE:-/var/tmp/posthaste-interop}/$2
root=$base/root
down() {
  for m in dev/pts dev proc; do mountpoint -q "$root/$m" && umount "$root/$m"; done
  if mountpoint -q "$root"; then umount "$root"; fi
}
case $1 in
up)
  mkdir -p "$base"/{upper,work,root}
  down
  mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  if [ ! -x "$root$3" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qq -y --no-install-recommends "${@:4}" > "$base/apt.log" 2>&1 ||
      { chroot "$root" apt-get update -qq && DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qq -y --no-install-recommends "${@:4}"; } > "$base/apt.log" 2>&1 ||
      { tail -5 "$base/apt.log" >&2; down; exit 1; }
  fi
  echo "$root" ;;
down) down ;;
esac
