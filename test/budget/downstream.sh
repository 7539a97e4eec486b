#!/bin/bash
# examples/downstream in a directory of its own, with the SDK as its subproject: builds, runs under QEMU, and says what it should.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d); trap 'rm -rf "$copy"' EXIT
cp "$root"/examples/downstream/* "$copy/"
mkdir -p "$copy/subprojects/axvcpu"
(cd "$root" && tar -c --exclude=./build --exclude=./.git .) | tar -x -C "$copy/subprojects/axvcpu"
mkdir -p "$copy/subprojects/packagecache"
cp "$root"/subprojects/packagecache/* "$copy/subprojects/packagecache/"
meson setup "$copy/build" "$copy" --cross-file "$root/cross/aarch64.ini" -Daxvcpu:examples=false --wrap-mode=forcefallback >"$copy/log" 2>&1 || { tail -n 15 "$copy/log"; exit 1; }
ninja -C "$copy/build" >"$copy/log" 2>&1 || { tail -n 15 "$copy/log"; exit 1; }
AX_ROOT=$root python3 "$root/tools/machine.py" --bare "$copy/build/downstream.elf" --timeout 60 2>&1 | tee "$copy/out"
grep -q "called with 41" "$copy/out"
