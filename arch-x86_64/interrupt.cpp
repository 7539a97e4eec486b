// Host interrupts that end the guest. Guests have no interrupt controller yet.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::x86_64 {

/// A host interrupt has ended the guest; it is pending still. True: the host has to know.
auto on_interrupt(Vcpu& v) noexcept -> bool {
    if (v.deadline_armed && read_tsc() >= v.run_deadline) {
        v.run_deadline = no_deadline;
        v.exit() = exit::TimerExpired{};
        return true;
    }
    if (v.hal->handle_host_irq == nullptr) return v.exit() = exit::ExternalInterrupt{}, true;
    disarm_deadline(v);
    v.pending.kind = Pending::Kind::host_irq;
    v.hal->handle_host_irq();
    v.pending.kind = Pending::Kind::none;
    static_cast<void>(mask_interrupts());
    arm_deadline(v);
    return false;
}

}  // namespace axvcpu::x86_64
