// TLB maintenance for stage 2, and the machine's VMIDs.
module axvcpu.aarch64;
import std;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;

namespace axvcpu::aarch64 {

auto tags() noexcept -> TlbTagDomain& {
    constinit static TlbTagDomain domain;
    return domain;
}

namespace {

/// Broadcast: when it returns no CPU uses the old translations. May be called on any CPU, whatever is bound there.
void invalidate(void* self, GuestPhysAddr from, std::uint64_t size) noexcept {
    const auto& vm = *static_cast<Vm*>(self);
    if (vm.tag.value == 0) return;  // never ran: nothing is cached
    const auto daif = mask_interrupts();
    // The maintenance works on the VMID in VTTBR_EL2, and with HCR_EL2.TGE clear on EL1's regime.
    const auto hcr = read<"HCR_EL2">(), vttbr = read<"VTTBR_EL2">();
    write<"HCR_EL2">(hcr & ~(std::uint64_t{1} << 27));
    write<"VTTBR_EL2">(vm.stage2->root().value | std::uint64_t{vm.tag.value} << 48);
    isb();
    dsb();  // the changed entries are visible before anything walks again
    constexpr std::uint64_t most = 512;
    if (size == 0 || size / Stage2::page_size > most) {
        tlbi_vmalls12e1is();
    } else {
        for (std::uint64_t at = 0; at < size; at += Stage2::page_size) tlbi_ipas2e1is((from.value + at) >> 12);
        tlbi_vmalle1is();  // combined translations may be cached by virtual address alone
    }
    write<"VTTBR_EL2">(vttbr);
    write<"HCR_EL2">(hcr);
    isb();
    restore_interrupts(daif);
    vm.await_readers();
}

}  // namespace

auto tlb_maintenance(Vm& vm) noexcept -> TlbMaintenance { return {.self = &vm, .invalidate = invalidate}; }

}  // namespace axvcpu::aarch64
