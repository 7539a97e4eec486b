// Time: the guest's clock and timer, and the deadline of run(). There is one timer for HS-mode, the host's: for a deadline it is
// set earlier, and put back before run() returns.
module axvcpu.riscv64;
import std;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::riscv64 {

auto guest_time(const Vcpu& v) noexcept -> std::uint64_t { return read<"time">() + v.machine().time_delta; }

namespace {

auto to_host(const Vcpu& v, std::uint64_t guest) noexcept -> std::uint64_t {
    const auto host = guest - v.machine().time_delta;
    return host < guest ? no_deadline : host;  // beyond the end of time; the offset is never positive
}
}  // namespace

void set_guest_timer(Vcpu& v, std::uint64_t at) noexcept {
    if (v.has(Vcpu::has_sstc)) return write<"vstimecmp">(at);
    clear_bits<"hvip">(interrupt_bits::vs_timer);
    v.timer_at = at;
    v.set(Vcpu::soft_timer, at != no_deadline);
    refresh_interrupts(v);  // it may be in the past
    if (v.has(Vcpu::deadline_armed)) disarm_deadline(v);
    arm_deadline(v);
}

auto soft_deadline(const Vcpu& v) noexcept -> std::uint64_t { return to_host(v, v.timer_at); }

void arm_by_hal(Vcpu& v, std::uint64_t at) noexcept {
    v.host_timer = v.hal->timer();
    if (at < v.host_timer) v.hal->set_timer(at);
}
void disarm_by_hal(Vcpu& v) noexcept { v.hal->set_timer(v.host_timer); }

auto Arch::deadline(const Vcpu& v) noexcept -> std::uint64_t {
    if (v.percpu != nullptr) return no_deadline;
    if ((v.context.get<"vsie">() >> 5 & 1) == 0 && !v.wakes_by_any) return no_deadline;  // its timer cannot wake it
    return to_host(v, std::min(v.context.get<"vstimecmp">(), v.timer_at));
}

}  // namespace axvcpu::riscv64
