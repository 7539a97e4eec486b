#!/bin/bash
# ax test [LEVEL] [ARCH] [--full] [--minutes N] [--coverage] [--mutate [NAME-PART]] [-- CATCH2 ARGS]: runs the levels, prints a subtotal
# and the time for each, and one closing line. What counts, and what is said of a failure, is report.sh's.
set -uo pipefail
root=${AX_ROOT:?}
refuse() { echo "ax: $*" >&2; exit 2; }
levels=(build host fuzz user system guests budget)
archs=(aarch64 riscv64 x86_64)
level= full= minutes= coverage= mutate= mutate_part= catch2=() listing=
unknown() {
  local near; near=$(python3 "$root/tools/near.py" --one "$1" "${levels[@]}" aarch64 riscv64 x86_64 2>/dev/null) || near=
  refuse "unknown level or architecture '$1'${near:+ (did you mean $near?)}: use ${levels[*]}, and aarch64, riscv64 or x86_64"
}
while (($#)); do
  case $1 in
    --full) full=1 ;;
    --minutes)
      [[ ${2:-} =~ ^[0-9]{1,4}$ ]] && ((10#$2 > 0)) || refuse "--minutes needs a number from 1 on: ax test fuzz --minutes 10"
      minutes=$((10#$2)); shift ;;
    --coverage) coverage=1 ;;
    --mutate) mutate=1; if (($# > 1)) && [[ $2 != -* ]]; then mutate_part=$2; shift; fi ;;
    --) shift; catch2=("$@"); break ;;
    host|fuzz|user|system|guests|budget|build) [ -z "$level" ] || refuse "two levels, $level and $1: leave one out, or both for all"; level=$1 ;;
    aarch64|riscv64|x86_64) ((${#archs[@]} > 1)) || refuse "two architectures, $archs and $1: leave one out, or both for all"; archs=("$1") ;;
    --*) refuse "unknown option '$1': test knows --full, --minutes, --coverage and --mutate" ;;
    *) unknown "$1" ;;
  esac
  shift
done
[ -z "$minutes" ] || [ "${level:-fuzz}" = fuzz ] || refuse "level '$level' takes no --minutes: ax test fuzz --minutes $minutes"
[ -z "$coverage" ] || [ "${level:-host}" = host ] || refuse "level '$level' takes no --coverage: ax test host --coverage"
[ -z "$mutate" ] || [ -z "$level$coverage" ] || refuse "--mutate comes alone: ax test --mutate [NAME-PART]"
if ((${#catch2[@]})); then
  [ -z "$minutes$coverage$mutate" ] || refuse "--minutes, --coverage and --mutate take no Catch2 arguments: leave out what follows --"
  case ${level:-host} in host|user|system) ;; *) refuse "level '$level' has no Catch2 cases to choose from: use host, user or system" ;; esac
  levels=(host user system)   # those that run Catch2
  for a in "${catch2[@]}"; do case $a in --list-*|-'?'|-h|--help|--libidentify) listing=1 ;; esac; done
fi
[ -z "$full" ] || [ ${#catch2[@]} != 0 ] || levels+=(coverage mutate)
[ -z "$level" ] || levels=("$level")
[ -z "$minutes" ] || [ -n "$full" ] || levels=(fuzz)
[ -z "$full" ] || minutes=${minutes:-10}
[ -z "$coverage" ] || levels=(coverage)
[ -z "$mutate" ] || levels=(mutate)
[ -z "$mutate_part" ] || ls "$root/test/mutations" | grep -qF -- "$mutate_part" ||
  refuse "no mutation is called '$mutate_part'$(near=$(ls "$root/test/mutations" | sed -n 's/\.patch$//p' | python3 "$root/tools/near.py" "$mutate_part" 2>/dev/null | head -n 3 | paste -sd,); [ -z "$near" ] || echo " (did you mean ${near//,/, }?)"): see test/mutations/"
[ "$level" != user ] || [ "${archs[*]}" != x86_64 ] || refuse "qemu-x86_64 runs no image without Linux: its portable suites are in ax test system x86_64"

log=$(mktemp -d) || refuse "no temporary directory can be made: make room in ${TMPDIR:-/tmp}"
trap 'rm -rf "$log"' EXIT
trap 'exit 130' INT TERM
. "$root/tools/report.sh"

prepare() { "$root/tools/setup.sh" "$@" || { echo "ax: set-up failed" >&2; failed=$((failed + 1)); finish; }; }
build() {
  local arch=$1 args=()
  case $arch in
    host) args=(--native-file "$root/cross/native.ini" -Db_sanitize=address,undefined -Db_lundef=false
      "-Dc_args=-fno-sanitize-recover=all" "-Dcpp_args=-stdlib=libc++ -fno-sanitize-recover=all") ;;
    *-test) args=(--cross-file "$root/cross/${arch%-test}.ini" --cross-file "$root/build/${arch%-test}-sysroot.ini") ;;
    *-few-tags) args=(--cross-file "$root/cross/${arch%-few-tags}.ini" --cross-file "$root/build/${arch%-few-tags}-sysroot.ini" -Dtlb_tag_bits=3) ;;
    *) args=(--cross-file "$root/cross/$arch.ini") ;;
  esac
  "$root/tools/build.sh" "$root/build/$arch" "${args[@]}"
}

test_build_failed() { # level
  echo "  rerun: $(level_command)"
  echo "  if the sysroot is damaged: rm -r $("$root/tools/setup.sh" where sysroot $arch), then again"
  result "$1 $arch (build)" 0 1
}

# A slip is named in one line, with what may have been meant, before anything is set up.
mistyped() { # word meant
  local said; said=$("$root/ax" test "$1" 2>&1)
  [ $? = 2 ] && [ "$(wc -l <<<"$said")" = 1 ] && grep -q "did you mean $2?" <<<"$said" || { echo "$said"; return 1; }
}

level_build() {
  local arch
  for arch in aarch64 riscv64 x86_64; do check "build $arch" build $arch; done
  for arch in "${archs[@]}"; do
    build $arch || continue   # counted above
    check "SDK's objects, $arch" "$root/test/budget/objects.sh" "$root/build/$arch"
    prepare sysroot $arch
    build $arch-test || { result "build $arch-test" 0 1; continue; }
    check "trampoline is the same bytes, $arch" "$root/test/budget/trampoline.sh" "$root/build/$arch" "$root/build/$arch-test"
  done
  arch=
  check "a project that has the SDK as subproject" "$root/test/budget/downstream.sh"
  check "an installed SDK, by clang and lld alone" "$root/test/budget/installed.sh" "$root/build/aarch64"
  check "a mistyped level is refused" mistyped sytem system
  check "a mistyped architecture is refused" mistyped x86-64 x86_64
  check "every mutation applies" python3 "$root/tools/mutate.py" --check
  check "what is said of images that end early" "$root/test/report.sh"
  check "what the command line refuses" "$root/test/cli.sh" bad
  check "how a run ends" "$root/test/cli.sh" stop
  [ -z "$full" ] || check "gdb stops at the guest's first instruction" "$root/test/debug.sh" aarch64 riscv64
  check "incremental builds" "$root/test/budget/incremental.sh" "$root/build/aarch64"
  check "recipes are the code that is tested" python3 "$root/tools/recipes.py" --check
  check "sources compile as C++23" "$root/tools/build.sh" "$root/build/host-c++23" --native-file "$root/cross/native.ini" -Dcpp_std=c++23 -Dtests=false
}

level_fuzz() {
  "$root/tools/build.sh" "$root/build/fuzz" --native-file "$root/cross/native.ini" -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true \
    "-Dc_args=-fno-sanitize-recover=all" "-Dcpp_args=-stdlib=libc++ -fno-sanitize-recover=all -fsanitize=fuzzer-no-link" || { result "fuzz (build)" 0 1; return; }
  lines "fuzz" "$root/tools/fuzz.sh" $minutes
}

gdb_user() { echo "qemu-$arch -g 1234 $user_image -r cases$(quoted "$@") & gdb-multiarch -q $user_image -ex 'target remote :1234'"; }
list_user() { [ $arch = x86_64 ] || qemu-$arch "$root/build/$arch-test/test/user/user-suites.elf" "$@"; }
meson_counts() { # build directory, how many there are
  meson test -C "$1" --no-rebuild user 2>&1 | tee "$log/meson" | grep -E '^ *[0-9]+/[0-9]+ ' || { tail -n 5 "$log/meson"; return 1; }
  grep -qE "user +OK .*[^0-9]$2 subtests passed" "$log/meson"
}
level_user() {
  local arch
  for arch in "${archs[@]}"; do
    [ $arch != x86_64 ] || continue   # its portable suites run at ring 0, with the system suites
    prepare sysroot $arch
    build $arch-test || { test_build_failed user; continue; }
    user_image=$root/build/$arch-test/test/user/user-suites.elf
    [ -z "$listing" ] || { list_user "${catch2[@]}" || exit; continue; }
    timeout 600 qemu-$arch "$user_image" -r cases "${catch2[@]}" >"$log/user" 2>&1
    tap "user $arch" "$log/user" $? gdb_user
    [ ${#catch2[@]} != 0 ] || check "user $arch, each case a result of meson test" meson_counts "$root/build/$arch-test" "$(grep -ac '^ok ' "$log/user")"
  done
}

level_mutate() {
  prepare sysroot aarch64 sysroot riscv64 sysroot x86_64
  lines "mutations" python3 "$root/tools/mutate.py" ${mutate_part:+"$mutate_part"}
}

# Lines of modules/ and of the pure parts of the backends that the host suites execute.
level_coverage() {
  local dir=$root/build/coverage profile=$log/host.profdata
  "$root/tools/build.sh" "$dir" --native-file "$root/cross/native.ini" "-Dcpp_args=-stdlib=libc++ -fprofile-instr-generate -fcoverage-mapping" \
    "-Dcpp_link_args=-stdlib=libc++ -fprofile-instr-generate" || { result "coverage (build)" 0 1; return; }
  LLVM_PROFILE_FILE=$log/host.profraw timeout 600 "$dir/test/host/host-suites" -r cases >"$log/host" 2>&1
  tap "host (coverage)" "$log/host" $?
  llvm-profdata-22 merge -o "$profile" "$log/host.profraw"
  local sources=("$root"/modules/*/*.cpp* "$root"/arch-*/{decode,firmware,stage2,registers,syndrome,imsic}.cppm)
  rm -rf "$dir/report"
  llvm-cov-22 show "$dir/test/host/host-suites" -instr-profile="$profile" -format=html -output-dir="$dir/report" "${sources[@]}" >/dev/null 2>&1
  llvm-cov-22 report "$dir/test/host/host-suites" -instr-profile="$profile" "${sources[@]}" 2>/dev/null | tee "$log/report" | awk 'NR > 2 && NF {printf "%-40s %s\n", $1, $10}'
  [ -s "$dir/report/index.html" ] || result "coverage (browsable report)" 0 1
  # What no host suite can link is not left out silently: the shells over a backend are executed on the machines alone, and tables that
  # the compiler works out have no code.
  local s lost=
  for s in "${sources[@]}"; do
    [[ $s = */@(modules/percpu/percpu|modules/vcpu/vcpu|arch-riscv64/registers|arch-x86_64/stage2).cppm ]] || awk '{print $1}' "$log/report" | grep -qE "(^|/)${s#"$root/"}$" || lost+=" ${s#"$root"/}"
  done
  check "coverage of every source${lost:+, but not:$lost}" [ -z "$lost" ]
  local percent; percent=$(awk '$1 == "TOTAL" {sub("%", "", $10); print $10}' "$log/report")
  echo "browse $dir/report/index.html"
  check "line coverage $percent % (at least 95)" awk -v p="${percent:-0}" 'BEGIN {exit !(p >= 95)}'
}

gdb_host() { echo "ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 gdb -q --args $root/build/host/test/host/host-suites -r cases$(quoted "$@")"; }
list_host() { "$root/build/host/test/host/host-suites" "$@"; }
level_host() {
  build host || { result "host (build)" 0 1; return; }
  [ -z "$listing" ] || { list_host "${catch2[@]}"; return; }
  timeout 600 "$root/build/host/test/host/host-suites" -r cases "${catch2[@]}" >"$log/host" 2>&1
  tap "host (ASan, UBSan)" "$log/host" $? gdb_host
}

# What the machine's command line takes: words with %20 for a space.
machine_words() { local w; for w; do printf ' %s' "${w// /%20}"; done; }
gdb_system() { echo "AX_ROOT=$root python3 $root/tools/machine.py --debug$(quoted "${machine[@]}" "--append=$words$(machine_words "$@")")"; }
alone_system() { local said; said=$(gdb_system "$@"); echo "${said/ --debug/ --timeout 400}"; }
list_system() {
  local image
  for image in system portable; do
    [ $image = system ] || [ $arch = x86_64 ] || continue
    python3 "$root/tools/machine.py" --arch $arch --bare "$root/build/$arch-test/test/system/$image-suites.elf" --timeout 60 "--append=${*// /%20}" </dev/null | tr -d '\r'
  done
}

# The suites of one architecture on one machine: suites LABEL WORDS MACHINE-OPTIONS... May be set: image, tests (the build), limit (seconds), plugin.
image= tests= limit= plugin=()
suites() {
  local label=$1 words="-r cases${2:+ $2}" image=${image:-system-suites} status w fixed= asked=()
  # Catch2 joins its arguments by AND and splits by commas after that: each part of what was asked for gets the machine's own filter.
  for w in $2; do [[ $w = *=* ]] || fixed=$w; done
  for w in "${catch2[@]}"; do [ -z "$fixed" ] || [[ $w = -* ]] || w=$(sed -E "s/([^\\\\]),/\\1,$fixed%20/g" <<<"$w"); asked+=("$w"); done
  local machine=(--arch $arch --bare "$root/build/${tests:-$arch-test}/test/system/$image.elf" "${@:3}")
  python3 "$root/tools/machine.py" "${machine[@]}" "${plugin[@]}" --timeout ${limit:-$((full ? 3600 : 400))} "--append=$words$(machine_words "${asked[@]}")" >"$log/system" 2>"$log/system.err" </dev/null
  status=$?
  { echo; cat "$log/system.err"; } >>"$log/system"   # what the machine says beside its console does not cut the suite's lines
  tap "system $arch $label" "$log/system" $status gdb_system
}

# Instructions that the hostile guest's random code itself has executed, counted by the plugin: hostile CPU RAM-ADDRESS WORDS
hostile() {
  local cpu=$1 ram=$2 plugin least=1000000 distinct=10000 lives=200 n d
  [ -z "$full" ] || least=100000000 distinct=1000000 lives=6500
  clang-22 -O2 -shared -fPIC -Wall -Wextra -Werror -o "$root/build/count.so" "$root/tools/plugin/count.c" || { result "hostile guest $arch (plugin)" 0 1; return; }
  plugin=(--plugin "$root/build/count.so,from=$(printf %#x $((ram + 0x20000))),to=$(printf %#x $((ram + 0x40000)))" --plugin-log "$log/plugin")
  limit=$((120 + lives)) suites "hostile guest, counted" "${3:+$3 }lives=$lives a%20hostile%20guest*" --cpu "$cpu" --cpus 2
  [ ${#catch2[@]} = 0 ] || return 0   # some of its cases alone execute less
  grep -aE '^# hostile: (the seed|[0-9]+ exits)' "$log/system"
  n=$(awk '$1 == "range" {print $2}' "$log/plugin") d=$(awk '$1 == "distinct" {print $2}' "$log/plugin")
  check "hostile guest $arch: ${n:-no} instructions (at least $least)" [ "${n:-0}" -ge $least ]
  check "hostile guest $arch: the same seed does the same" hostile_again "$cpu" "$3"
  check "hostile guest $arch: ${d:-no} distinct words (at least $distinct)" [ "${d:-0}" -ge $distinct ]
}

# Where the machine's clock counts instructions, a seed's lives are the same each time.
hostile_again() { # CPU WORDS
  local i
  for i in 1 2; do
    python3 "$root/tools/machine.py" --arch $arch --bare "$root/build/$arch-test/test/system/system-suites.elf" --cpu "$1" --cpus 2 --icount --timeout $((full ? 900 : 120)) \
      "--append=-r cases ${2:+$2 }seed=5 lives=$((full ? 300 : 12)) a%20hostile%20guest*" </dev/null >"$log/again.$i" 2>&1 || { tail -n 5 "$log/again.$i"; return 1; }
  done
  grep -a '^# hostile: .* exits' "$log/again.1" && cmp <(grep -a '^# hostile' "$log/again.1") <(grep -a '^# hostile' "$log/again.2")
}

# TLB maintenance, counted and ordered by a plugin; a program of its own looks at what its cases did, so they run all or not at all.
maintenance() { # CPU WORD
  case ${catch2[*]} in ''|*maintenance*) ;; *) return ;; esac
  lines "maintenance $arch $1${2:+ $2}" python3 "$root/tools/maintenance.py" $arch "$root/build/$arch-test/test/system/system-suites.elf" $1 $2
}

# Built with eight TLB tags: what runs many VMs rolls over all the time.
few_tags() { # WORDS MACHINE-OPTIONS...
  [ -n "$full" ] && [ ${#catch2[@]} = 0 ] || return 0
  build $arch-few-tags || { result "few tags $arch (build)" 0 1; return; }
  tests=$arch-few-tags suites "$3 cpus=$5, 8 TLB tags" "${1:+$1 }[tlb],[smp],[switch],[stage2]" "${@:2}"
}

# With some cases asked for, every machine is tried: which have them is known only there.
level_system() {
  local arch
  for arch in "${archs[@]}"; do
    prepare sysroot $arch
    build $arch-test || { test_build_failed system; continue; }
    if [ -n "$listing" ]; then list_system "${catch2[@]}" || exit; else system_$arch; fi
  done
}

system_aarch64() {
  local row cpu cpus vhe
  for row in "cortex-a72 2 off" "max 2 off" "max 2 on" "max 1 on"; do
    read -r cpu cpus vhe <<<"$row"
    suites "$cpu vhe=$vhe cpus=$cpus" "vhe=$vhe" --cpu $cpu --cpus $cpus
  done
  suites "max vhe=on cpus=4" "vhe=on ${full:+kicks=50000 }[smp]" --cpu max --cpus 4
  suites "cortex-a72 vhe=off cpus=1, timers by instructions" "vhe=off late=20 [timer]" --cpu cortex-a72 --cpus 1 --icount
  # Many more kicks than CPUs that take turns on this machine's could send: one at a time, by the emulator's own turns.
  suites "max vhe=on cpus=4, by turns" "vhe=on kicks=$((full ? 1000000 : 100000)) no%20kick%20is%20lost*" --cpu max --cpus 4 --single
  few_tags vhe=off --cpu max --cpus 4
  hostile max 0x40000000 vhe=off
  maintenance cortex-a72 vhe=off
  maintenance max vhe=on
}

system_riscv64() {
  local row cpu cpus
  for row in "rv64,h=true,v=true,vlen=256,zcb=true 2" "rv64,h=true 1" "rv64,h=true,sstc=false 2"; do
    read -r cpu cpus <<<"$row"
    suites "$cpu cpus=$cpus" "~[aia]" --cpu $cpu --cpus $cpus
  done
  suites "rv64,h=true aia cpus=2" "" --cpu rv64,h=true --cpus 2 --irqchip aia
  suites "rv64,h=true aia cpus=4" "${full:+kicks=100000 }[smp]" --cpu rv64,h=true --cpus 4 --irqchip aia
  for cpu in rv64,h=true rv64,h=true,sstc=false; do suites "$cpu cpus=1, timers by instructions" "late=20 [timer]" --cpu $cpu --cpus 1 --icount; done
  few_tags "" --cpu rv64,h=true --cpus 4
  hostile rv64,h=true,v=true,vlen=256 0x40000000 ""
  maintenance rv64,h=true ""
}

system_x86_64() {
  suites "max cpus=1" "" --cpu max --cpus 1
  image=portable-suites suites "portable at ring 0" "" --cpu max --cpus 1
}

boot() { booted "$@" || { echo "alone: ./ax demo$(quoted "$@")"; return 1; }; }
booted() { # options of demo...: Linux reaches user space, computes the same in all processes, and powers off
  "$root/ax" demo "$@" --timeout 240 >"$log/boot" 2>"$log/boot.err" </dev/null || { tail -n 5 "$log/boot" "$log/boot.err"; return 1; }
  local vcpus=4 vms=1
  while (($#)); do case $1 in --vcpus) vcpus=$2 ;; --vms) vms=$2 ;; esac; shift; done
  [ "$(grep -ac "Brought up 1 node, $vcpus CPU" "$log/boot")" = "$vms" ] || { echo "not every vCPU came up"; return 1; }
  [ "$(grep -ac GUEST-TEST-PASS "$log/boot")" = "$vms" ] || { echo "the guest's own test did not pass"; return 1; }
  ! grep -a FP-DIFFERS "$log/boot" || return 1
}
linux() { # label, options of demo...: one boot
  check "linux $1" boot "${@:2}"
}

refused_line() { # CPU, words, further options: hello on this machine ends with status 1 and one line that says them
  python3 "$root/tools/machine.py" --arch $arch --cpu "$1" "${@:3}" --bare "$root/build/$arch/examples/hello/hello.elf" --timeout 60 >"$log/refused" 2>&1 </dev/null
  local status=$?
  cat "$log/refused"
  [ $status = 1 ] && [ "$(grep -c . "$log/refused")" = 1 ] && grep -qF "$2" "$log/refused"
}

# A guest that needs no hypervisor says the same on QEMU's own machine as in a VM of ours. OpenSBI speaks before it there.
transcript() {
  local image=$root/build/transcript-$arch.elf load=0x40200000 cpu=cortex-a72 flags=() bare=(qemu-system-aarch64 -M virt,gic-version=3)
  [ $arch = aarch64 ] || { load=0x80200000 cpu=rv64,h=true flags=(-march=rv64imac_zicsr -mabi=lp64 -mcmodel=medany) bare=(qemu-system-riscv64 -M virt); }
  clang++-22 --target=$arch-none-elf -std=c++20 -O1 -ffreestanding -fno-pic -fno-exceptions -fno-rtti -Wall -Wextra -Werror "${flags[@]}" -nostdlib -fuse-ld=lld \
    -Wl,--defsym=LOAD=$load -Wl,-T,"$root/test/guests/transcript.ld" -o "$image" "$root/test/guests/transcript_$arch.cpp" || return
  timeout 60 "${bare[@]}" -cpu $cpu -m 512 -display none -net none -no-reboot -monitor none -serial stdio -kernel "$image" </dev/null | tr -d '\r' | sed -n '/^transcript$/,$p' >"$log/bare"
  python3 "$root/tools/machine.py" --arch $arch --image "$image" --cpu $cpu --timeout 60 </dev/null | tr -d '\r' >"$log/vm"
  grep -qx end "$log/bare" || { echo "the guest did not end without a hypervisor"; return 1; }
  diff "$log/bare" "$log/vm"
}

guests_aarch64() {
  linux "aarch64 1 vCPU on 1 CPU, cortex-a72" aarch64 --vcpus 1 --cpus 1 --cpu cortex-a72
  linux "aarch64 4 on 2, max with VHE" aarch64 --vcpus 4 --cpus 2 --vhe on
  linux "aarch64 4 on 2, floating point" aarch64 --vcpus 4 --cpus 2 --append "console=ttyAMA0 panic=-1 fp"
  linux "aarch64 4 on 2, floating point at first use" aarch64 --vcpus 4 --cpus 2 --lazy-fp --append "console=ttyAMA0 panic=-1 fp"
  linux "aarch64 two VMs of 2, max without VHE" aarch64 --vcpus 2 --cpus 2 --vms 2 --vhe off
  [ -n "$full" ] || return 0
  local v cpu i
  for cpu in cortex-a72 max; do for v in "1 1" "4 2" "8 4"; do
    set -- $v
    linux "aarch64 $1 on $2, $cpu" aarch64 --vcpus "$1" --cpus "$2" --cpu $cpu
  done; done
  linux "aarch64 8 on 4, max without VHE" aarch64 --vcpus 8 --cpus 4 --vhe off
  linux "aarch64 2 on 2, interrupts and timer passed through" aarch64 --vcpus 2 --cpus 2 --passthrough irq,timer
  for ((i = 1; i <= 20; i++)); do linux "aarch64 4 on 2, boot $i of 20" aarch64 --vcpus 4 --cpus 2 --seed $i; done
}

guests_riscv64() {
  linux "riscv64 1 vCPU on 1 hart" riscv64 --vcpus 1 --cpus 1
  linux "riscv64 4 on 2, without Sstc and V" riscv64 --vcpus 4 --cpus 2 --cpu rv64,h=true,sstc=false
  linux "riscv64 4 on 2, floating point" riscv64 --vcpus 4 --cpus 2 --append "console=ttyS0 panic=-1 fp"
  linux "riscv64 4 on 2, floating point at first use" riscv64 --vcpus 4 --cpus 2 --lazy-fp --append "console=ttyS0 panic=-1 fp"
  linux "riscv64 two VMs of 2" riscv64 --vcpus 2 --cpus 2 --vms 2
  linux "riscv64 4 on 2, AIA" riscv64 --vcpus 4 --cpus 2 --irqchip aia
  [ -n "$full" ] || return 0
  local v cpu i
  for cpu in rv64,h=true rv64,h=true,v=true,vlen=256 rv64,h=true,sstc=false; do for v in "1 1" "4 2" "8 4"; do
    set -- $v
    linux "riscv64 $1 on $2, $cpu" riscv64 --vcpus "$1" --cpus "$2" --cpu $cpu
  done; done
  linux "riscv64 1 on 1, AIA" riscv64 --vcpus 1 --cpus 1 --irqchip aia
  linux "riscv64 8 on 4, AIA, V" riscv64 --vcpus 8 --cpus 4 --irqchip aia --cpu rv64,h=true,v=true,vlen=256
  linux "riscv64 two VMs of 2, AIA" riscv64 --vcpus 2 --cpus 2 --vms 2 --irqchip aia
  for ((i = 1; i <= 20; i++)); do linux "riscv64 4 on 2, boot $i of 20" riscv64 --vcpus 4 --cpus 2 --seed $i; done
}

level_guests() {
  local arch
  for arch in "${archs[@]}"; do
    case $arch in aarch64) prepare guest arm64 ;; riscv64) prepare guest riscv64 ;; esac
    build $arch || { result "guests $arch (build)" 0 1; continue; }
    check "hello $arch" python3 "$root/tools/machine.py" --arch $arch --bare "$root/build/$arch/examples/hello/hello.elf" --timeout 60
    case $arch in
      aarch64) check "hello aarch64, a machine with a GICv2: one line, no trap" refused_line cortex-a72 "a GICv3 or later" --irqchip gicv2 ;;
      riscv64) check "hello riscv64, a machine without H: one line, no trap" refused_line rv64,h=false "the H extension" ;;
      x86_64) check "hello x86_64, a machine without SVM: one line, no trap" refused_line max,svm=off "a CPU with SVM" ;;
    esac
    [ $arch = x86_64 ] || check "transcript $arch, in a VM as without a hypervisor" transcript
    [ $arch = x86_64 ] || guests_$arch   # no interrupt controller there yet, so no Linux
  done
}

level_budget() {
  local arch
  for arch in "${archs[@]}"; do
    case $arch in aarch64) prepare guest arm64 ;; riscv64) prepare guest riscv64 ;; esac
    build $arch || { result "budget $arch (build)" 0 1; continue; }
    check "trampoline's length, $arch" "$root/test/budget/trampoline_length.sh" $arch "$root/build/$arch"
    "$root/tools/build.sh" "$root/build.kept/$arch" --cross-file "$root/cross/$arch.ini" -Dclear_registers=false || { result "budget $arch (build, registers not cleared)" 0 1; continue; }
    check "trampoline's length, registers not cleared, $arch" "$root/test/budget/trampoline_length.sh" $arch "$root/build.kept/$arch" kept
    [ $arch != x86_64 ] || continue
    check "fast hook's code, $arch" "$root/test/budget/hook.sh" $arch "$root/build/$arch"
    check "cost of an exit has not grown, $arch" python3 "$root/tools/bench.py" $arch table
    check "cost of a boot, $arch" python3 "$root/tools/bench.py" $arch boot
  done
}

prepare packages sources
for l in "${levels[@]}"; do
  began=$SECONDS passed_before=$passed failed_before=$failed
  "level_$l" || [ -z "$listing" ] || exit
  [ -n "$listing" ] || printf '%-34s %4d ok %4d bad %4d s\n' "level $l" $((passed - passed_before)) $((failed - failed_before)) $((SECONDS - began))
done
[ -z "$listing" ] || exit $((failed > 0))
finish
