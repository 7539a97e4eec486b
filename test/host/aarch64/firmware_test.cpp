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
        for (const std::uint64_t top : {0x8000'0000ull, 0xC000'0000ull, 0x0000'0000ull, 0x4000'0000ull}) {
            const bool ours = (owner == 0 || owner == 4) && (top & 0x8000'0000) != 0;
            unsigned wrong = 0;
            for (std::uint64_t f = 0; f < 0x10000; ++f) wrong += (decode_call(top | owner << 24 | f, 0, 0, 0).kind != Kind::unknown) != ours;
            INFO("owner " << owner << ", " << std::hex << top);
            REQUIRE(wrong == 0);
        }
}

TEST_CASE("every PSCI function is what DEN0022 says it is, and where it has a 64-bit form, that is the same", "[psci]") {
    constexpr std::array kinds{Kind::answer,  // 0: VERSION
        Kind::cpu_suspend, Kind::cpu_off, Kind::cpu_on, Kind::affinity_info, Kind::answer /* MIGRATE */, Kind::answer, Kind::answer, Kind::system_off, Kind::system_reset,
        Kind::answer /* 0xA: FEATURES */, Kind::answer, Kind::answer, Kind::answer, Kind::system_suspend, Kind::answer, Kind::answer, Kind::answer, Kind::system_reset /* 0x12: RESET2 */};
    constexpr std::array<std::uint32_t, 5> wide{1, 3, 4, 0xE, 0x12};
    for (std::uint32_t f = 0; f < 32; ++f) {
        INFO("function " << f);
        const auto kind = f < kinds.size() ? kinds[f] : Kind::answer;
        CHECK(decode_call(0x8400'0000 | f, 0, 0, 0).kind == kind);
        CHECK(decode_call(0xC400'0000 | f, 0, 0, 0).kind == (std::ranges::find(wide, f) != wide.end() ? kind : Kind::answer));
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
