#!/bin/bash
# Runs the fuzzers. Usage: fuzz.sh [MINUTES]. Without MINUTES a few seconds each, from the kept corpus, which stays as it is. With
# MINUTES (of all fuzzers together) new inputs are merged into the corpus, and docs/fuzz.csv gets a line for each.
set -euo pipefail
root=${AX_ROOT:?} minutes=${1:-}
fuzzers=(decode_aarch64 decode_riscv64 firmware devices)
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
    cp "$work"/crashes/* "$root/build/crashes/" 2>/dev/null || true
    echo "not ok $n - fuzz $f, seed $seed"
    grep -E '^[0-9a-f]{8} |ERROR|SUMMARY' "$work/log" | head -n 4 | sed 's/^/#   /' || true
    echo "#   rerun: build/fuzz/test/fuzz/fuzz-$f build/crashes/*"
  fi
done
echo "1..$n"
exit $bad
