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
