#!/bin/bash
# Installs Debian packages without letting them start anything. Waits for
# another run of apt or dpkg to end.
# usage: apt-install.sh PACKAGE...
set -e
export DEBIAN_FRONTEND=noninteractive
[ "$(id -u)" = 0 ] || { echo "apt-install.sh: needs root" >&2; exit 1; }
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
install() { apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@" > /dev/null; }
install "$@" || { apt-get -o DPkg::Lock::Timeout=300 update -qq && install "$@"; }
