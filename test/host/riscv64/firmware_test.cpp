#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.riscv64;

using namespace axvcpu::riscv64;
using Kind = SbiCall::Kind;

namespace {
constexpr SbiFeatures all{.console = true};
auto call(std::uint64_t extension, std::uint64_t function, std::array<std::uint64_t, 5> a = {}, SbiFeatures f = all) { return decode_call({extension, function, a}, f); }
}  // namespace

TEST_CASE("BASE answers by itself and probes what is there", "[riscv64][sbi][R16]") {
    CHECK(call(0x10, 0).value == 0x0200'0000);
    CHECK(call(0x10, 3, {eid::dbcn}).value == 1);
    CHECK(call(0x10, 3, {eid::dbcn}, {}).value == 0);
    CHECK(call(0x10, 3, {0x5355'5350}).value == 0);
    CHECK(call(0x10, 7).error == SbiError::not_supported);
    for (std::uint64_t f = 4; f <= 6; ++f) CHECK(call(0x10, f).value == 0);
}

TEST_CASE("calls that need the VM carry their arguments", "[riscv64][sbi]") {
    CHECK(call(eid::time, 0, {77}).kind == Kind::set_timer);
    CHECK(call(eid::time, 0, {77}).value == 77);
    CHECK(call(eid::ipi, 0, {5, 8}).mask == 5);
    CHECK(call(eid::ipi, 0, {5, 8}).mask_base == 8);
    CHECK(call(eid::rfence, 0, {1}).kind == Kind::fence_instruction);
    CHECK(call(eid::rfence, 1, {1}).kind == Kind::fence_translations);
    CHECK(call(eid::rfence, 2, {1}).kind == Kind::fence_translations);
    const auto start = call(eid::hsm, 0, {3, 0x8000'0000, 9});
    CHECK(start.kind == Kind::hart_start);
    CHECK(start.target == 3);
    CHECK(start.address == 0x8000'0000);
    CHECK(start.arg == 9);
    CHECK(call(eid::hsm, 3, {0x8000'0000, 0x80, 1}).kind == Kind::hart_suspend);
    CHECK(call(eid::dbcn, 0, {4, 0x8000'0000, 0}).kind == Kind::console_write);
    CHECK(call(eid::dbcn, 0, {4, 0x8000'0000, 1}).error == SbiError::invalid_param);  // R14
    CHECK(call(eid::srst, 0, {1, 0}).kind == Kind::reset);
}

TEST_CASE("legacy calls: a0 alone, masks in memory", "[riscv64][sbi][R24]") {
    for (std::uint64_t id = 0; id <= 8; ++id) {
        const auto c = call(id, 123);
        CHECK(c.legacy);
        CHECK(c.kind != Kind::unknown);
        CHECK(c.mask_in_memory == (id >= 4 && id <= 7));
    }
    for (std::uint64_t id = 9; id <= 15; ++id) {
        CHECK(call(id, 0).error == SbiError::not_supported);
        CHECK(call(id, 0).legacy);
    }
    CHECK(call(1, 0, {}, {}) == SbiCall{.kind = Kind::answer, .legacy = true});  // without a console it is thrown away
    CHECK(call(2, 0, {}, {}) == SbiCall{.kind = Kind::answer, .legacy = true, .error = SbiError::failed});
}

TEST_CASE("no extension id and no function id is left without an answer", "[riscv64][sbi]") {
    std::mt19937_64 random(1);
    const std::array<std::uint64_t, 9> known{eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::pmu, eid::dbcn, 0};
    for (int i = 0; i < 200'000; ++i) {
        const auto id = i % 2 != 0 ? known[random() % known.size()] : random() >> random() % 64;
        const auto c = call(id, random() % 16, {random() >> random() % 64, random() >> random() % 64, random(), random(), random()});
        if (c.kind == Kind::unknown) {
            REQUIRE(std::ranges::find(known, id) == known.end());
            REQUIRE(id > 15);
        }
        if (c.kind == Kind::answer && c.error != SbiError::success) REQUIRE(c.value == 0);
    }
}

TEST_CASE("types and reasons have 32 bits; what is reserved or a platform's is invalid", "[riscv64][sbi]") {
    constexpr std::uint64_t high = std::uint64_t{0xABCD} << 32;
    CHECK(call(eid::hsm, 3, {high}).kind == Kind::hart_suspend);
    CHECK(call(eid::hsm, 3, {high}).value == 0);
    CHECK(call(eid::hsm, 3, {high | 0x8000'0000}).value == 0x8000'0000);
    for (const std::uint64_t type : {1u, 0x0FFF'FFFFu, 0x1000'0000u, 0x7FFF'FFFFu, 0x8000'0001u, 0x8FFF'FFFFu, 0x9000'0000u, 0xFFFF'FFFFu})
        CHECK(call(eid::hsm, 3, {type}).error == SbiError::invalid_param);
    for (std::uint64_t type = 0; type <= 2; ++type) CHECK(call(eid::srst, 0, {high | type, high | 1}).value == type);
    for (const std::uint64_t type : {3u, 0xEFFF'FFFFu, 0xF000'0000u, 0xFFFF'FFFFu}) CHECK(call(eid::srst, 0, {type, 0}).error == SbiError::invalid_param);
    for (const std::uint64_t reason : {2u, 0xDFFF'FFFFu, 0xE000'0000u, 0xF000'0000u, 0xFFFF'FFFFu}) CHECK(call(eid::srst, 0, {0, reason}).error == SbiError::invalid_param);
}

TEST_CASE("which calls a policy gives to the host", "[riscv64][sbi]") {
    constexpr std::array known{eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::dbcn, eid::pmu};
    const std::array one{SbiExits{.base = true}, SbiExits{.time = true}, SbiExits{.ipi = true}, SbiExits{.rfence = true}, SbiExits{.hsm = true}, SbiExits{.srst = true},
                         SbiExits{.dbcn = true}, SbiExits{.pmu = true}};
    for (std::size_t i = 0; i < known.size(); ++i)
        for (std::size_t k = 0; k < known.size(); ++k) CHECK(one[i].has(known[k]) == (i == k));
    for (std::uint64_t id = 0; id <= 0x20; ++id) {
        CHECK(SbiExits{.legacy = true}.has(id) == (id <= 0xF));
        CHECK(SbiExits{.shutdown = true}.has(id) == (id == 8));
        CHECK(SbiExits{.unknown = true}.has(id) == (id > 0x10));
        CHECK_FALSE(SbiExits{}.has(id));
    }
    CHECK_FALSE(SbiExits{.unknown = true}.has(0x0A00'0000));          // the hypervisor's own have a policy of theirs
    CHECK_FALSE(SbiExits{.unknown = true}.has(std::uint64_t{1} << 32));
    CHECK(SbiExits{.unknown = true}.has(static_cast<std::uint64_t>(-1)));
    // What BASE says is there.
    const auto there = [](std::uint64_t id, const SbiFeatures& f) { return call(eid::base, 3, {id}, f).value == 1; };
    for (const auto id : {eid::hsm, eid::srst, std::uint64_t{8}}) {
        CHECK(there(id, {}));
        CHECK_FALSE(there(id, {.power = false}));
        CHECK(there(id, {.power = false, .exits = {.hsm = true, .srst = true, .shutdown = true}}));
    }
    CHECK(there(eid::dbcn, {.exits = {.dbcn = true}}));
}

TEST_CASE("which extensions are the hypervisor's own", "[riscv64][sbi]") {
    CHECK(is_hypervisor_call(0x0800'0000));
    CHECK(is_hypervisor_call(0x0900'0123));
    CHECK(is_hypervisor_call(0x0AFF'FFFF));
    CHECK_FALSE(is_hypervisor_call(0x07FF'FFFF));
    CHECK_FALSE(is_hypervisor_call(0x0B00'0000));
    for (const auto id : {eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::pmu, eid::dbcn}) CHECK_FALSE(is_hypervisor_call(id));
}
