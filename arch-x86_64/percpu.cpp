// Turning a CPU into one that can run guests, and back.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.percpu;
import axvcpu.tlb_tag;

namespace axvcpu::x86_64 {

namespace {

auto has(std::uint32_t word, unsigned bit) noexcept -> bool { return (word >> bit & 1) != 0; }

auto probe(PerCpu& cpu) noexcept -> Result<void> {
    constexpr std::uint32_t extended = 0x8000'0001, svm = 0x8000'000A, sizes = 0x8000'0008;
    if (machine_cpuid(0x8000'0000, 0).eax < svm || !has(machine_cpuid(extended, 0).ecx, 2))
        return Error{Code::unsupported, "a CPU with SVM (CPUID 8000_0001, ECX bit 2)", 1, 0};
    if (has(static_cast<std::uint32_t>(read<"VM_CR">()), 4)) return Error{Code::unsupported, "SVM not switched off by the firmware (VM_CR.SVMDIS)", 0, 1};
    const auto found = machine_cpuid(svm, 0);
    if (!has(found.edx, 0)) return Error{Code::unsupported, "nested paging (CPUID 8000_000A, EDX bit 0)", 1, 0};
    if (found.ebx < 4) return Error{Code::unsupported, "at least 4 ASIDs (CPUID 8000_000A, EBX)", 4, found.ebx};
    if ((read<"HOST_EFER">() & efer_nxe) == 0) return Error{Code::unsupported, "a host with EFER.NXE: nested tables need NX", 1, 0};
    if ((read<"HOST_EFER">() >> 14 & 1) != 0) return Error{Code::unsupported, "a host without EFER.FFXSR: FXSAVE has to move XMM", 0, 1};
    cpu.next_rip = has(found.edx, 3);
    cpu.has_tsc_aux = has(machine_cpuid(extended, 0).edx, 27);
    cpu.flush_by_asid = has(found.edx, 6);
    const auto seven = machine_cpuid(7, 0);
    cpu.cr4_absent = (has(seven.ebx, 0) ? 0 : 1u << 16) | (has(seven.ebx, 7) ? 0 : 1u << 20) | (has(seven.ebx, 20) ? 0 : 1u << 21) | (has(seven.ecx, 2) ? 0 : 1u << 11);
    const auto bit = [](bool there, Feature f) { return there ? std::uint64_t{1} << static_cast<unsigned>(f) : 0; };
    auto& caps = cpu.capabilities = {};
    const unsigned levels = (read_cr4() >> 12 & 1) != 0 ? 5 : 4;  // nested tables are as deep as the host's: LA57
    caps.tag_bits = std::min<std::uint32_t>(static_cast<std::uint32_t>(std::bit_width(found.ebx)) - 1, AXVCPU_TLB_TAG_BITS);
    caps.levels_mask = 1u << levels;
    caps.address_bits = std::min(machine_cpuid(sizes, 0).eax & 0xFF, 12 + 9 * levels);
    caps.features = bit(cpu.next_rip, Feature::next_rip) | bit(cpu.flush_by_asid, Feature::flush_by_asid) | bit(has(machine_cpuid(extended, 0).edx, 26), Feature::gib_pages);
    return {};
}

/// The hardware uses these by physical address: pages that follow each other have to do so there, too.
auto contiguous(const PerCpu& cpu) noexcept -> bool {
    const auto at = [&](std::size_t page) { return cpu.hal->virt_to_phys(cpu.intercept_all.data() + 4096 * page).value; };
    return at(1) == at(0) + 4096 && at(2) == at(0) + 8192;
}

}  // namespace

auto Arch::enable(PerCpu& cpu, const HalTable& hal) noexcept -> Result<Capabilities> {
    if (cpu.enabled) return Error{Code::bad_state, "a CPU that is not enabled yet"};
    cpu.hal = &hal;
    cpu.id = hal.this_cpu();
    if (auto ok = probe(cpu); !ok) return ok.error();
    if (!contiguous(cpu)) return Error{Code::bad_value, "a PerCpu object that is physically contiguous"};
    if (!cpu.asids.add(cpu.tags, cpu.capabilities.tag_bits)) return Error{Code::unsupported, "more ASIDs", 4, std::uint64_t{1} << cpu.capabilities.tag_bits};
    cpu.intercept_all.fill(std::byte{0xFF});
    cpu.host_efer = read<"HOST_EFER">();
    write<"HOST_EFER">(cpu.host_efer | efer_svme);
    cpu.host_save_area = read<"VM_HSAVE_PA">();
    write<"VM_HSAVE_PA">(hal.virt_to_phys(cpu.save_area.data()).value);
    static constinit std::atomic<std::uint64_t> epochs{0};
    cpu.epoch = ++epochs;
    cpu.enabled = true;
    return cpu.capabilities;
}

auto Arch::disable(PerCpu& cpu) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
    if (cpu.bound != nullptr) return Error{Code::bad_state, "a CPU on which no vCPU is bound"};
    if (cpu.hal->this_cpu() != cpu.id)
        return Error{Code::wrong_cpu, "the CPU that was enabled", static_cast<std::uint64_t>(cpu.id), static_cast<std::uint64_t>(cpu.hal->this_cpu())};
    cpu.asids.remove(cpu.tags);
    write<"VM_HSAVE_PA">(cpu.host_save_area);
    write<"HOST_EFER">((read<"HOST_EFER">() & ~efer_svme) | (cpu.host_efer & efer_svme));  // the rest is the host's own
    cpu.enabled = false;
    return {};
}

}  // namespace axvcpu::x86_64
