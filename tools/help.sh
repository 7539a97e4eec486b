# Sourced by ax: what `ax help` and `ax COMMAND --help` print. Needs usage and with_value of ax.

run_options() {
  cat <<'END'
options of run, demo and debug:
  --initrd FILE        an initramfs, put behind the image
  --append TEXT        the guest's command line
  --dtb FILE           the guest's device tree, instead of the one that is made for it
  --flat ADDR          the image is no ELF and no Linux Image: load it at this guest-physical address and start it there
  --vcpus N            vCPUs of each VM, 1 to 64 (1; demo 4)
  --cpus N             CPUs of the machine that the hypervisor runs on, 1 to 64 (as many as vCPUs; demo 2)
  --memory MiB         memory of each VM, 16 to 65536 (512)
  --vms K              VMs, each from the same image, 1 to 16 (1)
  --cpu MODEL          QEMU's CPU model with its properties (aarch64: max; riscv64: rv64,h=true,v=true,vlen=256)
  --backend svm|vmx    x86_64 only, which runs no guest images yet
  --vhe on|off|auto    aarch64: with the virtualization host extensions or without (auto: where the CPU has them)
  --irqchip CHIP       the guest's interrupt controller: gic on aarch64, plic or aia on riscv64 (auto: gic, plic)
  --passthrough WHAT   aarch64, one VM, a CPU for each vCPU: irq (the guest owns the interrupts) or irq,timer (and the physical timer)
  --seed N             the hypervisor's random seed (1)
  --shell              a busybox shell on this terminal instead of a guest that ends; Ctrl-A X leaves
  --lazy-fp            floating-point and vector registers are loaded when a guest uses them, not at each switch to its vCPU
  --stats              the summary at the end: exits by reason, and what they cost (demo: always)
  --timeout SECONDS    end with status 124 after this time (run: none; demo: 300)
END
}

statuses() {
  cat <<'END'

The guest's console goes to stdout, everything of ours to stderr. Status: 0 done, 1 set-up, build, QEMU or SDK failed, 2 wrong command
line, 3 the guest reset or crashed, 124 time limit, 130 Ctrl-C.
END
}

help_for() { # command
  case $1 in
    help|-h|--help) usage; echo; run_options; cat <<'END' ;;

environment: AX_CACHE, where sources, guests and sysroots are kept (else $XDG_CACHE_HOME/axvcpu or ~/.cache/axvcpu)
END
    setup) cat <<'END' ;;
usage: ax setup [--offline]
Installs the packages (Debian 12 and 13; elsewhere it says what is missing), fetches sources and guests, and builds the sysroots, into the
cache. The second time it does nothing. --offline: fails where something would have to be fetched.
END
    build) cat <<'END' ;;
usage: ax build [ARCH...]
Builds into build/ARCH; the SDK is build/ARCH/libaxvcpu.a. ARCH: host aarch64 riscv64 x86_64 (all four without one), and ARCH-test, the
same sources with exceptions for the tests. clangd finds the compilation databases there.
END
    run) cat <<'END'; run_options; statuses ;;
usage: ax run ARCH IMAGE [OPTIONS]
Runs a guest: a Linux Image, an ELF file, or with --flat anything. ARCH: aarch64 riscv64. RAM begins at 0x40000000 on aarch64, at
0x80000000 on riscv64.
END
    demo) cat <<'END'; run_options; statuses ;;
usage: ax demo [ARCH] [OPTIONS]
Boots Debian's Linux, on aarch64 without an ARCH, and ends by itself: 0 when the guest has reached user space and powered off. Then come
boot time, exits by reason and their cost. With --passthrough there are as many CPUs as vCPUs.
END
    debug) cat <<'END'; run_options; statuses ;;
usage: ax debug ARCH IMAGE [OPTIONS] [-- GDB ARGS]
Starts QEMU and gdb, stopped at the hypervisor's first instruction; `continue` goes on to the guest's first one. The hypervisor's symbols
are loaded, and those of an ELF guest. Ctrl-C stops the machine, quitting gdb ends it. GDB ARGS, such as -batch -ex COMMAND, come after ours.
END
    test) usage | sed -n '/^  test/,/^  bench/{/^  bench/!p}'; statuses | tail -n +2 ;;
    bench) cat <<'END' ;;
usage: ax bench [ARCH]
Prints what exits cost in instructions, beside their budgets, and what a boot of Linux costs. ARCH: aarch64 (without one) or riscv64.
END
    lint) cat <<'END' ;;
usage: ax lint
clang-tidy on all implementation units, for each target.
END
    format) cat <<'END' ;;
usage: ax format
clang-format (.clang-format) on the lines of C++ sources that differ from git's HEAD, and on new files. Lines that are committed stay as
they are: tables and short bodies are laid out by hand.
END
    clean) cat <<'END' ;;
usage: ax clean [--cache]
Removes build/, build.kept/ and the unpacked sources in subprojects/; with --cache also the cache.
END
    *) refuse "unknown command '$1': see ax help" ;;
  esac
}

asks_for_help() { # arguments of a command: --help among them, and not as an option's value
  while (($#)); do
    case $1 in --help|-h) return 0 ;; --) return 1 ;; esac
    if [[ $1 =~ ^($with_value)$ ]] && (($# > 1)); then shift; fi
    shift
  done
  return 1
}
