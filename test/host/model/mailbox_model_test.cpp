// The mailbox's own code over every interleaving and store order of two and three CPUs; and broken variants that must be found.
#include <catch2/catch_test_macros.hpp>
#include "checker.hpp"
import axvcpu;

using namespace axvcpu;
using model::Checker;

namespace {

struct Faithful {
    template <class T> using Atomic = model::Atomic<T>;
    static void fence() { model::checker->fence(); }
};
struct WithoutFence : Faithful {
    static void fence() {}
};
template <std::memory_order From, std::memory_order To>
struct Weakened : Faithful {
    static constexpr auto weaken = [](std::memory_order o) { return o == From ? To : o; };
    template <class T> using Atomic = model::Atomic<T, weaken>;
};
using ReleaseAsRelaxed = Weakened<std::memory_order_release, std::memory_order_relaxed>;
using AcquireAsRelaxed = Weakened<std::memory_order_acquire, std::memory_order_relaxed>;
using SequentialAsAcqRel = Weakened<std::memory_order_seq_cst, std::memory_order_acq_rel>;

/// Looks for events before it says "in guest".
struct ChecksFirst : BasicMailbox<Faithful> {
    auto enter(Place p) -> bool {
        if (!empty()) return false;
        where_.store(p);
        return true;
    }
    auto post(Event e) -> Notice {
        BasicMailbox::post(e);
        return {where_.load() != Place::nowhere ? Notice::Kind::kick : Notice::Kind::none};
    }
    model::Atomic<Place> where_{Place::nowhere};
};
/// Looks where the vCPU is before it posts.
struct LooksFirst : BasicMailbox<Faithful> {
    auto post(Event e) -> Notice {
        const bool inside = in_guest();
        auto n = BasicMailbox::post(e);
        if (n.kind == Notice::Kind::kick && !inside) n.kind = Notice::Kind::none;
        return n;
    }
};
/// "In guest" by a release store and a sequentially consistent load: each is strong, and together they are not enough.
struct ReleaseAcquire {
    using Place = BasicMailbox<Faithful>::Place;
    model::Atomic<std::uint32_t> word{0}, inside{0};
    auto enter(Place) -> bool {
        inside.store(1, std::memory_order_release);
        return word.load(std::memory_order_seq_cst) == 0;
    }
    auto post(Event e) -> Notice {
        word.fetch_or(static_cast<std::uint32_t>(e));
        return {inside.load() != 0 ? Notice::Kind::kick : Notice::Kind::none};
    }
};
/// Blocks in two steps.
struct BlocksInTwoSteps : BasicMailbox<Faithful> {
    auto block() -> bool {
        if (!empty()) return false;
        asleep_.store(1);
        return true;
    }
    auto post(Event e) -> Notice {
        const auto n = BasicMailbox::post(e);
        return asleep_.load() != 0 ? Notice{Notice::Kind::wake} : n;
    }
    model::Atomic<std::uint32_t> asleep_{0};
};

const auto place = Mailbox::place(CpuId{1});

/// One vCPU enters while `posters` post. Wrong: it is in the guest at the end, an event was posted, and nobody kicks.
template <class Box>
auto entering(unsigned posters) {
    return Checker::explore([posters](Checker& c) -> std::function<bool()> {
        struct State { Box box; bool inside = false; std::array<bool, 2> kicked{}; };
        auto s = std::make_shared<State>();
        c.thread([s] { s->inside = s->box.enter(static_cast<typename Box::Place>(static_cast<std::uint32_t>(place))); });
        for (unsigned p = 0; p < posters; ++p)
            c.thread([s, p] { s->kicked[p] = s->box.post(p == 0 ? Event::interrupt : Event::kick).kind == Notice::Kind::kick; });
        return [s] { return !s->inside || s->kicked[0] || s->kicked[1]; };
    });
}

/// An unbound vCPU blocks while two post. Wrong: it sleeps and not exactly one poster was told to wake it.
template <class Box>
auto blocking() {
    return Checker::explore([](Checker& c) -> std::function<bool()> {
        struct State { Box box; bool asleep = false; std::array<unsigned, 2> wakes{}; };
        auto s = std::make_shared<State>();
        c.thread([s] { s->asleep = s->box.block(); });
        for (unsigned p = 0; p < 2; ++p)
            c.thread([s, p] { s->wakes[p] = s->box.post(p == 0 ? Event::interrupt : Event::kick).kind == Notice::Kind::wake; });
        return [s] { return s->wakes[0] + s->wakes[1] == (s->asleep ? 1u : 0u); };
    });
}

/// A guest writes to a page and leaves; another CPU that asked for a fence waits until it has, then uses the page. Wrong: the guest's
/// store shows up after that.
template <class Box>
auto fencing() {
    return Checker::explore([](Checker& c) -> std::function<bool()> {
        struct State { Box box; model::Atomic<std::uint64_t> page{0}; std::uint64_t seen = 0; bool waited = false; };
        auto s = std::make_shared<State>();
        static_cast<void>(s->box.enter(static_cast<typename Box::Place>(static_cast<std::uint32_t>(place))));
        c.thread([s] {
            s->page.store(7, std::memory_order_relaxed);
            s->box.leave();
        });
        c.thread([s] {
            s->box.post(Event::fence);
            if (s->box.owes(Event::fence)) return;  // it would wait on; this execution ends here
            s->waited = true;
            s->seen = s->page.load(std::memory_order_relaxed);
        });
        return [s] { return !s->waited || s->seen == 7; };
    });
}

/// Enter, leave, take, and enter again, while one posts: what was posted is seen before the second entry, or kicked.
template <class Box>
auto again() {
    return Checker::explore([](Checker& c) -> std::function<bool()> {
        struct State { Box box; bool inside = false, handled = false, kicked = false; };
        auto s = std::make_shared<State>();
        c.thread([s] {
            const auto here = static_cast<typename Box::Place>(static_cast<std::uint32_t>(place));
            if (s->box.enter(here)) s->box.leave();
            s->handled = (s->box.take() & static_cast<std::uint32_t>(Event::interrupt)) != 0;
            s->inside = s->box.enter(here);
        });
        c.thread([s] { s->kicked = s->box.post(Event::interrupt).kind == Notice::Kind::kick; });
        return [s] { return s->handled || !s->inside || s->kicked; };
    });
}

}  // namespace

TEST_CASE("no post is lost: every interleaving of an entry with one and two posters", "[model][mailbox][A19]") {
    const auto one = entering<BasicMailbox<Faithful>>(1), two = entering<BasicMailbox<Faithful>>(2);
    REQUIRE(one);
    REQUIRE(two);
    CHECK(*one > 10);
    CHECK(*two > 1'000);
    CHECK(again<BasicMailbox<Faithful>>());
}

TEST_CASE("exactly one poster wakes who has blocked", "[model][mailbox]") {
    const auto n = blocking<BasicMailbox<Faithful>>();
    REQUIRE(n);
    CHECK(*n > 50);
}

TEST_CASE("who waits for a fence sees what the guest had written", "[model][mailbox]") { CHECK(fencing<BasicMailbox<Faithful>>()); }

TEST_CASE("the checker finds each broken variant", "[model][mailbox]") {
    CHECK_FALSE(entering<BasicMailbox<WithoutFence>>(1));
    CHECK_FALSE(entering<ChecksFirst>(1));
    CHECK_FALSE(entering<LooksFirst>(1));
    CHECK_FALSE(entering<ReleaseAcquire>(1));
    CHECK_FALSE(blocking<BlocksInTwoSteps>());
    CHECK_FALSE(fencing<BasicMailbox<ReleaseAsRelaxed>>());
    CHECK_FALSE(fencing<BasicMailbox<AcquireAsRelaxed>>());
    CHECK_FALSE(entering<BasicMailbox<SequentialAsAcqRel>>(1));
}
