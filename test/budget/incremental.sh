#!/bin/bash
# Touching nothing does nothing; a changed body compiles its own unit only; a touched interface compiles itself and no importer;
# a changed one its importers and nothing else. Usage: incremental.sh BUILD-DIRECTORY. Works on a copy of the source tree.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d); trap 'rm -rf "$copy"' EXIT
(cd "$root" && tar -c --exclude=./build --exclude=./.git .) | tar -x -C "$copy"
meson setup "$copy/build" "$copy" --cross-file "$copy/cross/aarch64.ini" -Dexamples=false >"$copy/log" 2>&1 || { tail -n 5 "$copy/log"; exit 1; }
ninja -C "$copy/build" >"$copy/log" 2>&1 || { tail -n 5 "$copy/log"; exit 1; }
compiled() { ninja -C "$copy/build" -v | grep -c -- ' -c \.\./' || true; }
n=$(compiled); [ "$n" = 0 ] || { echo "nothing was touched, and $n units were compiled"; exit 1; }
sleep 1
echo "namespace axvcpu { [[maybe_unused]] static int touched = 1; }" >>"$copy/modules/stage2/stage2.cpp"
n=$(compiled); [ "$n" = 1 ] || { echo "one body changed, and $n units were compiled"; exit 1; }
sleep 1
touch "$copy/modules/exit/exit.cppm"
n=$(compiled); [ "$n" = 1 ] || { echo "an interface was touched, and $n units were compiled"; exit 1; }
sleep 1
echo "export namespace axvcpu { struct Added {}; }" >>"$copy/arch-aarch64/arch.cppm"
n=$(compiled); [ "$n" = 1 ] || { echo "the last interface of the graph changed, and $n units were compiled"; exit 1; }
echo "0, 1, 1 and 1 units compiled"
