// Accesses that may fault without harm: guest memory as the guest sees it, and CSRs that a hart may lack.
// Each takes stvec for its few instructions and puts it and sstatus back. Requires: sstatus.SIE = 0.
    .option arch, +h

/// Clobbers: t0-t2. \label: where a trap goes.
.macro guard label
    csrr    t1, sstatus
    la      t0, \label
    csrrw   t0, stvec, t0
.endm
.macro unguard
    csrw    stvec, t0
    csrw    sstatus, t1                     // a trap has changed SPP and SPIE
.endm

    .section .text.axvcpu.guarded, "ax", %progbits

/// uint64_t axvcpu_NAME(uint64_t guest address, uint64_t* out) -> 0, or scause + 1 of the fault; stval and htval say more.
/// The privilege is hstatus.SPVP's.
.macro guest_load name, instruction
    .globl  axvcpu_\name
    .type   axvcpu_\name, %function
    .balign 4
axvcpu_\name:
    guard   1f
    \instruction t2, (a0)
    unguard
    sd      t2, 0(a1)
    li      a0, 0
    ret
    .balign 4
1:  unguard
    csrr    a0, scause
    addi    a0, a0, 1
    ret
.endm
    guest_load fetch_half, hlvx.hu
    guest_load load_double, hlv.d

/// uint64_t axvcpu_probe_NAME(uint64_t* out) -> 0, or not 0 when reading the CSR traps.
.macro probe name, csr
    .globl  axvcpu_probe_\name
    .type   axvcpu_probe_\name, %function
    .balign 4
axvcpu_probe_\name:
    guard   1f
    csrr    t2, \csr
    unguard
    sd      t2, 0(a0)
    li      a0, 0
    ret
    .balign 4
1:  unguard
    li      a0, 1
    ret
.endm
    probe   hstatus, 0x600
    probe   henvcfg, 0x60A
    probe   hstateen0, 0x60C
    probe   hvictl, 0x609
    probe   vsiselect, 0x250
    probe   vlenb, 0xC22
