#!/bin/sh
# /init of the demo's initramfs: a small load on every CPU, then the end; or a shell with `shell` on the kernel's command line.
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
echo "== user space: $($b uname -srm), $($b grep -c ^processor /proc/cpuinfo) CPUs, up $($b cut -d' ' -f1 /proc/uptime) s"
if $b grep -qw shell /proc/cmdline; then
  $b sh -c 'exec /bin/busybox sh </dev/console >/dev/console 2>&1'
  $b poweroff -f
fi
if $b grep -qw fp /proc/cmdline; then
  # Eight processes that compute in floating point at the same time, each with its own numbers; every result must agree with
  # the one of the same computation alone.
  compute='BEGIN { x = seed; for (i = 0; i < 20000; i++) { x = x * 1.000001 + sqrt(x) / 3.7; if (x > 1e6) x = x / 1e5 + sin(x) } printf "%.17g\n", x }'
  s=1; while [ $s -le 8 ]; do $b awk -v seed=$s "$compute" >/alone.$s; s=$((s+1)); done
  round=0; while [ $round -lt 3 ]; do
    s=1; while [ $s -le 8 ]; do ($b awk -v seed=$s "$compute" >/together.$s) & s=$((s+1)); done; wait
    s=1; while [ $s -le 8 ]; do $b cmp -s /alone.$s /together.$s || echo "FP-DIFFERS $s: $($b cat /alone.$s /together.$s)"; s=$((s+1)); done
    round=$((round+1)); done
  # The same with vectors, where the CPU has them.
  if $b grep -qE '^Features.* sve|^isa.*rv64[a-z]*v' /proc/cpuinfo; then
    s=1; while [ $s -le 8 ]; do /bin/vectors $s >/alone.$s; s=$((s+1)); done
    s=1; while [ $s -le 8 ]; do (/bin/vectors $s >/together.$s) & s=$((s+1)); done; wait
    s=1; while [ $s -le 8 ]; do $b cmp -s /alone.$s /together.$s && [ -s /alone.$s ] || echo "FP-DIFFERS vectors $s: $($b cat /alone.$s /together.$s)"; s=$((s+1)); done
    echo "VECTORS-DONE, lanes and results: $($b cut -d' ' -f2 /alone.1), $($b cut -d' ' -f1 /alone.1 /alone.8 | $b tr '\n' ' ')"
  fi
  echo "FP-DONE"
fi
i=0; while [ $i -lt 8 ]; do ($b dd if=/dev/zero bs=64k count=8 2>/dev/null | $b md5sum) & i=$((i+1)); done; wait
$b cat /proc/interrupts
echo GUEST-TEST-PASS
$b poweroff -f
