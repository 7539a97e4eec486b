#!/bin/bash
# Instructions from the C++ call to the guest's first one, and from the vector to C++'s first; system-register accesses in them.
# Usage: trampoline_length.sh ARCH BUILD-DIRECTORY [kept]   kept: a build that does not clear the call-clobbered registers
set -euo pipefail
body=$(llvm-objdump-22 -d --no-show-raw-insn --section=.text.axvcpu.switch "$(find "$2/tools/modules" -name "*switch.S.o" | head -n 1)" | awk '/^ +[0-9a-f]+:/ {print $2}')
case $1 in
  aarch64) vector=3 most=88 registers_most=9 barrier='^(dsb|isb)$' access='^(mrs|msr)$' ;;  # 3: stp, mov, b of one entry of vectors.S
  x86_64) vector=0 most=66 registers_most=0 barrier='^endbr64$' access='^(rdmsr|wrmsr)$' ;;
  riscv64) vector=0 most=136 registers_most=10 barrier='^fence$' access='^csr' ;;
esac
[ -z "${3:-}" ] || case $1 in aarch64) most=70 ;; x86_64) most=56 ;; riscv64) most=120 ;; esac
length=$(($(grep -vcE "$barrier" <<<"$body") + vector))
registers=$(grep -cE "$access" <<<"$body" || true)
echo "trampoline: $length instructions (at most $most), $registers system-register accesses (at most $registers_most)"
((length <= most && registers <= registers_most))
