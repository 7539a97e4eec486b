// Writing a device tree with libfdt, in order.
#pragma once
#include <libfdt.h>

namespace hypervisor {

/// Writes a tree in order; the first error stays.
class TreeWriter {
public:
    TreeWriter(void* buffer, int size) noexcept : tree_(buffer) {
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
    void cells(const char* name, std::initializer_list<std::uint32_t> values) noexcept { cells(name, std::span(values.begin(), values.size())); }
    void cells(const char* name, std::span<const std::uint32_t> values) noexcept {
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

}  // namespace hypervisor
