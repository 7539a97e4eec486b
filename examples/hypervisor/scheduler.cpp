// Which vCPU runs where: one ready queue for all CPUs, time slices while vCPUs wait, sleep until an event or a timer.
// Host interrupts are masked everywhere but where they are taken on purpose, so the lock is never taken twice on a CPU.
#include "hypervisor.hpp"

namespace hypervisor {

namespace {

constinit runtime::Spinlock lock;
constinit Thread *first = nullptr, *last = nullptr;
constinit std::atomic<std::uint64_t> idle_cpus{0};  // bit n: CPU n waits for an interrupt
constinit std::atomic<unsigned> waiting{0};         // ready threads; read without the lock as a hint

auto slice() noexcept -> std::uint64_t { return runtime::frequency() / 100; }

/// Requires the lock.
void enqueue(Thread& t) noexcept {
    t.phase = Thread::Phase::ready;
    t.next = nullptr;
    (last != nullptr ? last->next : first) = &t;
    last = &t;
    waiting.fetch_add(1, std::memory_order_relaxed);
}

/// Somebody has to look at the queue: a sleeping CPU, claimed so that the next call takes another one; or, when none sleeps, this
/// one, so that what runs here from now on has a time slice.
void call_for_a_cpu() noexcept {
    const auto here = std::uint64_t{1} << runtime::this_cpu();
    for (auto idle = idle_cpus.load() & ~here; idle != 0; idle = idle_cpus.load() & ~here) {
        const auto bit = idle & -idle;
        if ((idle_cpus.fetch_and(~bit) & bit) == 0) continue;
        return runtime::send_interrupt(static_cast<unsigned>(std::countr_zero(bit)), 0);
    }
    runtime::send_interrupt(runtime::this_cpu(), 0);
}

/// Calls f for each thread. Requires the lock.
template <class F>
void each_thread(F f) noexcept {
    for (unsigned g = 0; g < guests(); ++g)
        if (auto* vm = guest(g)) for (unsigned v = 0; v < vm->vcpus(); ++v) f(vm->thread(v));
}

/// Blocked threads whose timers have fired become ready. Gives the next such time. Requires the lock.
auto wake_due(std::uint64_t now) noexcept -> std::uint64_t {
    auto earliest = no_deadline;
    each_thread([&](Thread& t) {
        if (t.phase != Thread::Phase::blocked || t.deadline == no_deadline) return;
        if (t.deadline <= now) {
            static_cast<void>(t.vcpu->unblock());
            enqueue(t);
        } else {
            earliest = std::min(earliest, t.deadline);
        }
    });
    return earliest;
}

/// The vCPU has left its CPU: where it goes from here.
void put_down(Thread& t, Guest::Next next) noexcept {
    const runtime::Guard guard(lock);
    if (t.guest->end() != Guest::End::none) {
        t.phase = Thread::Phase::off;
        return;
    }
    if (next == Guest::Next::stop) {
        t.phase = Thread::Phase::off;
        if (std::exchange(t.start, false)) enqueue(t);
        return;
    }
    if (next == Guest::Next::block) {
        t.deadline = t.vcpu->deadline();
        const auto blocked = t.vcpu->block();
        if (blocked && *blocked) {
            t.phase = Thread::Phase::blocked;
            return;
        }
    }
    enqueue(t);
}

[[noreturn, gnu::cold]] void refused(std::string_view what, const Error& e) noexcept {
    say({"hypervisor: ", what, " refused: needed ", e.what, "\n"});
    runtime::exit(1);
}

/// Runs a vCPU until it stops, sleeps, or others wait for the CPU.
void run(Thread& t, std::uint64_t earliest) noexcept {
    auto next = Guest::Next::look;
    {
        auto on_cpu = this_percpu().bind(*t.vcpu);
        if (!on_cpu) refused("bind", on_cpu.error());
        const auto slice_end = runtime::now() + slice();
        const bool trusted = t.guest->passthrough();
        // What ends this, a thread that waits or the VM's end, comes as an interrupt or a kick: to be looked at then only.
        while (next == Guest::Next::look) {
            if (t.guest->end() != Guest::End::none) break;
            const auto until = trusted ? no_deadline : waiting.load(std::memory_order_relaxed) != 0 ? std::min(slice_end, earliest) : earliest;
            do {
                const auto e = on_cpu.run(until);
                if (!e) [[unlikely]] refused("run", e.error());
                next = t.guest->handle(t, on_cpu, *e);
            } while (next == Guest::Next::run);
            if (trusted && next == Guest::Next::block) next = Guest::Next::look;
        }
    }
    put_down(t, next);
}

auto pick(std::uint64_t& earliest) noexcept -> Thread* {
    const runtime::Guard guard(lock);
    earliest = wake_due(runtime::now());
    auto* t = first;
    if (t == nullptr) {
        idle_cpus.fetch_or(std::uint64_t{1} << runtime::this_cpu());
        return nullptr;
    }
    first = t->next;
    if (first == nullptr) last = nullptr;
    waiting.fetch_sub(1, std::memory_order_relaxed);
    t->phase = Thread::Phase::running;
    if (first != nullptr && (idle_cpus.load() & ~(std::uint64_t{1} << runtime::this_cpu())) != 0) call_for_a_cpu();
    return t;
}

}  // namespace

void make_ready(Thread& t) noexcept {
    {
        const runtime::Guard guard(lock);
        if (t.phase == Thread::Phase::running) {
            t.start = true;
            return;
        }
        if (t.phase == Thread::Phase::ready) return;
        if (t.phase == Thread::Phase::blocked) static_cast<void>(t.vcpu->unblock());
        enqueue(t);
    }
    call_for_a_cpu();
}

void Host::wake(std::uint32_t vm, std::uint32_t vcpu) noexcept {
    {
        const runtime::Guard guard(lock);
        auto& t = guest(vm)->thread(vcpu);
        // Not blocked yet: the vCPU is between block() and this lock, which cannot be, or it has been woken by its timer.
        if (t.phase != Thread::Phase::blocked) return;
        static_cast<void>(t.vcpu->unblock());
        enqueue(t);
    }
    call_for_a_cpu();
}

void schedule_forever(unsigned cpu) noexcept {
    runtime::mask_interrupts();
    for (;;) {
        std::uint64_t earliest = no_deadline;
        if (auto* t = pick(earliest)) {
            run(*t, earliest);
            continue;
        }
        runtime::set_timer(earliest);
        runtime::wait_for_interrupt();
        idle_cpus.fetch_and(~(std::uint64_t{1} << cpu));
        runtime::unmask_interrupts();
        runtime::mask_interrupts();
    }
}

}  // namespace hypervisor
