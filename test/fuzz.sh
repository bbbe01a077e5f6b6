#!/bin/bash
# Runs every fuzz target for the given time (default 30s each).
# usage: fuzz.sh [FUZZTIME]
set -u
cd "$(dirname "$0")/.."
t=${1:-30s} failed=0 n=0
while IFS=: read -r file _ line; do
  f=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<< "$line")
  n=$((n + 1))
  echo "== $(dirname "$file") $f"
  go test -run '^$' -fuzz "^$f\$" -fuzztime "$t" -parallel 2 "./$(dirname "$file")" || { echo "FAILED: $file $f"; failed=$((failed + 1)); }
done < <(grep -rn --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]*\(' pkg master smtpd qmgr smtp local postmap cleanup sendmail postdrop pickup bounce auth pipe virtual 2> /dev/null)
echo "$n targets, $failed failed"
[ "$failed" = 0 ]
