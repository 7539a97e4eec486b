module axvcpu.vm;
import std;

namespace axvcpu {

auto VcpuCore::refuse_elsewhere(CpuId here) noexcept -> bool {
    return refuse({Code::wrong_cpu, "the CPU that the vCPU is bound to", static_cast<std::uint64_t>(cpu()), static_cast<std::uint64_t>(here)});
}

auto VcpuCore::refuse_switch(CpuId here) noexcept -> bool {
    return here != cpu() ? refuse_elsewhere(here) : refuse(bad_state("a vCPU that is not inside run()", State::ready, State::running));
}

auto VcpuCore::refuse_run(bool off) noexcept -> bool {
    return refuse(bad_state(off ? "a reset after a terminal exit" : "a vCPU that is not inside run() already", State::ready, off ? state() : State::running));
}

auto VcpuCore::at_hand() const noexcept -> Result<void> {
    const auto s = state();
    if (s == State::running) return bad_state("a vCPU that is not running", State::free, s);
    if (s != State::ready) return {};
    if (const auto here = vm_->hal().this_cpu(); here != cpu())
        return Error{Code::wrong_cpu, "the CPU that the vCPU is bound to", static_cast<std::uint64_t>(cpu()), static_cast<std::uint64_t>(here)};
    return {};
}

auto VcpuCore::fit_cpu(bool enabled, CpuId cpu, CpuId here, bool taken) noexcept -> Result<void> {
    if (!enabled) return Error{Code::bad_state, "an enabled CPU"};
    if (here != cpu) return Error{Code::wrong_cpu, "the CPU that this object enabled", static_cast<std::uint64_t>(cpu), static_cast<std::uint64_t>(here)};
    if (taken) return Error{Code::bad_state, "a CPU on which no other vCPU is bound"};
    return {};
}

auto VcpuCore::leave_for(std::uint32_t events) noexcept -> bool {
    constexpr auto kick = static_cast<std::uint32_t>(Event::kick), ended = static_cast<std::uint32_t>(Event::ended);
    if ((events & (kick | ended)) == 0) return false;
    const auto& c = vm().controller();
    std::uint32_t id = 0;
    if ((events & ended) != 0 && c.ended != nullptr && c.ended(c.self, id_, id)) {
        mailbox_.post(Event::ended);  // there may be another one
        if ((events & kick) != 0) mailbox_.post(Event::kick);
        exit_ = exit::EndOfInterrupt{id};
        return true;
    }
    if ((events & kick) == 0) return false;
    exit_ = exit::Kicked{};
    return true;
}

auto VcpuCore::block() noexcept -> Result<bool> {
    if (!move(State::free, State::blocked)) return bad_state("an unbound vCPU in state free", State::free, state());
    if (mailbox_.block()) return true;
    move(State::blocked, State::free);
    return false;
}

auto VcpuCore::unblock() noexcept -> Result<void> {
    if (state() != State::blocked) return bad_state("a blocked vCPU", State::blocked, state());
    mailbox_.unblock();
    move(State::blocked, State::free);
    return {};
}

auto VcpuCore::request_power_on(GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void> {
    auto found = Power::off;
    if (!power_.compare_exchange_strong(found, Power::claimed, std::memory_order_acq_rel))
        return Error{Code::bad_state, "a vCPU that is off", static_cast<std::uint64_t>(Power::off),
                     static_cast<std::uint64_t>(found == Power::claimed ? Power::on_pending : found)};
    start_entry_ = entry;
    start_arg_ = arg;
    power_.store(Power::on_pending, std::memory_order_release);
    return {};
}

auto VmCore::find(std::uint64_t hardware_id) const noexcept -> VcpuCore* {
    for (std::uint32_t i = 0; i < registry_.size(); ++i)
        if (auto* v = registry_[i]; v != nullptr && v->hardware_id() == hardware_id) return v;
    return nullptr;
}

void VmCore::notify(std::uint32_t id, Event e) const noexcept {
    auto* v = vcpu(id);
    if (v == nullptr) return;
    const auto notice = v->post(e);
    if (notice.kind == Notice::Kind::kick && notice.cpu != hal_->this_cpu()) hal_->kick(notice.cpu);
    if (notice.kind == Notice::Kind::wake && hal_->wake != nullptr) hal_->wake(id_, id);
}

void VmCore::await_readers() const noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (std::uint32_t i = 0; i < registry_.size(); ++i)
        if (const auto* v = registry_[i]; v != nullptr) while (v->reading()) {}
}

auto VmCore::add(VcpuCore& v) noexcept -> Result<void> {
    if (v.id() >= registry_.size()) return Error{Code::bad_value, "a vCPU id below the VM's number of vCPUs", registry_.size(), v.id()};
    if (registry_[v.id()] != nullptr) return Error{Code::exists, "an id that no other vCPU of the VM has", 0, v.id()};
    if (find(v.hardware_id()) != nullptr) return Error{Code::exists, "a hardware id that no other vCPU of the VM has", 0, v.hardware_id()};
    registry_[v.id()] = &v;
    return {};
}

}  // namespace axvcpu
