#!/usr/bin/env python3
"""Hunts stale translations: runs the system suites' hidden cases [.maintenance] in QEMU under tools/plugin/maintenance.c, and compares
the maintenance instructions between each two markers, in their order, with what ought to be there. QEMU drops translations on its own
when a VMID changes, so a flush that is forgotten, or not ordered, shows in no guest.

Prints TAP. Usage: maintenance.py ARCH IMAGE [CPU [WORD]]   WORD: one more of the machine's command line, as vhe=on; --show: all that was found"""
import bisect, os, re, subprocess, sys, tempfile
from types import SimpleNamespace as Namespace

ROOT = os.environ["AX_ROOT"]
TLBI = {(0, 3, 0): "vmalle1is", (4, 7, 6): "vmalls12e1", (4, 3, 6): "vmalls12e1is", (4, 7, 4): "alle1", (4, 3, 4): "alle1is", (4, 0, 1): "ipas2e1is"}
DSB = {6: "nshst", 7: "nsh", 10: "ishst", 11: "ish", 14: "st", 15: "sy"}


def aarch64(word):
    if word == 0xD69F03E0:
        return "eret"
    if word & 0xFFFFFFE0 == 0xD51C2100:
        return "vttbr"
    if word >> 12 == 0xD5033:
        return "isb" if word & 0x40 else "dsb." + DSB.get(word >> 8 & 15, "other")
    op = word >> 16 & 7, word >> 8 & 15, word >> 5 & 7
    return "ic" if word >> 12 & 15 == 7 else "tlbi." + TLBI.get(op, "op%d.c%d.%d" % op)


def riscv64(word):
    known = {0x100F: "fence.i", 0x0FF0000F: "fence", 0x10200073: "sret"}
    if word in known:
        return known[word]
    if word & 0x7000 == 0x1000:
        return {0x680: "hgatp", 0x280: "vsatp"}[word >> 20]
    # With rs1 or rs2 it drops a part only.
    return {0x11: "hfence.vvma", 0x31: "hfence.gvma", 0x09: "sfence.vma"}[word >> 25] + (".some" if word >> 15 & 0x3FF else "")


# What a section has to be, by its number in test/system/maintenance_test.cpp: a regular expression over the words of the CPU that has
# the markers, each followed by a space. Stores to tables are "break" (of 0) and "make"; "enter" is the trampolines' ERET or SRET, "back"
# any other. More is no harm: an ISB more, a DSB before a TLBI that needs none. `others`: over all CPUs' words in one, "+" before another's;
# without it others have none. `last`: of the last of several sections, where that is another one.
def on_aarch64():
    i = "(isb )*"
    none = f"vttbr isb {i}"  # the new VMID is there before anything works on it
    # The stores are complete; the VMID is loaded; what is dropped; complete; the host's VMID again.
    invalidate = lambda what: f"dsb.ish {i}vttbr isb {i}{what}dsb.ish {i}vttbr isb {i}"
    # Each page, complete before what was combined of it.
    pages = lambda n: invalidate(f"(tlbi.ipas2e1is ){{{n}}}dsb.ish {i}tlbi.vmalle1is ")
    return Namespace(
        decode=aarch64, machine=("cortex-a72", "vhe=off"), enter=f"enter {i}", leave=f"dsb.ish {i}vttbr {i}",  # what the guest has begun is complete before it can go on elsewhere
        none=none, tag=none + f"(dsb.nshst )?tlbi.vmalls12e1 dsb.nsh {i}", all=none + f"(dsb.nshst )?tlbi.alle1 dsb.nsh {i}(ic dsb.nsh {i})?",
        switch=f"dsb.ish {i}tlbi.vmalls12e1 dsb.nsh {i}", switch_vm="dsb.ish " + none,
        stays=none,  # its translations have been kept, or the guest's own maintenance has reached them
        pages=pages, several=invalidate("tlbi.vmalls12e1is "), unused=f"dsb.ish {i}", unbound=pages(1), next_bind=none,
        elsewhere=pages(1), others=r"([^+ ]+ |\+(enter|back|isb) )*(\+dsb.ish )?(\+isb )*(\+vttbr )?(\+isb )*")


def on_riscv64():
    # No walk of one guest's tables under another's VMID: vsatp is 0 meanwhile. What is dropped is dropped when the new one is there.
    none = "vsatp hgatp %svsatp %s"
    tag, several = none % ("", "hfence.vvma (fence.i )?"), "fence hfence.gvma hfence.vvma "
    return Namespace(
        decode=riscv64, machine=("rv64,h=true", ""), enter="enter ", leave="vsatp hgatp ",
        none=none % ("", ""), tag=tag, all=none % ("hfence.gvma ", "hfence.vvma (fence.i )?"), switch="vsatp hfence.vvma ", switch_vm=none % ("", ""),
        stays=none % ("", "hfence.vvma fence.i "),  # the guest's own fences have not reached this hart
        pages=lambda n: several, several=several, unused="", unbound="", next_bind=tag,  # under another VMID
        # The other hart drops everything before the entry that comes after the unmapping.
        elsewhere="", others=r"(\+(enter|back) )*break (\+(enter|back) )*\+fence \+hfence.gvma \+hfence.vvma (\+(enter|back) )*\+enter (\+back )*(\+vsatp )?(\+hgatp )?")


def cases(a):
    once = lambda what: what + a.enter + a.leave
    return {
        0: dict(name="run again: none", own=a.enter),
        1: dict(name="the same vCPU bound again: none", own=once(a.none)),
        2: dict(name="another vCPU of the VM: its tag, once", own=once(a.tag)),
        3: dict(name="the first one back: its tag, once", own=once(a.tag)),
        4: dict(name="another VM's first time: its tag at most", own=once(f"({a.none}|{a.tag})")),
        5: dict(name="the VM back: none", own=once(a.none)),
        6: dict(name="a CPU's first vCPU: everything", own=once(a.all)),
        7: dict(name="a vCPU moves back to where no other one was meanwhile", own=once(a.stays)),
        8: dict(name="new VMs until the tags roll over: everything, with the first tag", own=once(f"({a.none}|{a.tag})"), last=once(a.all)),
        9: dict(name="another CPU after that: everything", own=once(a.all)),
        10: dict(name="and again: none", own=once(a.none)),
        11: dict(name="a VM of before: its tag at most", own=once(f"({a.none}|{a.tag})")),
        12: dict(name="and again: none", own=once(a.none)),
        13: dict(name="three pages unmapped", own="(break ){3}" + a.pages(3) + a.enter),
        14: dict(name="a page unmapped that a guest on another CPU uses", own="break " + a.elsewhere, others=a.others),
        15: dict(name="a VM that never ran, unmapped: none", own="(break )+" + a.unused),
        16: dict(name="a page unmapped of a VM that is not bound", own="break " + a.unbound),
        17: dict(name="and its next bind", own=once(a.next_bind)),
        18: dict(name="more than 512 pages unmapped: all of its tag", own="(break )+" + a.several + a.enter),
        19: dict(name="two pages protected: break before make, each", own=f"(break {a.pages(1)}make ){{2}}" + a.enter),
        20: dict(name="a page of a block unmapped: break, all of its tag, make, break", own=f"((break|make) )*break {a.several}make break {a.pages(1)}" + a.enter),
        21: dict(name="more allowed on a page: no break", own="make " + a.enter),
        22: dict(name="switched to another vCPU of the VM: its tag, once", own=a.switch + a.enter),
        23: dict(name="switched to another VM: none", own=a.switch_vm + a.enter),
    }


def marker(arch, word):
    """0x400 | number, 0x500 | number, or None."""
    if arch == "aarch64":
        return word >> 5 & 0xFFF if word & 0xFFFE001F == 0xD2F4001F else None
    return word >> 20 if word & 0xFFFFF == 0x02013 else None


def sections(log, arch, decode, symbols):
    """{number: [(words of the CPU that has the markers, words of all)]}."""
    starts = [at for at, _ in symbols]
    found, number, own, words = {}, None, None, []
    for line in log:
        cpu, at, word, *value = line.split()
        if at == "store":
            words.append((cpu, "make" if int(value[0], 16) else "break"))
        elif (m := marker(arch, int(word, 16))) is None:
            w = decode(int(word, 16))
            if w in ("eret", "sret"):
                w = "enter" if symbols[bisect.bisect(starts, int(at, 16)) - 1][1].startswith("axvcpu_") else "back"
            words.append((cpu, w))
        elif m < 0x500:
            number, own, words = m & 31, cpu, []
        else:
            found.setdefault(number, []).append(("".join(w + " " for c, w in words if c == own), "".join(("" if c == own else "+") + w + " " for c, w in words)))
    return found


def short(words):
    """Repeated words once, with how often."""
    return re.sub(r"(\S+ )\1+", lambda m: f"{m[1][:-1]}*{len(m[0]) // len(m[1])} ", words).strip() or "nothing"


def wrong(case, runs):
    """Lines that say what is wrong; none: nothing is."""
    if not runs:
        return ["did not run"]
    for n, (own, all_words) in enumerate(runs):
        pattern = case.get("last", case["own"]) if n == len(runs) - 1 else case["own"]
        if not re.fullmatch(pattern, own):
            return [f"expected: {pattern.strip() or 'nothing'}", f"found: {short(own)}" + (f" (time {n + 1} of {len(runs)})" if len(runs) > 1 else "")]
        if not (re.fullmatch(case["others"], all_words) if "others" in case else own == all_words):
            return [f"expected with other CPUs: {case.get('others', 'nothing of theirs')}", f"found: {short(all_words)}"]
    return []


def plugin():
    path, source = f"{ROOT}/build/maintenance.so", f"{ROOT}/tools/plugin/maintenance.c"
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        subprocess.run(["clang-22", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", path, source], check=True)
    return path


def observe(arch, image, cpu, word, decode):
    """(the image's status, what it said, its sections)."""
    nm = subprocess.run(["llvm-nm-22", "-n", "-S", "-C", image], capture_output=True, text=True, check=True).stdout
    tables = re.search(r"^(\w+) (\w+) \w harness::\(anonymous namespace\)::pools$", nm, re.M)
    start = int(tables[1], 16)
    symbols = [(int(m[1], 16), m[2]) for m in re.finditer(r"^(\w{16}) (?:\w{16} )?[tTwW] (.*)$", nm, re.M)]
    with tempfile.NamedTemporaryFile("r") as log:
        p = subprocess.run(["python3", f"{ROOT}/tools/machine.py", "--arch", arch, "--bare", image, "--cpu", cpu, "--cpus", "2", "--timeout", "120",
                            "--plugin", f"{plugin()},from={start},to={start + int(tables[2], 16)}", "--plugin-log", log.name,
                            f"--append=-r cases {word} [.maintenance]"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return p.returncode, p.stdout.decode(errors="replace"), sections(log, arch, decode, symbols)


def main():
    show = "--show" in sys.argv
    arch, image, *more = [a for a in sys.argv[1:] if a != "--show"]
    a = {"aarch64": on_aarch64, "riscv64": on_riscv64}[arch]()
    cpu, word = (*more, *a.machine[len(more):])
    status, out, found = observe(arch, image, cpu, word, a.decode)
    table, bad = cases(a), 0
    for n, case in table.items():
        lines = wrong(case, found.get(n, []))
        bad += lines != []
        print(f"{'not ok' if lines else 'ok'} {n + 1} - {case['name']}")
        for text in lines + ([short(found[n][-1][1])] if show and n in found else []):
            print(f"#   {text}")
    ended = status == 0 and set(found) <= set(table)
    print(f"{'ok' if ended else 'not ok'} {len(table) + 1} - the cases themselves")
    if not ended:
        print("".join(f"#   {line}\n" for line in out.splitlines() if not line.startswith("ok ")), end="")
    print(f"1..{len(table) + 1}")
    return 124 if status == 124 else 1 if bad or not ended else 0


if __name__ == "__main__":
    sys.exit(main())
