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
auto hart_has_sstc(const Vcpu& v) noexcept -> bool { return v.percpu->has(Feature::sstc); }

auto host_timer(const Vcpu& v) noexcept -> std::uint64_t {
    return hart_has_sstc(v) ? read<"stimecmp">() : v.hal->timer();
}
void set_host_timer(const Vcpu& v, std::uint64_t at) noexcept {
    if (hart_has_sstc(v)) write<"stimecmp">(at);
    else v.hal->set_timer(at);
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

void arm_deadline(Vcpu& v) noexcept {
    const auto at = std::min(v.run_deadline, v.has(Vcpu::soft_timer) ? to_host(v, v.timer_at) : no_deadline);
    if (at == no_deadline) return;
    v.host_timer = host_timer(v);
    if (at < v.host_timer) set_host_timer(v, at);
    v.set(Vcpu::deadline_armed, true);
}

void disarm_deadline(Vcpu& v) noexcept {
    set_host_timer(v, v.host_timer);
    v.set(Vcpu::deadline_armed, false);
}

auto Arch::deadline(const Vcpu& v) noexcept -> std::uint64_t {
    if (v.percpu != nullptr) return no_deadline;
    if ((v.context.get<"vsie">() >> 5 & 1) == 0 && !v.wakes_by_any) return no_deadline;  // its timer cannot wake it
    return to_host(v, std::min(v.context.get<"vstimecmp">(), v.timer_at));
}

}  // namespace axvcpu::riscv64
