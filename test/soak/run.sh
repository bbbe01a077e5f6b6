#!/bin/bash
# What "make soak" runs: odd messages of public collections against imapd, many
# clients at once (see docs/internals/consistency.md), and a queue whose messages
# are held, released and requeued while they are delivered. The exit status is 0
# if all held.
# usage: [SOAK_FLAGS="-minutes 10 -seed 1"] [QUEUE_FLAGS="-seconds 300"] [ODD_CORPORA=DIR:DIR] run.sh
set -u
cd "$(dirname "$0")/../.." || exit 1
GO=$(command -v go || echo /usr/local/go/bin/go)
failed=0
tmp=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT

echo "== odd messages of public collections"
corpora=${ODD_CORPORA:-}
found() {
  if [ -d "$2" ]; then corpora=$corpora${corpora:+:}$2; else echo "SKIPPED: $1: cannot be had here"; fi
}
if [ -z "$corpora" ]; then
  # Python's own tests of its email package.
  py=$(echo /usr/lib/python3*/test/test_email/data)
  if [ ! -d "$py" ] && [ "$(id -u)" = 0 ]; then
    test/tools/apt-install.sh libpython3-testsuite > "$tmp/apt" 2>&1
    py=$(echo /usr/lib/python3*/test/test_email/data)
  fi
  found "messages of Python's tests" "$py"
  # Those of enmime, a library for broken mail.
  (cd "$tmp" && printf 'module corpora\n' > go.mod && GOFLAGS=-mod=mod "$GO" mod download -json github.com/jhillyerd/enmime@v1.3.0) > "$tmp/enmime" 2>&1
  found "messages of enmime's tests" "$(sed -n 's/.*"Dir": "\(.*\)",*/\1/p' "$tmp/enmime")/testdata"
  # Those of notmuch, from Debian's source package.
  if command -v apt-get > /dev/null && command -v dpkg-source > /dev/null; then
    mkdir -p "$tmp/parts" "$tmp/lists/partial" "$tmp/cache/archives/partial"
    sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > "$tmp/parts/debian.sources" 2> /dev/null
    (cd "$tmp" && apt="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$tmp/parts -o Dir::State::lists=$tmp/lists -o Dir::Cache=$tmp/cache"
      apt-get $apt update && apt-get $apt --download-only source notmuch && tar xf notmuch_*.orig.tar.*) > "$tmp/notmuch" 2>&1
  fi
  found "messages of notmuch's tests" "$(echo "$tmp"/notmuch-*/test/corpora)"
fi
if [ -n "$corpora" ]; then
  ODD_CORPORA=$corpora "$GO" test -count=1 -v -run TestOddCorpora ./imapd || failed=1
fi

echo "== many clients"
mkdir -p bin/test
"$GO" build -o bin/test/soak ./test/soak || exit 1
bin/test/soak ${SOAK_FLAGS:-} || failed=1

echo "== a queue in an administrator's hands"
"$GO" build -o bin/test/queue ./test/soak/queue || exit 1
bin/test/queue ${QUEUE_FLAGS:-} || failed=1
exit $failed
