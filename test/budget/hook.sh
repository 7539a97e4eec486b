#!/bin/bash
# The fast hook of the example hypervisor is general registers only and calls nothing. Usage: hook.sh ARCH BUILD-DIRECTORY
set -euo pipefail
object=$(find "$2/examples/hypervisor" -name '*guest.cpp.o' | head -n 1)
body=$(llvm-objdump-22 -d --no-show-raw-insn --section=.text.axvcpu.hook "$object" | awk '/^ +[0-9a-f]+:/ {$1 = ""; print}')
[ -n "$body" ] || { echo "no fast hook in $object"; exit 1; }
case $1 in
  aarch64) bad='^ (bl|blr|svc|hvc|smc)\b|[ ,{\[][vqdszb][0-9]+[., }\]]' ;;
  riscv64) bad='^ (call|jal|jalr|ecall)\b|^ (f[a-z]+\.|fl[dw]|fs[dw]|v)' ;;
esac
! grep -E "$bad" <<<"$body" || { echo "the fast hook calls something, or uses other than general registers"; exit 1; }
echo "fast hook: $(wc -l <<<"$body") instructions"
