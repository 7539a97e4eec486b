// "This guest code, this memory, these registers: run, expect this exit." One VM of up to four vCPUs in the image.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import runtime;
#include "machine.hpp"

namespace harness {

using namespace axvcpu;

/// The host of the tests uses floating point itself (Catch2, libc++), so run() switches it.
struct Host {
    static constexpr HostFp host_fp = HostFp::per_exit;
    static auto virt_to_phys(const void* p) noexcept -> HostPhysAddr { return {reinterpret_cast<std::uint64_t>(p)}; }
    static auto phys_to_virt(HostPhysAddr a) noexcept -> void* { return reinterpret_cast<void*>(a.value); }
    static auto this_cpu() noexcept -> CpuId { return CpuId{runtime::this_cpu()}; }
    static void kick(CpuId cpu) noexcept { runtime::send_interrupt(static_cast<unsigned>(cpu), 0); }
    static auto local_interrupt_controller() noexcept -> volatile void* { return runtime::local_interrupt_controller(); }
    static void wake(std::uint32_t, std::uint32_t) noexcept;
    static auto timer() noexcept -> std::uint64_t { return runtime::timer(); }
    static void set_timer(std::uint64_t at) noexcept { runtime::set_timer(at); }
#if defined(AXVCPU_FAST_HOOK)
    /// For VMs whose policy asks for it: the next of `fast_answers` calls `report` give the sum of two arguments.
    // [fast]
    static auto fast_exit(FastExit& e) noexcept -> bool {
        if (!fast::is_call(e)) return answer_register(e);
        if (fast::number(e) != report || fast_answers == 0) return false;
        --fast_answers;
        fast::answer(e, fast::argument(e, 0) + fast::argument(e, 1));
        return true;
    }
    // [end]
    static inline std::uint64_t fast_answers = 0;
#endif
};

/// Where the guest's memory is: the payloads first, then zeroes. A guest's stack, tables and data have their places here.
inline constexpr GuestPhysAddr ram_base{0x4000'0000}, device_base{0x0A00'0000};
inline constexpr std::uint64_t ram_size = 0x4'0000;

/// This CPU's PerCpu, enabled on first use.
auto percpu(unsigned cpu = runtime::this_cpu()) -> PerCpu<Host>&;
auto capabilities() -> const Capabilities&;
unsigned wakes();

struct Config {
    VmPolicy policy{};
    unsigned vcpus = 1;
    bool controller = false;
    bool lazy = false;  ///< nothing mapped at first
    std::uint64_t ram = ram_size;
};

/// A VM whose vCPU 0 starts at a payload (a symbol of the section .guest_payload) with `arg` in its first argument register.
class Machine {
public:
    explicit Machine(const void* payload, std::uint64_t arg = 0, Config = {});
    ~Machine();
    Machine(const Machine&) = delete;
    auto operator=(const Machine&) -> Machine& = delete;

    /// Binds vCPU `id` here, runs it once, unbinds. Instruction exits stay outstanding.
    auto vcpu(unsigned id = 0) -> Vcpu<Host>& { return *vcpus[id]; }
    auto at(const void* payload) const -> GuestPhysAddr;
    auto host(GuestPhysAddr a) -> unsigned char* { return memory + (a.value - ram_base.value); }
    template <class T> auto peek(GuestPhysAddr a) -> T { T v; __builtin_memcpy(&v, host(a), sizeof v); return v; }

    Config config;
    unsigned char* memory;
    GuestRange ram[1];
    Stage2 stage2;
    Slot slots[4];
    Vm<Host> vm;
    Controller controller;
    Vcpu<Host>* vcpus[4]{};
};

/// How often each seed's guest is restarted at least: `lives=N` of the machine's command line.
inline auto wanted_lives() -> unsigned {
    const auto line = runtime::arguments();
    const auto at = line.find("lives=");
    unsigned n = 100;
    if (at != line.npos) std::from_chars(line.data() + at + 6, line.data() + line.size(), n);
    return n;
}

/// Register ids by name.
template <reg::Name N> constexpr auto id(std::uint8_t element = 0) -> reg::Id { return arch::registers[arch::index<N>].id(element); }
template <reg::Name N> auto get(Machine& m, std::uint8_t element = 0) -> std::uint64_t { return m.vcpu().get(id<N>(element)).value_or(0xDEAD'DEAD'DEAD'DEAD); }

}  // namespace harness

// What every architecture's payloads.S has; a payload starts in the kernel's mode, translation off, `arg` in the first argument.
extern "C" const unsigned char
    call_forever[],    // hypercall `report`, for ever
    touch[],           // *arg += 1; reports what it reads back
    touch_pages[],     // stores to arg, arg + 8 KiB, arg + 16 KiB, twice each; reports; stores to the last once more; reports
    read_forever[],    // reports *arg, for ever
    read_once[],       // reports *arg
    wait_for_value[],  // reads *arg until it is not 0; reports it
    keep_fp[],         // arg into three floating-point registers; reports them, for ever
    add_registers[],   // a value into each register that a callee may change; a call; reports their sum, and what it ought to be
    read_register[],   // reports three reads of trapped registers: the fast hook's into a callee-saved register, another one, the first again
    spin[],            // nothing, for ever
    fetch_nowhere[],   // jumps to device_base
    wait_forever[];    // waits for an interrupt that does not come, for ever
