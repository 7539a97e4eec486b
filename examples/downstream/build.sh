#!/bin/bash
# The same program without Meson, for any other build system to copy: the installed modules in the order of their manifest, then the
# program and the runtime it uses (QEMU's `virt`; a hypervisor for another machine brings its own), then the link.
# Usage: build.sh PREFIX RUNTIME-SOURCES LIBFDT-SOURCES OUTPUT
set -euo pipefail
prefix=$1 runtime=$2 libfdt=$3 output=$4
here=$(cd "$(dirname "$0")" && pwd) objects=$(mktemp -d); trap 'rm -rf "$objects"' EXIT

# These must be what the archive was built with: see share/doc/axvcpu/consuming.md.
machine=(--target=aarch64-none-elf -mno-implicit-float -mno-outline-atomics -ffreestanding -fno-pic -O2 -nostdlibinc)
libraries=(-nostdinc++ -isystem "$prefix/share/axvcpu/freestanding/config" -isystem /usr/lib/llvm-22/include/c++/v1 -isystem "$prefix/share/axvcpu/freestanding/include")
cxx=(clang++-22 "${machine[@]}" -std=c++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-c++-static-destructors
  -fno-asynchronous-unwind-tables -D_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_FAST "${libraries[@]}")

modules=()
precompile() { # name source
  "${cxx[@]}" -Wno-reserved-module-identifier "${modules[@]}" -x c++-module --precompile "$2" -o "$objects/${1//:/-}.pcm"
  modules+=("-fmodule-file=$1=$objects/${1//:/-}.pcm")
}
precompile std /usr/lib/llvm-22/share/libc++/v1/std.cppm
# axvcpu.fmt is for those who have fmt: add -I of its headers and leave the test out.
while read -r name source; do [ "$name" = axvcpu.fmt ] || precompile "$name" "$prefix/lib/$source"; done < <(
  tr '{' '\n' <"$prefix/lib/axvcpu.modules.json" | sed -n 's/.*"logical-name": "\([^"]*\)", "source-path": "\([^"]*\)".*/\1 \2/p')
precompile runtime "$runtime/runtime.cppm"
"${cxx[@]}" -Wno-unused-command-line-argument "${modules[@]}" -c "$objects/runtime.pcm" -o "$objects/runtime.o"

n=0
for source in "$here/main.cpp" "$runtime"/{console,interrupts,device_tree,libc,assert,aarch64/machine,aarch64/gic}.cpp; do
  "${cxx[@]}" "${modules[@]}" -I"$libfdt" -c "$source" -o "$objects/$((n += 1)).o"
done
for source in "$here/guest.S" "$runtime"/aarch64/{start,vectors,memory}.S; do clang-22 "${machine[@]}" -c "$source" -o "$objects/$((n += 1)).o"; done
for source in "$libfdt"/fdt{,_ro}.c; do clang-22 "${machine[@]}" -isystem "$prefix/share/axvcpu/freestanding/include" -I"$libfdt" -c "$source" -o "$objects/$((n += 1)).o"; done

ld.lld-22 -static -T "$runtime/image.ld" --defsym=image_base=0x40200000 --gc-sections -z max-page-size=4096 -u _start "$objects"/*.o "$prefix/lib/libaxvcpu.a" -o "$output"
