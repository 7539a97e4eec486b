#!/usr/bin/env python3
"""The cost table: instructions from guest back to guest, counted one by one by a QEMU plugin, beside their budgets; and what a
boot of Linux costs beside the same boot without a hypervisor. Status 1 when a budget is exceeded."""
import os, subprocess, sys, tempfile

ROOT = os.environ["AX_ROOT"]
ICOUNT = ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
WHAT = {  # id: row
    1: "hypercall -> user's C++ handler -> guest",
    2: "MMIO read -> user's handler -> guest",
    3: "MMIO write -> user's handler -> guest",
    4: "trapped ID register or CSR, emulated inside",
    5: "interrupt controller register, device model",
    6: "software interrupt to self: send, take, acknowledge, end",
    7: "timer: arm, expire, take, end",
    8: "stage-2 fault, block mapped by the user's handler",
    9: "hypercall through the fast hook",
    10: "another vCPU on the same CPU: call, schedule, enter",
    11: "hypercall, registers not cleared (-Dclear_registers=false)",
    12: "another vCPU, with SVE and pointer authentication (max)",
    13: "another vCPU that uses no floating point, --lazy-fp",
}
# Measured in runs of their own, the other rows are those of the demo's VM: one in which the VM's policy asks for the hook, and one with
# a second vCPU; and one of another build.
FAST, SWITCH, KEPT, LARGE_SWITCH, LAZY_SWITCH = 9, 10, 11, 12, 13
KEPT_BUILD = f"{ROOT}/build.kept"  # not in build/: who looks for a library there shall find the shipped one


class Target:
    """`modes`: columns, as (name, QEMU's CPU, one whose vectors have 128 bits, further options of machine.py). `ceilings`: rows without a
    budget, and what they cost at most today."""

    def __init__(self, debian, load, budgets, ceilings, modes, plain, console):
        self.debian, self.load, self.budgets, self.ceilings, self.modes, self.plain, self.console = debian, load, budgets, ceilings, modes, plain, console


TARGETS = {
    "aarch64": Target("arm64", 0x40200000, {1: 180, 2: 280, 3: 280, 4: 170, 5: 275, 6: 360, 7: 500, 8: 600, 9: 60, 10: 500, 11: 160}, {12: 720, 13: 480},
                      [("E2H=0", "cortex-a72", "cortex-a72", ["--vhe", "off"]), ("VHE", "max", "cortex-a76", ["--vhe", "on"])],
                      ["qemu-system-aarch64", "-M", "virt,gic-version=3", "-cpu", "cortex-a72"], "ttyAMA0"),
    "riscv64": Target("riscv64", 0x80200000, {1: 230, 2: 350, 3: 350, 4: 220, 5: 350, 6: 400, 7: 260, 8: 600, 9: 90, 10: 500, 11: 215}, {13: 490},
                      [("Sstc", "rv64,h=true", "rv64,h=true", [])], ["qemu-system-riscv64", "-M", "virt", "-cpu", "rv64"], "ttyS0"),
}
ARCH = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in TARGETS else "aarch64"
TARGET = TARGETS[ARCH]


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
    path = f"{ROOT}/build/budget-payload-{ARCH}"
    target = ["clang-22", f"--target={ARCH}-none-elf", "-nostdlib", "-fuse-ld=lld", f"-Wl,-Ttext={TARGET.load:#x}", "-o", path + ".elf"]
    subprocess.run(target + [f"{ROOT}/test/budget/payload_{ARCH}.S"], check=True)
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


def under_hypervisor(image, cpu, *more):
    with tempfile.NamedTemporaryFile() as log:
        status, out = run(["python3", f"{ROOT}/tools/machine.py", "--arch", ARCH, "--image", image, "--cpu", cpu, "--icount",
                           "--plugin", plugin(), "--plugin-log", log.name, "--timeout", "900", *more])
        if status != 0:
            sys.stdout.buffer.write(out[-2000:])
            sys.exit(f"ax: the measured guest ended with status {status}")
        return counts(log.name)


def table():
    bad = 0
    image = payload()
    measured = []
    for _, cpu, cpu_128, more in TARGET.modes:
        rows = under_hypervisor(image, cpu, *more, "--flat", hex(TARGET.load))[1]
        rows[FAST] = under_hypervisor(image, cpu, *more, "--flat", hex(TARGET.load), "--fast")[1][FAST]
        rows[SWITCH] = under_hypervisor(image, cpu_128, *more, "--flat", hex(TARGET.load), "--vcpus", "2")[1][SWITCH]
        rows[LAZY_SWITCH] = under_hypervisor(image, cpu_128, *more, "--flat", hex(TARGET.load), "--vcpus", "2", "--lazy-fp")[1][SWITCH]
        if cpu != cpu_128:
            rows[LARGE_SWITCH] = under_hypervisor(image, cpu, *more, "--flat", hex(TARGET.load), "--vcpus", "2")[1][SWITCH]
        other = under_hypervisor(image, cpu, *more, "--flat", hex(TARGET.load), "--build", f"{KEPT_BUILD}/{ARCH}")[1]
        rows[KEPT] = (0, other[1][1] - other[0][1] + rows[0][1])
        measured.append(rows)
    print(f"{'instructions, guest back to guest (medians)':58} {'budget':>7} " + " ".join(f"{name:>7}" for name, _, _, _ in TARGET.modes))
    for number, most in (TARGET.budgets | TARGET.ceilings).items():
        cells = []
        for rows in measured:
            if number == LARGE_SWITCH and number not in rows:
                cells.append("-")
                continue
            median = rows[number][1] - rows[0][1]
            over = median > most or median <= 0
            bad += over
            cells.append(f"{median}{'!' if over else ''}")
        print(f"{WHAT[number]:58} {TARGET.budgets.get(number, '-'):>7} " + " ".join(f"{c:>7}" for c in cells))
    return bad


def boot():
    guest = subprocess.run([f"{ROOT}/tools/setup.sh", "where", "guest", TARGET.debian], capture_output=True, text=True, check=True).stdout.strip()
    append = f"console={TARGET.console} panic=-1 nokaslr"
    with tempfile.NamedTemporaryFile() as log:
        run([*TARGET.plain, "-smp", "1", "-m", "512", "-display", "none",
             "-monitor", "none", "-net", "none", "-no-reboot", "-serial", "stdio", "-kernel", guest + "/linux", "-initrd", guest + "/initramfs.gz",
             "-append", append, *ICOUNT, "-plugin", plugin(), "-d", "plugin", "-D", log.name])
        plain, _ = counts(log.name)
    _, cpu, _, more = TARGET.modes[0]
    ours, _ = under_hypervisor(guest + "/linux", cpu, *more, "--initrd", guest + "/initramfs.gz", "--append=" + append)
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
