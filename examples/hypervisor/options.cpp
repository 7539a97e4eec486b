#include "hypervisor.hpp"

namespace hypervisor {

namespace {
auto number(std::string_view text) -> std::uint64_t {
    const int base = text.starts_with("0x") ? 16 : 10;
    if (base == 16) text.remove_prefix(2);
    std::uint64_t v = 0;
    std::from_chars(text.data(), text.data() + text.size(), v, base);
    return v;
}
auto blob(std::string_view text) -> Blob {
    const auto comma = text.find(',');
    return {number(text.substr(0, comma)), comma == text.npos ? 0 : number(text.substr(comma + 1))};
}
}  // namespace

/// Words of the form name=value up to " -- "; the rest is the guest's. `ax` writes them, and has checked the values.
auto parse(std::string_view arguments) -> Options {
    Options o;
    if (const auto at = arguments.find(" -- "); at != arguments.npos) {
        o.guest_arguments = arguments.substr(at + 4);
        arguments = arguments.substr(0, at);
    }
    while (!arguments.empty()) {
        const auto space = arguments.find(' ');
        const auto word = arguments.substr(0, space);
        arguments = space == arguments.npos ? std::string_view{} : arguments.substr(space + 1);
        const auto equals = word.find('=');
        const auto name = word.substr(0, equals), value = equals == word.npos ? std::string_view{} : word.substr(equals + 1);
        if (name == "vms") o.vms = static_cast<unsigned>(number(value));
        else if (name == "vcpus") o.vcpus = static_cast<unsigned>(number(value));
        else if (name == "memory") o.memory = number(value);
        else if (name == "kernel") o.kernel = blob(value);
        else if (name == "initrd") o.initrd = blob(value);
        else if (name == "dtb") o.device_tree = blob(value);
        else if (name == "flat") o.flat = number(value);
        else if (name == "irqchip") o.aia = value == "aia";
        else if (name == "stats") o.stats = true;
        else if (name == "fast") o.fast = true;
        else if (name == "lazy_fp") o.lazy_fp = true;
        else if (name == "seed") o.seed = number(value);
        else if (name == "vhe") o.host_extensions = value;
        else if (name == "passthrough") {
            o.passthrough_interrupts = value.find("irq") != value.npos;
            o.passthrough_timer = value.find("timer") != value.npos;
        }
    }
    o.cpus = runtime::cpus();
    return o;
}

}  // namespace hypervisor
