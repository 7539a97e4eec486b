// x86_64: the types behind the portable Vm, Vcpu and PerCpu, and the functions that the Backend concept asks for.
export module axvcpu.x86_64:backend;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.mailbox;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;
import :registers;
import :decode;
import :firmware;
import :vmcb;

export namespace axvcpu::x86_64 {

class Vcpu;

/// What a VM is made of.
struct VmConfig {
    std::uint32_t id = 0;
    const Stage2* stage2 = nullptr;          ///< the VM's tables, as deep as the host's own (CR4.LA57); nullptr: bind() answers no_stage2
    Registry vcpus{};                         ///< the user's slots, one for each vCPU
    std::span<const GuestRange> ram{};        ///< faults in here are NestedPageFault, elsewhere Mmio; must outlive the VM
    VmPolicy policy{};
};

struct Vm : VmCore {
    Vm(const VmConfig& c, const HalTable& hal) noexcept;
    const Stage2* stage2;
    std::uint64_t tsc_offset;                ///< of all vCPUs: one clock for the VM
};

struct CreateConfig {
    std::uint32_t id = 0;                    ///< index in the VM
    std::optional<std::uint32_t> apic_id{};   ///< default: `id`
    GuestPhysAddr entry{};
    std::uint64_t arg = 0;                   ///< RSI: a kernel's boot parameters
    bool off = false;                        ///< waits until another vCPU starts it
    /// Page tables of the guest: it starts in 64-bit mode with them. None: in 32-bit protected mode, flat, without paging.
    std::optional<GuestPhysAddr> page_tables{};
};

/// One physical CPU. Touched by that CPU only. Physically contiguous.
struct PerCpu {
    bool enabled = false, next_rip = false, flush_by_asid = false, has_tsc_aux = false;
    std::uint32_t cr4_absent = 0;            // FSGSBASE, SMEP, SMAP, UMIP where the CPU lacks them
    CpuId id{};
    const HalTable* hal = nullptr;
    Vcpu* bound = nullptr;
    Capabilities capabilities;
    std::uint64_t epoch = 0;                 // of the whole machine's enable() calls, this is the one
    TlbTagDomain asids;                      // ASIDs are a CPU's own
    TlbTagCpu tags;
    std::uint64_t host_efer = 0, host_save_area = 0;      // as enable() found them
    std::uint64_t host_tsc_aux = 0, host_cr2 = 0;         // while a vCPU is bound
    std::array<std::uint64_t, 6> host_debug{};            // DR0-DR3, DR6, DR7 of the host while a vCPU is bound
    alignas(4096) std::array<std::byte, 4096> save_area{};        // VM_HSAVE_PA: the hardware's
    alignas(4096) Vmcb host_block{};                              // the host's FS, GS, TR, LDTR and system-call registers, by VMSAVE
    alignas(4096) std::array<std::byte, 3 * 4096> intercept_all{};  // a permission map of ones: every port, every MSR
};

/// An instruction exit that waits for its answer.
struct Pending {
    enum class Kind : std::uint8_t {
        none, hypercall, port_read, port_write, mmio, register_read, register_write, wait, fault,
        terminal,   ///< a terminal exit was given out: only a reset helps
        host_irq,   ///< the host's interrupt handler runs inside run()
    };
    Kind kind = Kind::none;
    std::uint8_t length = 0;      ///< of the instruction; 0: to be found out if it is needed
    std::uint8_t width = 0;       ///< port and MMIO reads: bytes that arrive
    std::uint8_t reg = 0;         ///< their destination
    std::uint8_t to_width = 0;    ///< bytes of the destination that are written
    bool high_byte = false, sign_extend = false;
};

/// What switch.S works on.
struct SwitchState {
    Context context;
    std::uint64_t guest_block = 0;           // physical address of the vCPU's control block
    std::uint64_t host_block = 0;            // of the CPU's, while bound
};

class Vcpu : public SwitchState, public VcpuCore {
public:
    static constexpr std::size_t frames = 1;  ///< the control block: part of the slot
    Vcpu(Vm& vm, const CreateConfig&) noexcept;
    /// The slot's frames; before anything else.
    void adopt(unsigned char (*slot_frames)[4096]) noexcept;

    Vmcb* vmcb = nullptr;
    Pending pending;
    PerCpu* percpu = nullptr;                // while bound
    const HalTable* hal;
    TlbTag tag;                              // its ASID on the CPU that it ran on last
    std::uint64_t last_epoch = 0;            // PerCpu::epoch of the CPU that it ran on last
    std::optional<GuestPhysAddr> page_tables;
    bool switch_fp = false, deadline_armed = false, host_breakpoints = false;
    bool triple_fault = false;               // the host failed what a double fault's delivery needs: the next run() ends with Shutdown
    std::atomic<bool> flush{false};          // its translations have to be dropped before the next entry; any CPU sets it, then posts Event::fence
    std::uint64_t broken = 0;                // entry rules that its state breaks, looked at where the host changes it: guests cannot break one
    std::uint64_t run_deadline = no_deadline, host_timer = 0;
    std::uint64_t host_fp = 0;               // with HostFp::per_exit: MXCSR and the x87 control word of run()'s caller

    inline auto machine() const noexcept -> Vm& { return static_cast<Vm&>(vm()); }
    inline auto mailbox() noexcept -> Mailbox& { return mailbox_; }
    inline auto exit() noexcept -> Exit& { return exit_; }
    inline void end() noexcept { pending.kind = Pending::Kind::terminal; }
    friend struct Arch;

    /// The general registers by their numbers in instructions; RAX and RSP are in the block.
    inline auto x(unsigned n) noexcept -> std::uint64_t& {
        constexpr auto place = [](std::size_t offset) { return static_cast<std::uint8_t>(offset / 8); };
        constexpr std::array<std::uint8_t, 16> places{0, place(Context::offset<"RCX">()), place(Context::offset<"RDX">()), place(Context::offset<"RBX">()), 0,
            place(Context::offset<"RBP">()), place(Context::offset<"RSI">()), place(Context::offset<"RDI">()), place(Context::offset<"R8">()),
            place(Context::offset<"R9">()), place(Context::offset<"R10">()), place(Context::offset<"R11">()), place(Context::offset<"R12">()),
            place(Context::offset<"R13">()), place(Context::offset<"R14">()), place(Context::offset<"R15">())};
        return n == 0 ? vmcb->rax : n == 4 ? vmcb->rsp : (&context.raw<"RDI">())[places[n & 15]];
    }
    inline auto in_long_mode() const noexcept -> bool { return (vmcb->efer & efer_lma) != 0 && (vmcb->cs.attributes & 1 << 9) != 0; }
};

/// The backend: models axvcpu::Backend.
struct Arch {
    using Vm = x86_64::Vm;
    using VmConfig = x86_64::VmConfig;
    using Vcpu = x86_64::Vcpu;
    using PerCpu = x86_64::PerCpu;
    using CreateConfig = x86_64::CreateConfig;
    static constexpr const auto& registers = x86_64::registers;

    static auto enable(PerCpu&, const HalTable&) noexcept -> Result<Capabilities>;
    static auto disable(PerCpu&) noexcept -> Result<void>;
    static auto check(const Vm&, const CreateConfig&) noexcept -> Result<void>;
    static auto bind(Vcpu&, PerCpu&, CpuId here) noexcept -> Result<void>;
    static void unbind(Vcpu&, CpuId here) noexcept;
    static auto switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool;
    static auto run(Vcpu&, std::uint64_t deadline, CpuId here) noexcept -> bool;
    static auto complete(Vcpu&, std::uint64_t value) noexcept -> Result<void>;
    static auto fail(Vcpu&) noexcept -> Result<void>;
    static auto retry(Vcpu&) noexcept -> Result<void>;
    static auto reset(Vcpu&, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void>;
    static auto get(Vcpu&, reg::Id, bool high) noexcept -> Result<std::uint64_t>;
    static auto set(Vcpu&, reg::Id, std::uint64_t, bool high) noexcept -> Result<void>;
    static auto set_debug(Vcpu&, const DebugConfig&) noexcept -> Result<void>;
    static auto deadline(const Vcpu&) noexcept -> std::uint64_t;

private:
    static auto admit(Vcpu&, PerCpu&, CpuId here, const Vcpu* leaves) noexcept -> Result<void>;
    static void load(Vcpu&, PerCpu&) noexcept;
};

/// Gives stage-2 tables of this VM their TLB maintenance: every vCPU is asked, and waited for.
auto tlb_maintenance(Vm&) noexcept -> TlbMaintenance;

}  // namespace axvcpu::x86_64

// Between the backend's own files; not for users.
namespace axvcpu::x86_64 {

// exception.cpp
enum Vector : std::uint8_t { db = 1, ud = 6, df = 8, gp = 13, ac = 17 };
void inject(Vcpu&, std::uint8_t vector, std::optional<std::uint32_t> error = {}) noexcept;
/// Behind an instruction of `length` bytes, and what its end does: the interrupt shadow, RF, the trap of single-stepping.
void advance(Vcpu&, unsigned length) noexcept;
// bind.cpp
void set_intercepts(Vmcb&, const Vcpu&) noexcept;
// timer.cpp
void arm_deadline(Vcpu&) noexcept;
void disarm_deadline(Vcpu&) noexcept;
// walk.cpp
/// Where a linear address is in guest-physical memory, by the guest's own tables. Nothing: it is not mapped (now).
auto walk(Vcpu&, std::uint64_t linear) noexcept -> std::optional<GuestPhysAddr>;
/// The bytes at RIP, up to 15; how many could be read.
auto fetch(Vcpu&, std::array<std::uint8_t, 15>&) noexcept -> std::size_t;
// mmio.cpp
/// A MOV between a register (or an immediate value) and memory.
struct MemoryAccess {
    std::uint8_t width = 0, length = 0, reg = 0, to_width = 0;
    bool write = false, high_byte = false, sign_extend = false, has_immediate = false;
    std::uint64_t immediate = 0, linear = 0;
};
auto decode_memory(Vcpu&, std::span<const std::uint8_t> bytes) noexcept -> std::optional<MemoryAccess>;
/// Length of whatever instruction is at RIP.
auto any_length(Vcpu&) noexcept -> std::optional<std::uint8_t>;
// abort.cpp, call.cpp, sysreg.cpp, interrupt.cpp. True: v.exit() goes to the host; false: back into the guest.
auto on_nested_page_fault(Vcpu&) noexcept -> bool;
auto on_exit(Vcpu&) noexcept -> bool;
auto on_cpuid(Vcpu&) noexcept -> bool;
auto on_msr(Vcpu&) noexcept -> bool;
auto on_write_cr4(Vcpu&) noexcept -> bool;
auto on_interrupt(Vcpu&) noexcept -> bool;
auto done(Vcpu&) noexcept -> bool;
/// Whether the instruction can be read whole, or as much of it as one can have.
auto readable(Vcpu&) noexcept -> bool;
/// An instruction whose end cannot be found: rewritten meanwhile, and executed again; or not to be read at all, which is an exit.
auto lost(Vcpu&) noexcept -> bool;
auto fault(Vcpu&, std::uint8_t vector, std::optional<std::uint32_t> error = {}) noexcept -> bool;
/// Length of the instruction at RIP, which the exit says is this one; where the hardware gives it, from there. Nothing: it is not there any more.
auto instruction_length(Vcpu&, SystemInstruction* out = nullptr) noexcept -> std::optional<std::uint8_t>;

extern "C" {
void axvcpu_enter(SwitchState*) noexcept;
void axvcpu_vmsave(std::uint64_t block) noexcept;
void axvcpu_fp_save(Context*) noexcept;
void axvcpu_fp_load(const Context*) noexcept;
void axvcpu_fp_clear() noexcept;
void axvcpu_fp_save_host(void*) noexcept;
void axvcpu_fp_load_host(const void*) noexcept;
}

}  // namespace axvcpu::x86_64
