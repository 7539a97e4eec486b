#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu::reg;

namespace {
struct Number {
    static constexpr std::uint8_t arch = 9;
    std::uint32_t n;
    constexpr auto packed() const -> std::uint32_t { return n; }
};
enum class Feature : std::uint8_t { base };
using Row = Register<Number, Feature>;
// [row]
constexpr std::array table{
    Row{"GPR", {1}, Policy::every_entry, 0, ~std::uint64_t{0}, Feature::base, Class::core, 3, 3},  // three of them, of 8 bytes
    Row{"HOST", {2}, Policy::host_owned},
    Row{"CTL", {3}, Policy::on_bind, 0x30, 0x0F},  // after a reset 0x30; the low four bits can be written
    Row{"VEC", {4}, Policy::vector, 0, ~std::uint64_t{0}, Feature::base, Class::vector, 4, 2},
};
// [end]
using Ctx = Context<table>;
}  // namespace

TEST_CASE("layout follows the table: arrays in place, wide registers aligned, host-owned ones nowhere", "[reg]") {
    CHECK(Ctx::offset<"GPR">() == 0);
    CHECK(Ctx::offset<"CTL">() == 24);
    CHECK(Ctx::offset<"VEC">() == 32);
    CHECK(sizeof(Ctx) == 64);
}

TEST_CASE("bits outside the writable mask keep their reset value", "[reg][A14]") {
    Ctx c;
    CHECK(c.get<"CTL">() == 0x30);
    c.set<"CTL">(0xFF);
    CHECK(c.get<"CTL">() == 0x3F);
    c.reset();
    CHECK(c.get<"CTL">() == 0x30);
}

TEST_CASE("ids find their register and nothing else", "[reg]") {
    const auto id = table[0].id(2);
    CHECK(id.value == 0x0901'0302'0000'0001);
    const auto at = find<table>(id);
    REQUIRE(at);
    CHECK(at->row == 0);
    CHECK(at->element == 2);
    CHECK_FALSE(find<table>(table[0].id(3)));  // the array has three elements
    CHECK_FALSE(find<table>(Id{0}));
}

TEST_CASE("the wide register's halves do not overlap", "[reg]") {
    Ctx c;
    c.raw<"VEC">(0, false) = 1;
    c.raw<"VEC">(0, true) = 2;
    c.raw<"VEC">(1, false) = 3;
    CHECK(c.raw<"VEC">(0, false) == 1);
    CHECK(c.raw<"VEC">(0, true) == 2);
    CHECK(c.raw<"VEC">(1, false) == 3);
}
