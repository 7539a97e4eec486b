#!/bin/bash
# Configures a build directory once and builds it. Usage: build.sh DIRECTORY MESON-ARGUMENTS...
set -euo pipefail
dir=$1; shift
mkdir -p "${dir%/*}" 2>/dev/null && [ -w "${dir%/*}" ] || { echo "ax: ${dir%/*} cannot be written: work in a checkout that is yours" >&2; exit 1; }
exec 8>"${dir%/*}/.lock-${dir##*/}"
flock 8
log=$(mktemp) began=
# Nothing half-made stays: neither a directory that is not configured yet, nor sources that Meson was unpacking for it.
tidy() {
  rm -f "$log"
  [ -z "$began" ] || { rm -rf "$dir"; for source in "$AX_ROOT"/subprojects/*/; do [[ $began == *" $source "* ]] || rm -rf "$source"; done; }
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# What the build was configured with: the arguments, and what the machine files among them say.
wanted="$* $(for a; do case $a in *.ini) cksum <"$a" ;; esac; done | cksum)"
if ! [ -f "$dir/build.ninja" ] || [ "$(cat "$dir/.arguments" 2>/dev/null)" != "$wanted" ]; then
  mkdir -p "${AX_ROOT:?}/subprojects/packagecache"
  exec 7>"$AX_ROOT/subprojects/packagecache/.lock"   # one unpacks at a time
  flock 7
  printf -v began ' %s ' "$AX_ROOT"/subprojects/*/
  rm -rf "$dir"
  meson setup "$dir" "$AX_ROOT" "$@" >"$log" 2>&1 7>&- 8>&- || { cat "$log" >&2; echo "ax: meson setup of $dir failed: see above" >&2; exit 1; }
  echo "$wanted" >"$dir/.arguments"
  began=
  exec 7>&-
fi
if [ -t 2 ] && [ -z "${AX_VERBOSE:-}" ]; then
  ninja -C "$dir" >&2 || { echo "ax: the build in $dir failed: see above" >&2; exit 1; }
else
  ninja -C "$dir" ${AX_VERBOSE:+-v} >"$log" 2>&1 || { tail -n 60 "$log" >&2; echo "ax: the build in $dir failed: see above" >&2; exit 1; }
fi
# Where people and other build systems look for it.
[ ! -f "$dir/tools/modules/libaxvcpu.a" ] || ln -sf tools/modules/libaxvcpu.a "$dir/libaxvcpu.a"
