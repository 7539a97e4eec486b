// A VM at run time: its memory as it is touched, its devices, its power.
#include <fmt/compile.h>
#include "hypervisor.hpp"
import axvcpu.fmt;

namespace hypervisor {

namespace {
constexpr std::uint64_t block = 0x20'0000;
constexpr unsigned levels = 3, address_bits = 39;

auto root() noexcept -> HostPhysAddr {
    const auto at = take_region(0x4000, 0x4000);  // RISC-V's are 16 KiB
    if (at.value != 0) std::memset(Host::phys_to_virt(at), 0, 0x4000);
    return at;
}
}  // namespace

Guest::Guest(unsigned number, const Options& o, HostPhysAddr memory) noexcept
    : number_(number), options_(o), memory_(memory), ram_{{ram_base, o.memory << 20}},
      uart_(this, [](void* self, std::uint8_t byte) noexcept { static_cast<Guest*>(self)->transmit(byte); }),
      stage2_(stage2_format, root(), levels, address_bits,
              {nullptr, [](void*) noexcept { return take_page(); }, [](void*, HostPhysAddr p) noexcept { give_page(p); }}, hal_table<Host>),
      vm_(vm_config()), controller_(make_controller(vm_.core())) {
    stage2_.set_maintenance(tlb_maintenance(vm_.core()));
    if (o.passthrough_interrupts) map_passthrough(stage2_, o.vcpus);
    else vm_.attach(controller_);
}

auto Guest::exits(std::size_t reason) const noexcept -> std::uint64_t {
    std::uint64_t sum = 0;
    for (unsigned v = 0; v < options_.vcpus; ++v) sum += threads_[v].exits[reason];
    return sum;
}

/// Bytes go straight out while one VM has the console; with several, whole lines with the VM's name.
void Guest::transmit(std::uint8_t byte) noexcept {
    static constinit runtime::Spinlock console;
    if (guests() == 1) return runtime::put_guest_byte(byte);
    line_[line_length_++] = static_cast<char>(byte);
    if (byte != '\n' && line_length_ < line_.size() - 1) return;
    if (byte != '\n') line_[line_length_++] = '\n';
    const runtime::Guard guard(console);
    for (const char c : std::string_view("[vm")) runtime::put_guest_byte(static_cast<std::uint8_t>(c));
    if (number_ >= 10) runtime::put_guest_byte(static_cast<std::uint8_t>('0' + number_ / 10));
    runtime::put_guest_byte(static_cast<std::uint8_t>('0' + number_ % 10));
    for (const char c : std::string_view("] ")) runtime::put_guest_byte(static_cast<std::uint8_t>(c));
    for (std::size_t i = 0; i < line_length_; ++i) runtime::put_guest_byte(static_cast<std::uint8_t>(line_[i]));
    line_length_ = 0;
}

void Guest::receive(std::uint8_t byte) noexcept {
    const runtime::Guard guard(uart_lock_);
    uart_.receive(byte);
    if (uart_.line() != uart_line_) update_uart_line();
}

/// Memory appears when it is touched, a block of 2 MiB at a time.
auto Guest::fault(Vcpu<Host>::Bound& on_cpu, GuestPhysAddr addr, bool present) noexcept -> Next {
    if (ram_[0].contains(addr) && !present) {
        const auto start = addr.value & ~(block - 1);
        const auto size = std::min(block, ram_[0].start.value + ram_[0].size - start);
        const auto ok = stage2_.map({start}, memory_ + (start - ram_base.value), size, {}, MemoryType::normal);
        if (ok || ok.error().code == Code::exists) {  // another vCPU may have come first
            static_cast<void>(on_cpu.retry());
            return Next::run;
        }
    }
    static_cast<void>(on_cpu.fail());
    return Next::run;
}

auto Guest::power_on(Vcpu<Host>::Bound& on_cpu, const exit::CpuUp& up) noexcept -> Next {
    if (up.target >= vcpus()) {
        static_cast<void>(on_cpu.fail());
        return Next::run;
    }
    static_cast<void>(on_cpu.complete());
    make_ready(threads_[up.target]);
    return Next::run;
}

auto Guest::finish(End end) noexcept -> Next {
    auto none = End::none;
    if (end_.compare_exchange_strong(none, end)) {
        for (unsigned v = 0; v < vcpus(); ++v) vm_.core().notify(v, Event::kick);
        guest_ended();
    }
    return Next::stop;
}

void Guest::finish_if_off() noexcept {
    for (unsigned v = 0; v < vcpus(); ++v) if (threads_[v].phase != Thread::Phase::off) return;
    if (end() == End::none) finish(End::off);
}

void Guest::crash(const char* what, const Exit& e, Vcpu<Host>::Bound& on_cpu) noexcept {
    std::array<char, 400> text;
    const auto size = fmt::format_to_n(text.data(), text.size(), FMT_COMPILE("hypervisor: vm{} stopped: {}: {}"), number_, std::string_view(what), e).size;
    runtime::print({text.data(), std::min(size, text.size())});
    print_state(on_cpu.vcpu());
    runtime::print("\n");
    finish(End::crashed);
}

/// Requires the UART's lock.
void Guest::update_uart_line() noexcept {
    uart_line_ = uart_.line();
    controller_.set_line(uart_interrupt, uart_line_);
}

auto Guest::read_uart(std::uint64_t offset, unsigned width) noexcept -> std::uint64_t {
    const runtime::Guard guard(uart_lock_);
    const auto value = uart_.read(offset, width);
    if (uart_.line() != uart_line_) [[unlikely]] update_uart_line();
    return value;
}

void Guest::write_uart(std::uint64_t offset, unsigned width, std::uint64_t value) noexcept {
    const runtime::Guard guard(uart_lock_);
    uart_.write(offset, width, value);
    if (uart_.line() != uart_line_) [[unlikely]] update_uart_line();
}

auto Guest::handle_other(Vcpu<Host>::Bound& on_cpu, const Exit& e) noexcept -> Next {
    return e.match(
        [&](exit::Halt) { return static_cast<void>(on_cpu.complete()), Next::block; },
        [&](exit::CpuSuspend) { return static_cast<void>(on_cpu.complete()), Next::block; },
        [&](exit::Yield) { return static_cast<void>(on_cpu.complete()), Next::yield; },
        [&](exit::CpuUp up) { return power_on(on_cpu, up); },
        [&](exit::CpuDown) { return Next::stop; },
        [&](exit::SystemDown) { return finish(End::off); },
        [&](exit::SystemReset) { return finish(End::reset); },
        [&](exit::ExternalInterrupt) {
            runtime::unmask_interrupts();
            runtime::mask_interrupts();
            return Next::look;
        },
        [&](exit::Kicked) { return Next::yield; },
        [&](exit::TimerExpired) { return Next::yield; },
        [&](auto) { return crash("an exit that this hypervisor does not answer", e, on_cpu), Next::stop; });
}

}  // namespace hypervisor
