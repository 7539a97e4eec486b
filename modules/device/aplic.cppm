// An advanced platform-level interrupt controller (RISC-V Advanced Interrupt Architecture): one supervisor-level domain without
// children that delivers by MSI alone.
//
// Any CPU may call anything: one lock around the state. MSIs are sent after it was let go.
export module axvcpu.device.aplic;
import std;
import axvcpu.hal;
import axvcpu.interrupt;

export namespace axvcpu::device {

/// Where MSIs go: identity `id` to the hart with this index.
struct MsiSink {
    void* self = nullptr;
    void (*send)(void* self, std::uint32_t hart, std::uint32_t id) noexcept = nullptr;
};

class Aplic {
public:
    static constexpr std::uint32_t sources = 97;      ///< ids 1 to 96
    static constexpr std::uint64_t size = 0x8000;     ///< bytes of its register window

    /// `harts`: target registers that name others send nothing.
    Aplic(GuestPhysAddr base, std::uint32_t harts, MsiSink sink) noexcept : base_(base), harts_(harts), sink_(sink) {}

    /// A source's line goes up or down. Interrupts masked: the lock is a spin lock. Ids that are no source's do nothing.
    void set_line(std::uint32_t source, bool level) noexcept;

    // What InterruptController asks for.
    inline auto window() const noexcept -> GuestRange { return {base_, size}; }
    auto access(std::uint32_t vcpu, DeviceAccess&) noexcept -> bool;
    inline auto peek(std::uint32_t, Interrupt&) noexcept -> bool { return false; }  // the harts' own files do that

private:
    /// sourcecfg.SM.
    enum class Mode : std::uint8_t { inactive = 0, detached = 1, rising = 4, falling = 5, high = 6, low = 7 };
    struct Source {
        Mode mode = Mode::inactive;
        bool line = false, pending = false, enabled = false;
        std::uint32_t target = 0;  // hart index << 18 | identity
        inline auto active() const noexcept -> bool { return mode != Mode::inactive; }
        inline auto level_sensitive() const noexcept -> bool { return mode == Mode::high || mode == Mode::low; }
        /// The rectified input value.
        inline auto input() const noexcept -> bool { return mode == Mode::high || mode == Mode::rising ? line : (mode == Mode::low || mode == Mode::falling) && !line; }
    };
    struct Msi { std::uint32_t hart, id; };
    class Sending;
    void write(std::uint32_t offset, std::uint32_t value, Sending&) noexcept;
    auto read(std::uint32_t offset) const noexcept -> std::uint32_t;
    void configure(Source&, std::uint32_t value) noexcept;
    void set_pending(Source&) noexcept;
    void forward(Source&, Sending&) noexcept;
    template <class F> void for_each_named(std::uint32_t offset, std::uint32_t value, F) noexcept;

    GuestPhysAddr base_;
    std::uint32_t harts_;
    MsiSink sink_;
    std::atomic<bool> locked_{false};
    bool enabled_ = false;       // domaincfg.IE
    std::uint32_t genmsi_ = 0;
    std::array<Source, sources> source_{};
};
static_assert(InterruptController<Aplic>);

}  // namespace axvcpu::device
