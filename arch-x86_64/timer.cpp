// run()'s deadline, on the host's timer. Guests have none of their own yet.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::x86_64 {

void arm_deadline(Vcpu& v) noexcept {
    if (v.run_deadline == no_deadline) return;
    v.host_timer = v.hal->timer();
    if (v.run_deadline < v.host_timer) v.hal->set_timer(v.run_deadline);
    v.deadline_armed = true;
}
void disarm_deadline(Vcpu& v) noexcept {
    if (std::exchange(v.deadline_armed, false)) v.hal->set_timer(v.host_timer);
}

auto Arch::deadline(const Vcpu&) noexcept -> std::uint64_t { return no_deadline; }

}  // namespace axvcpu::x86_64
