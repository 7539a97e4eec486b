#!/bin/bash
# The trampolines of the shipped build and of the test build are the same bytes. Usage: trampoline.sh BUILD TEST-BUILD
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
compared=0
for part in switch vectors; do
  for i in 1 2; do
    object=$(find "${!i}/tools/modules" -name "*_$part.S.o" | head -n 1)
    [ -z "$object" ] || llvm-objcopy-22 -O binary --only-section=.text.axvcpu.$part "$object" "$dir/$part.$i"
  done
  [ -s "$dir/$part.1" ] || continue   # not every architecture has vectors of their own
  cmp "$dir/$part.1" "$dir/$part.2"
  compared=$((compared + 1))
done
((compared > 0))
