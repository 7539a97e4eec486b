#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu;
using Kind = Notice::Kind;

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
