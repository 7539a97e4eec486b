#!/usr/bin/env python3
"""Writes docs/recipes.md from its text and the code of tests between markers. With --check: status 1 when it is out of date."""
import os, re, sys, textwrap

ROOT = os.environ["AX_ROOT"]
SOURCES = ["recipes_test.cpp", "harness.hpp", "aarch64/debug_test.cpp", "x86_64/exits_test.cpp", "aarch64/interrupts_test.cpp", "aarch64/exits_test.cpp", "smp_test.cpp",
           "../host/reg_test.cpp"]
TEXT = """# Recipes

Each is code that runs as a test at EL2, in HS-mode or at ring 0 (`ax test system -- "[recipe]"`); this page is made from it (`tools/recipes.py`).

## Memory that appears when it is touched
{lazy}
## A device at an address
{device}
## Two vCPUs on one CPU
{two}
## Make a vCPU leave, from any CPU
{kick}
## Sleep while the guest waits
{sleep}
## Read and change a register
{register}
## An interrupt

Attach a controller model to the VM before its first run: `vm.attach(gic)` or `vm.attach(plic)`. Then, from any CPU and any context,
`gic.set_line(spi, true)` raises a line and `set_line(spi, false)` lowers it; a level-triggered interrupt asserts again until its line is
low, for an edge-triggered one each `true` is an edge. A vCPU that runs elsewhere is kicked, one that has blocked is reported to the
host's `wake`.
{level}
## Let one SMC through (AArch64)

Nothing is forwarded. With `VmPolicy::secure_calls` an SMC that PSCI and SMCCC do not claim leaves as `exit::Hypercall` with `secure` set:
the host looks at `number` and `args`, makes the call itself if it wants to, and gives the result to `complete()`.
{smc}
## Move a vCPU to another CPU

Let its `Bound` go out of scope on the first CPU, bind it on the second. Nothing else: TLB tags, timers and list registers go along.
{move}
## Answer a call between two instructions of the guest

A HAL that models `AnswersFast`; for VMs whose `VmPolicy::fast_exit` is set. What it answers costs 59 instructions on AArch64 and about 80 on RISC-V,
guest to guest (`ax bench`); what it passes on takes the usual way.
{fast}
## See what a guest does

`Vcpu::set_debug` asks for single steps, breakpoints, watchpoints or breakpoint instructions (`Capabilities` says how many); each leaves as
`exit::Debug`. The guest's own debugging is hidden meanwhile, and comes back with `set_debug({{}})`.
{debug}
## Read a FailEntry (x86_64)
{failentry}
## Add a register

One line in `arch-NAME/registers.cppm`: name, encoding, policy, and what differs from the defaults (reset value, writable mask, the feature
it needs). Context, save and restore, get and set by id and the canary test follow. A table of the tests' own:
{row}"""


def main():
    source = "".join(open(f"{ROOT}/test/system/{name}").read() for name in SOURCES)
    code = {name: "\n```cpp\n" + textwrap.dedent(body).strip("\n") + "\n```\n"
            for name, body in re.findall(r"// \[(\w+)\]\n(.*?)\n *// \[end\]", source, re.S)}
    page = TEXT.format(**code)
    path = f"{ROOT}/docs/recipes.md"
    if "--check" in sys.argv:
        with open(path) as f:
            if f.read() != page:
                print("docs/recipes.md is out of date: run tools/recipes.py")
                return 1
        return 0
    with open(path, "w") as f:
        f.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
