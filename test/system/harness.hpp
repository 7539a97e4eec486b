// "This guest code, this memory, these registers: run, expect this exit." One VM of up to four vCPUs in the image.
#pragma once
#include <catch2/catch_test_macros.hpp>
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
    /// Only while a test wants them: what enable() finds decides whether vCPUs get files of the hart.
    static auto guest_message_page(std::uint32_t n) noexcept -> GuestMessagePage {
        const auto file = give_files ? runtime::guest_interrupt_file(n) : runtime::InterruptFile{};
        return {{file.page}, file.ids};
    }
    static inline bool give_files = false;
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

/// Other CPUs run jobs: SDK code only, never the C library or Catch2.
/// Whether this CPU is there; it is started and enabled at first use.
auto have_cpu(unsigned cpu) -> bool;
/// A function on another CPU, until the end of this object's life or wait(). One at a time on each CPU.
class [[nodiscard]] OnCpu {
public:
    template <class F>
    OnCpu(unsigned cpu, F& work) : OnCpu(cpu, [](void* f) noexcept { (*static_cast<F*>(f))(); }, &work) {}
    ~OnCpu() { wait(); }
    OnCpu(const OnCpu&) = delete;
    auto operator=(const OnCpu&) -> OnCpu& = delete;
    void wait();

private:
    OnCpu(unsigned cpu, void (*work)(void*) noexcept, void* arg);
    unsigned cpu_;
};
/// On the calling CPU: takes the host's interrupts that are pending.
void take_interrupts();

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
    bool aia = false;   ///< RISC-V: IMSICs instead of a controller
    bool vectors = false;  ///< the vCPUs have what vectors the CPU has
    std::uint64_t ram = ram_size;
};

/// A VM's memory, its vCPUs' vectors, and frames for its tables. There are two: so many VMs can live at a time.
struct Pool;

/// A VM whose vCPU 0 starts at a payload (a symbol of the section .guest_payload) with `arg` in its first argument register.
class Machine {
public:
    explicit Machine(const void* payload, std::uint64_t arg = 0, Config = {});
    ~Machine();
    Machine(const Machine&) = delete;
    auto operator=(const Machine&) -> Machine& = delete;

    auto vcpu(unsigned id = 0) -> Vcpu<Host>& { return *vcpus[id]; }
    auto at(const void* payload) const -> GuestPhysAddr;
    /// The memory as it was at first: the payloads, then zeroes.
    void fill();
    auto vectors(unsigned id) -> std::span<std::byte>;
    auto host(GuestPhysAddr a) -> unsigned char* { return memory + (a.value - ram_base.value); }
    template <class T> auto peek(GuestPhysAddr a) -> T { T v; __builtin_memcpy(&v, host(a), sizeof v); return v; }

    Config config;
    Pool& pool;
    unsigned char* memory;
    GuestRange ram[1];
    Stage2 stage2;
    Slot slots[4];
    Vm<Host> vm;
    Controller controller;
    Vcpu<Host>* vcpus[4]{};
};

/// Runs until an exit that is not the host's interrupt; those are taken. Any CPU.
auto run_on(Vcpu<Host>::Bound&, std::uint64_t deadline = no_deadline) noexcept -> Result<const Exit&>;

/// A vCPU runs on another CPU, until an exit that is not the host's interrupt.
class RunsOn {
public:
    RunsOn(unsigned cpu, Vcpu<Host>& v, std::uint64_t deadline = no_deadline) : work_{v, deadline}, job_(cpu, work_) {}
    /// The exit's index; Exit::reasons: it was refused.
    auto wait() -> std::size_t { job_.wait(); return work_.reason; }

private:
    struct Work {
        Vcpu<Host>& vcpu;
        std::uint64_t deadline;
        std::size_t reason = Exit::reasons;
        void operator()() noexcept;
    } work_;
    OnCpu job_;
};

/// A guest that runs on another CPU until it is kicked, also when a requirement fails. Comes after the job in its scope.
class KickedAtEnd {
public:
    explicit KickedAtEnd(Machine& m) : m_(m) {}
    ~KickedAtEnd() { m_.vm.core().notify(0, Event::kick); }
    KickedAtEnd(const KickedAtEnd&) = delete;
    auto operator=(const KickedAtEnd&) -> KickedAtEnd& = delete;

private:
    Machine& m_;
};

/// Waits until something is so, which has to be soon.
inline void await(auto done) {
    const auto end = runtime::now() + 30 * runtime::frequency();
    while (!done()) REQUIRE(runtime::now() < end);
}

/// How much a long test does: `NAME=N` of the machine's command line, or what the gate wants.
inline auto wanted(std::string_view name, unsigned in_the_gate) -> unsigned {
    const auto line = runtime::arguments();
    unsigned n = in_the_gate;
    for (auto at = line.find(name); at != line.npos; at = line.find(name, at + 1))
        if ((at == 0 || line[at - 1] == ' ') && line.substr(at + name.size()).starts_with('='))
            std::from_chars(line.data() + at + name.size() + 1, line.data() + line.size(), n);
    return n;
}

/// Runs until the guest leaves, which has to be with a T. A guest that never leaves fails, and does not hang.
template <class T>
auto leaves(Vcpu<Host>::Bound& b) -> T {
    const auto e = b.run(runtime::now() + 30 * runtime::frequency());
    REQUIRE(e);
    INFO("left with " << exit_names[e->index()]);
    REQUIRE(e->is<T>());
    return *e->get<T>();
}

/// Register ids by name.
template <reg::Name N> constexpr auto id(std::uint8_t element = 0) -> reg::Id { return arch::registers[arch::index<N>].id(element); }
template <reg::Name N> auto get(Machine& m, std::uint8_t element = 0) -> std::uint64_t { return m.vcpu().get(id<N>(element)).value_or(0xDEAD'DEAD'DEAD'DEAD); }

/// A value of its own in each register that call_forever leaves alone: each element, both halves, those that are emulated, too. Another
/// set for each `n`. A host that does not switch floating point uses that itself.
template <Hal H>
class Canary {
public:
    /// Requires: bound here. What the CPU keeps of a value is read back at once.
    Canary(Vcpu<H>& v, unsigned n);
    /// Registers that it has a value in, which are all that there are but for those that plantable() leaves out.
    auto size() const -> std::size_t { return values_.size(); }
    /// Those that would not take one.
    auto refused() const -> const std::vector<std::string_view>& { return refused_; }
    /// How many registers have another value now. Bound here, or unbound; any CPU.
    auto changed(Vcpu<H>& v) const noexcept -> unsigned {
        std::array<reg::Value, Vcpu<H>::snapshot_size> now;
        const auto count = v.snapshot(now);
        if (!count) return ~0u;
        unsigned n = 0;
        std::size_t at = 0;
        for (const auto& was : values_) {
            while (at < *count && now[at].id != was.id) ++at;
            n += at == *count || now[at].low != was.low || now[at].high != was.high;
        }
        return n;
    }

private:
    static auto plantable(const arch::Register& r, reg::Id id, unsigned element) -> bool {
        if (r.policy == reg::Policy::every_entry) {
            const auto kept = kept_registers();
            return std::ranges::find(kept, id) != kept.end();
        }
        if (r.policy == reg::Policy::vector) return H::host_fp == HostFp::per_exit && (r.name != "FXSAVE" || (element >= 10 && element < 26));  // XMM0 to XMM15 of that image
        return r.policy != reg::Policy::control_block || free_in_control_block(r.name);
    }
    std::vector<reg::Value> values_;
    std::vector<std::string_view> refused_;
};
template <Hal H>
Canary<H>::Canary(Vcpu<H>& v, unsigned n) {
    std::array<reg::Value, Vcpu<H>::snapshot_size> all;
    const auto count = v.snapshot(all).value_or(0);
    std::vector<reg::Id> planted;
    for (std::size_t i = 0; i < count; ++i) {
        const auto at = *reg::find<arch::registers>(all[i].id);
        const auto& r = arch::registers[at.row];
        if (!plantable(r, all[i].id, at.element)) continue;
        const bool many = r.count > 1;
        const auto one = canary(at.row, n), unique = (at.row * 0x101 + at.element + n * 0x10'0001) * 0x9E37'79B9'7F4A'7C15;
        const reg::Value value{all[i].id, many ? unique : one ^ (one >> 32 != 0 ? n * 0xFF0 : 0), ~unique};
        if (v.restore({&value, 1})) planted.push_back(value.id);
        else refused_.push_back(r.name);
    }
    const auto kept_of = v.snapshot(all).value_or(0);
    for (std::size_t i = 0, k = 0; i < kept_of && k < planted.size(); ++i)
        if (all[i].id == planted[k]) values_.push_back(all[i]), ++k;
}

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
    fill_fp[],         // arg, arg + 1 and so on into 64 bits of the floating-point registers each, and fp_control; then reports, for ever
    add_registers[],   // a value into each register that the call leaves alone; a call; reports their sum, and what it ought to be
    read_register[],   // reports three reads of trapped registers: the fast hook's into a callee-saved register, another one, the first again
    spin[],            // nothing, for ever
    fetch_nowhere[],   // jumps to device_base
    count_pages[],     // adds 1 to the words at arg, arg + 4 KiB and so on to arg + 28 KiB, for ever
    fence_others[],    // drops the translations of all of its VM's vCPUs, arg times; reports   (this one and the next: where there are several CPUs)
    report_clock[],    // reports its counter, for ever
    wait_forever[];    // waits for an interrupt that does not come, for ever
