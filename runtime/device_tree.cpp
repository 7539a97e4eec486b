// What the runtime has to know of the machine's device tree. libfdt does the reading.
module;
#include <libfdt.h>
module runtime;
import std;

extern "C" unsigned char __image_end[];

namespace runtime {

namespace {
constinit std::string_view boot_arguments{};
constinit unsigned cpu_count = 1;
constinit Memory ram{};
constinit const void* tree = nullptr;
constinit std::uint64_t ticks_per_second = 0;
constinit std::uint64_t hardware_ids[64]{};

auto cell(const fdt32_t* p) noexcept -> std::uint64_t { return fdt32_to_cpu(p[0]); }
}  // namespace

auto device_tree() noexcept -> const void* { return tree; }
auto arguments() noexcept -> std::string_view { return boot_arguments; }
auto cpus() noexcept -> unsigned { return cpu_count; }
auto memory() noexcept -> Memory { return ram; }

namespace detail {
auto cpu_hardware_id(unsigned cpu) noexcept -> std::uint64_t { return cpu < std::size(hardware_ids) ? hardware_ids[cpu] : ~std::uint64_t{0}; }
auto timebase() noexcept -> std::uint64_t { return ticks_per_second; }

void set_boot_cpu(std::uint64_t hardware_id) noexcept {
    for (unsigned n = 0; n < cpu_count; ++n)
        if (hardware_ids[n] == hardware_id) std::swap(hardware_ids[0], hardware_ids[n]);
}

void parse_device_tree(const void* given) noexcept {
    tree = given;
    if (fdt_check_header(tree) != 0) return;
    int length = 0;
    const auto property = [&](int node, const char* name) { return fdt_getprop(tree, node, name, &length); };
    if (const auto* p = property(fdt_path_offset(tree, "/chosen"), "bootargs"))
        boot_arguments = {static_cast<const char*>(p), static_cast<std::size_t>(length > 0 ? length - 1 : 0)};
    int child = 0;
    const int cpu_nodes = fdt_path_offset(tree, "/cpus");
    if (const auto* p = static_cast<const fdt32_t*>(property(cpu_nodes, "timebase-frequency"))) ticks_per_second = cell(p);
    cpu_count = 0;
    fdt_for_each_subnode(child, tree, cpu_nodes) {
        const auto* type = static_cast<const char*>(property(child, "device_type"));
        if (type == nullptr || std::string_view(type) != "cpu" || cpu_count == std::size(hardware_ids)) continue;
        const auto* reg = static_cast<const fdt32_t*>(property(child, "reg"));
        if (reg != nullptr) hardware_ids[cpu_count++] = length >= 8 ? cell(reg) << 32 | cell(reg + 1) : cell(reg);
    }
    fdt_for_each_subnode(child, tree, 0) {
        const auto* type = static_cast<const char*>(property(child, "device_type"));
        if (type == nullptr || std::string_view(type) != "memory") continue;
        const auto* reg = static_cast<const fdt32_t*>(property(child, "reg"));
        if (reg != nullptr && length >= 16)
            ram = {cell(reg) << 32 | cell(reg + 1), cell(reg + 2) << 32 | cell(reg + 3), reinterpret_cast<std::uint64_t>(__image_end)};
        // Where the tree itself stands behind the image, memory that can be used ends there.
        if (const auto at = reinterpret_cast<std::uint64_t>(tree); at >= ram.image_end && at - ram.start < ram.size) ram.size = at - ram.start;
    }
}
}  // namespace detail

}  // namespace runtime
