#!/bin/bash
# Runs the fuzzers. Usage: fuzz.sh [MINUTES]. Without MINUTES a few seconds each, from the kept corpus, which stays as it is. With
# MINUTES (of all fuzzers together) new inputs are merged into the corpus, and docs/fuzz.csv gets a line for each.
set -euo pipefail
root=${AX_ROOT:?} minutes=${1:-}
fuzzers=(decode_aarch64 decode_riscv64 decode_x86_64 firmware imsic devices)
seconds=${minutes:+$((minutes * 60 / ${#fuzzers[@]}))} seconds=${seconds:-6}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
[ -z "$minutes" ] || [ -s "$root/docs/fuzz.csv" ] || echo "date,commit,fuzzer,seed,executions,new edges,seconds" >"$root/docs/fuzz.csv"
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo none)
git -C "$root" diff --quiet HEAD -- . ':!docs' ':!test/fuzz/corpus' 2>/dev/null || [ "$commit" = none ] || commit+=+changes
bad=0 n=0
for f in "${fuzzers[@]}"; do
  corpus=$root/test/fuzz/corpus/$f found=$work/$f seed=$((RANDOM * 32768 + RANDOM + 1))
  mkdir -p "$corpus" "$found" "$work/crashes"
  n=$((n + 1))
  if timeout $((seconds + 60)) "$root/build/fuzz/test/fuzz/fuzz-$f" -seed=$seed -max_total_time=$seconds -timeout=10 -max_len=512 -print_final_stats=1 \
      -artifact_prefix="$work/crashes/" "$found" "$corpus" >"$work/log" 2>&1 && runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$work/log") && ((runs > 0)) &&
      { [ -z "$minutes" ] || "$root/build/fuzz/test/fuzz/fuzz-$f" -merge=1 -timeout=10 -max_len=512 -artifact_prefix="$work/crashes/" "$corpus" "$found" >"$work/log.merge" 2>&1 || { cat "$work/log.merge" >>"$work/log"; false; }; }; then
    first=$(grep -m1 -o 'cov: [0-9]*' "$work/log" | cut -c6- || echo 0)
    last=$(grep -o 'cov: [0-9]*' "$work/log" | tail -n 1 | cut -c6-)
    echo "ok $n - fuzz $f: $runs executions, seed $seed"
    if [ -n "$minutes" ]; then
      echo "$(date -u +%F),$commit,$f,$seed,$runs,$((${last:-0} - ${first:-0})),$seconds" >>"$root/docs/fuzz.csv"
    fi
  else
    bad=1
    mkdir -p "$root/build/crashes"
    echo "not ok $n - fuzz $f, seed $seed"
    sed -nE '/^[0-9a-f]{8} |ERROR: |: runtime error: /,$p' "$work/log" >"$work/report"   # from what the oracle said, or the sanitizer
    [ -s "$work/report" ] || tail -n 5 "$work/log" >"$work/report"
    sed 's/^/#   /; 100q' "$work/report"
    again="-seed=$seed -max_total_time=$seconds -max_len=512 $corpus"   # where it left no input: a time limit, a signal
    for input in "$work"/crashes/*; do
      [ -e "$input" ] || continue
      again=$root/build/crashes/$f-${input##*/}
      mv "$input" "$again"
    done
    echo "#   rerun: $root/build/fuzz/test/fuzz/fuzz-$f $again"
    echo "#   in gdb: ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 gdb -q --args $root/build/fuzz/test/fuzz/fuzz-$f $again"
  fi
done
# Each fuzzer has had a long run, some time.
if [ -z "$minutes" ]; then
  n=$((n + 1)) never=
  for f in "${fuzzers[@]}"; do grep -q "^[^,]*,[^,]*,$f," "$root/docs/fuzz.csv" 2>/dev/null || never+=" $f"; done
  for f in "$root"/test/fuzz/*.cpp; do f=$(basename "$f" .cpp); [[ " ${fuzzers[*]} " = *" $f "* ]] || ! grep -q LLVMFuzzerTestOneInput "$root/test/fuzz/$f.cpp" || never+=" $f"; done
  if [ -z "$never" ]; then echo "ok $n - every fuzzer is run, and has a row in docs/fuzz.csv"; else
    bad=1
    echo "not ok $n - every fuzzer is run, and has a row in docs/fuzz.csv"
    echo "#   not:$never; ./ax test fuzz --minutes 10 adds rows"
  fi
fi
echo "1..$n"
exit $bad
