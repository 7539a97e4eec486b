#include <catch2/catch_test_macros.hpp>
#include <fmt/compile.h>
import std;
import axvcpu;
import axvcpu.fmt;
import axvcpu.x86_64;

using namespace axvcpu;

namespace {
template <class T>
auto text(const T& value) -> std::string {
    std::array<char, 300> buffer;
    const auto r = fmt::format_to_n(buffer.data(), buffer.size(), FMT_COMPILE("{}"), value);
    REQUIRE(r.size <= buffer.size());
    return {buffer.data(), r.size};
}
}  // namespace

TEST_CASE("every reason prints its name and its facts", "[fmt]") {
    CHECK(text(Exit{exit::Halt{}}) == "Halt");
    CHECK(text(Exit{exit::MmioWrite{{0x900'0000}, 4, 0, 1, 0x41}}) == "MmioWrite 4 bytes at 0x9000000, part 1 of 1: 0x41");
    CHECK(text(Exit{exit::MmioRead{{0x10}, 8, 1, 2}}) == "MmioRead 8 bytes at 0x10, part 2 of 2");
    CHECK(text(Exit{exit::Hypercall{0xC600'0000, {1, 2, 3, 4, 5, 6}, true}}) == "Hypercall 0xc6000000(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) to the secure side");
    CHECK(text(Exit{exit::NestedPageFault{{0x4000}, 0xFFFF, 7, Access::execute, false, true}}) ==
          "NestedPageFault execute 0x4000, virtual 0xffff, syndrome 0x7, not mapped, on the guest's table walk");
    CHECK(text(Exit{exit::IoWrite{0x3F8, 1, 0x55}}) == "IoWrite 1 bytes at port 0x3f8: 0x55");
    CHECK(text(Exit{exit::SystemReset{1}}) == "SystemReset kind 1");
    CHECK(text(Exit{exit::FailEntry{0x21, 3}}) == "FailEntry reason 0x21, rules broken 0x3");
}

TEST_CASE("errors say what was needed, and the numbers where there are some", "[fmt]") {
    CHECK(text(Error{Code::wrong_cpu, "the CPU that the vCPU is bound to", 1, 0}) == "wrong_cpu: needed the CPU that the vCPU is bound to (expected 0x1, found 0x0)");
    CHECK(text(Error{Code::no_stage2, "a VM with stage-2 tables"}) == "no_stage2: needed a VM with stage-2 tables");
    CHECK(text(State::blocked) == "blocked");
    CHECK(text(CpuId{3}) == "CPU 3");
    CHECK(text(GuestPhysAddr{0x40}) == "0x40");
    CHECK(text(RegisterValue{"CR0", 0x11}) == "CR0 0x11");
}

TEST_CASE("a dump names each register of a snapshot, four to a line", "[fmt]") {
    using namespace x86_64;
    constexpr auto id = [](std::size_t row, std::uint8_t element = 0) { return x86_64::registers[row].id(element); };
    const reg::Value values[]{{id(x86_64::index<"RAX">), 1}, {id(x86_64::index<"CR0">), 0x11}, {{0xDEAD'BEEF}, 7}, {id(x86_64::index<"FXSAVE">, 3), 2, 5},
                              {id(x86_64::index<"CS.base">), 0}, {id(x86_64::index<"RIP">), 0xFFF0}};
    CHECK(text(RegisterDump<x86_64::registers>{values}) == "RAX 0x1  CR0 0x11  FXSAVE3 0x5'0000000000000002  CS.base 0x0\nRIP 0xfff0");
}

TEST_CASE("a FailEntry names each rule that the state breaks", "[fmt]") {
    const exit::FailEntry entry{0xFFFF'FFFF, 1 << 1 | 1 << 6};
    CHECK(text(FailEntryReport{entry, x86_64::entry_rules}) ==
          "the hardware refused to enter the guest, reason 0xffffffff; not kept: CR0.NW is 0 where CR0.CD is 0; not kept: DR7[63:32] are 0");
    CHECK(text(FailEntryReport{{1, 0}, x86_64::entry_rules}) == "the hardware refused to enter the guest, reason 0x1; no rule is known to be broken");
}

TEST_CASE("text that does not fit is cut, and its size is told", "[fmt]") {
    std::array<char, 8> buffer{};
    const auto r = fmt::format_to_n(buffer.data(), buffer.size(), FMT_COMPILE("{}"), Exit{exit::TimerExpired{}});
    CHECK(r.size == 12);
    CHECK(std::string_view(buffer.data(), 8) == "TimerExp");
}
