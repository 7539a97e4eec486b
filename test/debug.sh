#!/bin/bash
# ax debug ARCH: gdb stops at the hypervisor's first instruction and at the guest's, knows both by name, and takes Ctrl-C for itself; QEMU
# ends with it. Usage: debug.sh [ARCH...]. Prints `ok NAME` or `bad NAME` and why; status 1 when one is bad.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
bad=0
says() { if grep -qE -- "$2" "$work/out"; then echo "ok $1"; else echo "bad $1"; sed 's/^/  /' "$work/out" | tail -n 15; bad=1; fi; }
(($#)) || set -- aarch64 riscv64
for arch; do
  ram=0x40200000; [ $arch = aarch64 ] || ram=0x80200000
  printf '.globl guest_start\nguest_start:\n  nop\nguest_loop:\n  nop\n  %s guest_loop\n' "$([ $arch = aarch64 ] && echo b || echo j)" >"$work/guest.S"
  clang-22 --target=$arch-none-elf -nostdlib -fuse-ld=lld -Wl,-e,guest_start,--image-base=$ram -o "$work/guest" "$work/guest.S" || exit 1
  set -m
  timeout --foreground 120 "$root/ax" debug $arch "$work/guest" -- -batch -ex 'info symbol $pc' -ex continue -ex 'info symbol $pc' -ex delete -ex 'echo RUNNING\n' \
    -ex continue -ex 'echo STOPPED\n' -ex 'p/x $pc' >"$work/out" 2>&1 </dev/null & pid=$!
  set +m
  for ((i = 0; i < 600; i++)); do ! grep -q RUNNING "$work/out" || break; sleep 0.1; done
  sleep 1
  kill -INT -- -$pid
  status=0; wait $pid || status=$?
  says "$arch: stops at the hypervisor's first instruction" '^_start in section'
  says "$arch: stops at the guest's first instruction, and knows it" '^guest_start in section'
  says "$arch: Ctrl-C is gdb's" '^STOPPED'
  echo "status $status" >>"$work/out"; says "$arch: ends with status 0" '^status 0$'
  pgrep -f "qemu-system-$arch .*file=$work/guest" >>"$work/out" || echo none left >>"$work/out"; says "$arch: QEMU is gone" '^none left'
done
exit $bad
