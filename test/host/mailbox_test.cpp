#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu;
using Kind = Notice::Kind;

TEST_CASE("a post to a vCPU in the guest kicks its CPU, once", "[mailbox][A21]") {
    Mailbox m;
    REQUIRE(m.enter(Mailbox::place(CpuId{3})));
    CHECK(m.post(Event::interrupt) == Notice{Kind::kick, CpuId{3}});
    CHECK(m.post(Event::interrupt).kind == Kind::none);
    m.leave();
    CHECK(m.take() == static_cast<std::uint32_t>(Event::interrupt));
}

TEST_CASE("a post before the entry keeps the vCPU out of the guest", "[mailbox]") {
    Mailbox m;
    CHECK(m.post(Event::kick).kind == Kind::none);
    CHECK_FALSE(m.enter(Mailbox::place(CpuId{0})));
    CHECK(m.post(Event::interrupt).kind == Kind::none);  // not in the guest: nobody to kick
    CHECK(m.take() == (static_cast<std::uint32_t>(Event::kick) | static_cast<std::uint32_t>(Event::interrupt)));
    CHECK(m.enter(Mailbox::place(CpuId{0})));
}

TEST_CASE("exactly one poster wakes a blocked vCPU", "[mailbox]") {
    Mailbox m;
    REQUIRE(m.block());
    CHECK(m.post(Event::interrupt).kind == Kind::wake);
    CHECK(m.post(Event::kick).kind == Kind::none);
    m.unblock();
    CHECK_FALSE(m.empty());
    CHECK_FALSE(m.block());  // something is there: it must not sleep
}

TEST_CASE("no event is lost between two threads", "[mailbox]") {
    Mailbox m;
    constexpr unsigned rounds = 200'000;
    std::atomic<unsigned> posted{0}, kicks{0}, seen{0};
    std::thread poster([&] {
        for (unsigned i = 0; i < rounds; ++i) {
            if (m.post(Event::interrupt).kind == Kind::kick) kicks.fetch_add(1);
            posted.store(i + 1);
            while (seen.load() <= i) {}
        }
    });
    // The vCPU: enters, and stays in the guest until it is kicked; a lost event would leave it there for ever.
    unsigned kicks_taken = 0;
    for (unsigned i = 0; i < rounds;) {
        if (m.enter(Mailbox::place(CpuId{0}))) {
            while (kicks.load() == kicks_taken) {}
            ++kicks_taken;
            m.leave();
        }
        if ((m.take() & static_cast<std::uint32_t>(Event::interrupt)) != 0) {
            while (posted.load() <= i) {}
            kicks_taken = kicks.load();
            seen.store(++i);
        }
    }
    poster.join();
    CHECK(seen.load() == rounds);
}
