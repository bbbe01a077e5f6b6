#!/bin/bash
# What "make interop" runs: installs real peers and clients, builds the
# programs and runs every scenario. Postfix, Dovecot and the clients come from
# Debian's packages on this machine; Exim and OpenSMTPD, which cannot be
# installed beside Postfix, into overlays of the root file system, so that the
# machine's own mail service is never touched.
# usage: run.sh [-only WORD] [-keep]
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  need=()
  for p in postfix postfix-cdb swaks curl python3 pflogsumm fail2ban dovecot-core dovecot-imapd libnet-ssleay-perl libauthen-sasl-perl \
    msmtp mutt neomutt imapfilter mpop isync offlineimap3 fetchmail getmail6 roundcube-core roundcube-sqlite3 ruby php-cli php-imap php-sqlite3 php-intl php-mbstring php-xml; do
    dpkg -s "$p" > /dev/null 2>&1 || need+=("$p")
  done
  [ ${#need[@]} = 0 ] || test/tools/apt-install.sh "${need[@]}" || echo "SKIPPED: could not install ${need[*]}"
else
  echo "SKIPPED: not root, or not Debian: peers are not installed, only those that are there can be tried"
fi
GO=$(command -v go || echo /usr/local/go/bin/go)
mkdir -p bin/test && "$GO" build -o bin/test/interop ./test/interop || exit 1
INTEROP_DIR=$PWD/test/interop exec bin/test/interop "$@"
