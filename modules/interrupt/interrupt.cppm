// What a VM's interrupt controller is to the SDK: a model outside it that run() calls.
export module axvcpu.interrupt;
import std;
import axvcpu.hal;
import axvcpu.exit;

export namespace axvcpu {

/// One interrupt on its way into a vCPU.
struct Interrupt {
    std::uint32_t id = 0;
    std::uint8_t priority = 0;  ///< lower is more urgent
    bool level = false;         ///< asserts again while its line is high
    std::uint8_t group = 1;     ///< 0 or 1: which of a CPU's two signals it comes by, where there are two
    bool tell_end = false;      ///< its end is asked for: the model has to hear of it at once
};

/// What an interrupt in a CPU's hands is there.
struct Held {
    bool pending = false, active = false;
    friend constexpr bool operator==(Held, Held) = default;
};

/// One access to the controller's registers, of 1 to 8 bytes.
struct DeviceAccess {
    GuestPhysAddr addr;
    std::uint64_t value;  ///< in: what is written; out: what was read (bits above `width` mean nothing)
    std::uint8_t width;
    bool write;
};

/// A controller that can be attached to a VM. vCPUs are named by their id. A line or an access, also one of the vCPU's own, that changes
/// what peek() answers for a vCPU posts Event::interrupt to it: nobody asks again by himself. (One that hands over may leave what goes
/// away to sync().) Each function may be called on any CPU; those that concern one vCPU's hand-over (take, sync, retire) only on the
/// CPU where it is bound.
template <class T>
concept InterruptController = requires(T& c, DeviceAccess& access, std::uint32_t vcpu, Interrupt& out) {
    { c.window() } noexcept -> std::same_as<GuestRange>;         ///< all its registers lie in here; does not change
    { c.access(vcpu, access) } noexcept -> std::same_as<bool>;   ///< false: not its address
    { c.peek(vcpu, out) } noexcept -> std::same_as<bool>;        ///< the most urgent one that `vcpu` ought to take
};

/// A controller whose interrupts the hardware hands to the guest one by one, where it has the means.
template <class T>
concept HandsOverInterrupts = InterruptController<T> && requires(T& c, const exit::SendIpi& ipi, std::uint32_t vcpu, Interrupt& out) {
    { c.send(vcpu, ipi) } noexcept -> std::same_as<bool>;        ///< a software interrupt from `vcpu`; true: it is a target itself
    { c.take(vcpu, out) } noexcept -> std::same_as<bool>;        ///< as peek(); it is then in the CPU's hands
    /// One in the CPU's hands: what it is there, and back what it has to be. Takes a further edge away from the model, and what the guest
    /// has asked for by its registers. One that has to be neither is retired next, with what it was.
    { c.sync(vcpu, std::uint32_t{}, Held{}) } noexcept -> std::same_as<Held>;
    { c.retire(vcpu, std::uint32_t{}, bool{}, bool{}) } noexcept;  ///< back from the CPU's hands: still pending, still active
    { c.line(vcpu, std::uint32_t{}, bool{}) } noexcept;          ///< a private line of a vCPU goes up or down
};

/// Of interrupts that are noted as bits of words, from number `first` on: takes the lowest. Whoever else sets bits meanwhile loses none.
inline auto take_lowest(std::span<std::atomic<std::uint32_t>> words, std::uint32_t first, std::uint32_t& id) noexcept -> bool {
    for (auto& word : words) {
        if (const auto ids = word.load(); ids != 0) {
            word.fetch_and(~(ids & -ids));
            id = first + static_cast<std::uint32_t>(std::countr_zero(ids));
            return true;
        }
        first += 32;
    }
    return false;
}

/// A controller that can be asked to tell of an interrupt's end. It posts Event::ended to the vCPU that has ended one.
template <class T>
concept TellsEndOfInterrupt = InterruptController<T> && requires(T& c, std::uint32_t vcpu, std::uint32_t& id) {
    { c.ended(vcpu, id) } noexcept -> std::same_as<bool>;        ///< takes one that `vcpu` has ended; false: there is none
};

/// The same as function pointers: what the SDK's compiled code calls. Those of the other two concepts may be nullptr.
struct InterruptControllerTable {
    void* self = nullptr;
    GuestRange window{};
    bool (*access)(void*, std::uint32_t, DeviceAccess&) noexcept = nullptr;
    bool (*peek)(void*, std::uint32_t, Interrupt&) noexcept = nullptr;
    bool (*send)(void*, std::uint32_t, const exit::SendIpi&) noexcept = nullptr;
    bool (*take)(void*, std::uint32_t, Interrupt&) noexcept = nullptr;
    Held (*sync)(void*, std::uint32_t, std::uint32_t, Held) noexcept = nullptr;
    void (*retire)(void*, std::uint32_t, std::uint32_t, bool, bool) noexcept = nullptr;
    void (*line)(void*, std::uint32_t, std::uint32_t, bool) noexcept = nullptr;
    bool (*ended)(void*, std::uint32_t, std::uint32_t&) noexcept = nullptr;
    constexpr explicit operator bool() const noexcept { return self != nullptr; }
};

template <InterruptController T>
auto table_of(T& controller) noexcept -> InterruptControllerTable {
    InterruptControllerTable t{
        .self = &controller,
        .window = controller.window(),
        .access = [](void* s, std::uint32_t v, DeviceAccess& a) noexcept { return static_cast<T*>(s)->access(v, a); },
        .peek = [](void* s, std::uint32_t v, Interrupt& o) noexcept { return static_cast<T*>(s)->peek(v, o); },
    };
    if constexpr (HandsOverInterrupts<T>) {
        t.send = [](void* s, std::uint32_t v, const exit::SendIpi& i) noexcept { return static_cast<T*>(s)->send(v, i); };
        t.take = [](void* s, std::uint32_t v, Interrupt& o) noexcept { return static_cast<T*>(s)->take(v, o); };
        t.sync = [](void* s, std::uint32_t v, std::uint32_t id, Held h) noexcept { return static_cast<T*>(s)->sync(v, id, h); };
        t.retire = [](void* s, std::uint32_t v, std::uint32_t id, bool p, bool a) noexcept { static_cast<T*>(s)->retire(v, id, p, a); };
        t.line = [](void* s, std::uint32_t v, std::uint32_t id, bool high) noexcept { static_cast<T*>(s)->line(v, id, high); };
    }
    if constexpr (TellsEndOfInterrupt<T>) t.ended = [](void* s, std::uint32_t v, std::uint32_t& id) noexcept { return static_cast<T*>(s)->ended(v, id); };
    return t;
}

}  // namespace axvcpu
