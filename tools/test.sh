#!/bin/bash
# ax test [LEVEL] [ARCH] [--full] [--minutes N] [--coverage] [--mutate [NAME-PART]] [-- CATCH2 ARGS]: runs the levels, prints a subtotal
# for each, and one closing line.
set -uo pipefail
root=${AX_ROOT:?}
refuse() { echo "ax: $*" >&2; exit 2; }
levels=(build host fuzz user system guests budget)
archs=(aarch64 riscv64 x86_64)
level= full= minutes= coverage= mutate= catch2=()
while (($#)); do
  case $1 in
    --full) full=1 ;;
    --minutes)
      [[ ${2:-} =~ ^[0-9]{1,4}$ ]] && (($2 > 0)) || refuse "--minutes needs a number from 1 on: ax test fuzz --minutes 10"
      minutes=$2; shift ;;
    --coverage) coverage=1 ;;
    --mutate) mutate=1; if (($# > 1)) && [[ $2 != -* ]]; then mutate_part=$2; shift; fi ;;
    --) shift; catch2=("$@"); break ;;
    host|fuzz|user|system|guests|budget|build) level=$1 ;;
    aarch64|riscv64|x86_64) archs=("$1") ;;
    --*) refuse "unknown option '$1': test knows --full, --minutes, --coverage and --mutate" ;;
    *) near=; for l in "${levels[@]}"; do [[ ${1:0:2} != "${l:0:2}" ]] || near=" (did you mean $l?)"; done
      refuse "unknown level '$1'$near: use ${levels[*]}" ;;
  esac
  shift
done
[ -z "$level" ] || levels=("$level")
[ -z "$minutes" ] || levels=(fuzz)
[ -z "$coverage" ] || levels=(coverage)
[ -z "$mutate" ] || levels=(mutate)

passed=0 failed=0 skipped=0 log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
trap 'exit 130' INT TERM
result() { # label good bad [skipped]
  passed=$((passed + $2)) failed=$((failed + $3))
  printf '%-34s %4d ok %4d bad%s\n' "$1" "$2" "$3" "$([ "${4:-0}" = 0 ] || printf ' %4d skipped' "$4")"
}

# Counts the TAP lines of a suite. A suite that ends early, hangs, or runs no case counts as one failure and names its last case.
tap() { # label rerun-command file status
  local label=$1 rerun=$2 file=$3 status=$4 good bad skips=0 line
  good=$(grep -ac '^ok ' "$file") bad=$(grep -ac '^not ok ' "$file")
  while IFS= read -r line; do  # a skip that test/expected-skips does not give a reason for is a failure
    good=$((good - 1))
    if awk -F'\t' -v label="$label" -v name="$line" '!/^#/ && label ~ $1 && index(name, $2) == 1 {found = 1} END {exit !found}' "$root/test/expected-skips"; then skips=$((skips + 1))
    else bad=$((bad + 1)); echo "  $label: skipped, and test/expected-skips does not say why: $line"; fi
  done < <(grep -a '^ok .* # SKIP' "$file" | sed 's/^ok [0-9]* - //; s/ # SKIP$//')
  skipped=$((skipped + skips))
  if ! grep -aqE '^1\.\.[0-9]+' "$file" || ((good + bad + skips == 0)) || { ((status != 0)) && ((bad == 0)); }; then
    echo "  $label: ended early with status $status, in: $(grep -a '^# case' "$file" | tail -n 1)"
    tail -n 12 "$file" | sed 's/^/  | /'
    bad=$((bad + 1))
  fi
  if ((bad > 0)); then
    grep -aE '^(not ok|#  )' "$file" | sed 's/^/  /'
    [ "$status" != 2 ] || grep -aqE '^(not )?ok ' "$file" || near
    local name
    grep -a '^not ok' "$file" | sed 's/^not ok [0-9]* - //; s/,/\\,/g' | head -n 5 | while read -r name; do
      echo "  rerun: ${rerun/NAME/\"$name\"}"
      [ -z "${debugger:-}" ] || echo "  in gdb: AX_ROOT=$root $debugger \"--append=${name// /%20}\""
    done
    grep -aq '^not ok' "$file" || echo "  rerun: $rerun"
  fi
  result "$label" "$good" "$bad" "$skips"
}

# Cases whose names have a word of what was asked for: of the suites natively, which list them fastest, and by their sources.
near() {
  local word
  echo "  no case has this name; near ones:"
  for word in ${catch2[*]}; do
    [ ${#word} -lt 4 ] || grep -rhoi "TEST_CASE(\"[^\"]*${word//[^a-zA-Z0-9 ]/}[^\"]*\"" "$root"/test/host "$root"/test/system
  done | sed 's/TEST_CASE(/    /' | sort -u | head -n 8
}

# One yes-or-no check: check LABEL COMMAND...; prints what the command said when it failed.
check() {
  local label=$1; shift
  if "$@" >"$log/check" 2>&1; then result "$label" 1 0; else sed 's/^/  | /' "$log/check" | tail -n 12; echo "  rerun: ax test $l"; result "$label" 0 1; fi
}

prepare() { "$root/tools/setup.sh" "$@" || { echo "ax: set-up failed" >&2; failed=$((failed + 1)); finish; }; }
build() {
  local arch=$1 args=()
  case $arch in
    host) args=(--native-file "$root/cross/native.ini" -Db_sanitize=address,undefined -Db_lundef=false) ;;
    *-test) args=(--cross-file "$root/cross/${arch%-test}.ini" --cross-file "$root/build/${arch%-test}-sysroot.ini") ;;
    *) args=(--cross-file "$root/cross/$arch.ini") ;;
  esac
  "$root/tools/build.sh" "$root/build/$arch" "${args[@]}"
}

finish() {
  echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
  ((failed == 0 && passed > 0)) || exit 1
  exit 0
}

level_build() {
  local arch
  for arch in aarch64 riscv64 x86_64; do check "build $arch" build $arch; done
  for arch in "${archs[@]}"; do
    build $arch || return
    check "SDK's objects, $arch" "$root/test/budget/objects.sh" "$root/build/$arch"
    prepare sysroot $arch
    build $arch-test || return
    check "trampoline is the same bytes, $arch" "$root/test/budget/trampoline.sh" "$root/build/$arch" "$root/build/$arch-test"
  done
  check "a project that has the SDK as subproject" "$root/test/budget/downstream.sh"
  check "an installed SDK, by clang and lld alone" "$root/test/budget/installed.sh" "$root/build/aarch64"
  check "incremental builds" "$root/test/budget/incremental.sh" "$root/build/aarch64"
  check "recipes are the code that is tested" python3 "$root/tools/recipes.py" --check
  check "sources compile as C++23" "$root/tools/build.sh" "$root/build/host-c++23" --native-file "$root/cross/native.ini" -Dcpp_std=c++23 -Dtests=false
}

# TAP from a program of ours: one result a line. lines LABEL RERUN COMMAND...
lines() {
  local label=$1 rerun=$2; shift 2
  "$@" 2>&1 | tee "$log/lines" | { [ -t 1 ] && cat || grep -a '^not ok\|^#' ; }
  tap "$label" "$rerun" "$log/lines" "${PIPESTATUS[0]}"
}

level_fuzz() {
  "$root/tools/build.sh" "$root/build/fuzz" --native-file "$root/cross/native.ini" -Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true \
    "-Dcpp_args=-stdlib=libc++ -fsanitize=fuzzer-no-link" || { result "fuzz (build)" 0 1; return; }
  lines "fuzz" "ax test fuzz" "$root/tools/fuzz.sh" $minutes
}

level_user() {
  local arch
  for arch in "${archs[@]}"; do
    [ $arch != x86_64 ] || continue   # its portable suites run at ring 0, with the system suites
    prepare sysroot $arch
    build $arch-test || { result "user $arch (build)" 0 1; continue; }
    timeout 600 qemu-$arch "$root/build/$arch-test/test/user/user-suites.elf" -r cases "${catch2[@]}" >"$log/user" 2>&1
    tap "user $arch" "ax test user $arch -- NAME" "$log/user" $?
  done
}

level_mutate() {
  local arch
  for arch in "${archs[@]}"; do prepare sysroot $arch; done
  lines "mutations" "ax test --mutate NAME" python3 "$root/tools/mutate.py" ${mutate_part:-}
}

# Lines of modules/ and of the pure parts of the backends that the host suites execute.
level_coverage() {
  local dir=$root/build/coverage profile=$log/host.profdata
  "$root/tools/build.sh" "$dir" --native-file "$root/cross/native.ini" "-Dcpp_args=-stdlib=libc++ -fprofile-instr-generate -fcoverage-mapping" \
    "-Dcpp_link_args=-stdlib=libc++ -fprofile-instr-generate" || { result "coverage (build)" 0 1; return; }
  LLVM_PROFILE_FILE=$log/host.profraw timeout 600 "$dir/test/host/host-suites" -r cases >"$log/host" 2>&1
  tap "host (coverage)" "ax test host" "$log/host" $?
  llvm-profdata-22 merge -o "$profile" "$log/host.profraw"
  local sources=("$root"/modules/*/*.cpp* "$root"/arch-*/{decode,firmware,stage2,registers,syndrome,imsic}.cppm)
  llvm-cov-22 show "$dir/test/host/host-suites" -instr-profile="$profile" -format=html -output-dir="$dir/report" "${sources[@]}" >/dev/null 2>&1
  llvm-cov-22 report "$dir/test/host/host-suites" -instr-profile="$profile" "${sources[@]}" 2>/dev/null | tee "$log/report" | awk 'NR > 2 && NF {printf "%-40s %s\n", $1, $10}'
  local percent; percent=$(awk '$1 == "TOTAL" {sub("%", "", $10); print $10}' "$log/report")
  echo "browse $dir/report/index.html"
  check "line coverage $percent % (at least 95)" awk -v p="${percent:-0}" 'BEGIN {exit !(p >= 95)}'
}

level_host() {
  build host || { result "host (build)" 0 1; return; }
  timeout 600 "$root/build/host/test/host/host-suites" -r cases "${catch2[@]}" >"$log/host" 2>&1
  tap "host (ASan, UBSan)" "ax test host -- NAME" "$log/host" $?
}

# The suites of one architecture on one machine: suites ARCH LABEL WORDS MACHINE-OPTIONS...
suites() {
  local arch=$1 label=$2 words="-r cases $3" image=${image:-system-suites} a; shift 3
  for a in "${catch2[@]}"; do words+=" ${a// /%20}"; done
  python3 "$root/tools/machine.py" --arch $arch --bare "$root/build/$arch-test/test/system/$image.elf" --timeout $((full ? 3600 : 400)) "$@" "--append=$words" >"$log/system" 2>&1 </dev/null
  local status=$?
  debugger="python3 $root/tools/machine.py --arch $arch --debug --bare $root/build/$arch-test/test/system/$image.elf $*" \
    tap "system $arch $label" "ax test system $arch -- NAME" "$log/system" $status
}

# Instructions that the hostile guest's random code itself has executed, counted by the plugin: hostile ARCH CPU RAM-ADDRESS WORDS
hostile() {
  local arch=$1 cpu=$2 ram=$3 least=1000000 words=10000 lives=200 n d
  [ -z "$full" ] || least=100000000 words=1000000 lives=6500
  clang-22 -O2 -shared -fPIC -Wall -Wextra -Werror -o "$root/build/count.so" "$root/tools/plugin/count.c" || { result "hostile guest $arch (plugin)" 0 1; return; }
  python3 "$root/tools/machine.py" --arch $arch --bare "$root/build/$arch-test/test/system/system-suites.elf" --cpu "$cpu" --cpus 2 --timeout $((120 + lives)) \
    --plugin "$root/build/count.so,from=$(printf %#x $((ram + 0x20000))),to=$(printf %#x $((ram + 0x40000)))" --plugin-log "$log/plugin" \
    "--append=-r cases $4 lives=$lives a%20hostile%20guest*" >"$log/system" 2>&1 </dev/null
  tap "system $arch hostile guest, counted" "ax test system $arch -- NAME" "$log/system" $?
  grep -a '^# hostile' "$log/system"
  n=$(awk '$1 == "range" {print $2}' "$log/plugin") d=$(awk '$1 == "distinct" {print $2}' "$log/plugin")
  check "hostile guest $arch: ${n:-no} instructions (at least $least)" [ "${n:-0}" -ge $least ]
  check "hostile guest $arch: ${d:-no} distinct words (at least $words)" [ "${d:-0}" -ge $words ]
}

# TLB maintenance, counted and ordered by a plugin.
maintenance() { # ARCH CPU WORD
  [ ${#catch2[@]} = 0 ] || return 0
  lines "maintenance $1 $2${3:+ $3}" "ax test system $1" python3 "$root/tools/maintenance.py" $1 "$root/build/$1-test/test/system/system-suites.elf" $2 $3
}

level_system() {
  local arch row cpu cpus vhe
  for arch in "${archs[@]}"; do
    prepare sysroot $arch
    build $arch-test || { result "system $arch (build)" 0 1; continue; }
    case $arch in
      aarch64) for row in "cortex-a72 2 off" "max 2 off" "max 2 on" "max 1 on"; do
          read -r cpu cpus vhe <<<"$row"
          suites $arch "$cpu vhe=$vhe cpus=$cpus" "vhe=$vhe" --cpu $cpu --cpus $cpus
        done
        [ ${#catch2[@]} != 0 ] || suites $arch "max vhe=on cpus=4" "vhe=on [smp]" --cpu max --cpus 4
        # Many more kicks than CPUs that take turns on this machine's could send: one at a time, by the emulator's own turns.
        [ ${#catch2[@]} != 0 ] || suites $arch "max vhe=on cpus=4, by turns" "vhe=on kicks=$((full ? 1000000 : 100000)) no%20kick%20is%20lost*" --cpu max --cpus 4 --single
        [ ${#catch2[@]} != 0 ] || hostile $arch max 0x40000000 vhe=off
        maintenance $arch cortex-a72 vhe=off
        maintenance $arch max vhe=on ;;
      riscv64) for row in "rv64,h=true,v=true,vlen=256 2" "rv64,h=true 1" "rv64,h=true,sstc=false 2"; do
          read -r cpu cpus <<<"$row"
          suites $arch "$cpu cpus=$cpus" "~[aia]" --cpu $cpu --cpus $cpus
        done
        suites $arch "rv64,h=true aia cpus=2" "" --cpu rv64,h=true --cpus 2 --irqchip aia
        [ ${#catch2[@]} != 0 ] || suites $arch "rv64,h=true aia cpus=4" "${full:+kicks=100000} [smp]" --cpu rv64,h=true --cpus 4 --irqchip aia
        [ ${#catch2[@]} != 0 ] || hostile $arch rv64,h=true,v=true,vlen=256 0x40000000 ""
        maintenance $arch rv64,h=true "" ;;
      x86_64)
        suites $arch "max cpus=1" "" --cpu max --cpus 1
        image=portable-suites suites $arch "portable at ring 0" "" --cpu max --cpus 1 ;;
    esac
  done
}

boot() { # options of demo...: Linux reaches user space, computes the same in all processes, and powers off
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
for l in "${levels[@]}"; do "level_$l"; done
finish
