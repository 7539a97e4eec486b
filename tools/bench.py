#!/usr/bin/env python3
"""The cost table: instructions from guest back to guest, counted one by one by a QEMU plugin, beside their budgets; and what a
boot of Linux costs beside the same boot without a hypervisor. Status 1 when a budget is exceeded."""
import os, subprocess, sys, tempfile

ROOT = os.environ["AX_ROOT"]
ICOUNT = ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
ROWS = [  # id, what, budget
    (1, "hypercall -> user's C++ handler -> guest", 180),
    (2, "MMIO read -> user's handler -> guest", 280),
    (3, "MMIO write -> user's handler -> guest", 280),
    (4, "trapped ID register, emulated inside", 170),
    (5, "interrupt controller register, device model", 275),
    (6, "software interrupt to self: send, take, acknowledge, end", 360),
    (7, "timer: arm, expire, take, end", 500),
    (8, "stage-2 fault, block mapped by the user's handler", 600),
]
# Where a budget is not reached yet: what the row costs today. `--ceilings` (ax test budget) fails when a row gets worse.
CEILINGS = {6: 560, 7: 635}


def run(argv):
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return p.returncode, p.stdout


def plugin():
    path = f"{ROOT}/build/count.so"
    source = f"{ROOT}/tools/plugin/count.c"
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        subprocess.run(["clang-22", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return path


def payload():
    path = f"{ROOT}/build/budget-payload"
    target = ["clang-22", "--target=aarch64-none-elf", "-nostdlib", "-fuse-ld=lld", "-Wl,-Ttext=0x40200000", "-o", path + ".elf"]
    subprocess.run(target + [f"{ROOT}/test/budget/payload_aarch64.S"], check=True)
    subprocess.run(["llvm-objcopy-22", "-O", "binary", path + ".elf", path], check=True)
    return path


def counts(log):
    total, rows = 0, {}
    with open(log) as f:
        for line in f:
            words = line.split()
            if words[:1] == ["total"]:
                total = int(words[1])
            elif words[:1] == ["id"]:
                rows[int(words[1])] = tuple(int(w) for w in words[2:])
    return total, rows


def under_hypervisor(image, cpu, vhe, *more):
    with tempfile.NamedTemporaryFile() as log:
        status, out = run(["python3", f"{ROOT}/tools/machine.py", "--image", image, "--cpu", cpu, "--vhe", vhe, "--icount",
                           "--plugin", plugin(), "--plugin-log", log.name, "--timeout", "900", *more])
        if status != 0:
            sys.stdout.buffer.write(out[-2000:])
            sys.exit(f"ax: the measured guest ended with status {status}")
        return counts(log.name)


def table():
    bad = 0
    image = payload()
    measured = {mode: under_hypervisor(image, cpu, vhe, "--flat", "0x40200000")[1]
                for mode, cpu, vhe in (("E2H=0", "cortex-a72", "off"), ("VHE", "max", "on"))}
    print(f"{'instructions, guest back to guest (medians)':58} {'budget':>7} {'E2H=0':>7} {'VHE':>7}")
    for number, what, budget in ROWS:
        cells = []
        for mode in ("E2H=0", "VHE"):
            empty = measured[mode][0][1]
            median = measured[mode][number][1] - empty
            over = median > (CEILINGS.get(number, budget) if "--ceilings" in sys.argv else budget)
            bad += over
            cells.append(f"{median}{'!' if over else ''}")
        print(f"{what:58} {budget:>7} {cells[0]:>7} {cells[1]:>7}")
    return bad


def boot():
    guest = subprocess.run([f"{ROOT}/tools/setup.sh", "where", "guest", "arm64"], capture_output=True, text=True, check=True).stdout.strip()
    append = "console=ttyAMA0 panic=-1 nokaslr"
    with tempfile.NamedTemporaryFile() as log:
        run(["qemu-system-aarch64", "-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-smp", "1", "-m", "512", "-display", "none",
             "-monitor", "none", "-net", "none", "-no-reboot", "-serial", "stdio", "-kernel", guest + "/linux", "-initrd", guest + "/initramfs.gz",
             "-append", append, *ICOUNT, "-plugin", plugin(), "-d", "plugin", "-D", log.name])
        plain, _ = counts(log.name)
    ours, _ = under_hypervisor(guest + "/linux", "cortex-a72", "off", "--initrd", guest + "/initramfs.gz", "--append=" + append)
    ratio = ours / plain
    print(f"Linux, 1 vCPU, until power-off: {ours:,} instructions; without a hypervisor {plain:,}: {ratio:.3f} times (at most 1.15)")
    return ratio > 1.15


def main():
    bad = 0
    if "boot" not in sys.argv[1:]:
        bad += table()
    if "table" not in sys.argv[1:]:
        bad += boot()
    if bad:
        print(f"{bad} over budget")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
