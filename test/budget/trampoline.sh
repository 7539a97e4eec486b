#!/bin/bash
# The trampolines of the shipped build and of the test build are the same bytes. Usage: trampoline.sh BUILD TEST-BUILD
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
for i in 1 2; do
  for part in switch vectors; do
    object=$(find "${!i}/tools/modules" -name "*$part.S.o" | head -n 1)
    llvm-objcopy-22 -O binary --only-section=.text.axvcpu.$part "$object" "$dir/$part.$i"
    [ -s "$dir/$part.$i" ]
  done
done
cmp "$dir/switch.1" "$dir/switch.2"
cmp "$dir/vectors.1" "$dir/vectors.2"
