# Sourced by setup.sh with `part` (a directory to fill) and `arch`: a hosted C++ sysroot for bare-metal test images: picolibc,
# compiler-rt builtins, libunwind, libc++abi and libc++ with exceptions, from Debian's sources, pinned here by hash.
# No CMake: Debian's libc++ headers with a __config_site of ours, and only the sources that are needed.
llvm_version=22.1.8 picolibc_version=1.8.10
llvm_hash=b49b9277aef97616320b2da259e1f8174c65b0ce2fbe2e8629644a97693402fe
picolibc_hash=d1fc2a20f217472f8d9da084a519a25678e8d91852a41c7f3f1840d3508f7163
bin=/usr/lib/llvm-22/bin jobs=$(nproc)
case $arch in
  aarch64) flags=(-mno-outline-atomics) ;;
  riscv64) flags=(-march=rv64gc -mabi=lp64d -mcmodel=medany) ;;
  x86_64) flags=(-mno-red-zone -fno-pic) ;;
  *) failed "there is no sysroot for '$arch'" ;;
esac
target=(--target="$arch-none-elf" "${flags[@]}")
say "building the bare-metal C++ sysroot for $arch (about a minute)"

# The sources are a cache entry of their own: 200 MB to fetch, once for all architectures.
fetch_sysroot_sources() {
  local part=$1 work=$1/work
  mkdir "$work"
  (cd "$work" && private_apt "$work/apt" source --download-only --tar-only picolibc/trixie llvm-toolchain-22/trixie >/dev/null) || failed "Debian's sources of picolibc or LLVM cannot be fetched: check the network"
  (cd "$work" && printf '%s  %s\n' "$llvm_hash" "llvm-toolchain-22_$llvm_version.orig.tar.xz" "$picolibc_hash" "picolibc_$picolibc_version.orig.tar.gz" | sha256sum -c --quiet -) ||
    failed "Debian has other versions of picolibc or LLVM than tools/sysroot.sh pins"
  mkdir -p "$part"/{llvm,picolibc}
  local top=llvm-toolchain-22_$llvm_version
  xz -dc -T"$jobs" "$work/llvm-toolchain-22_$llvm_version.orig.tar.xz" | tar xf - -C "$part/llvm" --strip-components=1 \
    $top/{libunwind,libcxxabi,libcxx}/{src,include} $top/compiler-rt/lib/builtins $top/libc/{shared,hdr,include,src/__support} ||
    failed "LLVM's sources cannot be unpacked: is there room in $cache?"
  tar xf "$work/picolibc_$picolibc_version.orig.tar.gz" -C "$part/picolibc" --strip-components=1 || failed "picolibc's sources cannot be unpacked: is there room in $cache?"
  rm -rf "$work"
}
# Its name says all that decides what is in it: versions, hashes, and what is unpacked.
src=$cache/sysroot-sources-$(recipe <(echo $llvm_version $llvm_hash $picolibc_version $picolibc_hash; declare -f fetch_sysroot_sources))
if ! whole "${src##*/}"; then
  (rm -rf "$src"; part=$(mktemp -d "$cache/.part.XXXXXX"); trap "rm -rf '$part'" EXIT; fetch_sysroot_sources "$part"; seal "$part"; mv "$part" "$src")
fi
build=$part/build
mkdir -p "$build" "$part/lib" "$part/include"

# 1. picolibc: single-threaded, no TLS, full formats, wide characters; start code and system calls are ours.
list() { local s; s=$(printf "'%s', " "$@"); echo "[${s%, }]"; }
cat >"$build/cross.ini" <<END
[binaries]
c = $(list $bin/clang "${target[@]}" -fuse-ld=lld -nostdlib)
ar = '$bin/llvm-ar'
nm = '$bin/llvm-nm'
strip = '$bin/llvm-strip'
[host_machine]
system = 'none'
cpu_family = '$arch'
cpu = '$arch'
endian = 'little'
[properties]
skip_sanity_check = true
$([ "$arch" != x86_64 ] || printf '%s\n' '[built-in options]' '# clang links x86_64-none-elf through gcc; as a Linux target it calls lld itself.' "c_link_args = ['--target=x86_64-linux-gnu']")
END
meson setup "$build/picolibc" "$src/picolibc" --cross-file "$build/cross.ini" --prefix="$part" -Dincludedir=include -Dlibdir=lib \
  -Doptimization=2 -Ddebug=false -Db_ndebug=true -Dmultilib=false -Dspecsdir=none -Dpicocrt=false -Dtests=false -Dsemihost=false \
  -Dthread-local-storage=false -Dsingle-thread=true -Dposix-console=true -Dio-long-long=true -Dmb-capable=true -Dinitfini=false >"$build/log" 2>&1 &&
  ninja -C "$build/picolibc" --quiet install >>"$build/log" 2>&1 || { tail -n 30 "$build/log" >&2; failed "picolibc did not build"; }

# 2. Headers.
include=$part/include cxx=$part/include/c++/v1
mkdir -p "$include/c++"
cp -a /usr/lib/llvm-22/include/c++/v1 "$include/c++/"
cp -a "$src"/llvm/libunwind/include/*.h "$include/"
[ -e "$include/sys/random.h" ] || echo "#include <unistd.h>" >"$include/sys/random.h"   # getentropy()
site=()
for pair in HAS_THREADS=0 HAS_TERMINAL=0 HAS_TIME_ZONE_DATABASE=0 LIBC_PICOLIBC=1 LIBC_NEWLIB=1 PSTL_BACKEND_SERIAL=; do
  site+=(-e "s/^(#define|.* #undef) _LIBCPP_${pair%=*}\b.*/#define _LIBCPP_${pair/=/ }/")
done
sed -E "${site[@]}" /usr/lib/llvm-22/include/c++/v1/__config_site | grep -v PSTL_BACKEND_STD_THREAD >"$cxx/__config_site"

# 3. Libraries, by a generated ninja file.
S=$src/llvm
{
  cat <<END
builddir = $build/objects
base = ${target[*]} -D_GNU_SOURCE -Os -g0 -w -ffunction-sections -fdata-sections -isystem $cxx -isystem $include
rule cc
  command = $bin/clang \$base -nostdlibinc \$flags -c \$in -o \$out
rule cxx
  command = $bin/clang++ \$base -nostdinc++ -nostdlibinc \$flags -c \$in -o \$out
rule ar
  command = rm -f \$out && $bin/llvm-ar rcs \$out \$in
END
  library() { # name, flags, sources
    local name=$1 flags=$2 objects=() f o; shift 2
    for f; do
      o=$build/objects/$name/${f##*/}.o; objects+=("$o")
      case $f in *.cpp) r=cxx ;; *) r=cc ;; esac
      printf 'build %s: %s %s\n  flags = %s\n' "$o" $r "$f" "$flags"
    done
    printf 'build %s: ar %s\n' "$part/lib/lib$name.a" "${objects[*]}"
  }
  builtins=$S/compiler-rt/lib/builtins
  # 128-bit integers and IEEE quad long double; 64-bit targets inline the rest.
  library clang_rt.builtins "-fno-builtin -I$builtins" \
    $(ls -d "$builtins"/{*ti[2-5].c,*tf*.c,mulodi4.c,powi[sd]f2.c,{mul,div}[sdt]c3.c,int_util.c,clear_cache.c} "$builtins"/{$arch,${arch%64}}/fp_mode.c 2>/dev/null | grep -vE '/[^/]*(xf|hf|bf)[^/]*$') \
    $([ $arch != x86_64 ] || ls -d "$builtins"/{i386/fp_mode.c,{div,mul}xc3.c,*xf*ti.c,*ti*xf.c,powixf2.c})
  library unwind "-D_LIBUNWIND_IS_BAREMETAL -D_LIBUNWIND_HAS_NO_THREADS -DNDEBUG -fno-rtti -fno-exceptions -funwind-tables -fstrict-aliasing -I$S/libunwind/include" \
    "$S"/libunwind/src/{libunwind.cpp,UnwindLevel1.c,UnwindLevel1-gcc-ext.c,UnwindRegistersRestore.S,UnwindRegistersSave.S}
  library c++abi "-std=c++26 -D_LIBCXXABI_BUILDING_LIBRARY -D_LIBCPP_BUILDING_LIBRARY -D_LIBCXXABI_HAS_NO_THREADS -DLIBCXXABI_BAREMETAL -DNDEBUG -I$S/libcxxabi/include -I$S/libcxx/src" \
    "$S"/libcxxabi/src/{cxa_aux_runtime,cxa_default_handlers,cxa_demangle,cxa_exception_storage,cxa_guard,cxa_handlers,cxa_vector,cxa_virtual,cxa_exception,cxa_personality,stdlib_exception,stdlib_stdexcept,stdlib_typeinfo,abort_message,fallback_malloc,private_typeinfo,stdlib_new_delete}.cpp
  library c++ "-std=c++26 -Wno-c++11-narrowing -D_LIBCPP_BUILDING_LIBRARY -DLIBCXX_BUILDING_LIBCXXABI -DNDEBUG -D_LIBCPP_USING_GETENTROPY -D_POSIX_TIMERS=1 -D_POSIX_MONOTONIC_CLOCK=200112L -DLIBC_NAMESPACE=__llvm_libc_common_utils -DLIBC_THREAD_MODE=LIBC_THREAD_MODE_SINGLE -I$S/libcxx/src -I$S/libcxxabi/include -I$S/libc" \
    "$S"/libcxx/src/{locale,ios.instantiations,algorithm,any,bind,call_once,charconv,chrono,error_category,exception,expected,functional,hash,memory,memory_resource,new_handler,new_helpers,optional,print,random_shuffle,stdexcept,string,system_error,typeinfo,valarray,variant,vector,verbose_abort,random,fstream,filesystem/path,filesystem/filesystem_error,ios,iostream,ostream,regex,strstream,ryu/d2fixed,ryu/d2s,ryu/f2s}.cpp
} >"$build/libraries.ninja"
ninja -f "$build/libraries.ninja" --quiet >"$build/log" 2>&1 || { tail -n 30 "$build/log" >&2; failed "the C++ libraries did not build"; }
rm -rf "$build"
