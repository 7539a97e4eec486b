#!/bin/bash
# Installs the SDK somewhere, builds examples/downstream against it by clang and lld alone, and runs that. Usage: installed.sh BUILD-DIRECTORY
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
DESTDIR=$dir meson install -C "$1" --no-rebuild >"$dir/log" 2>&1 || { tail -n 5 "$dir/log"; exit 1; }
prefix=$dir/usr/local
for f in lib/libaxvcpu.a lib/axvcpu.modules.json lib/pkgconfig/axvcpu.pc share/doc/axvcpu/consuming.md; do [ -f "$prefix/$f" ] || { echo "$f is not installed"; exit 1; }; done
! grep -q 'tools/modules' "$prefix/lib/pkgconfig/axvcpu.pc" || { echo "axvcpu.pc names files of the build directory"; exit 1; }
cp -r "$root/runtime" "$root/examples/downstream" "$dir/"   # nothing of the tree is used beyond these
cp -r "$root"/subprojects/dtc-*/libfdt "$dir/libfdt"
"$dir/downstream/build.sh" "$prefix" "$dir/runtime" "$dir/libfdt" "$dir/downstream.elf"
AX_ROOT=$root python3 "$root/tools/machine.py" --bare "$dir/downstream.elf" --timeout 60 2>&1 | tee "$dir/out"
grep -q "called with 41" "$dir/out"
