// Time: the guest's clock, its physical timer, and the deadline of run(). The hardware's EL1 physical timer is the SDK's: guests
// have it only when it is passed through, so a deadline touches no timer of the host.
module axvcpu.aarch64;
import std;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::aarch64 {

auto guest_counter(const Vcpu& v) noexcept -> std::uint64_t { return read<"CNTPCT_EL0">() - v.machine().counter_offset; }

namespace {
constexpr std::uint32_t physical_timer = 30;  // its PPI, as DEN 0094 (BSA) assigns it

/// When a timer with this control and compare value fires, in host ticks.
auto fires_at(const Vcpu& v, std::uint64_t control, std::uint64_t compare) noexcept -> std::uint64_t {
    if ((control & 3) != 1) return no_deadline;  // not ENABLE, or IMASK
    const auto offset = v.machine().counter_offset;
    return compare > ~offset ? no_deadline : compare + offset;
}
}  // namespace

auto physical_timer_deadline(const Vcpu& v) noexcept -> std::uint64_t {
    return fires_at(v, v.context.get<"CNTP_CTL_EL0">(), v.context.get<"CNTP_CVAL_EL0">());
}

void arm_deadline(Vcpu& v) noexcept {
    if (v.machine().passthrough_timer) return;
    auto physical = physical_timer_deadline(v);
    const bool fires = physical != no_deadline && read<"CNTPCT_EL0">() >= physical;
    if (fires) physical = no_deadline;  // its line is up: nothing more to wait for
    v.physical_armed = physical != no_deadline;
    if (const auto& c = v.vm().controller(); c && fires != v.physical_line) {
        v.physical_line = fires;
        c.line(c.self, v.id(), physical_timer, fires);
        refresh_interrupts(v);
    }
    const auto target = std::min(v.run_deadline, physical);
    if (target == no_deadline) return disarm_deadline(v);
    write_deadline(v.percpu->e2h, target);
    v.set(Vcpu::deadline_armed, true);
}

/// EL1's physical timer where it is the guest's: into this CPU at bind; out of it, and off, at unbind.
void move_physical_timer(Vcpu& v, bool to_cpu) noexcept {
    const bool e2h = v.percpu->e2h;
    auto& c = v.context;
    if (to_cpu) {
        write_el1<"CNTP_CVAL">(e2h, c.get<"CNTP_CVAL_EL0">());
        write_el1<"CNTP_CTL">(e2h, c.get<"CNTP_CTL_EL0">());
    } else {
        c.set<"CNTP_CVAL_EL0">(read_el1<"CNTP_CVAL">(e2h));
        c.set<"CNTP_CTL_EL0">(read_el1<"CNTP_CTL">(e2h));
        write_el1<"CNTP_CTL">(e2h, 0);
    }
}

auto Arch::deadline(const Vcpu& v) noexcept -> std::uint64_t {
    if (v.percpu != nullptr) return no_deadline;
    const auto virt = fires_at(v, v.context.get<"CNTV_CTL_EL0">(), v.context.get<"CNTV_CVAL_EL0">());
    return std::min(virt, physical_timer_deadline(v));
}

}  // namespace axvcpu::aarch64
