// RISC-V: the types behind the portable Vm, Vcpu and PerCpu, and the functions that the Backend concept asks for.
export module axvcpu.riscv64:backend;
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
import :decode;
import :firmware;
import :imsic;
import :access;

export namespace axvcpu::riscv64 {

class Vcpu;

/// Where the guest's SBI console goes. `read` gives -1 when nothing is there.
struct Console {
    void* self = nullptr;
    void (*write)(void* self, std::uint8_t) noexcept = nullptr;  ///< nullptr: the guest has no SBI console
    auto (*read)(void* self) noexcept -> int = nullptr;
};

/// What a VM is made of.
struct VmConfig {
    std::uint32_t id = 0;
    Stage2* stage2 = nullptr;                ///< the VM's tables; nullptr: bind() answers no_stage2
    Registry vcpus{};                         ///< the user's slots, one for each vCPU
    std::span<const GuestRange> ram{};        ///< faults in here are NestedPageFault, elsewhere Mmio; must outlive the VM
    VmPolicy policy{};
    Console console{};
    SbiExits sbi_exits{};                     ///< SBI extensions that are the host's to answer; without VmPolicy::power also HSM, SRST, shutdown
    /// Where the vCPUs' IMSICs are, a page for each, by id; none: the guest has no AIA. The SDK maps and unmaps these pages itself, so
    /// nothing else may be mapped in their blocks of 2 MiB, and unmap, protect and the dirty log leave them out.
    std::optional<GuestPhysAddr> imsic{};
    bool sstc = true;                         ///< the guest has the stimecmp register where the hart has it; else it has SBI TIME alone
};

struct Vm : VmCore {
    Vm(const VmConfig& c, const HalTable& hal) noexcept;
    Stage2* stage2;
    GuestRange imsic;                        ///< size 0: there is none
    Console console;
    SbiFeatures sbi;
    bool sstc;
    std::uint64_t time_delta;                ///< htimedelta of all vCPUs: one clock for the VM
};

struct CreateConfig {
    std::uint32_t id = 0;                    ///< index in the VM
    std::optional<std::uint64_t> hart{};      ///< hart id; default: `id`
    GuestPhysAddr entry{};
    std::uint64_t arg = 0;                   ///< a1: a kernel's device tree; a0 is the hart id
    bool off = false;                        ///< waits for another vCPU's hart_start
    std::span<std::byte> vector_state{};      ///< Capabilities::vector_state bytes, 16-byte aligned; none hides the extension
};

/// HS-mode's registers as a vCPU needs them on a hart, but for the ones that are alike for all vCPUs. hgatp without the VMID.
struct HostOwned {
    std::uint64_t hedeleg = 0, henvcfg = 0, hstateen0 = 0, htimedelta = 0, hgatp = 0;
};
/// Those that mean something to the host, too, as enable() found them: unbind gives them back.
struct HostRegisters { std::uint64_t hgatp = 0, hstatus = 0, scounteren = 0, senvcfg = 0, sstateen0 = 0; };

/// One hart. Touched by that hart only, but for `tags`.
struct PerCpu {
    static constexpr std::uint64_t not_enabled = ~std::uint64_t{0};
    bool enabled = false;
    std::uint64_t epoch = not_enabled;             // another number, of the whole machine's, with each enable()
    CpuId id{};
    const HalTable* hal = nullptr;
    Vcpu* bound = nullptr;
    Capabilities capabilities;
    TlbTagCpu tags;
    volatile std::uint32_t* guest_file = nullptr;  // this hart's guest interrupt file 1; nullptr: there is none
    HostPhysAddr guest_file_page;
    HostRegisters host;
    std::array<std::uint64_t, 16> owned{};         // the other host-owned registers as enable() found them: disable() gives them back
    inline auto has(Feature f) const noexcept -> bool { return (capabilities.features & bit(f)) != 0; }
    /// One bit is too few: 0 is nobody's, and each hart keeps the one it uses.
    inline auto tagged() const noexcept -> bool { return capabilities.tag_bits > 1; }
};

/// An instruction exit that waits for its answer, and what else has to be seen to before the guest goes on.
struct Pending {
    enum class Kind : std::uint8_t {
        none, hypercall, load, store, device, register_read, register_write, wait, fault, power_on, suspend, legacy_call, buffer,
        ///< hypercall: an SBI call that is the hypervisor's; load, store: the usual ones, of a general register, whose `access` has what
        ///< a load's end needs; device: any load, store or atomic operation, `access`; legacy_call: a hypercall that answers in a0 alone;
        ///< buffer: an SBI call whose buffer stage 2 does not let the SDK at
        more,       ///< an atomic operation whose read is done: the next run() asks for its write
        terminal,   ///< a terminal exit was given out: only a reset helps
        host_irq,   ///< the host's interrupt handler runs inside run()
    };
    Kind kind = Kind::none;
    std::uint8_t length = 4;      ///< bytes to advance at completion
    std::uint8_t reg = 0;         ///< destination of a register read
    bool writing = false;         ///< atomic operation: the write is outstanding
    bool power_down = false;      ///< suspend: completes by a restart at `addr` with `arg`
    Access access{};
    GuestPhysAddr addr{};
    std::uint64_t old = 0;        ///< atomic operation, read-modify-write of a CSR: what was read
    CsrAccess csr{};
    VcpuCore* target = nullptr;   ///< power_on
    std::uint64_t arg = 0;
};

/// What switch.S works on.
struct SwitchState {
    Context context;
    std::uint64_t host_sp = 0;
    std::uint64_t host_sscratch = 0;         // the host's while the guest runs; read at bind
    bool (*fast_exit)(std::uint64_t* registers, std::uint64_t syndrome) noexcept = nullptr;  // the fast hook, where the policy asks for it
};

class Vcpu : public SwitchState, public VcpuCore {
public:
    Vcpu(Vm& vm, const CreateConfig&) noexcept;

    Pending pending;
    PerCpu* percpu = nullptr;                // while bound
    const HalTable* hal;
    std::uint64_t fits = 0;                  // epoch of the hart that has been found to fit, and for which `hs` and `usual_work` are right
    HostOwned hs;
    std::uint32_t usual_work = 0;            // `work` at bind, but for what the guest itself decides

    /// What an entry, an exit or a switch has to see to beyond the usual: bits of one word, so that the usual is one test.
    enum Work : std::uint32_t {
        switch_fp = 1,           ///< the host uses floating point: HostFp::per_exit
        calls_by_policy = 2,     ///< other calls are exits than usually
        soft_timer = 4,          ///< `timer_at` counts: the guest has no timer register, or does not use it
        deadline_armed = 8,
        has_vector = 16,         ///< the vector state is switched
        has_sstc = 32,           ///< the guest's timer is vstimecmp
        fast_hook = 64,          ///< `fast_exit` is asked first
        resumes = 128,           ///< `suspended` is taken back at the next entry
        hart_sstc = 256,         ///< the host's timer is stimecmp
        has_imsic = 512,         ///< the guest has an interrupt file
        more_registers = 1024,   ///< the hart has AIA's CSRs, or sstateen0
        host_debugs = 2048,      ///< breakpoint instructions are the host's
        untagged = 4096,         ///< the hart has too few VMIDs to tell VMs apart: nothing cached outlives a bind
        fp_out = 8192,           ///< floating point and vectors are not loaded, and trap: the guest gets them at its first use
        fp_elsewhere = fp_out | switch_fp,  ///< while the host runs they are in memory
        lasting = soft_timer | resumes,  ///< what outlives an unbinding
        rare_to_load = soft_timer | has_vector | has_imsic | more_registers | untagged,
        rare_to_save = has_imsic | more_registers,
    };
    std::uint32_t work = 0;
    inline auto has(Work w) const noexcept -> bool { return (work & w) != 0; }
    inline void set(Work w, bool on) noexcept { work = on ? work | w : work & ~static_cast<std::uint32_t>(w); }

    /// Translations that other CPUs want dropped here before the next entry; any CPU sets bits, then posts Event::fence.
    enum Fence : std::uint32_t { instructions = 1, guest_translations = 2, stage2_translations = 4 };
    std::atomic<std::uint32_t> fences{0};
    std::atomic<bool> software_interrupt{false};  // another vCPU sent one; any CPU

    // The interrupt file: here, or in the hart's own while the vCPU is bound where there is one. `file_page` changes under the lock, by
    // the vCPU's hart; who delivers looks at it under the lock.
    InterruptFile file;
    volatile std::uint32_t* file_page = nullptr;  // nullptr: it is here
    bool file_mapped = false;                     // at the vCPU's page; the vCPU's hart
    std::atomic<bool> file_locked{false};

    std::atomic<bool> suspended{false};      // by HSM: from its exit until the vCPU runs again; other vCPUs ask for its status

    CpuId last_cpu{~0u};                     // where it ran before
    bool host_breakpoints = false;           // set_debug(): breakpoint instructions are the host's
    bool wakes_by_any = false;               // suspended with its power off: its timer wakes it, whatever vsie says
    std::uint64_t call_number = 0;           // of a hypercall: extension id << 32 | function id
    std::uint64_t timer_at = no_deadline;    // guest time
    std::uint64_t run_deadline = no_deadline;
    std::uint64_t host_sie = 0;              // sstatus.SIE as run() found it
    std::uint64_t host_timer = 0;            // what the host's timer was set to before it was armed for us
    std::span<std::byte> vector_state;
    std::array<std::uint64_t, 13> host_fp{}; // with HostFp::per_exit: the callee-saved registers of run()'s caller

    inline auto machine() const noexcept -> Vm& { return static_cast<Vm&>(vm()); }
    inline auto mailbox() noexcept -> Mailbox& { return mailbox_; }
    inline auto exit() noexcept -> Exit& { return exit_; }
    /// A terminal exit: the vCPU is off, from its unbinding on, until it is reset.
    inline void end() noexcept {
        pending.kind = Pending::Kind::terminal;
    }
    friend struct Arch;

    // The general registers; x0 stays zero.
    inline auto csr_outstanding() const noexcept -> bool { return pending.writing && pending.csr.csr != 0; }
    inline auto x(unsigned n) const noexcept -> std::uint64_t { return context.get<"x">(n); }
    inline void set_x(unsigned n, std::uint64_t v) noexcept { if (n != 0) context.raw<"x">(n) = v; }
    inline void advance(unsigned length) noexcept { context.raw<"pc">() += length; }
};

/// The backend: models axvcpu::Backend.
struct Arch {
    using Vm = riscv64::Vm;
    using VmConfig = riscv64::VmConfig;
    using Vcpu = riscv64::Vcpu;
    using PerCpu = riscv64::PerCpu;
    using CreateConfig = riscv64::CreateConfig;
    static constexpr const auto& registers = riscv64::registers;

    static auto enable(PerCpu&, const HalTable&) noexcept -> Result<Capabilities>;
    static auto disable(PerCpu&) noexcept -> Result<void>;
    static auto check(const Vm&, const CreateConfig&) noexcept -> Result<void>;
    static auto bind(Vcpu&, PerCpu&, CpuId here) noexcept -> Result<void>;
    static void unbind(Vcpu&, CpuId here) noexcept;
    static auto switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool;
    static auto run(Vcpu&, std::uint64_t deadline, CpuId here) noexcept -> bool;
    [[gnu::always_inline]] static inline auto complete(Vcpu& v, std::uint64_t value) noexcept -> Result<void> {
        if (v.pending.kind == Pending::Kind::hypercall) [[likely]] {
            v.pending.kind = Pending::Kind::none;
            v.context.raw<"x">(10) = 0;  // SBI_SUCCESS
            v.context.raw<"x">(11) = value;
            v.context.raw<"pc">() += 4;
            return {};
        }
        if (const auto* refused = complete_other(v, value); refused != nullptr) [[unlikely]] return *refused;
        return {};
    }
    static auto fail(Vcpu&) noexcept -> Result<void>;
    [[gnu::always_inline]] static inline auto retry(Vcpu& v) noexcept -> Result<void> {
        if (v.pending.kind == Pending::Kind::fault) [[likely]] {
            v.pending.kind = Pending::Kind::none;
            return {};
        }
        if (const auto* refused = retry_other(v); refused != nullptr) [[unlikely]] return *refused;
        return {};
    }
    static auto reset(Vcpu&, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void>;
    static auto get(Vcpu&, reg::Id, bool high) noexcept -> Result<std::uint64_t>;
    static auto set(Vcpu&, reg::Id, std::uint64_t, bool high) noexcept -> Result<void>;
    static auto set_debug(Vcpu&, const DebugConfig&) noexcept -> Result<void>;
    static auto deadline(const Vcpu&) noexcept -> std::uint64_t;

private:
    friend class riscv64::Vcpu;
    friend auto suspend_now(Vcpu&) noexcept -> void;
    static auto complete_other(Vcpu&, std::uint64_t value) noexcept -> const Error*;
    static auto complete_rare(Vcpu&, std::uint64_t value) noexcept -> const Error*;
    static auto retry_other(Vcpu&) noexcept -> const Error*;
    static auto restart(Vcpu&, GuestPhysAddr entry, std::uint64_t arg, bool forget) noexcept -> Result<void>;  ///< reset(); `forget`: interrupts, too
    static void power_up(Vcpu&) noexcept;
    static auto admit(Vcpu&, PerCpu&, CpuId here, const Vcpu* leaves, bool ready) noexcept -> Result<void>;
    static auto switch_any(Vcpu& from, Vcpu& to, CpuId here, bool ready) noexcept -> bool;
    template <bool Lazy> static auto hand_over(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool;
    static auto hand_over_lazily(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool;
    static auto let_go(Vcpu&) noexcept -> State;
};

/// What a fast hook finds in its FastExit. s0 to s11, gp and tp are there for a CSR access only.
namespace fast {
inline auto is_call(const FastExit& e) noexcept -> bool { return e.syndrome == 10; }  // scause: environment call from VS-mode
/// As Hypercall::number: extension id << 32 | function id. Requires: is_call().
inline auto number(const FastExit& e) noexcept -> std::uint64_t { return e.registers[17] << 32 | static_cast<std::uint32_t>(e.registers[16]); }
/// `n` below 6.
inline auto argument(const FastExit& e, unsigned n) noexcept -> std::uint64_t { return e.registers[10 + n]; }
inline void answer(FastExit& e, std::uint64_t value) noexcept {
    e.registers[10] = 0;  // SBI_SUCCESS
    e.registers[11] = value;
}
/// The trapped CSR access, where it is no call.
inline auto register_access(const FastExit& e) noexcept -> std::optional<CsrAccess> { return decode_csr(static_cast<std::uint32_t>(e.syndrome >> 32)); }
/// What a read of it gives. `rd`: register_access()->rd.
inline void answer_register(FastExit& e, unsigned rd, std::uint64_t value) noexcept {
    if (rd != 0) e.registers[rd] = value;
}
}  // namespace fast

/// Where an APLIC of this VM sends its MSIs: to the vCPU with that id. Any context.
void deliver_msi(void* vm, std::uint32_t vcpu, std::uint32_t id) noexcept;

/// Gives stage-2 tables of this VM their TLB maintenance: every vCPU is asked, and waited for.
auto tlb_maintenance(Vm&) noexcept -> TlbMaintenance;

}  // namespace axvcpu::riscv64

// Between the backend's own files; not for users.
namespace axvcpu::riscv64 {

/// hvictl says with hvip.VSEIP whether an external interrupt waits, so that vstopi does: IID 9 alone is "none" to it, with a priority it is
/// one. VTI stays 0. (AIA, Hypervisor CSRs)
inline constexpr std::uint64_t hvictl_none = 9 << 16, hvictl_external = 9 << 16 | 1;

/// Causes (Privileged Architecture, Supervisor Cause Register).
namespace cause {
inline constexpr std::uint64_t interrupt = std::uint64_t{1} << 63, supervisor_timer = interrupt | 5;
inline constexpr std::uint64_t instruction_access = 1, illegal = 2, load_access = 5, store_access = 7, load_page = 13, guest_call = 10,
                               instruction_guest_page = 20, load_guest_page = 21, virtual_instruction = 22, store_guest_page = 23;
}

// exception.cpp
void inject(Vcpu&, std::uint64_t cause, std::uint64_t value) noexcept;
/// Ends the outstanding access; a load gets `value`. True: the instruction is over.
auto finish_access(Vcpu&, std::uint64_t value) noexcept -> bool;
// abort.cpp, call.cpp, instruction.cpp. True: v.exit() goes to the host; false: back into the guest.
auto on_guest_page_fault(Vcpu&, std::uint64_t cause) noexcept -> bool;  ///< of a load or store
auto on_fetch_fault(Vcpu&) noexcept -> bool;
auto next_part(Vcpu&) noexcept -> bool;
void suspend_now(Vcpu&) noexcept;   ///< as if a suspend with power off had been completed: starts at pending.addr
auto on_call(Vcpu&) noexcept -> bool;
auto on_call_by_policy(Vcpu&) noexcept -> bool;  ///< the same with Vcpu::calls_by_policy
/// The SDK has not got at the guest's memory at `addr` (of RAM) for it: as if the guest had gone there. `virt`: 0 where it named no virtual address.
auto on_memory_fault(Vcpu&, GuestPhysAddr addr, std::uint64_t virt, bool on_walk, bool write) noexcept -> bool;
auto on_virtual_instruction(Vcpu&) noexcept -> bool;
auto store_value(Vcpu&, const Access&) noexcept -> std::uint64_t;
/// The instruction at the guest's pc, read as the guest would. Nothing: it cannot be read, and the guest has the fault.
auto fetch(Vcpu&) noexcept -> std::optional<std::uint32_t>;
auto csr_result(const Vcpu&) noexcept -> std::uint64_t;
// interrupt.cpp: all on the vCPU's hart, interrupts masked.
void refresh_interrupts(Vcpu&) noexcept;
auto interrupt_waits(Vcpu&) noexcept -> bool;
auto on_interrupt(Vcpu&, std::uint64_t cause) noexcept -> bool;
// imsic.cpp: the interrupt file. All but deliver_msi() on the vCPU's hart, interrupts masked.
void install_file(Vcpu&) noexcept;  ///< into the hart's own, where there is one. Requires: bound, registers loaded
void evict_file(Vcpu&) noexcept;
auto on_file_register(Vcpu&, const CsrAccess&, std::uint32_t insn) noexcept -> bool;
auto file_access(Vcpu&, DeviceAccess&) noexcept -> bool;  ///< a vCPU's page; false: it is none
// timer.cpp
auto guest_time(const Vcpu&) noexcept -> std::uint64_t;
void set_guest_timer(Vcpu&, std::uint64_t at) noexcept;
void arm_by_hal(Vcpu&, std::uint64_t at) noexcept;   ///< where the hart has no stimecmp; likewise the next
void disarm_by_hal(Vcpu&) noexcept;
auto soft_deadline(const Vcpu&) noexcept -> std::uint64_t;  ///< host time at which the guest's timer fires that is not in the hart
[[gnu::always_inline]] inline void arm_deadline(Vcpu& v) noexcept {
    auto at = v.run_deadline;
    if (v.has(Vcpu::soft_timer)) [[unlikely]] at = std::min(at, soft_deadline(v));
    if (at == no_deadline) return;
    v.work |= Vcpu::deadline_armed;
    if (!v.has(Vcpu::hart_sstc)) [[unlikely]] return arm_by_hal(v, at);
    v.host_timer = read<"stimecmp">();
    if (at < v.host_timer) write<"stimecmp">(at);
}
[[gnu::always_inline]] inline void disarm_deadline(Vcpu& v) noexcept {
    v.set(Vcpu::deadline_armed, false);
    if (v.has(Vcpu::hart_sstc)) [[likely]] write<"stimecmp">(v.host_timer);
    else disarm_by_hal(v);
}
// tlb.cpp
inline constinit TlbTagDomain all_tags;  ///< the machine's VMIDs
inline auto tags() noexcept -> TlbTagDomain& { return all_tags; }
void execute_fences(Vcpu&) noexcept;
/// The vCPUs of `v`'s VM whose hart ids are in the mask (SBI: bit n is hart base + n; base all ones is every one).
/// Errors of the mask: invalid_param.
auto for_each_hart(Vcpu& v, std::uint64_t mask, std::uint64_t base, void (*f)(Vcpu& self, Vcpu& target, std::uint32_t), std::uint32_t argument) noexcept -> SbiError;
void remote_fence(Vcpu& self, std::uint64_t mask, std::uint64_t base, std::uint32_t kinds) noexcept;
// admit.cpp
auto delegated(const Vcpu&) noexcept -> std::uint64_t;  ///< hedeleg
// bind.cpp
void load_fp(Vcpu&) noexcept;
auto load_fp_at_first_use(Vcpu&) noexcept -> bool;  ///< requires `fp_out`; false: back into the guest
void save_fp(Vcpu&) noexcept;

extern "C" {
auto axvcpu_enter(SwitchState*) noexcept -> SwitchState*;
auto axvcpu_enter_fast(SwitchState*) noexcept -> SwitchState*;
void axvcpu_fp_save(Context*) noexcept;
void axvcpu_fp_load(const Context*) noexcept;
void axvcpu_fp_clear() noexcept;
void axvcpu_vector_clear() noexcept;
auto axvcpu_fp_switch(Context* from, const Context* to, void* state, std::uint32_t let_go, std::uint64_t sie) noexcept -> bool;
void axvcpu_fp_save_host(std::uint64_t*) noexcept;
void axvcpu_fp_load_host(const std::uint64_t*) noexcept;
void axvcpu_vector_save(Context*, void*) noexcept;
void axvcpu_vector_load(const Context*, const void*) noexcept;
void axvcpu_fence_i() noexcept;
auto axvcpu_fetch_half(std::uint64_t address, std::uint64_t* out) noexcept -> std::uint64_t;
auto axvcpu_load_double(std::uint64_t address, std::uint64_t* out) noexcept -> std::uint64_t;
auto axvcpu_probe_hstatus(std::uint64_t*) noexcept -> std::uint64_t;
auto axvcpu_probe_henvcfg(std::uint64_t*) noexcept -> std::uint64_t;
auto axvcpu_probe_hstateen0(std::uint64_t*) noexcept -> std::uint64_t;
auto axvcpu_probe_hvictl(std::uint64_t*) noexcept -> std::uint64_t;
auto axvcpu_probe_vsiselect(std::uint64_t*) noexcept -> std::uint64_t;
auto axvcpu_probe_vlenb(std::uint64_t*) noexcept -> std::uint64_t;
}

}  // namespace axvcpu::riscv64
