#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
import std;
import axvcpu.aarch64;

using namespace axvcpu::aarch64;
using Kind = FirmwareCall::Kind;

TEST_CASE("version, features and what is not there", "[psci][A7]") {
    CHECK(decode_call(0x8400'0000, 0, 0, 0).value == 0x1'0001);
    CHECK(decode_call(0x8000'0000, 0, 0, 0).value == 0x1'0001);
    CHECK(decode_call(0x8400'000A, 0xC400'0003, 0, 0).value == 0);
    CHECK(decode_call(0x8400'000A, 0x8400'0010, 0, 0).value == reg(FirmwareResult::not_supported));  // PSCI_STAT_RESIDENCY
    CHECK(decode_call(0x8400'0006, 0, 0, 0).value == 2);
    for (const std::uint64_t f : {0x8400'0005ull /* MIGRATE */, 0x8400'000Dull /* NODE_HW_STATE */, 0x8400'0013ull /* MEM_PROTECT */, 0x8000'8000ull /* workaround */})
        CHECK(decode_call(f, 0, 0, 0) == FirmwareCall{.kind = Kind::answer, .value = reg(FirmwareResult::not_supported)});
}

TEST_CASE("a 32-bit call sees the low halves of its arguments", "[psci][A10]") {
    const auto c = decode_call(0xFFFF'FFFF'8400'0003, 0xAAAA'AAAA'0000'0001, 0xBBBB'BBBB'4000'0000, 0xCCCC'CCCC'0000'0005);
    CHECK(c == FirmwareCall{.kind = Kind::cpu_on, .target = 1, .entry = 0x4000'0000, .arg = 5});
    const auto wide = decode_call(0xC400'0003, 0x1'0000'0001, 0x1'4000'0000, 0x1'0000'0005);
    CHECK(wide == FirmwareCall{.kind = Kind::cpu_on, .target = 0x1'0000'0001, .entry = 0x1'4000'0000, .arg = 0x1'0000'0005});
}

TEST_CASE("every function number of every owner is answered, refused, or the hypervisor's own", "[smccc]") {
    for (std::uint64_t owner = 0; owner < 64; ++owner)
        for (const std::uint64_t top : {0x8000'0000ull, 0xC000'0000ull, 0x0000'0000ull, 0x4000'0000ull})
            for (std::uint64_t f = 0; f < 0x10000; f += f < 0x40 ? 1 : 257) {
                const auto c = decode_call(top | owner << 24 | f, 0, 0, 0);
                if ((owner == 0 || owner == 4) && (top & 0x8000'0000) != 0) REQUIRE(c.kind != Kind::unknown);
                else REQUIRE(c.kind == Kind::unknown);
            }
}

TEST_CASE("reset kinds", "[psci]") {
    CHECK(decode_call(0x8400'0009, 0, 0, 0) == FirmwareCall{.kind = Kind::system_reset});
    CHECK(decode_call(0xC400'0012, 0, 9, 0).value == 1);
    CHECK(decode_call(0xC400'0012, 1, 9, 0).value == reg(FirmwareResult::invalid_parameters));
    CHECK(decode_call(0xC400'0012, 0x8000'0001, 9, 0).kind == Kind::system_reset);
}

TEST_CASE("ICC_SGI1R: range selector, all affinities, IRM", "[sgi][A24]") {
    const auto sgi = decode_sgi(std::uint64_t{0x12} << 48 | std::uint64_t{0x34} << 32 | std::uint64_t{0x56} << 16 | std::uint64_t{2} << 44 | std::uint64_t{9} << 24 | 0x8001);
    CHECK(sgi == SgiRequest{.cluster = std::uint64_t{0x12} << 32 | 0x34'5600 | 0x20, .targets = 0x8001, .id = 9, .others = false});
    CHECK(decode_sgi(std::uint64_t{1} << 40).others);
    for (std::uint64_t rs = 0; rs < 16; ++rs) CHECK((decode_sgi(rs << 44 | 1).cluster & 0xFF) == rs * 16);
}
