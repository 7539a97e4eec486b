#!/bin/bash
# Touching nothing does nothing; a changed body compiles its own unit only; an interface compiles itself and no importer when
# what it exports is the same. Usage: incremental.sh BUILD-DIRECTORY. Works on a copy of the source tree.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d); trap 'rm -rf "$copy"' EXIT
(cd "$root" && tar -c --exclude=./build --exclude=./.git --exclude=./subprojects/*-[0-9]* .) | tar -x -C "$copy"
meson setup "$copy/build" "$copy" --cross-file "$copy/cross/aarch64.ini" -Dexamples=false >/dev/null
ninja -C "$copy/build" >/dev/null
compiled() { ninja -C "$copy/build" -v | grep -c -- ' -c \.\./' || true; }
n=$(compiled); [ "$n" = 0 ] || { echo "nothing was touched, and $n units were compiled"; exit 1; }
sleep 1
echo "namespace axvcpu { [[maybe_unused]] static int touched = 1; }" >>"$copy/modules/stage2/stage2.cpp"
n=$(compiled); [ "$n" = 1 ] || { echo "one body changed, and $n units were compiled"; exit 1; }
sleep 1
echo "// a comment" >>"$copy/modules/exit/exit.cppm"
n=$(compiled); [ "$n" = 1 ] || { echo "a comment was added to an interface, and $n units were compiled"; exit 1; }
echo "0, 1 and 1 units compiled"
