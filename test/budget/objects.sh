#!/bin/bash
# The SDK's archive: no heap, no exceptions, no RTTI, no static constructors, no floating point or vectors outside fp.S and vector.S, text within bounds.
# Usage: objects.sh BUILD-DIRECTORY
set -euo pipefail
lib=$1/tools/modules/libaxvcpu.a bad=0
say() { echo "$*"; bad=1; }
needs=$(llvm-nm-22 -u "$lib" 2>/dev/null | awk '{print $NF}' | grep -E '^(_Znw|_Zna|_Zdl|_Zda|malloc|free|__cxa_|_Unwind_|_ZTI|_ZTV)' | sort -u || true)
[ -z "$needs" ] || say "needs: $needs"
! llvm-readelf-22 -S "$lib" | grep -qE '\.(init_array|ctors|gcc_except_table)' || say "static constructors or exception tables"
case $(llvm-readelf-22 -h "$lib" | awk '/Machine:/ {print $2; exit}') in
  AArch64) pattern='[\t ,{\[][vqdz][0-9]+[.,\]} ]|[\t ,]s[0-9]+,' ;;
  RISC-V) pattern='^ +[0-9a-f]+:[ \t]+(f[a-z]+\.[sdhwl]|fl[dw]|fs[dw]|v[sl]e|vset)' ;;
  *) pattern='%[xyz]mm[0-9]' ;;
esac
fp=$(llvm-objdump-22 -d --no-show-raw-insn "$lib" | awk -v pattern="$pattern" '/file format/ {m = $1; skip = m ~ /(fp|vector)\.S/} !skip && /^ +[0-9a-f]+:/ && $0 ~ pattern {print m ": " $0}' | head -n 3)
[ -z "$fp" ] || say "floating point or vectors outside their files: $fp"
size() { llvm-size-22 -t "$@" | awk 'END {print $1}'; }
all=$(size "$lib") devices=$(llvm-size-22 -t "$lib" | awk '/device/ {n += $1} END {print n + 0}')
echo "text: $((all - devices)) bytes modules and backend, $devices bytes device models"
((all - devices < 65536)) || say "text of modules and backend is over 65536 bytes"
case $1 in *x86_64*) most=98304 ;; *) most=65536 ;; esac
((all <= most)) || say "text with device models is $all, over $most bytes"
# The same in the linked hypervisor: what the linker kept of the archive, less the hypervisor's own sources.
elf=$1/examples/hypervisor/hypervisor.elf
if [ -e "$elf" ]; then
  linked=$(llvm-nm-22 --defined-only --format=just-symbols "$lib" 2>/dev/null | awk 'NF == 1 && $1 !~ /:$/' |
    awk 'NR == FNR {sdk[$1]; next} NF == 4 && $4 in sdk && tolower($3) ~ /[trwv]/ && !seen[$1, $4]++ {n += $2} END {print n + 0}' - <(llvm-nm-22 -S --radix=d --defined-only "$elf"))
  echo "text in the linked hypervisor: $linked bytes"
  ((linked > 0 && linked <= most)) || say "text in the linked hypervisor is $linked, over $most bytes"
fi
exit $bad
