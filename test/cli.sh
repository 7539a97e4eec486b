#!/bin/bash
# The command line: what a person can mend gets status 2, one line on stderr, nothing on stdout, and no work before it; a guest that does
# not end gets 124; Ctrl-C gets 130; and nothing half-made stays. Usage: cli.sh [bad|stop]: one half of it only; `bad` needs no build.
# Prints `ok NAME` or `bad NAME` for each case, and why; status 1 when one is bad.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) half=
trap 'rm -rf "$work" ${half:+"$half"}' EXIT
bad=0 n=0
result() { # name why-not
  if [ -z "$2" ]; then echo "ok $1"; else echo "bad $1"; echo "  $2"; bad=1; fi
}
status_is() { # name wanted arguments...: the status alone
  local name=$1 wanted=$2 status=0; shift 2
  "$root/ax" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  result "$name" "$([ $status = "$wanted" ] || echo "status $status instead of $wanted: $(tail -n 1 "$work/err")")"
}
refused() { # words that the line must have, then arguments of ax
  local words=$1 status=0 why=; shift
  AX_CACHE=$work/cache "$root/ax" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ $status = 2 ] || why+="status $status; "
  [ "$(wc -l <"$work/err")" = 1 ] && grep -q '^ax: .*: .' "$work/err" && grep -qF -- "$words" "$work/err" || why+="stderr: $(cat "$work/err"); "
  [ ! -s "$work/out" ] || why+="stdout has something; "
  [ ! -e "$work/cache" ] || why+="the cache was touched; "
  n=$((n + 1))
  result "refused $n: ${*//$work\//}" "$why"
}

# Little-endian numbers: le BYTES VALUE...
le() { local size=$1 v i byte; shift; for v; do for ((i = 0; i < size; i++)); do printf -v byte '\\x%02x' $((v >> 8 * i & 255)); printf "$byte"; done; done; }
# An ELF file with one segment of 256 bytes: elf MACHINE PADDR MEMSZ [CLASS ENTRY]
elf() {
  printf '\x7fELF'; le 1 "${4:-2}" 1 1; le 1 0 0 0 0 0 0 0 0 0; le 2 2 "$1"; le 4 1; le 8 "${5:-$2}" 64 0; le 4 0; le 2 64 56 1 64 0 0
  le 4 1 7; le 8 120 "$2" "$2" 256 "$3" 8; head -c 256 /dev/zero
}
linux() { le 4 0 0; le 8 "$1" "$2" 0 0 0; le 8 $((3 == $3 ? 0x5643534952 : 0)); le 4 "$4" 0; head -c 4096 /dev/zero; }  # text_offset image_size (3: riscv64) magic

bad_input() {
  local f=$work
  : >$f/empty; head -c 4096 /dev/urandom | tr '\177\037' '\176\036' >$f/random
  elf 183 0x40200000 4096 >$f/good; elf 243 0x80200000 4096 >$f/riscv; elf 62 0x40200000 4096 >$f/x86
  elf 183 0x200000 4096 >$f/low; elf 183 0x60000000 4096 >$f/high; elf 183 0x40200000 0x20000000 >$f/big; elf 183 0x40200000 -8 >$f/minus
  elf 183 0x40200000 4096 1 >$f/elf32; elf 183 0x40200000 4096 2 0x40300000 >$f/lost; head -c 200 $f/good >$f/cut; head -c 40 $f/good >$f/stub
  linux 0 0x3000000 2 0x644d5241 >$f/linux; linux 0 0x40000000 2 0x644d5241 >$f/linux-big; linux 0x200000 0x100000 3 0x05435352 >$f/linux-riscv
  linux 0x7fffffff00000000 0x1000 2 0x644d5241 >$f/linux-far
  printf '\x1f\x8b\x08' >$f/packed; head -c 4096 /dev/zero >>$f/packed
  truncate -s 600M $f/large; truncate -s 20M $f/initrd; { printf '\xd0\x0d\xfe\xed'; head -c 3000000 /dev/zero; } >$f/dtb

  refused "unknown command" nonsense
  refused "unknown command" help nonsense
  refused "unknown architecture" build nonsense
  refused "unknown architecture" run sparc $f/good
  refused "needs an architecture" run aarch64
  refused "unknown option" run aarch64 $f/good --nonsense
  refused "needs a value" run aarch64 $f/good --vcpus
  refused "unknown option" setup --nonsense
  refused "takes none" format --nonsense
  refused "unknown option" clean --nonsense
  refused "does not exist" run aarch64 $f/nothing
  refused "cannot be read" run aarch64 $f
  refused "is empty" run aarch64 $f/empty
  refused "no known format" run aarch64 $f/random
  refused "compressed" run aarch64 $f/packed
  refused "another architecture" run aarch64 $f/riscv
  refused "another architecture" run riscv64 $f/good
  refused "another architecture" run aarch64 $f/x86
  refused "for riscv64" run aarch64 $f/linux-riscv
  refused "for aarch64" run riscv64 $f/linux
  refused "64-bit" run aarch64 $f/elf32
  refused "cut short" run aarch64 $f/cut
  refused "cut short" run aarch64 $f/stub
  refused "memory begins at" run aarch64 $f/low
  refused "--memory" run aarch64 $f/high
  refused "--memory" run aarch64 $f/big
  refused "--memory" run aarch64 $f/minus
  refused "loads nothing" run aarch64 $f/lost
  refused "larger than the VM's memory" run aarch64 $f/linux-big
  refused "larger than the VM's memory" run aarch64 $f/linux-far
  refused "larger than the VM's memory" run aarch64 $f/linux --memory 32
  refused "larger than the VM's memory" run aarch64 $f/large --flat 0x40200000
  refused "larger than the VM's memory" run aarch64 $f/initrd --flat 0x40200000 --memory 16
  refused "lies beyond" run aarch64 $f/random --flat 0x50000000 --memory 16
  refused "no address" run aarch64 $f/random --flat 0x1000
  refused "no address" run riscv64 $f/random --flat 0x40200000
  refused "no address" run aarch64 $f/random --flat 0xffffffff40200000
  refused "no address" run aarch64 $f/random --flat 099
  refused "no instruction" run aarch64 $f/random --flat 0x40200002
  refused "no instruction" run riscv64 $f/random --flat 0x80200001
  refused "does not exist" run aarch64 $f/good --initrd $f/nothing
  refused "is empty" run aarch64 $f/good --initrd $f/empty
  refused "larger than the VM's memory" run aarch64 $f/good --initrd $f/initrd --memory 16
  refused "is empty" demo --dtb $f/empty
  refused "no device tree" run aarch64 $f/good --dtb $f/random
  refused "KiB that are free" run aarch64 $f/good --dtb $f/dtb
  refused "from 1 to 64" run aarch64 $f/good --vcpus 0
  refused "from 1 to 64" run aarch64 $f/good --vcpus 65
  refused "from 1 to 64" demo --cpus 0x4
  refused "from 16 to" run aarch64 $f/good --memory 08
  refused "from 16 to" run aarch64 $f/good --memory 99999999999999999999
  refused "from 1 to" demo --timeout 0
  refused "use on, off or auto" demo --vhe maybe
  refused "aarch64's" demo riscv64 --vhe on
  refused "use gic" demo --irqchip plic
  refused "x86_64" demo --backend svm
  refused "needs the timer's interrupts" demo --passthrough timer
  refused "needs a CPU for each vCPU" demo --passthrough irq,timer --vcpus 4 --cpus 2
  refused "needs a CPU for each vCPU" run aarch64 $f/good --passthrough irq --vcpus 2 --cpus 1
  refused "use --vms 1" demo --passthrough irq --vms 2
  refused "no QEMU model" demo --cpu 'two words'
  refused "two levels" test host user
  refused "two architectures" test system aarch64 riscv64
  refused "ax test fuzz --minutes 1" test host --minutes 1
  refused "from 1 on" test fuzz --minutes 00
  refused "ax test host --coverage" test system --coverage
  refused "comes alone" test --coverage --mutate
  refused "no mutation is called" test --mutate nonsense
  refused "no mutation is called" test --mutate '*'
  refused "ax test system x86_64" test user x86_64
  if command -v qemu-system-aarch64 >/dev/null; then
    refused "not known to QEMU" run aarch64 $f/good --cpu nonsense
    refused "not known to QEMU" run aarch64 $f/good --cpu max,nonsense=on
  fi

  local c help
  for c in setup build run demo debug test bench lint format clean help; do
    status_is "$c --help" 0 $c --help
    result "$c --help says something" "$([ -s "$work/out" ] && [ ! -s "$work/err" ] || echo "stdout is empty, or stderr is not")"
  done
  help=$("$root/ax" run --help)
  for c in --initrd --append --dtb --flat --vcpus --cpus --memory --vms --cpu --backend --vhe --irqchip --passthrough --seed --shell --lazy-fp --stats --timeout; do
    result "run --help explains $c" "$(grep -q -- "^  $c .*  " <<<"$help" || echo "it does not")"
  done
  refused "does not exist" run aarch64 $f/nothing --append --help
}

# Interrupts a command and all that it has started, as a terminal does: interrupted NAME SECONDS COMMAND...
interrupted() {
  local name=$1 seconds=$2 status=0; shift 2
  set -m
  "$@" >"$work/out" 2>"$work/err" </dev/null & local pid=$!
  set +m
  sleep "$seconds"
  kill -INT -- -$pid
  wait $pid 2>/dev/null || status=$?
  local left=20   # who was told at the same moment ends in the next one
  while pgrep -g $pid >/dev/null && ((left-- > 0)); do sleep 0.1; done
  result "$name" "$([ $status = 130 ] || echo "status $status instead of 130: $(tail -n 1 "$work/err")"; ! pgrep -g $pid >/dev/null || echo "processes are left")"
}

# A sysroot that has lost a file is made again, and one that is killed in the making is never taken for whole.
lost_files() { # cache
  local name pid left
  "$root/tools/setup.sh" sysroot aarch64 || return
  half=$(mktemp -d "${1%/*}/axvcpu-half.XXXXXX")   # beside the cache: files are linked, and there is room
  name=$("$root/tools/setup.sh" where sysroot aarch64) name=${name##*/}
  mkdir -p "$work/checkout"
  ln -s "$root"/{tools,cross} "$work/checkout/"
  cp -al "$1/$name" "$1"/sysroot-sources-* "$half/"
  making() { # name of the result, words that it says first
    : >"$work/err"
    set -m
    env AX_ROOT="$work/checkout" AX_CACHE="$half" "$root/tools/setup.sh" sysroot aarch64 2>"$work/err" & pid=$!
    set +m
    for ((left = 100; left > 0; left--)); do ! grep -q "building" "$work/err" || break; sleep 0.1; done
    sleep "$3"
    kill -KILL -- -$pid; wait $pid 2>/dev/null
    result "$1" "$(grep -q "$2" "$work/err" && grep -q "building" "$work/err" || echo "it says: $(cat "$work/err")")$([ ! -e "$half/$name" ] || echo "$half/$name is there")"
  }
  result "a whole sysroot is taken as it is" "$(env AX_ROOT="$work/checkout" AX_CACHE="$half" "$root/tools/setup.sh" sysroot aarch64 2>&1)"
  rm "$half/$name/include/c++/v1/__memory/allocator.h"
  making "one that has lost a header is made again, and not there when that is killed" "has lost files" 3
  making "nor is what was half made taken for whole" "building" 0
  rm -rf "$half"
}

stop() {
  printf '\0\0\0\x14' >"$work/forever"   # b .
  local cache before i
  cache=$("$root/tools/setup.sh" where sysroot aarch64) cache=${cache%/*}
  before=$(ls -A "$cache")
  status_is "a guest that never ends: 124" 124 run aarch64 "$work/forever" --flat 0x40200000 --timeout 1 --memory 0064
  printf '\0\x80\xb0\xd2\x40\0\x80\xf2\x02\0\0\xd4\0\0\0\x14' >"$work/off"   # CPU_OFF
  status_is "a VM whose last vCPU turns itself off has ended: 0" 0 run aarch64 "$work/off" --flat 0x40200000 --timeout 20
  for i in 0.02 0.1 0.3 0.6 2; do interrupted "Ctrl-C after $i s: 130" $i "$root/ax" run aarch64 "$work/forever" --flat 1075838976; done
  # Programs that take an interrupt and end with a status of their own, as Meson, ninja and apt do.
  mkdir -p "$work/bin"
  printf '#!/bin/bash\ntrap "exit 1" INT\nmkdir -p "%s"\nfor ((i = 0; i < 100; i++)); do sleep 0.1; done\n' "$work/tree/build" >"$work/bin/meson"
  cp "$work/bin/meson" "$work/bin/ninja"; chmod +x "$work/bin/"*
  interrupted "Ctrl-C while Meson configures: 130" 0.5 env PATH="$work/bin:$PATH" "$root/tools/build.sh" "$work/tree/build" --native-file "$root/cross/native.ini"
  result "and its directory is gone" "$([ ! -e "$work/tree/build" ] || echo "it is there")"
  [ "$before" = "$(ls -A "$cache")" ]; result "the cache is as it was" "$([ $? = 0 ] || echo "it differs")"
  lost_files "$cache"
  interrupted "Ctrl-C while the cache is filled: 130" 0.3 env AX_CACHE="$work/fill" "$root/tools/setup.sh" sources
  result "and nothing half-made is in it" "$(ls -A "$work/fill" 2>/dev/null | grep -v '^\.lock$' | head -n 3)"
}

export AX_ROOT=$root AX_CACHE=${AX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/axvcpu}
# A job in the background has SIGINT ignored from the start, and no shell of it could trap what is sent here: a guest would run for ever.
ignored=$(awk '/^SigIgn/ {print $2}' /proc/self/status)
! ((16#${ignored: -1} & 2)) || exec env --default-signal=INT "$0" "$@"
case ${1:-} in bad) bad_input ;; stop) stop ;; '') bad_input; stop ;; *) echo "usage: cli.sh [bad|stop]" >&2; exit 2 ;; esac
exit $bad
