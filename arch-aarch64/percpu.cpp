// Turning a CPU into one that can run guests, and back.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.percpu;
import axvcpu.tlb_tag;

namespace axvcpu::aarch64 {

namespace {

constexpr auto field(std::uint64_t value, unsigned low) noexcept -> std::uint32_t { return value >> low & 0xF; }

void find_host_registers(PerCpu& cpu) noexcept {
    cpu.host = {.mdcr = read<"MDCR_EL2">(), .cptr = read<"CPTR_EL2">(), .cnthctl = read<"CNTHCTL_EL2">(), .cntvoff = read<"CNTVOFF_EL2">(),
                .vttbr = read<"VTTBR_EL2">(), .mdscr = read<"MDSCR">(), .ich_hcr = read<"ICH_HCR_EL2">(), .hcr = read<"HCR_EL2">(),
                .mpam2 = cpu.has_mpam ? read<"MPAM2_EL2">() : 0};
}

/// Calls f.operator()<Row>(slot) for each register that nothing but EL1 and EL0 under HCR_EL2.VM is subject to: the SDK's from enable()
/// to disable().
template <class F>
void each_owned_register(const PerCpu& cpu, F f) noexcept {
    std::size_t slot = 0;
    const auto one = [&]<reg::Name... N>(bool there) {
        ((there ? f.template operator()<index<N>>(slot) : void(), ++slot), ...);
    };
    one.template operator()<"HSTR_EL2", "VTCR_EL2", "VPIDR_EL2", "VMPIDR_EL2", "ICH_VMCR_EL2">(true);
    one.template operator()<"ICH_AP0R0_EL2", "ICH_AP1R0_EL2">(true);
    one.template operator()<"ICH_AP0R1_EL2", "ICH_AP1R1_EL2">(cpu.priority_words > 1);
    one.template operator()<"ICH_AP0R2_EL2", "ICH_AP1R2_EL2", "ICH_AP0R3_EL2", "ICH_AP1R3_EL2">(cpu.priority_words > 2);
    one.template operator()<"HCRX_EL2">(cpu.has_hcx);
    one.template operator()<"HFGRTR_EL2", "HFGWTR_EL2", "HFGITR_EL2", "HDFGRTR_EL2", "HDFGWTR_EL2">(cpu.has_fgt);
    one.template operator()<"HFGRTR2_EL2", "HFGWTR2_EL2", "HFGITR2_EL2", "HDFGRTR2_EL2", "HDFGWTR2_EL2">(cpu.has_fgt2);
}

/// What is alike for all vCPUs: written once.
void write_constants(const PerCpu& cpu) noexcept {
    write<"HSTR_EL2">(0);
    write<"VPIDR_EL2">(read<"MIDR_EL1">());
    if (cpu.has_hcx) write<"HCRX_EL2">(0);
    if (cpu.has_fgt) {  // positive bits trap nothing, negative ones keep away what is not switched
        write<"HFGRTR_EL2">(0);
        write<"HFGWTR_EL2">(0);
        write<"HFGITR_EL2">(0);
        write<"HDFGRTR_EL2">(0);
        write<"HDFGWTR_EL2">(0);
    }
    if (cpu.has_fgt2) {  // all of what they know is newer than what is switched: bits of negative polarity alone
        write<"HFGRTR2_EL2">(0);
        write<"HFGWTR2_EL2">(0);
        write<"HFGITR2_EL2">(0);
        write<"HDFGRTR2_EL2">(0);
        write<"HDFGWTR2_EL2">(0);
    }
    for (unsigned n = 0; n < cpu.list_registers; ++n) write_list_register(n, 0);
    isb();
}

/// The ID registers as guests see them, with the fields that a mask cannot express.
void show_features(PerCpu& cpu) noexcept {
    auto& shown = cpu.id_registers[1];
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        (([&] {
            constexpr auto& r = registers[I];
            if constexpr (r.policy == Policy::fixed && r.encoding.op0 == 3 && r.encoding.op1 == 0 && r.encoding.crm != 0)
                shown[r.encoding.crm * 8u + r.encoding.op2] = (r.writable != 0 ? read_row<I>() & r.writable : 0) | r.reset;
        }()), ...);
    }(std::make_index_sequence<registers.size()>{});
    const auto place = [](std::uint32_t iss) { return (iss >> 1 & 0xF) * 8 + (iss >> 17 & 7); };
    const auto at = [&](std::uint32_t iss) -> std::uint64_t& { return shown[place(iss)]; };
    const auto cap = [](std::uint64_t& r, unsigned low, std::uint64_t most) {
        if ((r >> low & 0xF) > most) r = (r & ~(std::uint64_t{0xF} << low)) | most << low;
    };
    auto& pfr0 = at(iss_of<"ID_AA64PFR0_EL1">);
    cap(pfr0, 56, 1);  // CSV2: SCXTNUM is not switched
    if ((pfr0 >> 24 & 0xF) > 1) cap(pfr0, 24, 1);
    auto& mmfr0 = at(iss_of<"ID_AA64MMFR0_EL1">);
    cap(mmfr0, 0, 5);  // PARange: 48 bits
    if (field(mmfr0, 28) == 1) mmfr0 &= ~(std::uint64_t{0xF} << 28);  // TGran4 without 52-bit addresses
    if (field(mmfr0, 20) == 2) mmfr0 -= std::uint64_t{1} << 20;       // TGran16 likewise
    cap(at(iss_of<"ID_AA64MMFR2_EL1">), 16, 1);  // VARange: at most 52 bits
    if (!cpu.has(Feature::pauth)) {
        at(iss_of<"ID_AA64ISAR1_EL1">) &= ~detail::fields({4, 8, 24, 28});
        at(iss_of<"ID_AA64ISAR2_EL1">) &= ~detail::fields({8, 12, 24});
    }
    cpu.id_registers[0] = shown;
    cpu.id_registers[0][place(iss_of<"ID_AA64PFR0_EL1">)] &= ~detail::fields({32});
    cpu.id_registers[0][place(iss_of<"ID_AA64ZFR0_EL1">)] = 0;
}

/// The longest vector, in bytes. Requires: the CPU has SVE.
auto probe_vector_length(PerCpu& cpu) noexcept -> std::uint32_t {
    const auto cptr = read<"CPTR_EL2">();
    write<"CPTR_EL2">(cpu.e2h ? cptr | 3u << 20 | 3u << 16 : cptr & ~std::uint64_t{1 << 10 | 1 << 8});  // a host may trap its own
    isb();
    cpu.host_zcr = read<"ZCR_EL2">();
    write<"ZCR_EL2">(0xF);
    isb();
    const auto length = static_cast<std::uint32_t>(axvcpu_sve_length());
    write<"ZCR_EL2">(cpu.host_zcr);
    write<"CPTR_EL2">(cptr);
    isb();
    return length;
}

auto probe(PerCpu& cpu) noexcept -> Result<void> {
    if ((read<"CurrentEL">() >> 2 & 3) != 2) return Error{Code::unsupported, "this CPU must be at EL2 (CurrentEL)", 2, read<"CurrentEL">() >> 2};
    const auto pfr0 = read<"ID_AA64PFR0_EL1">(), mmfr0 = read<"ID_AA64MMFR0_EL1">(), mmfr1 = read<"ID_AA64MMFR1_EL1">();
    if (field(pfr0, 24) == 0)
        return Error{Code::unsupported, "a GICv3 or later with system registers (ID_AA64PFR0_EL1.GIC); a GICv2 will not do", 1, 0};
    if (field(mmfr0, 28) == 0xF) return Error{Code::unsupported, "the 4 KiB granule (ID_AA64MMFR0_EL1.TGran4)", 0, 0xF};
    cpu.e2h = (read<"HCR_EL2">() >> 34 & 1) != 0;
    cpu.parange = field(mmfr0, 0);
    cpu.vmid_bits = field(mmfr1, 4) == 2 ? 16 : 8;
    cpu.has_fgt = field(mmfr0, 56) != 0;
    cpu.has_fgt2 = field(mmfr0, 56) >= 2;
    cpu.has_mpam = field(pfr0, 40) != 0;
    cpu.has_hcx = field(mmfr1, 40) != 0;
    const auto isar1 = read<"ID_AA64ISAR1_EL1">(), isar2 = read<"ID_AA64ISAR2_EL1">();
    const bool pauth = field(isar1, 4) != 0 || field(isar1, 8) != 0 || field(isar2, 12) != 0;
    const bool sve = field(pfr0, 32) != 0;
    cpu.vector_length = sve ? probe_vector_length(cpu) : 0;
    auto& caps = cpu.capabilities;
    caps = {};
    caps.vector_state = sve_state_bytes(cpu.vector_length);
    caps.tag_bits = std::min<std::uint32_t>(cpu.vmid_bits, AXVCPU_TLB_TAG_BITS);
    caps.address_bits = physical_bits(cpu.parange);
    caps.levels_mask = 1u << 3 | (caps.address_bits >= 44 ? 1u << 4 : 0);
    caps.breakpoints = caps.watchpoints = 2;  // the least there can be, and what guests are shown
    caps.host_redirection = cpu.e2h;
    caps.features = (field(pfr0, 0) == 2 ? bit(Feature::aarch32_el0) : 0) | (pauth ? bit(Feature::pauth) : 0) | (sve ? bit(Feature::sve) : 0) |
                    (field(pfr0, 28) != 0 ? bit(Feature::ras) : 0) | (field(mmfr1, 8) != 0 ? bit(Feature::vhe) : 0) |
                    (cpu.hal->local_interrupt_controller != nullptr ? bit(Feature::gicv3_link) : 0);
    return {};
}

}  // namespace

auto Arch::enable(PerCpu& cpu, const HalTable& hal) noexcept -> Result<Capabilities> {
    if (cpu.enabled) return Error{Code::bad_state, "a CPU that is not enabled yet"};
    cpu.hal = &hal;
    cpu.id = hal.this_cpu();
    if (auto ok = probe(cpu); !ok) return ok.error();
    // The system-register interface has to be on before anything of the GIC can be read.
    cpu.sre_el2 = read<"ICC_SRE_EL2">();
    write<"ICC_SRE_EL2">(cpu.sre_el2 | 0xF);  // SRE, DFB, DIB, Enable
    isb();
    if ((read<"ICC_SRE_EL2">() & 1) == 0) return Error{Code::unsupported, "the GIC's system-register interface at EL2 (ICC_SRE_EL2.SRE)", 1, 0};
    cpu.sre_el1 = read<"ICC_SRE_EL1">();
    write<"ICC_SRE_EL1">(7);
    isb();
    const auto vtr = read<"ICH_VTR_EL2">();
    cpu.list_registers = std::min<std::uint32_t>(static_cast<std::uint32_t>(vtr & 0x1F) + 1, 16);
    cpu.priority_words = 1u << ((vtr >> 26 & 7) + 1 > 5 ? (vtr >> 26 & 7) + 1 - 5 : 0);  // PREbits: 5, 6 or 7
    cpu.capabilities.interrupt_slots = cpu.list_registers;
    if (!tags().add(cpu.tags, cpu.capabilities.tag_bits))
        return Error{Code::unsupported, "more VMIDs than CPUs", std::uint64_t{1} << cpu.capabilities.tag_bits, 0};
    find_host_registers(cpu);
    each_owned_register(cpu, [&]<std::size_t I>(std::size_t slot) { cpu.owned[slot] = read_row<I>(); });
    write_constants(cpu);
    show_features(cpu);
    cpu.epoch = next_epoch();
    cpu.enabled = true;
    return cpu.capabilities;
}

auto Arch::disable(PerCpu& cpu) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
    if (cpu.bound != nullptr) return Error{Code::bad_state, "a CPU on which no vCPU is bound"};
    if (cpu.hal->this_cpu() != cpu.id)
        return Error{Code::wrong_cpu, "the CPU that was enabled", static_cast<std::uint64_t>(cpu.id), static_cast<std::uint64_t>(cpu.hal->this_cpu())};
    tags().remove(cpu.tags);
    each_owned_register(cpu, [&]<std::size_t I>(std::size_t slot) { write_row<I>(cpu.owned[slot]); });
    write<"ICC_SRE_EL1">(cpu.sre_el1);
    write<"ICC_SRE_EL2">(cpu.sre_el2);
    isb();
    cpu.enabled = false;
    cpu.epoch = PerCpu::not_enabled;
    cpu.trusted = nullptr;
    return {};
}

auto next_epoch() noexcept -> std::uint64_t {
    constinit static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace axvcpu::aarch64
