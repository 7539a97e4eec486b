// The device tree of the machine that a VM sees: QEMU's `virt` as far as this hypervisor gives it.
#include <libfdt.h>
#include "hypervisor.hpp"

namespace hypervisor {

namespace {

constexpr std::uint32_t gic_phandle = 1, clock_phandle = 2;

/// Writes a tree in order; the first error stays.
class Writer {
public:
    Writer(void* buffer, int size) noexcept : tree_(buffer) {
        keep(fdt_create(tree_, size));
        keep(fdt_finish_reservemap(tree_));
    }
    void begin(const char* name) noexcept { keep(fdt_begin_node(tree_, name)); }
    void end() noexcept { keep(fdt_end_node(tree_)); }
    void flag(const char* name) noexcept { keep(fdt_property(tree_, name, nullptr, 0)); }
    void text(const char* name, std::string_view value) noexcept {
        void* room = nullptr;
        keep(fdt_property_placeholder(tree_, name, static_cast<int>(value.size() + 1), &room));
        if (error_ != 0) return;
        std::memcpy(room, value.data(), value.size());
        static_cast<char*>(room)[value.size()] = 0;
    }
    void cells(const char* name, std::initializer_list<std::uint32_t> values) noexcept {
        void* room = nullptr;
        keep(fdt_property_placeholder(tree_, name, static_cast<int>(values.size() * 4), &room));
        if (error_ != 0) return;
        for (auto* at = static_cast<fdt32_t*>(room); const auto v : values) *at++ = cpu_to_fdt32(v);
    }
    void address(const char* name, std::uint64_t v) noexcept { cells(name, {static_cast<std::uint32_t>(v >> 32), static_cast<std::uint32_t>(v)}); }
    void reg(std::uint64_t base, std::uint64_t size) noexcept {
        cells("reg", {static_cast<std::uint32_t>(base >> 32), static_cast<std::uint32_t>(base), static_cast<std::uint32_t>(size >> 32), static_cast<std::uint32_t>(size)});
    }
    auto finish() noexcept -> bool {
        keep(fdt_finish(tree_));
        return error_ == 0;
    }

private:
    void keep(int e) noexcept { if (error_ == 0) error_ = e; }
    void* tree_;
    int error_ = 0;
};

/// A node name with a number in it.
struct Numbered {
    std::array<char, 40> text{};
    Numbered(std::string_view name, std::uint64_t n) noexcept {
        std::ranges::copy(name, text.begin());
        std::to_chars(text.data() + name.size(), text.data() + text.size() - 1, n, 16);
    }
};

void write_cpus(Writer& w, unsigned vcpus) {
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

void write_devices(Writer& w, unsigned vcpus) {
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
    w.cells("phandle", {gic_phandle});
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

auto Guest::write_device_tree(std::uint64_t initrd_start, std::uint64_t initrd_end) noexcept -> bool {
    Writer w(Host::phys_to_virt(memory_ + (tree_.value - ram_base.value)), 0x1'0000);
    w.begin("");
    w.text("compatible", "linux,dummy-virt");
    w.text("model", "axvcpu virt");
    w.cells("#address-cells", {2});
    w.cells("#size-cells", {2});
    w.cells("interrupt-parent", {gic_phandle});
    w.begin("chosen");
    w.text("bootargs", options_.guest_arguments);
    w.text("stdout-path", "/pl011@9000000");
    if (initrd_end != initrd_start) {
        w.address("linux,initrd-start", initrd_start);
        w.address("linux,initrd-end", initrd_end);
    }
    // Seeds from the command line, so that a run can be repeated; each VM has its own.
    const auto mix = (options_.seed + number_) * 0x9E37'79B9'7F4A'7C15;
    std::array<std::uint32_t, 16> seed{};
    for (std::uint64_t s = mix; auto& word : seed) word = static_cast<std::uint32_t>((s = s * 6364136223846793005 + 1442695040888963407) >> 32);
    w.cells("rng-seed", {seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7], seed[8], seed[9], seed[10], seed[11], seed[12], seed[13], seed[14], seed[15]});
    w.address("kaslr-seed", mix);
    w.end();
    w.begin(Numbered("memory@", ram_base.value).text.data());
    w.text("device_type", "memory");
    w.reg(ram_base.value, ram_[0].size);
    w.end();
    write_cpus(w, vcpus());
    write_devices(w, vcpus());
    w.end();
    return w.finish();
}

}  // namespace hypervisor
