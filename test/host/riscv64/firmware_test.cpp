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
    for (std::uint64_t id = 9; id <= 15; ++id) CHECK(call(id, 0).error == SbiError::not_supported);
    CHECK(call(1, 0, {}, {}).error == SbiError::not_supported);
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

TEST_CASE("which extensions are the hypervisor's own", "[riscv64][sbi]") {
    CHECK(is_hypervisor_call(0x0800'0000));
    CHECK(is_hypervisor_call(0x0900'0123));
    CHECK(is_hypervisor_call(0x0AFF'FFFF));
    CHECK_FALSE(is_hypervisor_call(0x07FF'FFFF));
    CHECK_FALSE(is_hypervisor_call(0x0B00'0000));
    for (const auto id : {eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::pmu, eid::dbcn}) CHECK_FALSE(is_hypervisor_call(id));
}
