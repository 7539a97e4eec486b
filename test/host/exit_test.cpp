#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu;

TEST_CASE("match calls the handler of the reason and no other", "[exit]") {
    const Exit e = exit::MmioWrite{{0x0900'0000}, 1, 0, 1, 0x41};
    const auto which = e.match([](exit::MmioRead) { return 1; }, [](exit::MmioWrite w) { return w.value == 0x41 ? 2 : 0; }, [](auto) { return 3; });
    CHECK(which == 2);
    CHECK(Exit{exit::Halt{}}.match([](exit::MmioWrite) { return 1; }, [](auto) { return 3; }) == 3);
}

TEST_CASE("every reason keeps its fields through the union", "[exit]") {
    const Exit e = exit::Hypercall{7, {1, 2, 3, 4, 5, 6}, true};
    REQUIRE(e.is<exit::Hypercall>());
    const auto h = *e.get<exit::Hypercall>();
    CHECK(h.number == 7);
    CHECK(h.args == std::array<std::uint64_t, 6>{1, 2, 3, 4, 5, 6});
    CHECK(h.secure);
    CHECK_FALSE(e.get<exit::Halt>().has_value());
}

TEST_CASE("the kind of an exit says how it may be answered", "[exit]") {
    CHECK(Exit{exit::Hypercall{}}.kind() == ExitKind::instruction);
    CHECK(Exit{exit::SendIpi{}}.kind() == ExitKind::instruction);
    CHECK(Exit{exit::ExternalInterrupt{}}.kind() == ExitKind::event);
    CHECK(Exit{exit::Unknown{}}.kind() == ExitKind::event);
    CHECK(Exit{exit::CpuDown{}}.kind() == ExitKind::terminal);
    CHECK(Exit{exit::FailEntry{}}.kind() == ExitKind::terminal);
}

TEST_CASE("names stand at the reasons' indices", "[exit]") {
    CHECK(exit_names[Exit{exit::Hypercall{}}.index()] == "Hypercall");
    CHECK(exit_names[Exit{exit::NestedPageFault{}}.index()] == "NestedPageFault");
    CHECK(exit_names[Exit{exit::Unknown{}}.index()] == "Unknown");
    CHECK(exit_names[Exit{exit::FailEntry{}}.index()] == "FailEntry");
}

TEST_CASE("a call's registers are read where they stand; a copy of the exit keeps what they were", "[exit]") {
    std::array<std::uint64_t, 7> registers{9, 1, 2, 3, 4, 5, 6};
    Exit e{exit::Nothing{}};
    e.call_at(&registers[0], &registers[1]);
    e.set_call(true);
    REQUIRE(e.is<exit::Hypercall>());
    const Exit copy = e;
    registers = {};
    CHECK(e.get<exit::Hypercall>()->number == 0);
    CHECK(copy.get<exit::Hypercall>()->number == 9);
    CHECK(copy.get<exit::Hypercall>()->args[5] == 6);
    CHECK(copy.get<exit::Hypercall>()->secure);
    // The registers' places outlive other reasons, and assignment to itself.
    e = exit::MmioRead{{0x1000}, 4, 0, 1};
    CHECK(e.get<exit::MmioRead>()->addr.value == 0x1000);
    const Exit& same = e;
    e = same;
    CHECK(e.is<exit::MmioRead>());
    registers[0] = 11;
    e.set_call(false);
    CHECK(e.get<exit::Hypercall>()->number == 11);
    Exit other{exit::Halt{}};
    other = copy;
    CHECK(other.get<exit::Hypercall>()->args[0] == 1);
    other = Exit{exit::Kicked{}};
    CHECK(other.match([](exit::Kicked) { return 1; }, [](auto) { return 2; }) == 1);
    CHECK(Exit{exit::FailEntry{7, 1}}.match([](exit::FailEntry f) { return f.reason; }, [](auto) { return std::uint64_t{0}; }) == 7);
}
