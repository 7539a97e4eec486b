// A platform-level interrupt controller (RISC-V Platform-Level Interrupt Controller Specification) with level-triggered gateways and,
// for each hart, the two contexts that QEMU's `virt` has: 2n for M-mode, which guests do not have, and 2n + 1 for S-mode.
//
// Any CPU may call anything: state is words of one bit for each source, changed by atomic operations.
export module axvcpu.device.plic;
import std;
import axvcpu.hal;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.vm;

export namespace axvcpu::device {

class Plic {
public:
    static constexpr std::uint32_t sources = 96;      ///< ids 1 to 95
    static constexpr std::uint32_t max_harts = 64;
    static constexpr std::uint64_t size = 0x60'0000;  ///< bytes of its register window
    static constexpr std::uint8_t max_priority = 7;

    /// `vm` must outlive this; the controller is to be attached to it. vCPU n is the PLIC's hart n; at most `max_harts`.
    Plic(VmCore& vm, GuestPhysAddr base) noexcept : vm_(&vm), base_(base), harts_(std::min(vm.vcpus(), max_harts)) {}

    /// A source's line goes up or down. Any context. Ids that are no source's do nothing.
    void set_line(std::uint32_t source, bool level) noexcept;

    /// From now on (or no longer) run() of the vCPU that completes this source leaves with exit::EndOfInterrupt. Any context.
    void tell_end(std::uint32_t source, bool wanted) noexcept;

    // What InterruptController asks for.
    inline auto window() const noexcept -> GuestRange { return {base_, size}; }
    auto access(std::uint32_t vcpu, DeviceAccess&) noexcept -> bool;
    auto peek(std::uint32_t vcpu, Interrupt& out) noexcept -> bool;
    auto ended(std::uint32_t vcpu, std::uint32_t& id) noexcept -> bool;

private:
    static constexpr std::uint32_t words = sources / 32;
    using Word = std::atomic<std::uint32_t>;
    struct Context {
        std::array<Word, words> enabled{};
        std::array<Word, words> ended{};  // sources that this hart has completed, to be told
        std::atomic<std::uint8_t> threshold{0};
    };
    auto best(const Context&) const noexcept -> std::uint32_t;
    auto claim(Context&) noexcept -> std::uint32_t;
    void complete(Context&, std::uint32_t source) noexcept;
    auto let_go(std::uint32_t source) noexcept -> bool;  // false: nobody had claimed it
    void changed(std::uint32_t source) noexcept;
    auto context_register(std::uint64_t offset, DeviceAccess&) noexcept -> std::uint32_t;
    auto enable_register(std::uint64_t offset, DeviceAccess&) noexcept -> std::uint32_t;

    VmCore* vm_;
    GuestPhysAddr base_;
    std::uint32_t harts_;
    std::array<std::atomic<std::uint8_t>, sources> priority_{};
    std::array<Word, words> level_{}, pending_{}, claimed_{};  // claimed: handed to a hart that has not ended it
    std::array<Word, words> told_{};                           // their end is asked for
    std::array<Context, max_harts> contexts_{};                // of S-mode
};
static_assert(InterruptController<Plic> && TellsEndOfInterrupt<Plic>);

}  // namespace axvcpu::device
