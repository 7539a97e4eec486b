// Turning a hart into one that can run guests, and back.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.percpu;
import axvcpu.tlb_tag;

namespace axvcpu::riscv64 {

namespace {

constexpr std::uint64_t henvcfg_stce = std::uint64_t{1} << 63;

/// Calls f.operator()<Row>(slot) for each register that only VS- and VU-mode are subject to: the SDK's from enable() to disable().
template <class F>
void each_owned_register(const PerCpu& cpu, F f) noexcept {
    std::size_t slot = 0;
    const auto one = [&]<reg::Name... N>(bool there) { ((there ? f.template operator()<index<N>>(slot) : void(), ++slot), ...); };
    one.template operator()<"hedeleg", "hideleg", "hie", "hcounteren", "hgeie", "henvcfg", "htimedelta", "hvip">(true);
    one.template operator()<"hstateen0">(cpu.has(Feature::state_enable));
    one.template operator()<"hvictl", "hvien", "hviprio1", "hviprio2">(cpu.has(Feature::aia));
}

/// What is alike for all vCPUs: written once.
void write_constants(const PerCpu& cpu) noexcept {
    write<"hideleg">(interrupt_bits::all);
    write<"hie">(0);
    write<"hgeie">(0);
    write<"hcounteren">(2);  // time; no counter of the machine
    if (!cpu.has(Feature::aia)) return;
    write<"hvien">(0);
    write<"hviprio1">(0);
    write<"hviprio2">(0);
    write<"hvictl">(hvictl_none);
}

/// Which modes of hgatp stick, and how many bits of VMID.
void probe_translation(Capabilities& caps) noexcept {
    const auto before = read<"hgatp">();
    for (unsigned levels = 3; levels <= 5; ++levels) {
        write<"hgatp">(hgatp(levels, 0, 0));
        if (read<"hgatp">() >> 60 == hgatp_mode(levels)) {
            caps.levels_mask |= 1u << levels;
            caps.address_bits = guest_address_bits(levels);
        }
    }
    write<"hgatp">(hgatp(3, 0x3FFF, 0));
    caps.tag_bits = std::min<std::uint32_t>(static_cast<std::uint32_t>(std::popcount(read<"hgatp">() >> 44 & 0x3FFF)), AXVCPU_TLB_TAG_BITS);
    write<"hgatp">(before);
}

auto probe_timer() noexcept -> bool {
    const auto before = read<"henvcfg">();
    set_bits<"henvcfg">(henvcfg_stce);
    const bool sticks = (read<"henvcfg">() & henvcfg_stce) != 0;
    write<"henvcfg">(before);
    return sticks;
}

auto probe_vector() noexcept -> std::uint64_t {
    std::uint64_t vlenb = 0;
    bool there = false;
    with_fp([&] { there = axvcpu_probe_vlenb(&vlenb) == 0; });
    return there ? vlenb : 0;
}

/// One guest interrupt file is used: the bound vCPU's. There is one where the hart has its bit in hgeie and the host names its page.
void probe_guest_file(PerCpu& cpu) noexcept {
    cpu.guest_file = nullptr;
    if (!cpu.has(Feature::aia) || cpu.hal->guest_message_page == nullptr) return;
    const auto before = read<"hgeie">();
    write<"hgeie">(2);
    const bool there = (read<"hgeie">() & 2) != 0;
    write<"hgeie">(before);
    const auto file = cpu.hal->guest_message_page(1);
    if (!there || file.page.value == 0 || file.ids != InterruptFile::ids) return;  // with more of them, some would stay for the next guest
    cpu.guest_file = static_cast<volatile std::uint32_t*>(cpu.hal->phys_to_virt(file.page));
    cpu.guest_file_page = file.page;
}

auto probe(PerCpu& cpu) noexcept -> Result<void> {
    auto& caps = cpu.capabilities = {};
    std::uint64_t value = 0;
    if (axvcpu_probe_hstatus(&value) != 0)
        return Error{Code::unsupported, "a hart with the H extension, in HS-mode (reading hstatus traps)"};
    if (axvcpu_probe_henvcfg(&value) != 0) return Error{Code::unsupported, "a hart with henvcfg (Privileged Architecture 1.12)"};
    probe_translation(caps);
    if ((caps.levels_mask & 1u << 3) == 0) return Error{Code::unsupported, "a hart with Sv39x4 (hgatp.MODE)", 8, read<"hgatp">() >> 60};
    const bool sstc = probe_timer();
    if (!sstc && cpu.hal->set_timer == nullptr)
        return Error{Code::unsupported, "a timer: the Sstc extension (henvcfg.STCE), or a host that lends its own (LendsTimer)"};
    const auto vlenb = probe_vector();
    caps.vector_state = static_cast<std::uint32_t>(32 * vlenb);
    caps.features = (sstc ? bit(Feature::sstc) : 0) | (axvcpu_probe_hstateen0(&value) == 0 ? bit(Feature::state_enable) : 0) | (vlenb != 0 ? bit(Feature::vector) : 0) |
                    (axvcpu_probe_hvictl(&value) == 0 && axvcpu_probe_vsiselect(&value) == 0 ? bit(Feature::aia) : 0);
    probe_guest_file(cpu);
    return {};
}

}  // namespace

auto Arch::enable(PerCpu& cpu, const HalTable& hal) noexcept -> Result<Capabilities> {
    if (cpu.enabled) return Error{Code::bad_state, "a CPU that is not enabled yet"};
    cpu.hal = &hal;
    cpu.id = hal.this_cpu();
    const auto sie = mask_interrupts();
    const auto found = probe(cpu);
    if (found) {
        cpu.host = {.hgatp = read<"hgatp">(), .hstatus = read<"hstatus">(), .scounteren = read<"scounteren">(), .senvcfg = read<"senvcfg">(),
                    .sstateen0 = cpu.has(Feature::state_enable) ? read<"sstateen0">() : 0};
        each_owned_register(cpu, [&]<std::size_t I>(std::size_t slot) { cpu.owned[slot] = read_row<I>(); });
    }
    restore_interrupts(sie);
    if (!found) return found.error();
    // Where every bind drops all translations any number does: the hart takes what it has bits for.
    constexpr unsigned vmid_bits = 14;
    if (!tags().add(cpu.tags, cpu.tagged() ? cpu.capabilities.tag_bits : vmid_bits))
        return Error{Code::unsupported, "more VMIDs than harts", std::uint64_t{1} << cpu.capabilities.tag_bits, 0};
    write_constants(cpu);
    constinit static std::atomic<std::uint64_t> epochs{0};
    cpu.epoch = epochs.fetch_add(1, std::memory_order_relaxed) + 1;
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
    cpu.enabled = false;
    cpu.epoch = PerCpu::not_enabled;
    return {};
}

}  // namespace axvcpu::riscv64
