#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.aarch64;

using namespace axvcpu::aarch64;

TEST_CASE("every fault status code has a class", "[syndrome][A5]") {
    for (std::uint32_t code = 0; code < 64; ++code) {
        const auto f = fault_of(code);
        if (code < 4) CHECK(f == Fault::address_size);
        else if (code < 8) CHECK(f == Fault::translation);
        else if (code < 12) CHECK(f == Fault::access_flag);
        else if (code < 16) CHECK(f == Fault::permission);
        else if (code == 0x10 || (code >= 0x14 && code <= 0x17)) CHECK(f == Fault::external);
        else if (code == 0x21) CHECK(f == Fault::alignment);
        else if (code == 0x30) CHECK(f == Fault::tlb_conflict);
        else if (code == 0x2B) CHECK(f == Fault::translation);
    }
}

TEST_CASE("HPFAR_EL2 counts except after a permission fault that was not on the walk", "[syndrome]") {
    CHECK(Abort{0x07}.hpfar_valid());
    CHECK_FALSE(Abort{0x0F}.hpfar_valid());
    CHECK(Abort{0x0F | 1 << 7}.hpfar_valid());
}

TEST_CASE("the fault address joins page and offset", "[syndrome]") {
    CHECK(fault_address(0x9000'0 << 0, 0xFFFF'0000'0000'0ABC, false).value == ((std::uint64_t{0x9'0000} << 8) | 0xABC));
    CHECK(fault_address(0x4000'00, 0x123, true).value == std::uint64_t{0x4000'00} << 8);
}

TEST_CASE("a trapped register's encoding is the table's", "[syndrome]") {
    const std::uint32_t iss = iss_of<"ICC_SGI1R_EL1"> | 7 << 5 | 0;
    const SysregTrap t{iss};
    CHECK(t.encoding() == iss_of<"ICC_SGI1R_EL1">);
    CHECK(t.reg() == 7);
    CHECK_FALSE(t.read());
}
