// Which vCPU runs where: one ready queue for all CPUs, time slices while vCPUs wait, sleep until an event or a timer.
// Host interrupts are masked everywhere but where they are taken on purpose, so the lock is never taken twice on a CPU.
#include "hypervisor.hpp"

namespace hypervisor {

namespace {

constinit runtime::Spinlock lock;
constinit std::atomic<std::uint64_t> idle_cpus{0};  // bit n: CPU n waits for an interrupt
/// Ready threads. Under the lock, but for `waiting`, which is read without it as a hint.
constinit struct {
    Thread *first = nullptr, *last = nullptr;
    std::uint64_t due = no_deadline;  // no blocked thread's timer fires before this
    std::atomic<bool> waiting{false}; // there is a first
    bool pinned = false;              // the guest owns its CPUs' interrupts: each thread runs on the CPU of its own number
} ready;

/// Where a CPU's time goes, for a demo's summary. What is measured costs instructions in each exit, so it is a loop of its own.
struct Clock {
    std::uint64_t mark = 0;
    std::atomic<std::uint64_t> in_guests{0}, in_host{0};  // written by their CPU only
    void lap(std::atomic<std::uint64_t>& part) noexcept {
        const auto now = runtime::now();
        part.store(part.load(std::memory_order_relaxed) + (now - mark), std::memory_order_relaxed);
        mark = now;
    }
};
constinit Clock clocks[64];

/// Requires the lock.
void enqueue(Thread& t) noexcept {
    t.phase = Thread::Phase::ready;
    t.next = nullptr;
    (ready.last != nullptr ? ready.last->next : ready.first) = &t;
    ready.last = &t;
    ready.waiting.store(true, std::memory_order_relaxed);
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

/// The same for a thread that has become ready.
void call_for(const Thread& t) noexcept {
    if (ready.pinned) runtime::send_interrupt(t.vcpu->id(), 0);
    else call_for_a_cpu();
}

/// Calls f for each thread. Requires the lock.
template <class F>
void each_thread(F f) noexcept {
    for (unsigned g = 0; g < guests(); ++g)
        if (auto* vm = guest(g)) for (unsigned v = 0; v < vm->vcpus(); ++v) f(vm->thread(v));
}

/// Blocked threads whose timers have fired become ready. Requires the lock.
[[gnu::noinline]] void wake_due(std::uint64_t now) noexcept {
    ready.due = no_deadline;
    each_thread([&](Thread& t) {
        if (t.phase != Thread::Phase::blocked || t.deadline == no_deadline) return;
        if (t.deadline <= now) {
            static_cast<void>(t.vcpu->unblock());
            enqueue(t);
        } else {
            ready.due = std::min(ready.due, t.deadline);
        }
    });
}

/// A thread that does not just let others run. Requires the lock.
[[gnu::noinline]] void put_down(Thread& t, Guest::Next next) noexcept {
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
            ready.due = std::min(ready.due, t.deadline);
            return;
        }
    }
    enqueue(t);
}

[[noreturn, gnu::cold]] void refused(std::string_view what, const Error& e) noexcept {
    say({"hypervisor: ", what, " refused: needed ", e.what, "\n"});
    runtime::exit(1);
}

template <bool measured>
[[gnu::always_inline]] inline auto run_once(Vcpu<Host>::Bound& on_cpu, std::uint64_t until) noexcept -> Result<const Exit&> {
    if constexpr (!measured) return on_cpu.run(until);
    auto& clock = clocks[runtime::this_cpu()];
    clock.lap(clock.in_host);
    auto e = on_cpu.run(until);
    clock.lap(clock.in_guests);
    return e;
}

/// Runs a vCPU until it stops, sleeps, or others wait for the CPU. Gives what is to be done with it.
template <bool measured>
[[gnu::always_inline]] inline auto take_turn(Thread& t, Vcpu<Host>::Bound& on_cpu, std::uint64_t earliest, std::uint64_t slice) noexcept -> Guest::Next {
    const auto slice_end = runtime::now() + slice;
    auto& guest = *t.guest;
    // What ends this, a thread that waits or the VM's end, comes as an interrupt or a kick: to be looked at then only.
    for (;;) {
        if (guest.end() != Guest::End::none) return Guest::Next::look;
        const auto until = ready.waiting.load(std::memory_order_relaxed) ? std::min(slice_end, earliest) : earliest;
        auto next = Guest::Next::run;
        do {
            const auto e = run_once<measured>(on_cpu, until);
            if (!e) [[unlikely]] refused("run", e.error());
            next = guest.handle(t, on_cpu, *e);
        } while (next == Guest::Next::run);
        if (next != Guest::Next::look) return next;
    }
}

/// The same for one that owns its CPU's interrupts: it waits for them itself.
template <bool measured>
[[gnu::noinline]] auto run_trusted(Thread& t, Vcpu<Host>::Bound& on_cpu) noexcept -> Guest::Next {
    for (auto next = Guest::Next::look; t.guest->end() == Guest::End::none;) {
        const auto e = run_once<measured>(on_cpu, no_deadline);
        if (!e) refused("run", e.error());
        next = t.guest->handle(t, on_cpu, *e);
        if (next > Guest::Next::block) return next;
    }
    return Guest::Next::look;
}

/// The thread of this CPU's own number; nullptr: it is not ready. Requires the lock.
[[gnu::noinline]] auto take_own() noexcept -> Thread* {
    Thread* before = nullptr;
    for (auto* t = ready.first; t != nullptr; before = std::exchange(t, t->next)) {
        if (t->vcpu->id() != runtime::this_cpu()) continue;
        (before != nullptr ? before->next : ready.first) = t->next;
        if (ready.last == t) ready.last = before;
        t->phase = Thread::Phase::running;
        return t;
    }
    return nullptr;
}

/// Takes the first thread out of the queue; says when a timer has to be looked at. Requires the lock.
[[gnu::always_inline]] inline auto take_first(std::uint64_t& earliest) noexcept -> Thread* {
    if (ready.due != no_deadline)
        if (const auto now = runtime::now(); ready.due <= now) wake_due(now);
    earliest = ready.due;
    auto* t = ready.first;
    if (t == nullptr) return nullptr;
    ready.first = t->next;
    t->phase = Thread::Phase::running;
    if (ready.first == nullptr) {
        ready.last = nullptr;
        ready.waiting.store(false, std::memory_order_relaxed);
    } else if ((idle_cpus.load(std::memory_order_relaxed) & ~(std::uint64_t{1} << runtime::this_cpu())) != 0) {
        call_for_a_cpu();
    }
    return t;
}

/// Who waits longest runs next, `t` last.
[[gnu::always_inline]] inline auto let_others_run(Thread& t, std::uint64_t& earliest) noexcept -> Thread& {
    const runtime::Guard guard(lock);
    enqueue(t);
    return *take_first(earliest);
}

/// `left`, unbound, goes where it belongs. Gives the thread to run next; nullptr: none, and this CPU is among the idle ones.
auto put_down_and_take(Thread* left, Guest::Next why, std::uint64_t& earliest) noexcept -> Thread* {
    const runtime::Guard guard(lock);
    if (left != nullptr) {
        put_down(*left, why);
        if (left->phase == Thread::Phase::off) [[unlikely]] left->guest->finish_if_off();
    }
    auto* t = ready.pinned ? take_own() : take_first(earliest);
    if (t == nullptr) idle_cpus.fetch_or(std::uint64_t{1} << runtime::this_cpu());
    return t;
}

/// A thread that lets others run is in the queue before its vCPU has left its CPU: who takes it waits for that. It cannot go in a
/// circle: the thread that a CPU waits for was put into the queue before its own.
void await_unbound(const Thread& t) noexcept {
    while (t.vcpu->state() == State::ready) {}
}

/// Runs `t`, and from it one after the other while they just let each other run. Gives the last one in `t`, unbound, and what is to be
/// done with it.
template <bool measured>
[[gnu::noinline]] auto run_from(Thread*& t, PerCpu<Host>& cpu, std::uint64_t earliest, std::uint64_t slice) noexcept -> Guest::Next {
    if constexpr (measured) clocks[runtime::this_cpu()].mark = runtime::now();
    await_unbound(*t);
    auto on_cpu = cpu.bind(*t->vcpu);
    if (!on_cpu) refused("bind", on_cpu.error());
    if (t->guest->passthrough()) return run_trusted<measured>(*t, on_cpu);
    for (;;) {
        const auto why = take_turn<measured>(*t, on_cpu, earliest, slice);
        if (why != Guest::Next::yield) return why;
        auto& next = let_others_run(*t, earliest);
        if (&next == t) continue;
        if (auto ok = on_cpu.switch_to(*next.vcpu); !ok) [[unlikely]] {
            await_unbound(next);
            if (ok = on_cpu.switch_to(*next.vcpu); !ok) refused("switch_to", ok.error());
        }
        t = &next;
    }
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
        ready.pinned = t.guest->passthrough();  // there is no other VM then
        if (t.phase == Thread::Phase::blocked) static_cast<void>(t.vcpu->unblock());
        enqueue(t);
    }
    call_for(t);
}

void Host::wake(std::uint32_t vm, std::uint32_t vcpu) noexcept {
    auto& t = guest(vm)->thread(vcpu);
    {
        const runtime::Guard guard(lock);
        // Not blocked yet: the vCPU is between block() and this lock, which cannot be, or it has been woken by its timer.
        if (t.phase != Thread::Phase::blocked) return;
        static_cast<void>(t.vcpu->unblock());
        enqueue(t);
    }
    call_for(t);
}

void print_cost() noexcept {
    std::uint64_t in_guests = 0, in_host = 0;
    for (const auto& c : clocks) {
        in_guests += c.in_guests.load(std::memory_order_relaxed);
        in_host += c.in_host.load(std::memory_order_relaxed);
    }
    say({"@cost "});
    runtime::print_decimal(in_host);
    say({" "});
    runtime::print_decimal(in_guests);
    say({" "});
    runtime::print_decimal(runtime::frequency());
    say({"\n"});
}

void schedule_forever(unsigned cpu, bool measured) noexcept {
    runtime::mask_interrupts();
    auto& here = this_percpu();
    const auto slice = runtime::frequency() / 100;
    Thread* t = nullptr;
    auto next = Guest::Next::look;
    for (;;) {
        std::uint64_t earliest = no_deadline;
        t = put_down_and_take(t, next, earliest);
        if (t != nullptr) {
            next = measured ? run_from<true>(t, here, earliest, slice) : run_from<false>(t, here, earliest, slice);
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
