#!/bin/bash
# What a fresh machine needs: packages, pinned sources, guests, sysroots. Each step does nothing when it is done already.
# Usage: setup.sh packages | sources | lint | gdb | guest ARCH | sysroot ARCH | all [--offline] | where guest|sysroot ARCH ; several steps may follow each other.
set -euo pipefail
root=${AX_ROOT:?} cache=${AX_CACHE:?}
offline=
trap 'exit 130' INT   # and through EXIT: nothing half-made stays
trap 'exit 143' TERM
failed() { echo "ax: $*" >&2; exit 1; }
say() { echo "ax: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else failed "packages must be installed ($(missing_list)): run this as root, or install sudo"; fi; }

# Another apt may be at work, as on a machine that has just started: it is waited for.
apt_install() { as_root apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "$@"; }
apt_update() {
  local left=60 said
  until said=$(LC_ALL=C as_root apt-get update -qq 2>&1); do
    [[ $said = *"get lock"* ]] && ((left-- > 0)) || { echo "$said" >&2; return 1; }
    sleep 5
  done
  [ -z "$said" ] || echo "$said" >&2
}

tools=(patch clang++-22 ld.lld-22 llvm-objcopy-22 clang-format-22 meson ninja qemu-system-aarch64 qemu-system-riscv64 qemu-system-x86_64 qemu-aarch64 qemu-riscv64 python3 xz cpio)
packages_backports=(meson qemu-system-arm qemu-system-misc qemu-system-x86 qemu-user opensbi)
packages=(clang-22 lld-22 llvm-22 clang-format-22 libc++-22-dev libc++abi-22-dev libclang-rt-22-dev ninja-build patch cpio xz-utils python3 ca-certificates)

version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
install_lint() {
  command -v clang-tidy-22 >/dev/null && return
  [ -z "$offline" ] || failed "clang-tidy-22 is missing, and --offline forbids to install it"
  say "installing clang-tidy-22 with apt"
  apt_install clang-tidy-22 >&2 || failed "clang-tidy-22 cannot be installed: see above"
}
check_versions() {
  local v
  v=$(meson --version) && version_at_least "$v" 1.7 || failed "Meson $v is too old: 1.7 or later is needed"
  v=$(qemu-system-aarch64 --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p') && version_at_least "$v" 10.0 || failed "QEMU $v is too old: 10.0 or later is needed"
}

missing() {  # names, nothing when all is there
  local t
  for t in "${tools[@]}"; do command -v "$t" >/dev/null || echo "$t"; done
  [ -f /usr/lib/llvm-22/share/libc++/v1/std.cppm ] || echo "libc++-22's std.cppm"
  ls /usr/lib/llvm-22/lib/clang/22/lib/linux/libclang_rt.asan-* >/dev/null 2>&1 || echo "clang-22's sanitizers"
}
missing_list() { local all; all=$(missing | tr '\n' ,); all=${all%,}; echo "${all//,/, }"; }

# A gdb that knows the guests' architectures; Debian's plain one knows this machine's only.
have_gdb() { command -v gdb-multiarch >/dev/null || gdb -nx -batch -ex 'set architecture aarch64' -ex 'set architecture riscv:rv64' 2>&1 | { ! grep -q Undefined; }; }
install_gdb() {
  have_gdb && return
  [ -z "$offline" ] || failed "gdb-multiarch is missing, and --offline forbids to install it"
  command -v apt-get >/dev/null || failed "gdb-multiarch is missing: install it, then try again"
  say "installing gdb-multiarch with apt"
  apt_install gdb-multiarch >&2 || failed "gdb-multiarch cannot be installed: see above"
}

mirror() {  # from apt itself, not from a file's name
  apt-get indextargets --format '$(ORIGIN) $(SITE)' 'Created-By: Packages' | awk '$1 == "Debian" && $NF !~ /security/ && !n++ {print $NF}'
}

install_packages() {
  [ -n "$(missing)" ] || { check_versions; return; }
  [ -z "$offline" ] || failed "packages are missing, and --offline forbids to install them: $(missing_list)"
  local ID= VERSION_ID= VERSION_CODENAME=
  [ ! -r /etc/os-release ] || . /etc/os-release
  case "${ID:-}-${VERSION_ID:-}" in debian-12|debian-13) ;; *)
    failed "this is no Debian 12 or 13, and these are missing: $(missing_list); install them (LLVM 22, Meson 1.7, QEMU 10.0 or later), then try again" ;; esac
  local codename=$VERSION_CODENAME list=/etc/apt/sources.list.d/axvcpu.list site
  as_root true
  say "installing packages (clang 22, Meson, QEMU) with apt"
  export DEBIAN_FRONTEND=noninteractive
  apt_update || failed "apt-get update failed: check the machine's network and package sources"
  site=$(mirror)
  [ -n "$site" ] || failed "apt knows no Debian mirror: add one to /etc/apt/sources.list"
  if ! [ -e "$list" ]; then
    local known suites=
    known=$(apt-get indextargets --format '$(RELEASE) $(CODENAME)' 'Created-By: Packages')  # what the machine has already is not named twice
    grep -qw "$codename-backports" <<<"$known" || suites="deb $site $codename-backports main"$'\n'
    grep -qw "$codename-security" <<<"$known" || suites+="deb ${site%/}-security $codename-security main"$'\n'
    say "adding $list:" ${suites:-nothing, its suites are known}
    printf %s "$suites" | as_root tee "$list" >/dev/null
    apt_update || failed "apt-get update failed with $list"
  fi
  local log; log=$(mktemp); trap "rm -f '$log'" EXIT
  { apt_install -t "$codename-backports" "${packages_backports[@]}" || [ "$codename" = trixie ] &&
    apt_install "${packages[@]}" "${packages_backports[@]}"; } >"$log" 2>&1 || { tail -n 5 "$log" >&2; rm -f "$log"; failed "apt-get install failed: see above"; }
  rm -f "$log"; trap - EXIT
  hash -r
  [ -z "$(missing)" ] || failed "these are still missing after apt-get install: $(missing_list); is their directory in PATH? If it is: apt-get install --reinstall ${packages_backports[*]} ${packages[*]}"
  check_versions
}

# A private apt root for suites that are not this machine's: nothing of the system's state is touched.
private_apt() { # directory, then apt-get arguments
  local at=$1; shift
  if ! [ -e "$at/sources.list" ]; then
    mkdir -p "$at"/{lists/partial,archives/partial}
    chmod 755 "$at"
    local site key=/usr/share/keyrings/debian-archive-keyring.gpg
    site=$(mirror)
    [ -n "$site" ] || failed "apt knows no Debian mirror: add one to /etc/apt/sources.list"
    printf 'deb [signed-by=%s] %s trixie main\ndeb-src [signed-by=%s] %s trixie main\ndeb-src [signed-by=%s] %s bookworm-backports main\n' $key "$site" $key "$site" $key "$site" >"$at/sources.list"
    private_apt "$at" update || { rm -f "$at/sources.list"; failed "Debian's package lists cannot be fetched: check the network"; }
  fi
  apt-get -qq -o Dir::Etc::sourcelist="$at/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$at" -o Dir::Cache="$at" -o APT::Sandbox::User=root "$@"
}

# An entry's files, with their sizes; what was there when it was made is in its .manifest.
files_of() { (cd "$1" && find . ! -type d ! -path ./.manifest -printf '%s %P\n' | LC_ALL=C sort); }
seal() { files_of "$1" >"$1/.manifest"; }
# Whether an entry is there with every file as long as it was; one that has lost any is made again.
whole() { [ -s "$cache/$1/.manifest" ] && [ -z "$(files_of "$cache/$1" | LC_ALL=C comm -13 - "$cache/$1/.manifest")" ]; }

# Builds a cache entry beside its place and renames it when it is whole. entry NAME FUNCTION ARGS...: the function fills $1.
entry() {
  local name=$1 place=$cache/$1; shift
  if whole "$name"; then return; fi
  ! [[ $cache =~ [[:space:]\'\"] ]] || failed "the cache '$cache' has a space or a quote in its name, which builds do not bear: set AX_CACHE to another directory"
  [ -z "$offline" ] || failed "'$name' is not in the cache $cache, or not whole, and --offline forbids to fetch it: run ax setup"
  mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || failed "the cache $cache cannot be written: set AX_CACHE to a directory that can"
  exec 9>"$cache/.lock"
  flock -n 9 || { say "another set-up is filling $cache: waiting for it"; flock 9; }
  if ! whole "$name"; then
    [ ! -e "$place" ] || { say "$place has lost files: making it again"; rm -rf "$place"; }
    local free; free=$(df -Pm "$cache" | awk 'NR == 2 {print $4}')
    ((free > 1500)) || failed "$cache has only $free MiB left: make room for 1500, or set AX_CACHE"
    rm -rf "$cache"/.part.*   # what a killed set-up has left: its lock is gone, so it is
    local part; part=$(mktemp -d "$cache/.part.XXXXXX")
    trap "rm -rf '$part'" EXIT
    "$1" "$part" "${@:2}" 9>&-   # the lock is this shell's alone: what it has started may outlive it
    seal "$part"
    chmod 755 "$part"
    mv "$part" "$place"
    trap - EXIT
  fi
  exec 9>&-
}
recipe() { cat "$@" | sha256sum | cut -c1-12; }

# Sources from Debian's source packages, under the names that the wraps expect; checked by hash.
sources_key=3
fetch_sources() {
  local part=$1 work=$1/.apt
  say "fetching sources (Catch2, libfdt, Zydis, fmt)"
  (cd "$part" && private_apt "$work" source --download-only --tar-only catch2/bookworm-backports device-tree-compiler/trixie zydis/trixie zycore-c/trixie fmtlib/trixie >/dev/null) || failed "Debian's sources cannot be fetched: check the network"
  rm -rf "$work"
  mv "$part"/catch2_3.7.1.orig.tar.gz "$part/Catch2-3.7.1.tar.gz" 2>/dev/null && mv "$part"/device-tree-compiler_1.7.2.orig.tar.xz "$part/dtc-1.7.2.tar.xz" 2>/dev/null &&
    mv "$part"/zydis_4.1.1.orig.tar.gz "$part/zydis-4.1.1.tar.gz" 2>/dev/null && mv "$part"/zycore-c_1.5.2.orig.tar.gz "$part/zycore-1.5.2.tar.gz" 2>/dev/null &&
    mv "$part"/fmtlib_10.1.1+ds1.orig.tar.gz "$part/fmt-10.1.1.tar.gz" 2>/dev/null ||
    failed "Debian has other versions of Catch2, libfdt, Zydis or fmt than the wraps pin: see subprojects/"
  rm -f "$part"/*.dsc "$part"/*.debian.*
  local w
  for w in catch2 libfdt zydis zycore fmt; do
    (cd "$part" && sed -n 's/^source_hash = //p; s/^source_filename = //p' "$root/subprojects/$w.wrap" | { read -r name; read -r sum; echo "$sum  $name" | sha256sum -c --quiet -; }) || failed "the source of $w has not the hash that subprojects/$w.wrap pins"
  done
}
sources() {
  local f to part
  entry "sources-$sources_key" fetch_sources
  local to_all=$root/subprojects/packagecache
  mkdir -p "$to_all" 2>/dev/null && [ -w "$to_all" ] || failed "$to_all cannot be written: work in a checkout that is yours"
  for f in "$cache/sources-$sources_key"/*.tar.*; do
    to=$to_all/${f##*/}
    cmp -s "$f" "$to" && continue
    part=$(mktemp "$to.XXXXXX"); trap 'rm -f "$part"' EXIT
    { cp "$f" "$part" && chmod 644 "$part" && mv "$part" "$to"; } || failed "$to cannot be written: see above"
    trap - EXIT
  done
}

guest_name() { echo "guest-$1-$(recipe "$root/tools/guest.sh" "$root/tools/init.sh" "$root/tools/vectors.c")"; }
fetch_guest() { local part=$1 arch=$2; . "$root/tools/guest.sh"; }
guest() { entry "$(guest_name "$1")" fetch_guest "$1"; }

sysroot_name() { echo "sysroot-$1-$(recipe "$root/tools/sysroot.sh" <(clang++-22 --version))"; }
build_sysroot() { local part=$1 arch=$2; . "$root/tools/sysroot.sh"; }
sysroot() {
  local name; name=$(sysroot_name "$1")
  entry "$name" build_sysroot "$1"
  mkdir -p "$root/build"
  local ini=$root/build/$1-sysroot.ini text
  text=$(sed "s#@SYSROOT@#$cache/$name#g; s#@ROOT@#$root#g" "$root/cross/test.ini.in")
  [ "$(cat "$ini" 2>/dev/null)" = "$text" ] || echo "$text" >"$ini"
}

while (($#)); do
  case $1 in
    packages) install_packages ;;
    sources) sources ;;
    lint) install_lint ;;
    gdb) install_gdb ;;
    guest) guest "$2"; shift ;;
    sysroot) sysroot "$2"; shift ;;
    where) case $2 in guest) echo "$cache/$(guest_name "$3")" ;; sysroot) echo "$cache/$(sysroot_name "$3")" ;; esac; shift 2 ;;
    all) if [ "${2:-}" = --offline ]; then offline=1; shift; fi
         install_packages; sources; guest arm64; guest riscv64; sysroot aarch64; sysroot riscv64; sysroot x86_64
         say "everything is there" ;;
    *) failed "setup.sh: unknown step '$1'" ;;
  esac
  shift
done
