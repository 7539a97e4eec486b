// What the hostile guests of all architectures share: their lives, and a second VM that must not notice them.
#pragma once
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

extern "C" const unsigned char checksum_guest[];  // reports, for ever, the sum of the first 512 bytes from guest_vectors on (Neighbour::sum)
extern "C" const unsigned char guest_vectors[];

namespace harness {

struct Tally {
    std::array<std::uint64_t, Exit::reasons> exits{};
    unsigned restarts = 0, user_exits = 0;  // of the exits, those from the guest's user mode
    auto left() const -> std::uint64_t { return std::accumulate(exits.begin(), exits.end(), std::uint64_t{0}); }
    void operator+=(const Tally& t) {
        for (std::size_t i = 0; i < exits.size(); ++i) exits[i] += t.exits[i];
        restarts += t.restarts;
        user_exits += t.user_exits;
    }
};

/// One life of a hostile guest: until it has left 60 times or is stuck in a loop. Its time slices are real time; what it is answered is
/// drawn by a generator of its own, so the n-th answer is the same each time.
inline void live(Machine& m, std::mt19937 answers, Tally& tally) {
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    auto slices = answers;
    for (unsigned i = 0; i < 60; ++i) {
        const auto e = b.run(runtime::now() + runtime::frequency() / 1'000);
        REQUIRE(e);
        ++tally.exits[e->index()];
        tally.user_exits += in_user_mode(m.vcpu());
        if (e->kind() == ExitKind::terminal) return;
        if (e->is<exit::TimerExpired>() && slices() % 2 == 0) return;
        if (e->is<exit::ExternalInterrupt>()) take_interrupts();
        if (e->kind() != ExitKind::instruction) continue;
        switch (answers() % 4) {
            case 0: REQUIRE(b.complete(answers())); break;
            case 1: REQUIRE(b.retry()); break;
            default: REQUIRE(b.fail());
        }
    }
}

/// A second VM that computes the same sum again and again: at the same time on another CPU, where there is one, else in between.
class Neighbour {
public:
    Neighbour() : m_(checksum_guest), work_{m_.vcpu(), sum()} {
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
        return s;
    }
    struct Work {
        Vcpu<Host>& vcpu;
        std::uint64_t expected;
        std::atomic<std::uint64_t> sums{0}, wrong{0}, pause{0};
        std::atomic<bool> stop{false}, refused{false};
        void operator()(std::uint64_t most = ~std::uint64_t{0}) noexcept {
            auto b = percpu().bind(vcpu);
            auto last = runtime::now();
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
    Work work_;
    std::optional<OnCpu> job_;
};

constexpr unsigned any_life = ~0u;

/// As many lives as are asked for, each in a machine that `make(n)` gives, with code that `write(random, code)` writes: the same for a
/// seed and a life each time. `life=N` lives that one alone.
/// Slices are real time, so a busy machine sees fewer exits a life: it goes on until there have been enough.
template <class Make, class Write>
auto live_many(unsigned seed, unsigned lives, Neighbour& neighbour, Make make, Write write) -> Tally {
    Tally tally;
    const auto one = wanted("life", any_life);
    for (unsigned n = one == any_life ? 0 : one; n < lives || n == one || (one == any_life && tally.left() < 700 && n < 2'000); ++n) {
        INFO("seed " << seed << ", life " << n << ": seed=" << seed << " life=" << n << " repeats it");
        std::seed_seq both{seed, n};
        std::mt19937 random(both);
        std::optional<Machine> m;
        make(m, n);
        write(random, *m);
        live(*m, random, tally);
        ++tally.restarts;
        neighbour.look();
        if (n == one) break;
    }
    return tally;
}

/// The end of a seed: what has to be true of it, and, with the last one, of all of them.
/// `reasons`: the exits that this guest can reach.
inline void judge(const Tally& tally, Neighbour& neighbour, unsigned lives, bool last, std::initializer_list<std::size_t> reasons) {
    static Tally all;
    all += tally;
    neighbour.look();
    CHECK(neighbour.longest_pause() < 1'000);
    if (!last || wanted("life", any_life) != any_life) return;
    auto line = "# hostile: " + std::to_string(all.left()) + " exits in " + std::to_string(all.restarts) + " lives, " + std::to_string(all.user_exits) + " from user mode";
    for (std::size_t i = 0; i < all.exits.size(); ++i)
        if (all.exits[i] != 0) line += ", " + std::string(exit_names[i]) + " " + std::to_string(all.exits[i]);
    runtime::print(line + "\n");
    const bool full = lives >= 1'000;
    CHECK(all.left() >= (full ? 100'000u : 5'000u));
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
