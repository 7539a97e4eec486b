#!/usr/bin/env python3
"""Tests the tests: applies each patch of test/mutations/ to a copy of the tree, builds, and runs the suites that the patch names. A
mutation must apply, compile, change what is built, and make a test fail that passes without it; one that only hangs is not caught.
With --check, no more than whether each still applies to this tree.

A patch starts with '# NAME', '# level: host | system ARCH [plain] | maintenance ARCH | budget ARCH' and
'# cases: CATCH2 FILTER'. Usage: mutate.py [NAME-PART | --check]"""
import difflib, fcntl, filecmp, hashlib, os, re, shutil, subprocess, sys, tempfile

ROOT = os.environ["AX_ROOT"]
# Not in build/: who looks for a library there shall find those of this tree.
TREE = f"{os.environ['AX_CACHE']}/mutations"
NATIVE = ["--native-file", f"{TREE}/cross/native.ini", "-Db_sanitize=address,undefined", "-Db_lundef=false",
          "-Dc_args=-fno-sanitize-recover=all", "-Dcpp_args=-stdlib=libc++ -fno-sanitize-recover=all"]


def run(argv, timeout=900, **more):
    try:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **more)
        return p.returncode, p.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode(errors="replace")


def files(top):
    for path, directories, names in os.walk(top):
        # What Meson has unpacked into subprojects/ each tree unpacks itself.
        directories[:] = [d for d in directories if (path != top or d not in ("build", ".git")) and (path != f"{top}/subprojects" or d.startswith("package"))]
        yield from (os.path.relpath(os.path.join(path, n), top) for n in names)


def copy_tree():
    """Only what differs is written, with the time of now: a file that a mutation has touched must be newer than what was built of it."""
    os.makedirs(TREE, exist_ok=True)
    wanted = set(files(ROOT))
    for name in set(files(TREE)) - wanted:
        os.remove(f"{TREE}/{name}")
    for name in wanted:
        source, target = f"{ROOT}/{name}", f"{TREE}/{name}"
        if os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)


def parts(level):
    """Kind, architecture, and "plain" for a machine without the features that few guests have."""
    kind, arch, machine = (level.split() + ["", ""])[:3]
    if kind not in ("host", "system", "maintenance", "budget") or machine not in ("", "plain") or (arch == "x86_64" and machine):
        sys.exit(f"ax: no level '{level}': correct the second line of the patch")
    return kind, arch, machine


def build(level):
    """Gives (status, output, the file whose bytes must change)."""
    env = dict(os.environ, AX_ROOT=TREE)
    kind, arch, _ = parts(level)
    if kind == "host":
        args, directory, product = NATIVE, "host", "test/host/host-suites"
    elif kind in ("system", "maintenance"):
        ini = f"{TREE}/build/{arch}-sysroot.ini"
        os.makedirs(f"{TREE}/build", exist_ok=True)
        with open(f"{ROOT}/build/{arch}-sysroot.ini") as f, open(ini, "w") as g:
            g.write(f.read())
        args, directory, product = ["--cross-file", f"{TREE}/cross/{arch}.ini", "--cross-file", ini], f"{arch}-test", "test/system/system-suites.elf"
    else:
        args, directory, product = ["--cross-file", f"{TREE}/cross/{arch}.ini"], arch, "tools/modules/libaxvcpu.a"
    status, out = run([f"{TREE}/tools/build.sh", f"{TREE}/build/{directory}", *args], timeout=3600, env=env)
    return status, out, f"{TREE}/build/{directory}/{product}"


def digest(path):
    """Of what is executed: a line more in a source changes what is for debuggers, too."""
    with tempfile.TemporaryDirectory() as directory:
        stripped = f"{directory}/stripped"
        subprocess.run(["llvm-objcopy-22", "--strip-debug", path, stripped], check=True)
        with open(stripped, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


def passes(out):
    return len(re.findall(r"^ok ", out, re.M))


def test(level, cases, product):
    """Gives (names of what failed, how many passed, whether it hung)."""
    kind, arch, machine = parts(level)
    if kind == "host":
        status, out = run([product, "-r", "cases", cases], timeout=240)
    elif kind == "system":
        cpu = {"aarch64": "max", "riscv64": "rv64,h=true,v=true,vlen=256", "x86_64": "max"}[arch] if machine != "plain" else {"aarch64": "cortex-a72", "riscv64": "rv64,h=true"}[arch]
        status, out = run(["python3", f"{ROOT}/tools/machine.py", "--arch", arch, "--bare", product, "--cpu", cpu, "--cpus", "1" if arch == "x86_64" else "2", "--timeout", "120",
                           "--irqchip", "aia" if arch == "riscv64" and machine != "plain" else "auto",
                           f"--append=-r cases {'vhe=off ' if arch == 'aarch64' else ''}{cases}"], timeout=180)
    elif kind == "maintenance":
        status, out = run(["python3", f"{ROOT}/tools/maintenance.py", arch, product], timeout=180)
        lines = out.splitlines()
        failed = [a for a, b in zip(lines, lines[1:]) if a.startswith("not ok ") and b.startswith("#   expected")]  # what did not run because the machine hung is no failure
        return failed, passes(out), status == 124
    else:
        status, out = run([f"{ROOT}/test/budget/trampoline_length.sh", arch, f"{TREE}/build/{arch}"])
        measured = int(re.search(r"trampoline: [1-9]", out) is not None)  # what could not be measured is not over the budget
        return ["the trampoline's budget"] * (measured and status != 0), measured * (status == 0), False
    failed = re.findall(r"^not ok \d+ - (.*)", out, re.M)
    crash = re.search("host fault|ERROR: AddressSanitizer|: runtime error: |library assertion", out)
    inside = re.findall(r"^# case (.*)", out[:crash.start()] if crash else "", re.M)  # a machine that does not come up runs no test
    return failed + [f"{case}: crash" for case in inside[-1:]], passes(out), status == 124


def read_patch(path):
    """Name, level and cases, from the first lines."""
    with open(path) as f:
        name, level, cases = [f.readline().lstrip("# ").strip() for _ in range(3)]
    return name, level.removeprefix("level: "), cases.removeprefix("cases:").strip()


class Clean:
    """What is known of the tree without a mutation: what each level's build gives, and whether its tests pass."""

    def __init__(self):
        self.digests, self.passes = {}, {}

    def look(self, level, cases):
        """Gives what is wrong already. Tests that fail anyway catch nothing."""
        if (level, cases) not in self.passes:
            status, out, product = build(level)
            if status != 0:
                sys.exit(f"ax: the tree does not build before any mutation:\n{out[-2000:]}")
            self.digests.setdefault(level, digest(product))
            failed, passed, hung = test(level, cases, product)
            self.passes[level, cases] = passed > 0 and not failed and not hung
        return "" if self.passes[level, cases] else "baseline fails: these tests do not pass without the mutation either"

    def verdict(self, level, cases):
        """With the mutation applied: what is wrong with it, or nothing, and what has caught it."""
        status, out, product = build(level)
        if status != 0:
            return "does not compile", ""
        if digest(product) == self.digests[level]:
            return "changes nothing that is built", ""
        failed, _, hung = test(level, cases, product)
        return ("", f"{failed[0]}{f' and {len(failed) - 1} more' if len(failed) > 1 else ''}") if failed else ("only hangs" if hung else "NOT CAUGHT", "")


def apply(tree, path, *more):
    # -F0: a patch whose surroundings have changed may land elsewhere than where it was meant to.
    return ["patch", "-F0", "-p1", "-f", "--no-backup-if-mismatch", "-d", tree, "-i", path, *more]


def near(name, patches):
    return difflib.get_close_matches(name, [p.removesuffix(".patch") for p in patches], 3, 0)


def lock_tree():
    try:
        os.makedirs(os.environ["AX_CACHE"], exist_ok=True)
        lock = open(f"{TREE}.lock", "w")
    except OSError as e:
        sys.exit(f"ax: the cache {os.environ['AX_CACHE']} cannot be written ({e.strerror}): set AX_CACHE to a directory that can")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("ax: another run of the mutations has their tree: wait for it, or set AX_CACHE")
    return lock


def main():
    sys.stdout.reconfigure(line_buffering=True)
    if not shutil.which("patch"):
        sys.exit("ax: the program 'patch' is not here: install it with apt-get install patch")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    everything = sorted(p for p in os.listdir(f"{ROOT}/test/mutations") if p.endswith(".patch"))
    if wanted == "--check":
        lost = [p for p in everything if run(apply(ROOT, f"{ROOT}/test/mutations/{p}", "--dry-run"))[0] != 0]
        for p in lost:
            print(f"no longer applies: test/mutations/{p}")
        return 1 if lost else 0
    patches = [p for p in everything if wanted in p]
    if not patches:
        print(f"ax: no mutation is called '{wanted}': use a part of one of {', '.join(near(wanted, everything))}", file=sys.stderr)
        return 2
    lock = lock_tree()
    copy_tree()
    clean, missed = Clean(), 0
    heads = [read_patch(f"{ROOT}/test/mutations/{file}") for file in patches]
    for level, cases in sorted({(level, cases) for _, level, cases in heads}):  # at once: later each would want the clean tree built again
        clean.look(level, cases)
    for n, (file, (name, level, cases)) in enumerate(zip(patches, heads), 1):
        path = f"{ROOT}/test/mutations/{file}"
        verdict, by = clean.look(level, cases), ""
        if not verdict:
            if run(apply(TREE, path, "--dry-run"))[0] != 0:
                verdict = "no longer applies"
            else:
                run(apply(TREE, path))
                verdict, by = clean.verdict(level, cases)
                run(apply(TREE, path, "-R"))
        missed += verdict != ""
        print(f"{'not ok' if verdict else 'ok'} {n} - {name} ({level}){': ' + verdict if verdict else ', caught by: ' + by}")
        if verdict:
            print(f"#   rerun: ./ax test --mutate {file.removesuffix('.patch')}")
    print(f"1..{len(patches)}")
    lock.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
