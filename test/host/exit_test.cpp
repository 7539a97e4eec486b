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
