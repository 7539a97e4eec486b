// What the SDK needs of its user: addresses, the name of this CPU, and a way to reach another one.
export module axvcpu.hal;
import std;

export namespace axvcpu {

/// A physical address of the host. Bytes.
struct HostPhysAddr {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(HostPhysAddr, HostPhysAddr) = default;
    constexpr auto operator+(std::uint64_t n) const noexcept -> HostPhysAddr { return {value + n}; }
};

/// A physical address as a guest sees it. Bytes.
struct GuestPhysAddr {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(GuestPhysAddr, GuestPhysAddr) = default;
    constexpr auto operator+(std::uint64_t n) const noexcept -> GuestPhysAddr { return {value + n}; }
};

/// A range of guest-physical addresses.
struct GuestRange {
    GuestPhysAddr start;
    std::uint64_t size = 0;
    constexpr auto contains(GuestPhysAddr a) const noexcept -> bool { return a.value - start.value < size; }
};

/// A physical CPU, numbered by the host from 0 upwards; below 65,536.
enum class CpuId : std::uint32_t {};

/// Who switches the floating-point and vector registers between host and guest.
enum class HostFp : std::uint8_t {
    none,      ///< the host does not use them while a vCPU is bound: the guest's stay loaded from bind to unbind
    per_exit,  ///< the host uses them: run() switches them on every entry and exit
};

/// The four functions every host supplies. All are called with interrupts in any state and must not block.
template <class H>
concept Hal = requires(const void* pointer, HostPhysAddr address, CpuId cpu) {
    { H::virt_to_phys(pointer) } noexcept -> std::same_as<HostPhysAddr>;
    { H::phys_to_virt(address) } noexcept -> std::same_as<void*>;  ///< nullptr where the host has no mapping
    { H::this_cpu() } noexcept -> std::same_as<CpuId>;
    { H::kick(cpu) } noexcept;  ///< makes that CPU leave guest mode: an interrupt that it takes
};

/// A host that takes its interrupts inside run() rather than by unmasking them after it.
template <class H>
concept HandlesHostIrq = requires {
    { H::handle_host_irq() } noexcept;
};

/// A host that uses floating point itself says so by `static constexpr HostFp host_fp`.
template <class H>
concept StatesHostFp = requires {
    { H::host_fp } -> std::convertible_to<HostFp>;
};

/// A host whose interrupt controller links the guest timer's interrupt to the guest: it gives the address where this CPU's
/// part of the controller is mapped, as the backend wants it (docs/host-contract.md).
template <class H>
concept LinksGuestTimer = requires {
    { H::local_interrupt_controller() } noexcept -> std::same_as<volatile void*>;
};

/// A host whose threads sleep while their vCPU is blocked: told when the SDK itself posts to a blocked vCPU.
template <class H>
concept WakesVcpus = requires(std::uint32_t vm, std::uint32_t vcpu) {
    { H::wake(vm, vcpu) } noexcept;
};

/// A host that lends its timer to run()'s deadline, where the CPU has no second one: when its own interrupts next (counter ticks;
/// all ones: never), and setting that. The SDK puts back what it found before run() returns.
template <class H>
concept LendsTimer = requires(std::uint64_t ticks) {
    { H::timer() } noexcept -> std::same_as<std::uint64_t>;
    { H::set_timer(ticks) } noexcept;
};

/// A page of a CPU's interrupt controller to which messages for one guest are stored, and how many identities it tells apart.
struct GuestMessagePage {
    HostPhysAddr page;         ///< {0}: there is none
    std::uint32_t ids = 0;
};

/// A host whose interrupt controller has such pages: it names this CPU's `n`th, from 1 on. They are
/// the SDK's from enable() to disable().
template <class H>
concept LendsGuestMessagePages = requires(std::uint32_t n) {
    { H::guest_message_page(n) } noexcept -> std::same_as<GuestMessagePage>;
};

/// A hypercall or a trapped register access as the fast hook finds it, before anything else has looked at it. `registers`: the
/// guest's, by number; `syndrome`: as the hardware gave it. The backend's namespace `fast` has the functions that read them.
struct FastExit {
    std::uint64_t* registers;
    std::uint64_t syndrome;
};

/// A host that answers some exits between two instructions of the guest, for VMs whose policy says so (VmPolicy::fast_exit). True: the
/// registers hold the answer, the instruction is over, and the guest goes on; false: the exit takes its usual way. It runs on the
/// trap's own stack with interrupts masked and the guest's vectors in place, uses general registers only, and calls nothing.
template <class H>
concept AnswersFast = requires(FastExit& e) {
    { H::fast_exit(e) } noexcept -> std::same_as<bool>;
};

/// The fast hook as the trampoline calls it. In a section of its own, so that what it was compiled to can be checked.
template <AnswersFast H>
[[gnu::section(".text.axvcpu.hook")]] auto fast_exit(std::uint64_t* registers, std::uint64_t syndrome) noexcept -> bool {
    FastExit e{registers, syndrome};
    return H::fast_exit(e);
}

/// The HAL as the SDK's compiled code sees it: plain function pointers, filled at compile time.
struct HalTable {
    HostPhysAddr (*virt_to_phys)(const void*) noexcept;
    void* (*phys_to_virt)(HostPhysAddr) noexcept;
    CpuId (*this_cpu)() noexcept;
    void (*kick)(CpuId) noexcept;
    void (*handle_host_irq)() noexcept = nullptr;                   ///< nullptr: not modelled
    volatile void* (*local_interrupt_controller)() noexcept = nullptr;  ///< nullptr: not modelled
    void (*wake)(std::uint32_t vm, std::uint32_t vcpu) noexcept = nullptr;  ///< nullptr: not modelled
    std::uint64_t (*timer)() noexcept = nullptr;                    ///< nullptr: not modelled
    void (*set_timer)(std::uint64_t ticks) noexcept = nullptr;
    GuestMessagePage (*guest_message_page)(std::uint32_t n) noexcept = nullptr;  ///< nullptr: not modelled
    bool (*fast_exit)(std::uint64_t* registers, std::uint64_t syndrome) noexcept = nullptr;  ///< nullptr: not modelled
    HostFp host_fp = HostFp::none;
};

template <Hal H>
inline constexpr HalTable hal_table = [] {
    HalTable t{.virt_to_phys = &H::virt_to_phys, .phys_to_virt = &H::phys_to_virt, .this_cpu = &H::this_cpu, .kick = &H::kick};
    if constexpr (HandlesHostIrq<H>) t.handle_host_irq = &H::handle_host_irq;
    if constexpr (LinksGuestTimer<H>) t.local_interrupt_controller = &H::local_interrupt_controller;
    if constexpr (WakesVcpus<H>) t.wake = &H::wake;
    if constexpr (LendsTimer<H>) t.timer = &H::timer, t.set_timer = &H::set_timer;
    if constexpr (LendsGuestMessagePages<H>) t.guest_message_page = &H::guest_message_page;
    if constexpr (AnswersFast<H>) t.fast_exit = &axvcpu::fast_exit<H>;
    if constexpr (StatesHostFp<H>) t.host_fp = H::host_fp;
    return t;
}();

}  // namespace axvcpu
