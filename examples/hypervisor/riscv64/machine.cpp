// What a RISC-V guest's machine adds: configuration of the VM, vector state, the device tree's harts and devices.
#include "hypervisor.hpp"
#include "device_tree.hpp"

namespace hypervisor {

auto Guest::vm_config() noexcept -> VmConfig {
    return {.id = number_, .stage2 = &stage2_, .vcpus = std::span<Slot>(slots_, options_.vcpus), .ram = ram_,
            .policy = {.fast_exit = options_.fast, .lazy_fp = options_.lazy_fp},
            .console = {this, [](void* self, std::uint8_t byte) noexcept { 
                            auto& guest = *static_cast<Guest*>(self);
                            const runtime::Guard guard(guest.uart_lock_);  // the UART's bytes come by the same way
                            guest.transmit(byte);
                        },
                        [](void* self) noexcept -> int {  // what the UART has received
                            auto& guest = *static_cast<Guest*>(self);
                            const runtime::Guard guard(guest.uart_lock_);
                            constexpr std::uint64_t data = 0, line_status = 5, data_ready = 1;
                            if ((guest.uart_.read(line_status, 1) & data_ready) == 0) return -1;
                            const auto byte = static_cast<int>(guest.uart_.read(data, 1));
                            if (guest.uart_.line() != guest.uart_line_) guest.update_uart_line();
                            return byte;
                        }},
            .imsic = options_.aia ? std::optional(imsic_base) : std::nullopt};
}

auto Guest::vcpu_config(unsigned vcpu) noexcept -> std::optional<CreateConfig> {
    CreateConfig c{.id = vcpu, .entry = entry_, .arg = tree_.value, .off = vcpu != 0};
    if (const auto size = hypervisor::capabilities().vector_state; size != 0) {
        const auto room = take_region(size, 64);
        if (room.value == 0) return std::nullopt;
        c.vector_state = {static_cast<std::byte*>(Host::phys_to_virt(room)), size};
        std::memset(c.vector_state.data(), 0, size);
    }
    return c;
}

void map_passthrough(Stage2&, unsigned) noexcept {}  // not there on this architecture; `ax` refuses it

void print_state(const Vcpu<Host>& vcpu) noexcept {
    const auto& c = const_cast<Vcpu<Host>&>(vcpu).core().context;
    runtime::print(", pc ");
    runtime::print_hex(c.get<"pc">());
    runtime::print(", scause ");
    runtime::print_hex(c.get<"scause">());
    runtime::print(", stval ");
    runtime::print_hex(c.get<"stval">());
}

namespace {

auto has(riscv64::Feature f) noexcept -> bool { return (capabilities().features >> static_cast<unsigned>(f) & 1) != 0; }

/// Interrupt controllers of the harts have handles from 16 on.
constexpr auto hart_phandle(unsigned hart) noexcept -> std::uint32_t { return 16 + hart; }

void write_harts(TreeWriter& w, unsigned vcpus, bool aia) {
    w.begin("cpus");
    w.cells("#address-cells", {1});
    w.cells("#size-cells", {0});
    w.cells("timebase-frequency", {static_cast<std::uint32_t>(runtime::frequency())});
    std::array<char, 64> isa{};
    auto* end = std::ranges::copy(std::string_view("rv64imafdc"), isa.begin()).out;
    if (capabilities().vector_state != 0) end = std::ranges::copy(std::string_view("v"), end).out;
    end = std::ranges::copy(std::string_view("_zicntr_zicsr_zifencei"), end).out;
    if (has(riscv64::Feature::sstc)) end = std::ranges::copy(std::string_view("_sstc"), end).out;
    if (aia) end = std::ranges::copy(std::string_view("_ssaia"), end).out;
    for (unsigned v = 0; v < vcpus; ++v) {
        w.begin(Numbered("cpu@", v).text.data());
        w.text("device_type", "cpu");
        w.text("compatible", "riscv");
        w.cells("reg", {v});
        w.text("status", "okay");
        w.text("riscv,isa", {isa.data(), static_cast<std::size_t>(end - isa.begin())});
        w.text("mmu-type", "riscv,sv39");
        w.begin("interrupt-controller");
        w.cells("#interrupt-cells", {1});
        w.flag("interrupt-controller");
        w.text("compatible", "riscv,cpu-intc");
        w.cells("phandle", {hart_phandle(v)});
        w.end();
        w.end();
    }
    w.end();
}

constexpr std::uint32_t external = 9, imsic_phandle = 2;

void write_aia(TreeWriter& w, unsigned vcpus) {
    w.begin("imsics@28000000");
    w.text("compatible", "riscv,imsics");
    w.reg(imsic_base.value, std::uint64_t{vcpus} * Stage2::page_size);
    w.flag("interrupt-controller");
    w.cells("#interrupt-cells", {0});
    w.flag("msi-controller");
    w.cells("#msi-cells", {0});
    std::array<std::uint32_t, 2 * max_vcpus> files{};
    for (unsigned v = 0; v < vcpus; ++v) std::ranges::copy(std::array{hart_phandle(v), external}, files.begin() + 2 * v);
    w.cells("interrupts-extended", std::span(files).first(2 * vcpus));
    w.cells("riscv,num-ids", {riscv64::InterruptFile::ids});
    w.cells("phandle", {imsic_phandle});
    w.end();
    w.begin("aplic@d000000");
    w.text("compatible", "riscv,aplic");
    w.reg(aplic_base.value, device::Aplic::size);
    w.flag("interrupt-controller");
    w.cells("#interrupt-cells", {2});
    w.cells("#address-cells", {0});
    w.cells("msi-parent", {imsic_phandle});
    w.cells("riscv,num-sources", {device::Aplic::sources - 1});
    w.cells("phandle", {controller_phandle});
    w.end();
}

void write_plic(TreeWriter& w, unsigned vcpus) {
    w.begin("plic@c000000");
    w.text("compatible", std::string_view("sifive,plic-1.0.0\0riscv,plic0", 29));
    w.cells("#interrupt-cells", {1});
    w.cells("#address-cells", {0});
    w.flag("interrupt-controller");
    w.reg(plic_base.value, device::Plic::size);
    w.cells("riscv,ndev", {device::Plic::sources - 1});
    w.cells("phandle", {controller_phandle});
    // For each hart M-mode's context, which is not there, and S-mode's.
    constexpr std::uint32_t absent = 0xFFFF'FFFF;
    std::array<std::uint32_t, 4 * max_vcpus> contexts{};
    for (unsigned v = 0; v < vcpus; ++v) std::ranges::copy(std::array{hart_phandle(v), absent, hart_phandle(v), external}, contexts.begin() + 4 * v);
    w.cells("interrupts-extended", std::span(contexts).first(4 * vcpus));
    w.end();
}

void write_soc(TreeWriter& w, unsigned vcpus, bool aia) {
    w.begin("soc");
    w.text("compatible", "simple-bus");
    w.cells("#address-cells", {2});
    w.cells("#size-cells", {2});
    w.flag("ranges");
    aia ? write_aia(w, vcpus) : write_plic(w, vcpus);
    w.begin("serial@10000000");
    w.text("compatible", "ns16550a");
    w.reg(uart_base.value, device::Ns16550::size);
    constexpr std::uint32_t level_high = 4;
    if (aia) w.cells("interrupts", {uart_interrupt, level_high});
    else w.cells("interrupts", {uart_interrupt});
    w.cells("interrupt-parent", {controller_phandle});
    w.cells("clock-frequency", {3'686'400});
    w.end();
    w.end();
}

}  // namespace

void write_machine(TreeWriter& w, const Options& o) noexcept {
    write_harts(w, o.vcpus, o.aia);
    write_soc(w, o.vcpus, o.aia);
}

}  // namespace hypervisor
