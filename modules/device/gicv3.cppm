// A GICv3 distributor with one redistributor for each vCPU (IHI 0069): SGIs, PPIs and SPIs, one security state, affinity routing
// always on. No LPIs and no ITS: GICD_TYPER.LPIS reads 0. The CPU interface is the hardware's; this hands interrupts to it.
//
// Any CPU may call anything: state is words of one bit for each interrupt, changed by atomic operations.
export module axvcpu.device.gicv3;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.vm;

export namespace axvcpu::device {

class Gicv3 {
public:
    static constexpr std::uint32_t first_spi = 32, spi_words = 8, last_spi = first_spi + 32 * spi_words - 1;
    static constexpr std::uint32_t max_vcpus = 64;
    static constexpr std::uint64_t distributor_size = 0x1'0000, redistributor_size = 0x2'0000;

    /// Where the guest finds the distributor and the first of the consecutive redistributors (RD_base frame, SGI_base frame each).
    struct Config { GuestPhysAddr distributor, redistributors; };

    /// `vm` must outlive this; the controller is to be attached to it. At most `max_vcpus` vCPUs.
    Gicv3(VmCore& vm, Config config) noexcept;

    /// An SPI's line goes up or down (level), or an edge comes (`level` true). Any context. Ids outside the SPIs do nothing.
    void set_line(std::uint32_t spi, bool level) noexcept;

    /// From its next delivery on (or no longer) run() of the vCPU that ends this SPI leaves with exit::EndOfInterrupt. One that a vCPU
    /// holds when it is turned off or reset has no end. Any context.
    void tell_end(std::uint32_t spi, bool wanted) noexcept;

    // What InterruptController asks for.
    auto window() const noexcept -> GuestRange;
    auto access(std::uint32_t vcpu, DeviceAccess&) noexcept -> bool;
    auto send(std::uint32_t vcpu, const exit::SendIpi&) noexcept -> bool;
    auto take(std::uint32_t vcpu, Interrupt& out) noexcept -> bool;
    auto peek(std::uint32_t vcpu, Interrupt& out) noexcept -> bool;
    auto sync(std::uint32_t vcpu, std::uint32_t id, Held) noexcept -> Held;
    void retire(std::uint32_t vcpu, std::uint32_t id, bool pending, bool active) noexcept;
    void line(std::uint32_t vcpu, std::uint32_t id, bool high) noexcept;
    auto ended(std::uint32_t vcpu, std::uint32_t& id) noexcept -> bool;

private:
    using Word = std::atomic<std::uint32_t>;
    /// 32 interrupts: the SGIs and PPIs of one vCPU, or 32 SPIs.
    struct Bank {
        Word group, enabled, latched, high, active, edge, listed;  // listed: in a CPU's hands
        Word told;   // their end is asked for
        Word moved;  // of those that are listed: routed elsewhere since, so who has them must be told to give them back
        // Of those that are listed: what the CPU last said of them, and what the guest has asked for since by ICPENDR, ICACTIVER, ISACTIVER.
        Word shown_pending, shown_active, drop_pending, drop_active, make_active;
        std::array<std::atomic<std::uint8_t>, 32> priority;
    };
    struct Redistributor {
        Bank bank;
        Word work;                              // bit 0: the own bank, bit 1 + n: SPI word n may hold something for this vCPU
        std::array<Word, spi_words> routed;     // the SPIs that are routed here
        std::array<Word, spi_words> ended;      // SPIs that this vCPU has ended, to be told
        Word waker;                             // GICR_WAKER.ProcessorSleep
    };

    inline auto bank_of(std::uint32_t vcpu, std::uint32_t id) noexcept -> Bank* {
        return id < 32 ? &cpus_[vcpu].bank : id <= last_spi ? &spis_[id / 32 - 1] : nullptr;
    }
    auto best(std::uint32_t vcpu, Interrupt& out, bool taking) noexcept -> Bank*;
    auto deliverable(const Bank&) const noexcept -> std::uint32_t;
    void changed(std::uint32_t vcpu, std::uint32_t word, std::uint32_t mask) noexcept;
    void raise(std::uint32_t vcpu, std::uint32_t work) noexcept;
    auto distributor(std::uint64_t offset, DeviceAccess&) noexcept -> std::uint64_t;
    auto redistributor(std::uint32_t owner, std::uint64_t offset, DeviceAccess&) noexcept -> std::uint64_t;
    auto banked(std::uint32_t vcpu, std::uint32_t word, std::uint64_t offset, DeviceAccess&) noexcept -> std::uint64_t;
    auto route(std::uint32_t spi, DeviceAccess&, unsigned shift) noexcept -> std::uint64_t;

    VmCore* vm_;
    Config config_;
    std::uint32_t vcpus_;
    Word control_{0};
    std::array<Bank, spi_words> spis_{};
    std::array<std::atomic<std::uint64_t>, 32 * spi_words> routes_{};  // GICD_IROUTER<n>
    std::array<Redistributor, max_vcpus> cpus_{};
};
static_assert(HandsOverInterrupts<Gicv3> && TellsEndOfInterrupt<Gicv3>);

}  // namespace axvcpu::device
