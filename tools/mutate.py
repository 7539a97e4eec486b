#!/usr/bin/env python3
"""Tests the tests: applies each patch of test/mutations/ to a copy of the tree, builds, and runs the suites that the patch names. A
mutation must apply, compile, change what is built, and make a test fail; one that only hangs is not caught.

A patch starts with '# NAME', '# level: host | system ARCH [plain] | maintenance ARCH | budget ARCH' and '# cases: CATCH2 FILTER'. Usage: mutate.py [NAME-PART]"""
import fcntl, filecmp, hashlib, os, shutil, subprocess, sys

ROOT = os.environ["AX_ROOT"]
# Not in build/: who looks for a library there shall find those of this tree.
TREE = f"{os.environ['AX_CACHE']}/mutations"
NATIVE = ["--native-file", f"{TREE}/cross/native.ini", "-Db_sanitize=address,undefined", "-Db_lundef=false"]


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
    status, out = run([f"{TREE}/tools/build.sh", f"{TREE}/build/{directory}", *args], env=env)
    return status, out, f"{TREE}/build/{directory}/{product}"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def test(level, cases, product):
    """Gives (failed tests, whether it only hung)."""
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
        failed = out.count("#   expected")  # what did not run because the machine hung is not counted
        return failed, status == 124 and failed == 0
    else:
        status, out = run([f"{ROOT}/test/budget/trampoline_length.sh", arch, f"{TREE}/build/{arch}"])
        return int(status != 0), False
    failed = out.count("\nnot ok ") + out.startswith("not ok ")
    crashed = "host fault" in out or "ERROR: AddressSanitizer" in out or "library assertion" in out
    return failed + crashed, status == 124 and failed + crashed == 0


def main():
    if not shutil.which("patch"):
        sys.exit("ax: the program 'patch' is not here: install it with apt-get install patch")
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    patches = sorted(p for p in os.listdir(f"{ROOT}/test/mutations") if p.endswith(".patch") and wanted in p)
    if not patches:
        sys.exit(f"ax: no mutation is called '{wanted}': see test/mutations/")
    os.makedirs(os.environ["AX_CACHE"], exist_ok=True)
    lock = open(f"{TREE}.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("ax: another run of the mutations has their tree: wait for it, or set AX_CACHE")
    copy_tree()
    clean, caught, missed = {}, 0, 0
    for name in patches:
        path = f"{ROOT}/test/mutations/{name}"
        with open(path) as f:
            head = [f.readline().lstrip("# ").strip() for _ in range(3)]
        level, cases = head[1].removeprefix("level: "), head[2].removeprefix("cases:").strip()
        if level not in clean:
            status, out, product = build(level)
            if status != 0:
                sys.exit(f"ax: the tree does not build before any mutation:\n{out[-2000:]}")
            clean[level] = digest(product)
        status, out = run(["patch", "-p1", "-d", TREE, "-i", path])
        verdict = ""
        if status != 0:
            verdict = "no longer applies"
        else:
            status, out, product = build(level)
            if status != 0:
                verdict = "does not compile"
            elif digest(product) == clean[level]:
                verdict = "changes nothing that is built"
            else:
                failed, hung = test(level, cases, product)
                if failed == 0:
                    verdict = "only hangs" if hung else "NOT CAUGHT"
        run(["patch", "-R", "-p1", "-d", TREE, "-i", path])
        caught, missed = caught + (verdict == ""), missed + (verdict != "")
        print(f"{'not ok' if verdict else 'ok'} {caught + missed} - {head[0]} ({level}){': ' + verdict if verdict else ''}", flush=True)
    print(f"1..{caught + missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
