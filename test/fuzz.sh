#!/bin/bash
# Runs every fuzz target for the given time (default 30s each). An input that covers more code
# is minimized for 2s, not for a minute as by default, which would be most of the time for large inputs.
# usage: fuzz.sh [FUZZTIME]
set -u
cd "$(dirname "$0")/.."
t=${1:-30s} failed=0 n=0
while IFS=: read -r file _ line; do
  f=$(sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/' <<< "$line")
  n=$((n + 1))
  echo "== $(dirname "$file") $f"
  go test -run '^$' -fuzz "^$f\$" -fuzztime "$t" -fuzzminimizetime 2s -parallel 2 "./$(dirname "$file")" || { echo "FAILED: $file $f"; failed=$((failed + 1)); }
done < <(git ls-files -co --exclude-standard '*_test.go' | grep -v '^test/' | xargs grep -n -E '^func Fuzz[A-Za-z0-9_]*\(' /dev/null)
echo "$n targets, $failed failed"
[ "$failed" = 0 ]
