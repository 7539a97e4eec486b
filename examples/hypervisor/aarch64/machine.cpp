// What an AArch64 guest's machine adds: configuration of the VM, devices passed through, the device tree's CPUs and devices.
#include "hypervisor.hpp"
#include "device_tree.hpp"

namespace hypervisor {

auto Guest::vm_config() noexcept -> VmConfig {
    return {.id = number_, .stage2 = &stage2_, .vcpus = std::span<Slot>(slots_, options_.vcpus), .ram = ram_,
            .policy = {.fast_exit = options_.fast, .lazy_fp = options_.lazy_fp}, .passthrough_interrupts = options_.passthrough_interrupts, .passthrough_timer = options_.passthrough_timer};
}

auto Guest::vcpu_config(unsigned vcpu) noexcept -> std::optional<CreateConfig> {
    CreateConfig c{.id = vcpu, .entry = entry_, .arg = tree_.value, .off = vcpu != 0};
    if (const auto size = capabilities().vector_state; size != 0) {
        const auto room = take_region(size, 64);
        if (room.value == 0) return std::nullopt;
        c.vector_state = {static_cast<std::byte*>(Host::phys_to_virt(room)), size};
    }
    return c;
}

/// The guest sees the machine's own interrupt controller and UART.
void map_passthrough(Stage2& stage2, unsigned vcpus) noexcept {
    static_cast<void>(stage2.map(gicd_base, {gicd_base.value}, 0x1'0000, {.execute = false}, MemoryType::device));
    static_cast<void>(stage2.map(gicr_base, {gicr_base.value}, 0x2'0000 * vcpus, {.execute = false}, MemoryType::device));
    static_cast<void>(stage2.map(uart_base, {uart_base.value}, 0x1000, {.execute = false}, MemoryType::device));
}

void print_state(const Vcpu<Host>& vcpu) noexcept {
    const auto& c = const_cast<Vcpu<Host>&>(vcpu).core().context;
    runtime::print(", pc ");
    runtime::print_hex(c.get<"PC">());
    runtime::print(", ESR_EL2 ");
    runtime::print_hex(c.get<"ESR_EL2">());
    runtime::print(", FAR_EL2 ");
    runtime::print_hex(c.get<"FAR_EL2">());
}

namespace {

constexpr std::uint32_t clock_phandle = 2;

void write_cpus(TreeWriter& w, unsigned vcpus) {
    w.begin("cpus");
    w.cells("#address-cells", {1});
    w.cells("#size-cells", {0});
    for (unsigned v = 0; v < vcpus; ++v) {
        const auto affinity = (v & 15) | (v >> 4) << 8;
        w.begin(Numbered("cpu@", affinity).text.data());
        w.text("device_type", "cpu");
        w.text("compatible", "arm,armv8");
        w.cells("reg", {affinity});
        w.text("enable-method", "psci");
        w.end();
    }
    w.end();
}

void write_devices(TreeWriter& w, unsigned vcpus) {
    constexpr std::uint32_t ppi = 1, spi = 0, level_high = 4;
    w.begin("psci");
    w.text("compatible", std::string_view("arm,psci-1.0\0arm,psci-0.2", 25));
    w.text("method", "hvc");
    w.end();
    w.begin("timer");
    w.text("compatible", "arm,armv8-timer");
    w.flag("always-on");
    w.cells("interrupts", {ppi, 13, level_high, ppi, 14, level_high, ppi, 11, level_high, ppi, 10, level_high});
    w.end();
    w.begin("intc@8000000");
    w.text("compatible", "arm,gic-v3");
    w.cells("#interrupt-cells", {3});
    w.flag("interrupt-controller");
    w.cells("reg", {0, static_cast<std::uint32_t>(gicd_base.value), 0, 0x1'0000, 0, static_cast<std::uint32_t>(gicr_base.value), 0, 0x2'0000 * vcpus});
    w.cells("phandle", {controller_phandle});
    w.end();
    w.begin("apb-pclk");
    w.text("compatible", "fixed-clock");
    w.cells("#clock-cells", {0});
    w.cells("clock-frequency", {24'000'000});
    w.cells("phandle", {clock_phandle});
    w.end();
    w.begin("pl011@9000000");
    w.text("compatible", std::string_view("arm,pl011\0arm,primecell", 23));
    w.reg(uart_base.value, 0x1000);
    w.cells("interrupts", {spi, uart_interrupt - 32, level_high});
    w.cells("clocks", {clock_phandle, clock_phandle});
    w.text("clock-names", std::string_view("uartclk\0apb_pclk", 16));
    w.end();
}

}  // namespace

void write_machine(TreeWriter& w, const Options& o) noexcept {
    write_cpus(w, o.vcpus);
    write_devices(w, o.vcpus);
}

}  // namespace hypervisor
