// "This guest code, this memory, these registers: run, expect this exit." One VM of up to four vCPUs in the image.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.gicv3;
import runtime;

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
};

/// Where the guest's memory is: the payloads first, then zeroes. A guest's stack, tables and data have their places here.
inline constexpr GuestPhysAddr ram_base{0x4000'0000}, gicd_base{0x0800'0000}, gicr_base{0x080A'0000}, device_base{0x0A00'0000};
inline constexpr std::uint64_t ram_size = 0x4'0000;

/// This CPU's PerCpu, enabled on first use.
auto percpu(unsigned cpu = runtime::this_cpu()) -> PerCpu<Host>&;
auto capabilities() -> const Capabilities&;
unsigned wakes();

struct Config {
    VmPolicy policy{};
    unsigned vcpus = 1;
    bool gic = false;
    bool lazy = false;  ///< nothing mapped at first
    std::uint64_t ram = ram_size;
};

/// A VM whose vCPU 0 starts at a payload (a symbol of the section .guest_payload) with `arg` in x0.
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
    axvcpu::device::Gicv3 gic;
    Vcpu<Host>* vcpus[4]{};
};

/// Register ids by name.
template <reg::Name N> constexpr auto id(std::uint8_t element = 0) -> reg::Id { return aarch64::registers[aarch64::index<N>].id(element); }
template <reg::Name N> auto get(Machine& m, std::uint8_t element = 0) -> std::uint64_t { return m.vcpu().get(id<N>(element)).value_or(0xDEAD'DEAD'DEAD'DEAD); }

/// What a payload's vectors report when the guest takes an exception: hypercall `exception + vector offset`, with ESR, FAR, ELR.
inline constexpr std::uint64_t report = 0xC600'0000, exception = 0xC600'1000;

}  // namespace harness

/// A guest payload, beside its test. Starts with x0 = arg, MMU off, at EL1.
#define GUEST(name, text) \
    asm(".pushsection .guest_payload,\"a\"\n.balign 8\n.arch_extension sve\n.globl " #name "\n" #name ":\n" text "\n.popsection"); \
    extern "C" const unsigned char name[]
/// Sets the guest's vectors to the reporting ones. Clobbers x9.
#define VECTORS "adrp x9, guest_vectors\nadd x9, x9, :lo12:guest_vectors\nmsr VBAR_EL1, x9\nisb\n"
/// Hypercall `report`; arguments are x1 to x6.
#define REPORT "movz w0, #0xC600, lsl #16\nhvc #0\n"
