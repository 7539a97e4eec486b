// Dropping translations on other CPUs: each vCPU is asked to do so before its next entry.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.mailbox;
import axvcpu.stage2;
import axvcpu.vm;

namespace axvcpu::x86_64 {

namespace {

/// An ASID belongs to one vCPU on one CPU, and a vCPU that comes to another CPU gets a new one: its own flag is all there is to it.
void invalidate(void* self, GuestPhysAddr, std::uint64_t) noexcept {
    auto& vm = *static_cast<Vm*>(self);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the changed entries are visible before anything walks again
    for (std::uint32_t i = 0; i < vm.vcpus(); ++i)
        if (auto* t = static_cast<Vcpu*>(vm.vcpu(i))) {
            t->flush.store(true);
            vm.notify(i, Event::fence);
        }
}

void wait(void* self) noexcept {
    auto& vm = *static_cast<Vm*>(self);
    for (std::uint32_t i = 0; i < vm.vcpus(); ++i)
        if (auto* t = static_cast<Vcpu*>(vm.vcpu(i))) while (t->mailbox().owes(Event::fence)) pause_hint();
    vm.await_readers();
}

}  // namespace

auto tlb_maintenance(Vm& vm) noexcept -> TlbMaintenance { return {.self = &vm, .invalidate = invalidate, .wait = wait}; }

}  // namespace axvcpu::x86_64
