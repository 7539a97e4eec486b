// What the hostile guests of all architectures share: their lives, and a second VM that must not notice them.
#pragma once
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

extern "C" const unsigned char checksum_guest[];  // reports, for ever, a sum of memory and of registers (Neighbour::sum)
extern "C" const unsigned char guest_vectors[];

namespace harness {

struct Tally {
    std::array<std::uint64_t, Exit::reasons> exits{};
    std::uint64_t user_exits = 0, translated = 0;  // of the exits, those from the guest's user mode, and those with its translation on
    unsigned lives = 0, deaths = 0;                // lives that ended because the guest had: turned off, or stuck in a loop
    auto left() const -> std::uint64_t { return std::accumulate(exits.begin(), exits.end(), std::uint64_t{0}); }
    void operator+=(const Tally& t) {
        for (std::size_t i = 0; i < exits.size(); ++i) exits[i] += t.exits[i];
        lives += t.lives;
        deaths += t.deaths;
        user_exits += t.user_exits;
        translated += t.translated;
    }
};

/// One life of a hostile guest: until it has left 60 times or is stuck in a loop. When both of its vCPUs are on, they take turns. Its time
/// slices are the machine's time; what it is answered is drawn by a generator of its own, so the n-th answer is the same each time.
inline void live(Machine& m, std::mt19937 answers, Tally& tally) {
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    auto slices = answers;
    for (unsigned i = 0; i < 60; ++i) {
        const auto e = b.run(runtime::now() + runtime::frequency() / 1'000);
        REQUIRE(e);
        ++tally.exits[e->index()];
        tally.user_exits += in_user_mode(b.vcpu());
        tally.translated += is_translated(b.vcpu());
        if (e->kind() == ExitKind::terminal || (e->is<exit::TimerExpired>() && slices() % 2 == 0)) {
            ++tally.deaths;
            return;
        }
        if (e->is<exit::ExternalInterrupt>()) take_interrupts();
        if (e->kind() == ExitKind::instruction) {
            switch (answers() % 4) {
                case 0: REQUIRE(b.complete(answers())); break;
                case 1: REQUIRE(b.retry()); break;
                default: REQUIRE(b.fail());
            }
        }
        auto& other = m.vcpu(1 - b.vcpu().id());
        if (i % 2 != 0 && (other.state() == State::free || other.core().start_requested())) REQUIRE(b.switch_to(other));
    }
}

/// A second VM that computes the same sum again and again: at the same time on another CPU, where there is one, else in between.
class Neighbour {
public:
    Neighbour() : m_(checksum_guest), before_(m_.memory, m_.memory + ram_size), work_{m_.vcpu(), sum()} {
        if (have_cpu(1)) job_.emplace(1, work_);
    }
    /// Requires that all its sums so far were right, and that there are more than at the last look.
    void look() {
        const auto before = work_.sums.load();
        if (!job_) work_(1);
        while (job_ && !work_.refused && work_.sums == before) {}
        REQUIRE_FALSE(work_.refused);
        REQUIRE(work_.wrong == 0);
    }
    /// Whether its memory, which it only reads, is as it was.
    auto untouched() const -> bool { return std::memcmp(m_.memory, before_.data(), ram_size) == 0; }
    /// The longest time between two sums, in milliseconds.
    auto longest_pause() -> std::uint64_t { return work_.pause * 1'000 / runtime::frequency(); }
    auto sums() const -> std::uint64_t { return work_.sums; }
    ~Neighbour() {
        if (!job_) return;
        work_.stop = true;
        m_.vm.core().notify(0, Event::kick);
        job_->wait();
    }

private:
    auto sum() -> std::uint64_t {  // as the guest computes it
        std::uint64_t s = 1;
        for (unsigned i = 0; i < 512; i += 8) s = std::rotl(s + m_.peek<std::uint64_t>(m_.at(guest_vectors) + i), 7);
        for (unsigned i = 1; i <= 32; ++i) s = std::rotl(s + i, 7);    // its floating-point registers
        for (unsigned i = 0; i < 3; ++i) s = std::rotl(s + 0x770, 7);  // three registers of its kernel
        return s;
    }
    struct Work {
        Vcpu<Host>& vcpu;
        std::uint64_t expected;
        std::atomic<std::uint64_t> sums{0}, wrong{0}, pause{0};
        std::atomic<bool> stop{false}, refused{false};
        std::uint64_t last = 0;
        void operator()(std::uint64_t most = ~std::uint64_t{0}) noexcept {
            auto b = percpu().bind(vcpu);
            if (last == 0) last = runtime::now();
            for (std::uint64_t n = 0; n < most && !stop;) {
                const auto e = run_on(b);
                if (!e) { refused = true; return; }
                const auto h = e->get<exit::Hypercall>();
                if (!h) continue;
                const auto now = runtime::now();
                pause = std::max(pause.load(), now - last);
                last = now;
                wrong += h->args[0] != expected;
                ++sums;
                ++n;
                static_cast<void>(b.complete());
            }
        }
    };
    Machine m_;
    std::vector<unsigned char> before_;
    Work work_;
    std::optional<OnCpu> job_;
};

constexpr unsigned any_life = ~0u;
/// Where its code is: what a hostile guest gets as its argument.
constexpr std::uint64_t hostile_arg = ram_base.value + 0x2'0000;

/// As many lives as are asked for, with code that `write(random, machine)` writes: the same for a seed and a life each time. Lives come in
/// pairs: the first in a new machine that `make(machine, life)` gives, the second in what that one has left, its vCPUs reset and both on,
/// from `entry(machine, life)`. `life=N` lives that one alone, behind the first of its pair.
/// Slices are the machine's time, so a busy one sees fewer exits a life: it goes on until there have been enough.
template <class Make, class Entry, class Write>
auto live_many(unsigned seed, unsigned lives, Neighbour& neighbour, Make make, Entry entry, Write write) -> Tally {
    Tally tally;
    const auto one = wanted("life", any_life);
    std::optional<Machine> m;
    for (unsigned n = one == any_life ? 0 : one & ~1u; n < lives || (one != any_life && n <= one) || (one == any_life && tally.left() < 700 && n < 2'000); ++n) {
        runtime::print("# hostile: seed=" + std::to_string(seed) + " life=" + std::to_string(n) + "\n");  // the last such line before a crash repeats it
        INFO("hostile: seed=" << seed << " life=" << n);
        std::seed_seq both{seed, n};
        std::mt19937 random(both);
        if (n % 2 == 0) make(m, n);
        else m->fill();
        for (unsigned v = 0; v < 2 && n % 2 != 0; ++v) REQUIRE(m->vcpu(v).reset(entry(*m, n), hostile_arg));
        write(random, *m);
        const auto host = host_state();
        live(*m, random, tally);
        REQUIRE(host_state() == host);
        ++tally.lives;
        neighbour.look();
        if (n == one) break;
    }
    return tally;
}

/// The end of a seed: what has to be true of it, and, with the last one, of all of them, if there were all.
/// `reasons`: the exits that this guest can reach.
inline void judge(const Tally& tally, Neighbour& neighbour, unsigned lives, bool last, std::initializer_list<std::size_t> reasons) {
    static Tally all;
    static std::uint64_t pause = 0;
    all += tally;
    pause = std::max(pause, neighbour.longest_pause());
    neighbour.look();
    CHECK(neighbour.longest_pause() < 1'000);
    CHECK(neighbour.untouched());
    if (!last) return;
    auto line = "# hostile: " + std::to_string(all.left()) + " exits in " + std::to_string(all.lives) + " lives, " + std::to_string(all.deaths) + " of which the guest ended; " +
        std::to_string(all.user_exits) + " from user mode, " + std::to_string(all.translated) + " translated; the neighbour's longest pause " + std::to_string(pause) + " ms";
    for (std::size_t i = 0; i < all.exits.size(); ++i)
        if (all.exits[i] != 0) line += ", " + std::string(exit_names[i]) + " " + std::to_string(all.exits[i]);
    runtime::print(line + "\n");
    if (wanted("seed", 0) != 0) return;
    const bool full = lives >= 1'000;
    CHECK(all.left() >= (full ? 100'000u : 5'000u));
    CHECK(all.deaths >= (full ? 1'000u : 100u));
    CHECK(all.translated * 2 >= all.left());
    CHECK(all.user_exits >= (full ? 1'000u : 100u));
    for (const auto reason : reasons) {
        INFO(exit_names[reason]);
        CHECK(all.exits[reason] >= (full ? 100u : 1u));
    }
}

/// Eight seeds that are always the same, and one that is new; with `seed=N` that one alone.
inline auto hostile_seed(unsigned number) -> std::optional<unsigned> {
    const auto asked = wanted("seed", 0);
    if (asked != 0) return number == 9 ? std::optional(asked) : std::nullopt;
    if (number < 9) return number;
    static const auto fresh = static_cast<unsigned>(runtime::now()) | 16;
    runtime::print("# hostile: the seed of this run alone is " + std::to_string(fresh) + "; seed=N repeats it\n");
    return fresh;
}

}  // namespace harness
