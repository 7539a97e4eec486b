// An example hypervisor: any number of VMs and vCPUs on any number of CPUs. `ax run` and `ax demo` boot it.
#include "hypervisor.hpp"

namespace hypervisor {

namespace {

constexpr unsigned max_guests = 16, max_cpus = 64;
constinit Options options{};
constinit Guest* all[max_guests]{};
constinit unsigned count = 0;
constinit std::atomic<unsigned> alive{0};
constinit Capabilities first_capabilities{};
PerCpu<Host> percpus[max_cpus];

/// Ends the machine when the last VM has ended: 0 when all turned themselves off, 3 when one was reset or crashed.
[[noreturn]] void finish() noexcept {
    bool good = true;
    for (unsigned g = 0; g < count; ++g) good &= all[g]->end() == Guest::End::off;
    for (unsigned g = 0; g < count; ++g) {
        say({"\n@vm "});
        runtime::print_decimal(g);
        say({all[g]->end() == Guest::End::off ? " off" : all[g]->end() == Guest::End::reset ? " reset" : " crashed"});
        for (std::size_t r = 0; r < Exit::reasons; ++r) {
            if (all[g]->exits(r) == 0) continue;
            say({" ", exit_names[r], "="});
            runtime::print_decimal(all[g]->exits(r));
        }
    }
    say({"\n"});
    if (options.stats) print_cost();
    runtime::exit(good ? 0 : 3);
}

void secondary(unsigned cpu) noexcept {
    runtime::enable_guest_interrupts();
    if (!enable_cpu()) runtime::exit(1);
    schedule_forever(cpu, options.stats);
}

void take_console_input(unsigned) noexcept {
    for (int byte = runtime::get_guest_byte(); byte >= 0; byte = runtime::get_guest_byte()) all[0]->receive(static_cast<std::uint8_t>(byte));
}

auto create_guests() noexcept -> bool {
    // What QEMU put into RAM ends where the pool begins.
    const auto memory = runtime::memory();
    auto start = memory.image_end;
    for (const auto& b : {options.kernel, options.initrd, options.device_tree}) start = std::max(start, b.address + b.size);
    add_memory((start + 0x1F'FFFF) & ~std::uint64_t{0x1F'FFFF}, memory.start + memory.size);
    for (unsigned g = 0; g < options.vms; ++g) {
        const auto room = take_region(sizeof(Guest), 4096);
        const auto ram = take_region(options.memory << 20, 0x20'0000);
        if (room.value == 0 || ram.value == 0) return say({"hypervisor: the machine has too little memory\n"}), false;
        all[g] = new (Host::phys_to_virt(room)) Guest(g, options, ram);
        if (!all[g]->load()) return false;
    }
    count = options.vms;
    alive.store(count);
    return true;
}

}  // namespace

void say(std::initializer_list<std::string_view> words) noexcept { for (const auto w : words) runtime::print(w); }
auto guest(unsigned number) noexcept -> Guest* { return number < max_guests ? all[number] : nullptr; }
auto guests() noexcept -> unsigned { return count; }
void guest_ended() noexcept { if (alive.fetch_sub(1) == 1) finish(); }
auto this_percpu() noexcept -> PerCpu<Host>& { return percpus[runtime::this_cpu()]; }

auto enable_cpu() noexcept -> bool {
    const auto found = this_percpu().enable();
    if (!found) say({"hypervisor: this CPU cannot run guests: needed ", found.error().what, "\n"});
    else if (runtime::this_cpu() == 0) first_capabilities = *found;
    return found.has_value();
}
auto capabilities() noexcept -> const Capabilities& { return first_capabilities; }

auto main() noexcept -> int {
    options = parse(runtime::arguments());
    if (!runtime::set_host_extensions(options.host_extensions != "off") && options.host_extensions == "on") {
        say({"hypervisor: this CPU has no virtualization host extensions\n"});
        return 1;
    }
    runtime::enable_guest_interrupts();
    if (!enable_cpu()) return 1;
    if (!create_guests()) return 1;
    if (!options.passthrough_interrupts) {
        runtime::set_handler(runtime::guest_console_interrupt(), take_console_input);
        runtime::start_guest_input();
    }
    for (unsigned g = 0; g < count; ++g) make_ready(all[g]->thread(0));
    for (unsigned cpu = 1; cpu < options.cpus; ++cpu)
        if (!runtime::start_cpu(cpu, secondary)) say({"hypervisor: a CPU did not start\n"});
    schedule_forever(0, options.stats);
}

}  // namespace hypervisor

extern "C" int main() { return hypervisor::main(); }
