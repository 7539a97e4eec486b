// The machine's side: turning virtualization on and off on each physical CPU.
export module axvcpu.percpu;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.vm;
import axvcpu.exit;
import axvcpu.reg;

export namespace axvcpu {

/// What enable() found on this CPU.
struct Capabilities {
    std::uint32_t tag_bits = 0;       ///< width of TLB tags
    std::uint32_t address_bits = 0;   ///< size of the largest guest-physical space, as a power of two
    std::uint32_t levels_mask = 0;    ///< bit n: stage-2 tables of n levels work
    std::uint32_t interrupt_slots = 0;///< interrupts that the hardware holds for a vCPU at once
    std::uint64_t features = 0;       ///< the backend's Feature bits that can be given to guests
    std::uint32_t vector_state = 0;   ///< bytes of memory that a vCPU needs for its largest vectors; 0: none beyond the context
    std::uint32_t breakpoints = 0, watchpoints = 0;  ///< how many set_debug() takes
    bool host_redirection = false;    ///< the CPU redirects the host's accesses to its own system registers
};

/// What an architecture has to supply; the porting guide in the form of code. A backend is a folder with one type that models this.
template <class B>
concept Backend = requires(typename B::Vcpu& vcpu, typename B::PerCpu& cpu, typename B::Vm& vm, const HalTable& hal,
                           typename B::CreateConfig create, std::uint64_t value, reg::Id id, std::uint64_t deadline) {
    requires std::derived_from<typename B::Vcpu, VcpuCore>;
    requires std::derived_from<typename B::Vm, VmCore>;
    requires sizeof(typename B::Vcpu) < 4096;
    { B::enable(cpu, hal) } noexcept -> std::same_as<Result<Capabilities>>;
    { B::disable(cpu) } noexcept -> std::same_as<Result<void>>;
    { B::bind(vcpu, cpu, CpuId{}) } noexcept -> std::same_as<Result<void>>;  ///< the CpuId is this CPU's, here and below
    { B::unbind(vcpu, CpuId{}) } noexcept;
    { B::switch_to(vcpu, vcpu, CpuId{}) } noexcept -> std::same_as<bool>;    ///< from, to; false: nothing has changed, the first one's refusal() says why
    { B::run(vcpu, deadline, CpuId{}) } noexcept -> std::same_as<bool>;  ///< true: VcpuCore::last_exit(); false: VcpuCore::refusal()
    { B::complete(vcpu, value) } noexcept -> std::same_as<Result<void>>;
    { B::fail(vcpu) } noexcept -> std::same_as<Result<void>>;
    { B::retry(vcpu) } noexcept -> std::same_as<Result<void>>;
    { B::reset(vcpu, GuestPhysAddr{}, value) } noexcept -> std::same_as<Result<void>>;
    { B::get(vcpu, id, bool{}) } noexcept -> std::same_as<Result<std::uint64_t>>;  ///< true: bits 127 to 64
    { B::set(vcpu, id, value, bool{}) } noexcept -> std::same_as<Result<void>>;
    { reg::settable<B::registers> } -> std::convertible_to<std::size_t>;           ///< B::registers: the table
    { B::set_debug(vcpu, DebugConfig{}) } noexcept -> std::same_as<Result<void>>;
    { B::deadline(vcpu) } noexcept -> std::same_as<std::uint64_t>;
};

/// A deadline that never comes.
inline constexpr std::uint64_t no_deadline = ~std::uint64_t{0};

/// One physical CPU. Every function is called on that CPU.
template <Backend B, Hal H>
class BasicPerCpu {
public:
    BasicPerCpu() = default;
    BasicPerCpu(const BasicPerCpu&) = delete;
    auto operator=(const BasicPerCpu&) -> BasicPerCpu& = delete;

    /// Errors: unsupported (says what is missing and where it looked), bad_state (enabled already).
    auto enable() noexcept -> Result<Capabilities> { return B::enable(impl_, hal_table<H>); }
    /// Restores exactly what enable() found. Errors: bad_state (not enabled, or a vCPU is bound), wrong_cpu.
    auto disable() noexcept -> Result<void> { return B::disable(impl_); }
    auto is_enabled() const noexcept -> bool { return impl_.enabled; }
    /// Loads the vCPU's cold context. Errors: bad_state (bound somewhere, off, blocked), wrong_cpu, no_stage2.
    /// `V` is the BasicVcpu of the same backend and HAL.
    template <class V>
    auto bind(V& vcpu) noexcept -> typename V::Bound { return vcpu.bind_on(impl_); }

private:
    typename B::PerCpu impl_;
};

}  // namespace axvcpu
