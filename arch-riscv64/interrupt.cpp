// Interrupts into the guest: hvip says what the attached controller, other vCPUs and the timer want it to see.
module axvcpu.riscv64;
import std;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::riscv64 {

namespace {
auto external(Vcpu& v) noexcept -> bool {
    if (v.machine().imsic.size != 0) return v.file_page == nullptr && v.file.signals();  // the hart looks at its own file itself
    const auto& c = v.vm().controller();
    Interrupt next;
    return c && c.peek(c.self, v.id(), next);
}
}  // namespace

void refresh_interrupts(Vcpu& v) noexcept {
    const bool waits = external(v);
    if (waits) set_bits<"hvip">(interrupt_bits::vs_external);
    else clear_bits<"hvip">(interrupt_bits::vs_external);
    if (v.percpu->has(Feature::aia)) write<"hvictl">(waits ? hvictl_external : hvictl_none);
    // The guest itself takes the software interrupt away, by sip.SSIP.
    if (v.software_interrupt.load(std::memory_order_relaxed) && v.software_interrupt.exchange(false)) set_bits<"hvip">(interrupt_bits::vs_software);
    if (v.has(Vcpu::soft_timer) && guest_time(v) >= v.timer_at) {
        v.timer_at = no_deadline;
        v.set(Vcpu::soft_timer, false);
        set_bits<"hvip">(interrupt_bits::vs_timer);
    }
}

auto interrupt_waits(Vcpu& v) noexcept -> bool {
    if (!v.mailbox().empty()) return true;
    refresh_interrupts(v);
    return (read<"vsip">() & read<"vsie">()) != 0;
}

auto on_interrupt(Vcpu& v, std::uint64_t cause) noexcept -> bool {
    if (cause == cause::supervisor_timer && v.has(Vcpu::deadline_armed)) {
        disarm_deadline(v);
        if (read<"time">() >= v.run_deadline) {
            v.run_deadline = no_deadline;
            refresh_interrupts(v);
            v.exit() = exit::TimerExpired{};
            return true;
        }
        refresh_interrupts(v);
        arm_deadline(v);
        if ((read<"sip">() & 1 << 5) == 0) return false;  // it was ours alone
    }
    if (v.hal->handle_host_irq != nullptr) {
        // The handler finds its own timer, and may set it.
        if (v.has(Vcpu::deadline_armed)) disarm_deadline(v);
        v.pending.kind = Pending::Kind::host_irq;
        v.hal->handle_host_irq();
        v.pending.kind = Pending::Kind::none;
        arm_deadline(v);
        return false;
    }
    v.exit() = exit::ExternalInterrupt{};
    return true;
}

}  // namespace axvcpu::riscv64
