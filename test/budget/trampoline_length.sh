#!/bin/bash
# Instructions from the C++ call to the guest's first one, and from the vector to C++'s first; system-register accesses in them.
# Usage: trampoline_length.sh BUILD-DIRECTORY
set -euo pipefail
count() { llvm-objdump-22 -d --no-show-raw-insn "$(find "$1/tools/modules" -name "*$2.S.o" | head -n 1)"; }
body=$(count "$1" switch | awk '/^ +[0-9a-f]+:/ {print $2}')
vector=3  # stp, mov, b of one entry of vectors.S
length=$(($(grep -vcE '^(dsb|isb)$' <<<"$body") + vector))
registers=$(grep -cE '^(mrs|msr)$' <<<"$body")
echo "trampoline: $length instructions (at most 88), $registers system-register accesses (at most 9)"
((length <= 88 && registers <= 9))
