// AArch64: the types behind the portable Vm, Vcpu and PerCpu, and the functions that the Backend concept asks for.
export module axvcpu.aarch64:backend;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.mailbox;
import axvcpu.interrupt;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;
import :registers;
import :syndrome;
import :decode;
import :access;

export namespace axvcpu::aarch64 {

class Vcpu;

/// What a VM is made of.
struct VmConfig {
    std::uint32_t id = 0;
    const Stage2* stage2 = nullptr;          ///< the VM's tables; nullptr: bind() answers no_stage2
    Registry vcpus{};                         ///< the user's slots, one for each vCPU
    std::span<const GuestRange> ram{};        ///< faults in here are NestedPageFault, elsewhere Mmio; must outlive the VM
    VmPolicy policy{};
    bool passthrough_interrupts = false;     ///< the guest owns its CPU's interrupts: it is trusted
    bool passthrough_timer = false;          ///< the guest has the physical timer too
};

struct Vm : VmCore {
    Vm(const VmConfig& c, const HalTable& hal) noexcept;
    const Stage2* stage2;
    bool passthrough_interrupts, passthrough_timer;
    std::uint64_t counter_offset;            ///< CNTVOFF_EL2 of all vCPUs: one clock for the VM
};

struct CreateConfig {
    std::uint32_t id = 0;                    ///< index in the VM
    std::optional<std::uint64_t> mpidr{};     ///< affinity fields of MPIDR_EL1; default: id's low 4 bits as Aff0, the rest as Aff1
    GuestPhysAddr entry{};
    std::uint64_t arg = 0;                   ///< X0: a kernel's device tree
    bool off = false;                        ///< waits for another vCPU's CPU_ON
    std::span<std::byte> vector_state{};      ///< Capabilities::vector_state bytes, 16-byte aligned; none hides SVE. Who fills it fills V, too (restore() first)
};

/// DBGBVR0, DBGBCR0, DBGBVR1, DBGBCR1, then DBGWVR and DBGWCR likewise.
using DebugRegisters = std::array<std::uint64_t, 8>;

/// What set_debug() asked for.
struct HostDebug {
    bool active = false, step = false, software_breakpoints = false;
    DebugRegisters registers{};
};

/// EL2's registers as a vCPU needs them on a CPU, but for the ones that are alike for all vCPUs. VTTBR_EL2 without the VMID.
struct HostOwned {
    std::uint64_t mdcr = 0, cptr = 0, cnthctl = 0, vtcr = 0, vmpidr = 0, cntvoff = 0, vttbr = 0, hcr = 0;
    std::uint64_t features = 0;  // with registers of their own at EL1 that the guest has, and this CPU
};
/// Those of them that mean something to the host, too, as enable() found them: unbind gives them back.
struct HostRegisters { std::uint64_t mdcr = 0, cptr = 0, cnthctl = 0, cntvoff = 0, vttbr = 0, mdscr = 0, ich_hcr = 0, hcr = 0, mpam2 = 0; };

/// One physical CPU. Touched by that CPU only, but for `tags`.
struct PerCpu {
    static constexpr std::uint64_t not_enabled = ~std::uint64_t{0};
    HostRegisters host;
    bool enabled = false, e2h = false;
    std::uint64_t epoch = not_enabled;                   // another number, of the whole machine's, with each change of what bind() looks at
    CpuId id{};
    const HalTable* hal = nullptr;
    Vcpu* bound = nullptr;
    const void* trusted = nullptr;                       // the vCPU that has this CPU's interrupts passed through: no other one may come
    Capabilities capabilities;
    TlbTagCpu tags;
    std::uint32_t parange = 0, vmid_bits = 8, list_registers = 0, priority_words = 1;
    bool has_fgt = false, has_fgt2 = false, has_hcx = false, has_mpam = false;
    std::uint64_t sre_el1 = 0, sre_el2 = 0;              // as enable() found them
    DebugRegisters host_debug{};                         // the host's, while a vCPU's are loaded
    std::uint64_t host_os_lock = 0;
    std::array<std::uint64_t, 24> owned{};               // the other ones as enable() found them: disable() gives them back
    std::uint32_t vector_length = 0;                     // bytes of a Z register; 0: no SVE
    std::uint64_t host_zcr = 0;                          // ZCR_EL2 as enable() found it: apart, as CPTR_EL2 may trap it
    // What guests see, at CRm * 8 + op2: those without SVE, those with it.
    std::array<std::array<std::uint64_t, 64>, 2> id_registers{};
    inline auto has(Feature f) const noexcept -> bool { return (capabilities.features & bit(f)) != 0; }
};

/// An instruction exit that waits for its answer, and what else has to be seen to before the guest goes on.
struct Pending {
    enum class Kind : std::uint8_t {
        none, hypercall, device, call, mmio, register_read, register_write, wait, fault, power_on, suspend,
        ///< hypercall: HVC #0; device: a plain load or store, all of it in ESR_EL2; call, mmio: the other ways to do the same, a 32-bit call among them
        more,       ///< an instruction of several accesses, completed in part: the next run() goes on with `part`
        terminal,   ///< a terminal exit was given out: only a reset helps
        host_irq,   ///< the host's interrupt handler runs inside run()
    };
    Kind kind = Kind::none;
    std::uint8_t length = 4;      ///< bytes to advance at completion
    std::uint8_t moved = 0;       ///< bytes by which the hardware has advanced the PC already: HVC returns behind itself (4 in a hypercall)
    std::uint8_t reg = 0;         ///< destination of a register read
    std::uint8_t part = 0;        ///< of an instruction of several accesses: the one outstanding
    Access access{};              ///< the one outstanding
    GuestPhysAddr addr{};         ///< of part 0
    MemoryInstruction insn{};     ///< count 0: a single access
    VcpuCore* target = nullptr;   ///< power_on
    bool power_down = false;      ///< suspend: completes by a restart at `addr` with `arg`
    std::uint64_t arg = 0;
};

/// What switch.S and fast.S work on.
struct SwitchState {
    Context context;
    bool (*fast_exit)(std::uint64_t* registers, std::uint64_t syndrome) noexcept = nullptr;  // the fast hook, where the policy asks for it
};

class Vcpu : public VcpuCore, public SwitchState {
public:
    Vcpu(Vm& vm, const CreateConfig&) noexcept;

    Pending pending;
    PerCpu* percpu = nullptr;                // while bound
    std::uint64_t fits = 0;                  // epoch of the CPU that has been found to fit, and for which `el2` and `usual_work` are right
    HostOwned el2;
    std::uint32_t usual_work = 0;            // `work` at bind, but for what the guest has brought about itself
    const HalTable* hal;
    const std::uint64_t* id_registers = nullptr;  // while bound: what this guest sees, at CRm * 8 + op2

    /// What an entry, an exit or a switch has to see to beyond the usual: bits of one word, so that the usual is one test. What is tested
    /// together stands together: a mask of neighbours is part of the instruction.
    enum Work : std::uint32_t {
        switch_fp = 1,                 ///< the host uses floating point: HostFp::per_exit
        calls_refused = 1 << 1,        ///< no call is an exit
        timer_paused = 1 << 2,         ///< `timer_control` has to be written before the guest goes on
        fast_hook = 1 << 3,            ///< `fast_exit` is asked first
        host_steps = 1 << 4,           ///< PSTATE.SS is set before each entry
        host_extensions = 1 << 5,      ///< the guest's timer is reached by its EL02 name
        guest_owns_timer = 1 << 6,     ///< it is passed through
        partitioned = 1 << 7,          ///< the CPU has MPAM
        guest_owns_interrupts = 1 << 8,  ///< they are passed through
        host_debugs = 1 << 9,          ///< set_debug() asked for something
        has_sve = 1 << 10,             ///< Z, P and FFR are switched
        more_priorities = 1 << 11,     ///< more active priorities than a word holds
        list_registers = 1 << 12,      ///< some hold an interrupt: `lr_used` is not 0
        timer_linked = 1 << 13,        ///< the virtual timer's physical interrupt is active, held for the guest
        physical_timer_on = 1 << 14,   ///< the emulated physical timer counts
        deadline_armed = 1 << 15,
        debug_loaded = 1 << 16,        ///< the CPU's debug registers are not the host's
        fp_used = 1 << 17,             ///< floating point and vectors have been loaded at their first use, and do not trap
        fp_apart = 1 << 18,            ///< bind and unbind leave them alone: switch_fp, or they are loaded at their first use
        lasting = list_registers | timer_linked | physical_timer_on,  ///< what outlives an unbinding
        /// What few guests or machines have, behind one test when a vCPU comes, and when it leaves.
        rare_to_load = guest_owns_timer | partitioned | guest_owns_interrupts | host_debugs | has_sve | more_priorities | list_registers | timer_linked,
        rare_to_save = rare_to_load | physical_timer_on | deadline_armed | debug_loaded | fp_used,  // the second one closes the row
    };
    std::uint32_t work = 0;
    inline auto has(Work w) const noexcept -> bool { return (work & w) != 0; }
    inline void set(Work w, bool on) noexcept { work = on ? work | w : work & ~static_cast<std::uint32_t>(w); }

    HostDebug debug;

    // The GIC's virtual CPU interface. In the hardware while bound, here otherwise.
    std::uint32_t lr_used = 0;               // list registers that hold an interrupt
    bool lr_overflow = false;                // more was pending than they hold
    std::array<std::uint32_t, 16> lr{};        // which interrupt each holds: a register that the guest has emptied does not say
    std::array<std::uint64_t, 16> saved_lr{};  // their values while unbound
    std::uint64_t vmcr = 0;
    std::array<std::uint64_t, 4> ap0{}, ap1{};

    std::uint64_t run_deadline = no_deadline;
    bool physical_armed = false;             // the compare register stands (also) for the guest's physical timer
    bool physical_line = false;              // that timer's line, as the controller was told
    std::uint64_t timer_control = 0;         // CNTV_CTL_EL0 while the host runs: no timer of a guest fires there
    std::span<std::byte> vector_state;       // Z0-Z31, P0-P15, FFR while they are not in the hardware; empty: the guest has no SVE
    std::uint32_t vector_length = 0;         // bytes of a Z register in it, from the first bind on
    std::array<std::uint64_t, 10> host_fp{}; // with HostFp::per_exit: the callee-saved registers of run()'s caller

    /// What of the CPU's features this guest has. Requires: bound.
    inline auto features() const noexcept -> std::uint64_t {
        return percpu->capabilities.features & (has(has_sve) ? ~std::uint64_t{0} : ~bit(Feature::sve));
    }
    inline auto machine() const noexcept -> Vm& { return static_cast<Vm&>(vm()); }
    inline auto mailbox() noexcept -> Mailbox& { return mailbox_; }
    inline auto exit() noexcept -> Exit& { return exit_; }
    /// Where the number and the arguments of calls are, but of one that was narrowed.
    inline void call_by_registers() noexcept { exit_.call_at(&context.raw<"X">(), &context.raw<"X">(1)); }
    /// A terminal exit: the vCPU is off, from its unbinding on, until it is reset.
    inline void end() noexcept {
        pending.kind = Pending::Kind::terminal;
    }
    friend struct Arch;

    // The general registers, where 31 is zero.
    inline auto x(unsigned n) const noexcept -> std::uint64_t { return context.get<"X">(n); }
    inline void set_x(unsigned n, std::uint64_t v) noexcept { if (n != 31) context.set<"X">(v, n); }
};

/// The backend: models axvcpu::Backend.
struct Arch {
    using Vm = aarch64::Vm;
    using VmConfig = aarch64::VmConfig;
    using Vcpu = aarch64::Vcpu;
    using PerCpu = aarch64::PerCpu;
    using CreateConfig = aarch64::CreateConfig;
    static constexpr const auto& registers = aarch64::registers;

    static auto enable(PerCpu&, const HalTable&) noexcept -> Result<Capabilities>;
    static auto disable(PerCpu&) noexcept -> Result<void>;
    static auto check(const Vm&, const CreateConfig&) noexcept -> Result<void>;
    static auto bind(Vcpu&, PerCpu&, CpuId here) noexcept -> Result<void>;
    static void unbind(Vcpu&, CpuId here) noexcept;
    static auto switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool;
    static auto run(Vcpu&, std::uint64_t deadline, CpuId here) noexcept -> bool;
    [[gnu::always_inline]] static inline auto complete(Vcpu& v, std::uint64_t value) noexcept -> Result<void> {
        if (v.pending.kind == Pending::Kind::hypercall) [[likely]] {  // the hardware has moved the PC
            v.pending.kind = Pending::Kind::none;
            v.context.raw<"X">() = value;
            return {};
        }
        if (const auto* refused = complete_other(v, value); refused != nullptr) [[unlikely]] return *refused;
        return {};
    }
    static auto fail(Vcpu&) noexcept -> Result<void>;
    static auto retry(Vcpu&) noexcept -> Result<void>;
    static auto reset(Vcpu&, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void>;
    static auto get(Vcpu&, reg::Id, bool high) noexcept -> Result<std::uint64_t>;
    static auto set(Vcpu&, reg::Id, std::uint64_t, bool high) noexcept -> Result<void>;
    static auto set_debug(Vcpu&, const DebugConfig&) noexcept -> Result<void>;
    static auto deadline(const Vcpu&) noexcept -> std::uint64_t;

private:
    friend class aarch64::Vcpu;
    static auto complete_other(Vcpu&, std::uint64_t value) noexcept -> const Error*;
    static auto complete_rare(Vcpu&, std::uint64_t value) noexcept -> const Error*;
    static void power_up(Vcpu&) noexcept;
    static auto admit(Vcpu&, PerCpu&, CpuId here, const Vcpu* leaves, bool ready) noexcept -> Result<void>;
    static auto admitted(Vcpu& from, Vcpu& to, PerCpu&, CpuId here, bool ready) noexcept -> bool;
};

/// What a fast hook finds in its FastExit. X19 to X29 are there for a register access only.
namespace fast {
inline auto is_call(const FastExit& e) noexcept -> bool { return Esr{e.syndrome}.ec() == Ec::hvc64; }
/// Requires: is_call(). `n` below 6.
inline auto number(const FastExit& e) noexcept -> std::uint64_t { return e.registers[0]; }
inline auto argument(const FastExit& e, unsigned n) noexcept -> std::uint64_t { return e.registers[1 + n]; }
inline void answer(FastExit& e, std::uint64_t value) noexcept { e.registers[0] = value; }
/// The trapped register access, where it is none of the above.
inline auto register_access(const FastExit& e) noexcept -> SysregTrap { return {Esr{e.syndrome}.iss()}; }
/// What a read of it gives. Requires: register_access().read().
inline void answer_register(FastExit& e, std::uint64_t value) noexcept {
    if (const auto n = register_access(e).reg(); n != 31) e.registers[n] = value;
}
}  // namespace fast

/// Gives stage-2 tables of this VM their TLB maintenance: broadcast; who reads the guest's memory for a vCPU is waited for.
auto tlb_maintenance(Vm&) noexcept -> TlbMaintenance;

}  // namespace axvcpu::aarch64

// Between the backend's own files; not for users.
namespace axvcpu::aarch64 {

// exception.cpp: faults for the guest, and the end of an instruction.
/// Bytes by which the hardware is ahead of the instruction that is outstanding.
auto moved(const Vcpu&) noexcept -> std::uint64_t;
void advance_aarch32(Vcpu&, unsigned length) noexcept;
/// Moves behind an instruction of `length` bytes (of 4 in AArch64): PC, and what its end does to PSTATE (BTYPE, SS, or IT).
inline void advance(Vcpu& v, unsigned length) noexcept {
    auto& c = v.context;
    const auto pstate = c.get<"PSTATE">();
    constexpr std::uint64_t aarch32 = 1 << 4, btype = 3 << 10, single_step = std::uint64_t{1} << 21;
    if ((pstate & aarch32) != 0) [[unlikely]] return advance_aarch32(v, length);
    c.raw<"PC">() += 4;
    c.raw<"PSTATE">() = pstate & ~(btype | single_step);
}
/// Ends the outstanding part of a load or store; a load gets `value`. True: that was the last one, and the instruction is over.
auto finish_part(Vcpu&, std::uint64_t value) noexcept -> bool;
/// The register that a load or store uses as its base; 31 is the stack pointer that PSTATE selects.
auto base_register(Vcpu&, unsigned n) noexcept -> std::uint64_t;
void set_base_register(Vcpu&, unsigned n, std::uint64_t value) noexcept;
void inject_undefined(Vcpu&) noexcept;
void inject_breakpoint(Vcpu&) noexcept;  ///< its own breakpoint instruction, which came to EL2 because the host debugs
void inject_abort(Vcpu&, bool instruction, std::uint32_t fault_code, std::uint64_t address) noexcept;
// abort.cpp, call.cpp, sysreg.cpp: synchronous exits. True: `out` goes to the host; false: back into the guest.
auto leave_synchronous(Vcpu&, Exit& out) noexcept -> bool;
auto on_abort(Vcpu&, Esr, Exit& out) noexcept -> bool;
/// The commonest abort: done inside, given out as an exit, or something else.
enum class Plain : std::uint8_t { no, done, exit };
auto plain_access(Vcpu&) noexcept -> Plain;
auto next_part(Vcpu&, Exit& out) noexcept -> bool;
auto on_sysreg(Vcpu&, Esr, Exit& out) noexcept -> bool;
// interrupt.cpp: list registers. All on the vCPU's CPU, interrupts masked.
void refresh_interrupts(Vcpu&) noexcept;
/// An SGI of the vCPU to itself, where its list register can be used again as it stands. False: the long way.
auto repeat_sgi(Vcpu&, std::uint32_t id) noexcept -> bool;
auto interrupt_waits(Vcpu&) noexcept -> bool;   ///< something is posted, pending in the model or in a list register
void drop_interrupts(Vcpu&) noexcept;           ///< unbound: everything goes back to the model, as at a reset
auto on_interrupt(Vcpu&, Exit& out) noexcept -> bool;
void move_more_priorities(Vcpu&, bool to_cpu) noexcept;
void clear_more_priorities(const PerCpu&) noexcept;
void load_list_registers(Vcpu&) noexcept;
void save_list_registers(Vcpu&) noexcept;
inline constexpr std::uint64_t ich_hcr_en = 1;
// timer.cpp
void arm_deadline(Vcpu&) noexcept;
[[gnu::always_inline]] inline void resume_guest_timer(Vcpu& v) noexcept {
    if (!v.has(Vcpu::timer_paused)) return;
    write_el1<"CNTV_CTL_EL0">(v.has(Vcpu::host_extensions), v.timer_control);
    v.set(Vcpu::timer_paused, false);
}
void move_physical_timer(Vcpu&, bool to_cpu) noexcept;
/// Nothing of the guest's timer interrupts the host between exit and entry. `work` is the vCPU's, in what does not change while it is bound.
[[gnu::always_inline]] inline void pause_guest_timer(Vcpu& v, std::uint32_t work) noexcept {
    if ((work & (Vcpu::host_extensions | Vcpu::guest_owns_timer)) == 0) {
        if (const auto control = read<"CNTV_CTL_EL0">(); (control & 1) != 0) {
            v.timer_control = control & 3;
            v.set(Vcpu::timer_paused, true);
            write<"CNTV_CTL_EL0">(0);
        }
    } else if ((work & Vcpu::guest_owns_timer) == 0) {
        if (const auto control = read<"CNTV_CTL_EL0", true>(); (control & 1) != 0) {
            v.timer_control = control & 3;
            v.set(Vcpu::timer_paused, true);
            write<"CNTV_CTL_EL0", true>(0);
        }
    }
}
/// EL1's physical timer interrupts whatever runs here at this count.
[[gnu::always_inline]] inline void write_deadline(bool e2h, std::uint64_t at) noexcept {
    write_el1<"CNTP_CVAL">(e2h, at);
    write_el1<"CNTP_CTL">(e2h, 1);
}
/// Requires: one is armed; `work` is the vCPU's.
[[gnu::always_inline]] inline void stop_deadline(Vcpu& v, std::uint32_t work) noexcept {
    v.run_deadline = no_deadline;
    write_el1<"CNTP_CTL">((work & Vcpu::host_extensions) != 0, 0);
    v.work = work & ~static_cast<std::uint32_t>(Vcpu::deadline_armed);
}
inline void disarm_deadline(Vcpu& v) noexcept {
    if (v.has(Vcpu::deadline_armed)) stop_deadline(v, v.work);
}
auto guest_counter(const Vcpu&) noexcept -> std::uint64_t;
auto physical_timer_deadline(const Vcpu&) noexcept -> std::uint64_t;
// fp.cpp. All with interrupts masked, or where no handler looks: nothing of it is the host's.
/// CPTR_EL2: SME, trace and the activity monitors trap, and what is not `fp` or `sve`.
constexpr auto cptr(bool e2h, bool fp, bool sve) noexcept -> std::uint64_t {
    if (e2h) return 1u << 30 | 1u << 28 | (fp ? 3u << 20 : 0) | (sve ? 3u << 16 : 0);  // TAM, TTA, no SMEN; FPEN, ZEN
    return 1u << 30 | 1u << 20 | 0x32FF | (sve ? 0 : 1u << 8) | (fp ? 0 : 1u << 10);  // TAM, TTA, TSM and RES1; TZ, TFP
}
/// What a bound vCPU has in floating-point and vector registers is in memory then, too, or has only been there.
void fp_to_memory(Vcpu&) noexcept;
/// What was changed in memory takes effect.
void fp_from_memory(Vcpu&) noexcept;
/// It is loaded at its first use, and has not been.
inline auto lazy_fp_traps(const Vcpu& v) noexcept -> bool { return (v.work & (Vcpu::fp_apart | Vcpu::switch_fp | Vcpu::fp_used)) == Vcpu::fp_apart; }
/// The guest has used it. Requires: lazy_fp_traps().
void load_fp_at_first_use(Vcpu&) noexcept;
/// As it was before their first use: saved, and trapping. Nothing where they have not been loaded by that.
void put_fp_out(Vcpu&) noexcept;
/// Gives V<n> a value, and clears the rest of Z<n>. Requires: the state is in memory.
void set_vector(Vcpu&, unsigned n, std::uint64_t low, std::uint64_t high) noexcept;
/// The first bind says how long a Z register is: what V has been given before is in its low 128 bits from now on.
void settle_vectors(Vcpu&, std::uint32_t length) noexcept;
auto sve_state_bytes(std::uint32_t vector_length) noexcept -> std::uint32_t;
// bind.cpp
/// EL1's registers of a bound vCPU: from this CPU to the context, and back. Between the two its timer stands still. Requires: interrupts masked.
void save_el1(Vcpu&) noexcept;
void load_el1_again(Vcpu&) noexcept;
// admit.cpp
/// SCTLR_EL2.EnIA, EnIB, EnDA, EnDB: the host signs pointers.
inline constexpr std::uint64_t host_signs = std::uint64_t{1} << 31 | std::uint64_t{1} << 30 | 1 << 27 | 1 << 13;
// percpu.cpp
auto next_epoch() noexcept -> std::uint64_t;
// debug.cpp. Requires: bound, interrupts masked.
void load_debug(Vcpu&) noexcept;
void unload_debug(Vcpu&) noexcept;
auto debug_routing(const PerCpu&, const HostDebug&) noexcept -> std::uint64_t;
/// The machine's VMIDs.
inline constinit TlbTagDomain all_tags;
inline auto tags() noexcept -> TlbTagDomain& { return all_tags; }

extern "C" {
auto axvcpu_enter(Context*, std::uint64_t host_vbar) noexcept -> std::uint64_t;
auto axvcpu_enter_fast(Context*, std::uint64_t host_vbar) noexcept -> std::uint64_t;
void axvcpu_fp_save(Context*) noexcept;
void axvcpu_fp_load(const Context*) noexcept;
void axvcpu_fp_clear() noexcept;
void axvcpu_sve_save(void* state) noexcept;
void axvcpu_sve_load(const void* state) noexcept;
void axvcpu_sve_clear() noexcept;
auto axvcpu_sve_length() noexcept -> std::uint64_t;
void axvcpu_fp_save_host(std::uint64_t*) noexcept;
void axvcpu_fp_load_host(const std::uint64_t*) noexcept;
}

// Requires: FP, and SVE where the vCPU has it, not trapped at EL2.
inline void save_fp(Vcpu& v) noexcept {
    axvcpu_fp_save(&v.context);
    if (v.has(Vcpu::has_sve)) [[unlikely]] axvcpu_sve_save(v.vector_state.data());
}
inline void load_fp(const Vcpu& v) noexcept {
    axvcpu_fp_load(&v.context);  // first: writing V clears the rest of Z
    if (v.has(Vcpu::has_sve)) [[unlikely]] axvcpu_sve_load(v.vector_state.data());
}

}  // namespace axvcpu::aarch64
