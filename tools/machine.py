#!/usr/bin/env python3
"""Starts the example hypervisor in QEMU with a guest, and turns what it says into output and a status.

The guest's console goes to stdout byte for byte; the hypervisor's own lines go to stderr. Its lines that start with '@' are for
this program: '@vm N END REASON=COUNT...', '@cost TICKS-IN-THE-HOST TICKS-IN-GUESTS TICKS-A-SECOND' and '@exit STATUS'."""
import os, signal
signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # until QEMU runs
import argparse, ctypes, re, select, shutil, struct, subprocess, sys, tempfile, termios, threading, time

ROOT = os.environ["AX_ROOT"]
MIB = 1 << 20


class Machine:
    """What differs between the machines that QEMU makes. `in_guest`: true for gdb while a guest runs that has set nothing up yet. `start`: what the runtime prints on the guest's console before anything of
    the guest's; what comes before it is the firmware's."""

    def __init__(self, qemu, machine, cpu, ram, report, in_guest, start=None):
        self.qemu, self.machine, self.cpu, self.ram, self.report, self.in_guest, self.start = qemu, machine, cpu, ram, report, in_guest, start


MACHINES = {
    "aarch64": Machine("qemu-system-aarch64", "virt,virtualization=on,gic-version=3", "max", 0x4000_0000, ["-serial", "chardev:report"], "($cpsr & 0xc) == 4"),
    "riscv64": Machine("qemu-system-riscv64", "virt", "rv64,h=true,v=true,vlen=256", 0x8000_0000, ["-device", "pci-serial,chardev=report"], "($priv & 4) != 0",
                       b"\n@start\n"),
    "x86_64": Machine("qemu-system-x86_64", "pc", "max", 0, ["-serial", "chardev:report", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"], "1",
                      b"\n@start\n"),
}
BLOB_OFFSET = 0x800_0000


def say(text):
    print(f"ax: {text}", file=sys.stderr, flush=True)


def blob_arguments(options):
    """QEMU loads files behind the hypervisor; each gets a 2 MiB aligned place. Returns (qemu arguments, words, end)."""
    at, qemu, words = MACHINES[options.arch].ram + BLOB_OFFSET, [], []
    for name, path in (("kernel", options.image), ("initrd", options.initrd), ("dtb", options.dtb)):
        if not path:
            continue
        size = os.path.getsize(path)
        qemu += ["-device", f"loader,file={path.replace(',', ',,')},addr={at:#x},force-raw=on"]
        words.append(f"{name}={at:#x},{size}")
        at = (at + size + 2 * MIB - 1) & ~(2 * MIB - 1)
    return qemu, words, at


def command(options, report_fd):
    qemu, words, end = blob_arguments(options)
    m = MACHINES[options.arch]
    words += [f"vms={options.vms}", f"vcpus={options.vcpus}", f"memory={options.memory}", f"vhe={options.vhe}"]
    words += [f"seed={options.seed if options.seed is not None else 1}"]
    if options.irqchip == "aia":
        words.append("irqchip=aia")
    if options.fast:
        words.append("fast=1")
    if options.lazy_fp:
        words.append("lazy_fp=1")
    if options.demo or options.stats:
        words.append("stats=1")
    if options.flat:
        words.append(f"flat={int(options.flat, 0):#x}")
    if options.passthrough:
        words.append(f"passthrough={options.passthrough}")
    memory = (end - m.ram) // MIB + options.vms * (options.memory + 2) + 16
    image = options.bare or (options.build or f"{ROOT}/build/{options.arch}") + "/examples/hypervisor/hypervisor.elf"
    arguments = options.append if options.bare else " ".join(words) + " -- " + options.append
    machine = m.machine + (f",aia=aplic-imsic,aia-guests={options.aia_guests}" if options.irqchip == "aia" else "")
    if options.irqchip == "gicv2":  # a machine that is refused
        machine = machine.replace("gic-version=3", "gic-version=2")
    result = [m.qemu, "-M", machine, "-cpu", options.cpu or m.cpu, "-smp", str(options.cpus),
              "-m", str(memory), "-display", "none", "-net", "none", "-no-reboot", "-kernel", image, *qemu,
              "-append", arguments]
    result += ["-serial", "mon:stdio"] if options.shell else ["-monitor", "none", "-serial", "stdio"]
    result += ["-chardev", f"file,id=report,path=/dev/fd/{report_fd}", *m.report]
    if options.icount:
        result += ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
    if options.single:
        result += ["-accel", "tcg,thread=single"]
    if options.plugin:
        result += ["-plugin", options.plugin, "-d", "plugin", "-D", options.plugin_log]
    if options.debug:
        result += ["-S", "-gdb", f"unix:{options.gdb_socket},server=on,wait=off"]
    return result, image


def symbol(image, address):
    tool = shutil.which("llvm-symbolizer-22")
    if not tool:
        return address
    out = subprocess.run([tool, "--obj=" + image, "--output-style=GNU", "-f", "-C", "-p", address], capture_output=True, text=True).stdout
    return f"{address} {out.strip().splitlines()[0]}" if out.strip() else address


class Report:
    """The hypervisor's own lines."""

    def __init__(self, image):
        self.image, self.rest, self.status, self.vms, self.cost = image, b"", None, [], None

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\r")
            if m := re.fullmatch(r"@exit (\d+)", line):
                self.status = int(m[1])
            elif m := re.fullmatch(r"@vm (\d+) (\w+) ?(.*)", line):
                self.vms.append((int(m[1]), m[2], m[3]))
            elif m := re.fullmatch(r"@cost (\d+) (\d+) (\d+)", line):
                self.cost = tuple(int(g) for g in m.groups())
            elif m := re.fullmatch(r"  at (0x[0-9a-f]+)", line):
                print("  at " + symbol(self.image, m[1]), file=sys.stderr, flush=True)
            elif line:
                print(line, file=sys.stderr, flush=True)


def pump(process, report_fd, report, options, deadline):
    """Moves output until QEMU ends. Returns ('end'|'timeout', what the guest's console said about itself)."""
    watch = {report_fd}
    console = process.stdout.fileno() if process.stdout else None
    if console is not None:
        watch.add(console)
    tail, facts, reached = b"", {}, set()  # reached: prefixes of the VMs whose guests are in user space
    start, head = MACHINES[options.arch].start, b""
    while watch:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return "timeout", facts
        ready, _, _ = select.select(list(watch), [], [], left if left is not None else None)
        for fd in ready:
            data = os.read(fd, 65536)
            if not data:
                watch.discard(fd)
            elif fd == report_fd:
                report.feed(data)
            else:
                if start:
                    head += data
                    if start not in head:
                        continue
                    data, start = head[head.index(start) + len(start):], None
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                tail += data
                if len(tail) > 70000:  # whole lines only
                    tail = tail[-70000:].partition(b"\n")[2]
                if "user_space" not in facts:
                    reached.update(re.findall(rb"(?m)^(\[vm\d+\] )?.*== user space:", tail))
                if len(reached) == options.vms:
                    facts.setdefault("user_space", time.monotonic())
                if m := re.search(rb"== user space: [^\n]* up ([0-9.]+) s", tail):
                    facts["guest_uptime"] = m[1].decode()
    return "end", facts


def summary(report, facts, started, options):
    print("\n== summary")
    if "user_space" in facts:
        print(f"boot to user space: {facts['user_space'] - started:.1f} s of this machine's time, {facts.get('guest_uptime', '?')} s of the guest's")
    if not report.vms:
        print("no counts: they come when every VM has ended")
    exits = 0
    for number, end, reasons in report.vms:
        counts = [r.split("=") for r in reasons.split()]
        total = sum(int(c) for _, c in counts)
        exits += total
        print(f"vm{number}: {end}, {total} exits: " + ", ".join(f"{name} {c}" for name, c in sorted(counts, key=lambda p: -int(p[1]))))
    if report.cost and exits:
        host, guests, frequency = report.cost
        print(f"cost: {host / frequency * 1e6 / exits:.1f} us an exit on this emulator, from leaving the guest to entering one; "
              f"{host / frequency:.2f} s of the CPUs' time for exits, {guests / frequency:.2f} s in guests")
    sys.stdout.flush()


def elf_entry(path):
    with open(path, "rb") as f:
        head = f.read(64)
    return struct.unpack_from("<Q", head, 24)[0] if head[:4] == b"\x7fELF" else None


def guest_entry(options):
    """Where the guest starts, as examples/hypervisor/loader.cpp has it."""
    if options.flat:
        return int(options.flat, 0)
    entry = elf_entry(options.image)
    if entry is None:
        with open(options.image, "rb") as f:
            text_offset = struct.unpack_from("<Q", f.read(16), 8)[0]
        entry = MACHINES[options.arch].ram + text_offset + (0x20_0000 if options.arch == "aarch64" else 0)
    return entry


def debug(options, process, image):
    """gdb on this terminal. Ctrl-C is gdb's: this process does not mind it, and QEMU is in a session of its own."""
    gdb = shutil.which("gdb-multiarch") or shutil.which("gdb")
    if not gdb:
        say("no gdb here: install gdb-multiarch")
        return 1
    signal.signal(signal.SIGINT, lambda *_: None)
    while not os.path.exists(options.gdb_socket):
        if process.poll() is not None:
            say(f"QEMU ended with status {process.returncode}: see above")
            return 1
        time.sleep(0.02)
    script = ["set pagination off", "set confirm off", f"target remote {options.gdb_socket}",
              f"if $pc != {elf_entry(image):#x}", f"thbreak *{elf_entry(image):#x}", "continue", "end"]  # firmware comes first
    if not options.bare:
        if elf_entry(options.image) is not None:
            script.append(f'add-symbol-file "{os.path.abspath(options.image)}"')
        # The hypervisor may have code of its own at that address.
        script.append(f"hbreak *{guest_entry(options):#x} if {MACHINES[options.arch].in_guest}")
    with open(options.gdb_socket + ".script", "w") as f:
        f.write("\n".join(script) + "\n")
    status = subprocess.call([gdb, "-q", image, "-x", f.name, *options.gdb_argument])
    return 1 if status else 0


def main():
    p = argparse.ArgumentParser()
    for name in ("image", "bare", "initrd", "dtb", "flat", "cpu", "vhe", "passthrough", "plugin", "plugin-log", "build"):
        p.add_argument("--" + name)
    p.set_defaults(vhe="auto")
    p.add_argument("--irqchip", default="auto")
    p.add_argument("--aia-guests", type=int, default=3)  # guest interrupt files of each hart
    p.add_argument("--arch", default="aarch64", choices=MACHINES)
    p.add_argument("--append", default="")
    for name, value in (("vcpus", 1), ("cpus", 1), ("memory", 512), ("vms", 1), ("seed", None), ("timeout", None)):
        p.add_argument("--" + name, type=int, default=value)
    for name in ("shell", "stats", "demo", "debug", "icount", "fast", "lazy-fp", "single"):
        p.add_argument("--" + name, action="store_true")
    p.add_argument("--gdb-argument", action="append", default=[])
    options = p.parse_args()
    if not options.debug:
        return run(options)
    with tempfile.TemporaryDirectory() as place:  # a socket's path is short
        options.gdb_socket = f"{place}/gdb"
        return run(options)


PARENT = os.getpid()


def end_with_parent():
    """No machine is left behind, whatever ends this program."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != PARENT:
        os._exit(1)


def interrupt(*_):
    raise KeyboardInterrupt


def run(options):
    read_end, write_end = os.pipe()
    argv, image = command(options, write_end)
    if os.environ.get("AX_VERBOSE"):
        print("+ " + " ".join(argv), file=sys.stderr)
    terminal = termios.tcgetattr(0) if sys.stdin.isatty() else None
    started = time.monotonic()
    report, how, facts = Report(image), "failed", {}
    interactive = options.shell
    try:
        process = subprocess.Popen(argv, stdin=None if interactive else subprocess.DEVNULL,
                                   stdout=None if interactive else subprocess.PIPE, pass_fds=[write_end], start_new_session=not interactive,
                                   preexec_fn=end_with_parent)
    except FileNotFoundError:
        say("QEMU is not here: run ax setup")
        return 1
    os.close(write_end)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, interrupt)
        if options.debug:
            how = "debug"
            threading.Thread(target=pump, args=(process, read_end, report, options, None), daemon=True).start()
            return debug(options, process, image)
        how, facts = pump(process, read_end, report, options, started + options.timeout if options.timeout else None)
    except KeyboardInterrupt:
        how = "interrupt"
    except BrokenPipeError:  # nobody reads on: no more is said
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        how = "interrupt"
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        say(f"the guest's console cannot be written ({e.strerror}): give it a place with room")
    finally:
        if process.poll() is None and how != "end":
            process.kill()
        process.wait()
        if terminal:
            termios.tcsetattr(0, termios.TCSADRAIN, terminal)
    if how == "interrupt":
        return 130
    if how == "failed":
        return 1
    if options.demo or options.stats:
        summary(report, facts, started, options)
    if how == "timeout":
        say(f"the guest did not end within {options.timeout} s: use --timeout to give it longer")
        return 124
    if report.status is None:
        say(f"QEMU ended with status {process.returncode} before the hypervisor did: see above")
        return 1
    if options.bare:
        return report.status
    if report.status not in (0, 3):
        return 1
    if report.status == 0 and options.demo and not options.shell and "user_space" not in facts:
        say("the guest turned itself off before it reached user space" if options.vms == 1 else "a guest turned itself off before it reached user space")
        return 1
    return report.status


if __name__ == "__main__":
    sys.exit(main())
