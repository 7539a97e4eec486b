#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.reg;
import axvcpu.aarch64;

using namespace axvcpu::aarch64;

TEST_CASE("no two registers of the table share a name or, where stored, an id", "[registers]") {
    std::set<std::string_view> names;
    std::set<std::uint64_t> ids;
    for (const auto& r : registers) {
        CHECK(names.insert(r.name).second);
        if (axvcpu::reg::stored(r.policy)) CHECK(ids.insert(r.id().value).second);
    }
}

TEST_CASE("system registers hold 64 bits", "[registers][A14]") {
    for (const auto& r : registers) CHECK(r.log2_bytes >= 3);
    Context c;
    c.set<"SCTLR_EL1">(0xFFFF'FFFF'FFFF'FFFF);
    CHECK(c.get<"SCTLR_EL1">() == 0xFFFF'FFFF'FFFF'FFFF);
}

TEST_CASE("published ids do not change", "[registers]") {
    CHECK(registers[axvcpu::aarch64::index<"X">].id(5).value == 0x0101'0305'0000'0000);
    CHECK(registers[axvcpu::aarch64::index<"PC">].id().value == 0x0101'0300'0000'0020);
    CHECK(registers[axvcpu::aarch64::index<"SCTLR_EL1">].id().value == (0x0102'0300'0000'0000 | (3u << 20 | 1u << 10)));
}

TEST_CASE("a reset context is what a CPU has after power-on", "[registers]") {
    Context c;
    CHECK(c.get<"PSTATE">() == 0x3C5);
    CHECK(c.get<"SCTLR_EL1">() == sctlr_reset);
    CHECK(c.get<"OSLSR_EL1">() == 0xA);
    CHECK(c.get<"X">(30) == 0);
}
