// Faults given to the guest, the end of an instruction, and what ends an exit.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::x86_64 {

namespace {
/// Whether a second exception in the delivery of the first makes a double fault (APM 2, #DF: contributory exceptions and page faults).
constexpr auto doubles(std::uint64_t first, std::uint8_t second) noexcept -> bool {
    constexpr std::uint32_t contributory = 1u << 0 | 0x1Fu << 9, page_fault = 1u << 14;
    const auto is = [](std::uint64_t vector, std::uint32_t set) { return (set >> vector & 1) != 0; };
    return (is(first, contributory) && is(second, contributory)) || (is(first, page_fault) && is(second, contributory | page_fault));
}
}  // namespace

/// Where an exception waits to be delivered already, a second one makes it a double fault, or ends it all; after a benign one it is
/// delivered in its place.
void inject(Vcpu& v, std::uint8_t vector, std::optional<std::uint32_t> error) noexcept {
    auto& b = *v.vmcb;
    constexpr std::uint64_t valid = std::uint64_t{1} << 31, type = 7 << 8, exception = 3 << 8;
    const bool second = (b.event_injection & valid) != 0 && (b.event_injection & type) == exception;
    const auto first = b.event_injection & 31;
    v.triple_fault |= second && first == Vector::df;
    if (v.triple_fault) return;
    b.event_injection = second && doubles(first, vector) ? event(Vector::df, true) : event(vector, error.has_value(), error.value_or(0));
}

void advance(Vcpu& v, unsigned length) noexcept {
    auto& b = *v.vmcb;
    constexpr std::uint64_t trap_flag = 1 << 8, resume_flag = 1 << 16, single_step = 1 << 14;
    b.rip += length;
    if (!v.in_long_mode()) b.rip &= (b.cs.attributes & 1 << 10) != 0 ? 0xFFFF'FFFF : 0xFFFF;  // CS.D
    b.interrupt_shadow &= ~std::uint64_t{1};
    b.rflags &= ~resume_flag;
    if ((b.rflags & trap_flag) == 0) return;
    b.dr6 |= single_step;
    inject(v, Vector::db);
}

namespace {
constexpr Error nothing_outstanding{Code::no_exit, "an instruction exit that is outstanding"};

auto outstanding(const Vcpu& v) noexcept -> bool { return v.pending.kind != Pending::Kind::none && v.pending.kind < Pending::Kind::terminal; }

/// What a read of `width` bytes gives its destination.
void arrive(Vcpu& v, std::uint64_t value) noexcept {
    const auto& p = v.pending;
    value = p.sign_extend ? sign_extended(value, p.width) : narrow(value, p.width);
    auto& x = v.x(p.reg);
    if (p.high_byte) x = (x & ~std::uint64_t{0xFF00}) | (value & 0xFF) << 8;
    else x = merged(x, value, p.to_width);
}
}  // namespace

auto Arch::complete(Vcpu& v, std::uint64_t value) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    auto& p = v.pending;
    if (p.length == 0 && !(p.kind == Pending::Kind::fault && (v.vmcb->event_injection >> 31 & 1) != 0)) {  // in an event's delivery no instruction is over
        const auto length = p.kind == Pending::Kind::fault ? any_length(v) : instruction_length(v);
        if (!length && !readable(v))
            return Error{Code::unsupported, "an instruction that can be read, to find its end"};
        if (!length) return p.kind = Pending::Kind::none, Result<void>{};  // it has gone: the guest meets that itself
        p.length = *length;
    }
    const auto kind = std::exchange(p.kind, Pending::Kind::none);
    switch (kind) {
        case Pending::Kind::hypercall: v.vmcb->rax = value; break;
        case Pending::Kind::port_read: case Pending::Kind::mmio: if (p.to_width != 0) arrive(v, value); break;
        case Pending::Kind::register_read:
            v.vmcb->rax = static_cast<std::uint32_t>(value);
            v.x(2) = value >> 32;
            break;
        default: break;  // a fault that is completed: the host has done the instruction's work
    }
    if (p.length != 0) advance(v, p.length);
    return {};
}

auto Arch::fail(Vcpu& v) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    if (std::exchange(v.pending.kind, Pending::Kind::none) == Pending::Kind::hypercall) inject(v, Vector::ud);
    else inject(v, Vector::gp, 0);
    return {};
}

auto Arch::retry(Vcpu& v) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    v.pending.kind = Pending::Kind::none;
    return {};
}

}  // namespace axvcpu::x86_64
