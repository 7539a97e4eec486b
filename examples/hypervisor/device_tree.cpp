// The device tree of the machine that a VM sees: QEMU's `virt` as far as this hypervisor gives it.
#include "hypervisor.hpp"
#include "device_tree.hpp"

namespace hypervisor {

auto Guest::write_device_tree(std::uint64_t initrd_start, std::uint64_t initrd_end) noexcept -> bool {
    TreeWriter w(Host::phys_to_virt(memory_ + (tree_.value - ram_base.value)), 0x1'0000);
    w.begin("");
    w.text("compatible", machine_compatible);
    w.text("model", "axvcpu virt");
    w.cells("#address-cells", {2});
    w.cells("#size-cells", {2});
    if (controller_serves_all) w.cells("interrupt-parent", {controller_phandle});
    w.begin("chosen");
    w.text("bootargs", options_.guest_arguments);
    w.text("stdout-path", stdout_path);
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
    write_machine(w, options_);
    w.end();
    return w.finish();
}

}  // namespace hypervisor
