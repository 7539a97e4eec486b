// TLB maintenance and fences on other harts. A hart's fences work on that hart alone, so the others are
// asked by their vCPUs' mailboxes.
module axvcpu.riscv64;
import std;
import axvcpu.hal;
import axvcpu.mailbox;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;

namespace axvcpu::riscv64 {

void execute_fences(Vcpu& v) noexcept {
    const auto kinds = v.fences.exchange(0);
    if ((kinds & Vcpu::stage2_translations) != 0) {
        fence_io();  // what the guest has stored to a page that is taken away has arrived
        hfence_gvma();
    }
    if ((kinds & (Vcpu::stage2_translations | Vcpu::guest_translations)) != 0) hfence_vvma();
    if ((kinds & Vcpu::instructions) != 0) axvcpu_fence_i();
}

auto for_each_hart(Vcpu& v, std::uint64_t mask, std::uint64_t base, void (*f)(Vcpu&, Vcpu&, std::uint32_t), std::uint32_t argument) noexcept -> SbiError {
    auto& vm = v.vm();
    if (base == ~std::uint64_t{0}) {
        for (std::uint32_t i = 0; i < vm.vcpus(); ++i)
            if (auto* t = vm.vcpu(i); t != nullptr && t->power() == Power::on) f(v, static_cast<Vcpu&>(*t), argument);
        return SbiError::success;
    }
    // All of the mask is looked at before anything is done: a hart that is not there makes the whole call wrong.
    for (auto left = mask; left != 0; left &= left - 1) {
        const auto bit = static_cast<unsigned>(std::countr_zero(left));
        if (base > ~std::uint64_t{0} - bit || vm.find(base + bit) == nullptr) return SbiError::invalid_param;
    }
    for (auto left = mask; left != 0; left &= left - 1)
        f(v, static_cast<Vcpu&>(*vm.find(base + static_cast<unsigned>(std::countr_zero(left)))), argument);
    return SbiError::success;
}

namespace {

void ask(Vcpu& target, std::uint32_t kinds) noexcept {
    target.fences.fetch_or(kinds);
    target.vm().notify(target.id(), Event::fence);
}

/// Until the target has left the guest: then it acts on the request before it enters again. No vCPU waits in the guest itself, so
/// two that fence each other do not wait for each other.
void await(const Vcpu& target) noexcept {
    while (const_cast<Vcpu&>(target).mailbox().owes(Event::fence)) pause_hint();
}

}  // namespace

void remote_fence(Vcpu& self, std::uint64_t mask, std::uint64_t base, std::uint32_t kinds) noexcept {
    static_cast<void>(for_each_hart(self, mask, base, [](Vcpu& me, Vcpu& target, std::uint32_t what) {
        if (&target != &me) return ask(target, what);
        me.fences.fetch_or(what);
        execute_fences(me);
    }, kinds));
    static_cast<void>(for_each_hart(self, mask, base, [](Vcpu& me, Vcpu& target, std::uint32_t) { if (&target != &me) await(target); }, 0));
}

namespace {

/// The VM gets another VMID the next time one of its vCPUs is bound: under that, nothing is cached on the harts where none is loaded
/// now. Those that are bound already drop what they have: a bind that this does not see yet takes its VMID after it.
void invalidate(void* self, GuestPhysAddr, std::uint64_t) noexcept {
    auto& vm = *static_cast<Vm*>(self);
    const auto sie = mask_interrupts();  // the thread stays on this hart, and holds no lock while others run on it
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the changed entries are visible before anything walks again
    tags().renounce(vm.tag);
    for (std::uint32_t i = 0; i < vm.vcpus(); ++i) {
        auto* t = vm.vcpu(i);
        if (t == nullptr) continue;
        // Looked at once: it goes from one to the other meanwhile, and must not be passed over for that.
        if (const auto state = t->state(); state != State::ready && state != State::running) continue;
        // This hart's own needs no request: one that waits in its mailbox would keep it from blocking.
        if (t->cpu() == vm.hal().this_cpu()) {
            fence_io();
            hfence_gvma();
            hfence_vvma();
        } else ask(static_cast<Vcpu&>(*t), Vcpu::stage2_translations);
    }
    restore_interrupts(sie);
}

void wait(void* self) noexcept {
    auto& vm = *static_cast<Vm*>(self);
    for (std::uint32_t i = 0; i < vm.vcpus(); ++i)
        if (auto* t = vm.vcpu(i)) await(static_cast<Vcpu&>(*t));
    vm.await_readers();
}

}  // namespace

auto tlb_maintenance(Vm& vm) noexcept -> TlbMaintenance { return {.self = &vm, .invalidate = invalidate, .wait = wait}; }

}  // namespace axvcpu::riscv64
