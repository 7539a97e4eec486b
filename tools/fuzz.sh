#!/bin/bash
# Runs the fuzzers. Usage: fuzz.sh [MINUTES]. Without MINUTES a few seconds each, from the kept corpus, which stays as it is. With
# MINUTES (of all fuzzers together) new inputs are merged into the corpus, and docs/fuzz.csv gets a line for each.
set -euo pipefail
root=${AX_ROOT:?} minutes=${1:-}
fuzzers=(decode_aarch64 decode_riscv64 decode_x86_64 firmware imsic devices)
seconds=${minutes:+$((minutes * 60 / ${#fuzzers[@]}))} seconds=${seconds:-6}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
[ -f "$root/docs/fuzz.csv" ] || echo "date,commit,fuzzer,seed,executions,new edges,seconds" >"$root/docs/fuzz.csv"
bad=0 n=0
for f in "${fuzzers[@]}"; do
  corpus=$root/test/fuzz/corpus/$f found=$work/$f seed=$((RANDOM * 32768 + RANDOM + 1))
  mkdir -p "$corpus" "$found" "$work/crashes"
  n=$((n + 1))
  if timeout $((seconds + 60)) "$root/build/fuzz/test/fuzz/fuzz-$f" -seed=$seed -max_total_time=$seconds -max_len=512 -print_final_stats=1 \
      -artifact_prefix="$work/crashes/" "$found" "$corpus" >"$work/log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$work/log") first=$(grep -m1 -o 'cov: [0-9]*' "$work/log" | cut -c6- || echo 0)
    last=$(grep -o 'cov: [0-9]*' "$work/log" | tail -n 1 | cut -c6-)
    echo "ok $n - fuzz $f: $runs executions, seed $seed"
    if [ -n "$minutes" ]; then
      "$root/build/fuzz/test/fuzz/fuzz-$f" -merge=1 -max_len=512 "$corpus" "$found" >/dev/null 2>&1 || true
      echo "$(date -u +%F),$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo none),$f,$seed,$runs,$((${last:-0} - ${first:-0})),$seconds" >>"$root/docs/fuzz.csv"
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
echo "1..$n"
exit $bad
