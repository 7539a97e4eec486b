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

auto cell(const fdt32_t* p) noexcept -> std::uint64_t { return fdt32_to_cpu(p[0]); }
}  // namespace

auto device_tree() noexcept -> const void* { return reinterpret_cast<const void*>(std::uint64_t{0x4000'0000}); }
auto arguments() noexcept -> std::string_view { return boot_arguments; }
auto cpus() noexcept -> unsigned { return cpu_count; }
auto memory() noexcept -> Memory { return ram; }

namespace detail {
void parse_device_tree() noexcept {
    const void* tree = device_tree();
    if (fdt_check_header(tree) != 0) return;
    int length = 0;
    const auto property = [&](int node, const char* name) { return fdt_getprop(tree, node, name, &length); };
    if (const auto* p = property(fdt_path_offset(tree, "/chosen"), "bootargs"))
        boot_arguments = {static_cast<const char*>(p), static_cast<std::size_t>(length > 0 ? length - 1 : 0)};
    int child = 0;
    cpu_count = 0;
    fdt_for_each_subnode(child, tree, fdt_path_offset(tree, "/cpus")) {
        const auto* type = static_cast<const char*>(property(child, "device_type"));
        if (type != nullptr && std::string_view(type) == "cpu") ++cpu_count;
    }
    fdt_for_each_subnode(child, tree, 0) {
        const auto* type = static_cast<const char*>(property(child, "device_type"));
        if (type == nullptr || std::string_view(type) != "memory") continue;
        const auto* reg = static_cast<const fdt32_t*>(property(child, "reg"));
        if (reg != nullptr && length >= 16)
            ram = {cell(reg) << 32 | cell(reg + 1), cell(reg + 2) << 32 | cell(reg + 3), reinterpret_cast<std::uint64_t>(__image_end)};
    }
}
}  // namespace detail

}  // namespace runtime
