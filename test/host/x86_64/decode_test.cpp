#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.x86_64;

using namespace axvcpu::x86_64;

namespace {
auto length(std::initializer_list<std::uint8_t> bytes, bool long_mode = true) -> int {
    const std::vector<std::uint8_t> v(bytes);
    const auto s = decode_system(v, long_mode);
    return s ? s->length : -1;
}
}  // namespace

TEST_CASE("system instructions: their length with the prefixes they have", "[decode][X10]") {
    CHECK(length({0x0F, 0xA2}) == 2);
    CHECK(length({0x66, 0xF3, 0x0F, 0xA2}) == 4);
    CHECK(length({0x48, 0x0F, 0x30}) == 3);        // REX.W WRMSR
    CHECK(length({0xF4}) == 1);
    CHECK(length({0xF3, 0x90}) == 2);
    CHECK(length({0x0F, 0x01, 0xD9}) == 3);
    CHECK(length({0x2E, 0x0F, 0x01, 0xD9}) == 4);
    CHECK(length({0x0F, 0x01, 0xC1}) == -1);       // VMCALL is Intel's
    CHECK(length({0x48, 0x0F, 0xA2}, false) == -1);  // DEC in legacy modes
    CHECK(length({0x0F}) == -1);
    CHECK(length({}) == -1);
    CHECK(length({0x0F, 0x01}) == -1);
    CHECK(length({0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0F, 0xA2}) == -1);  // longer than 15
}

TEST_CASE("MOV to a control register names both registers, REX included", "[decode]") {
    const std::array<std::uint8_t, 3> plain{0x0F, 0x22, 0xE0};
    const auto s = decode_system(plain, true);
    REQUIRE(s);
    CHECK(s->reg == 4);
    CHECK(s->rm == 0);
    const std::array<std::uint8_t, 4> high{0x41, 0x0F, 0x22, 0xE4};  // REX.B: r12
    CHECK(decode_system(high, true)->rm == 12);
    const std::array<std::uint8_t, 5> undone{0x41, 0x66, 0x0F, 0x22, 0xE4};  // a prefix behind REX makes it nothing
    CHECK(decode_system(undone, true)->rm == 4);
}

TEST_CASE("every string of up to three bytes decodes to a length within it, or to nothing", "[decode]") {
    for (unsigned a = 0; a < 256; ++a)
        for (unsigned b = 0; b < 256; ++b)
            for (const unsigned c : {0u, 0x01u, 0x22u, 0xA2u, 0xD9u, 0xF4u, 0xFFu}) {
                const std::array bytes{static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b), static_cast<std::uint8_t>(c)};
                const auto s = decode_system(bytes, a % 2 == 0);
                if (s && (s->length == 0 || s->length > 3)) FAIL("length " << int{s->length});
            }
}

TEST_CASE("what a register holds after a part of it was written", "[decode]") {
    CHECK(merged(~0ull, 0x11, 1) == 0xFFFF'FFFF'FFFF'FF11);
    CHECK(merged(~0ull, 0x1122, 2) == 0xFFFF'FFFF'FFFF'1122);
    CHECK(merged(~0ull, 0xF'8000'0001, 4) == 0x8000'0001);
    CHECK(merged(~0ull, 5, 8) == 5);
    CHECK(sign_extended(0x80, 1) == ~0x7Full);
    CHECK(sign_extended(0x7F, 1) == 0x7F);
    CHECK(narrow(0x1'FFFF'FFFF, 4) == 0xFFFF'FFFF);
}

TEST_CASE("I/O and nested-fault syndromes", "[decode]") {
    const PortAccess out{0x03F8'0000 | 0x20};
    CHECK(out.port() == 0x3F8);
    CHECK(out.width() == 2);
    CHECK_FALSE(out.in());
    CHECK(PortAccess{0x41}.in());
    CHECK(PortAccess{0x41}.width() == 4);
    CHECK(PortAccess{0x14}.string());
    const NestedFault walk{std::uint64_t{1} << 33 | 7};
    CHECK(walk.on_table_walk());
    CHECK(walk.write());
    CHECK(walk.present());
    CHECK(NestedFault{std::uint64_t{1} << 32 | 0x14}.execute());
}
