#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.device.pl011;

using axvcpu::device::Pl011;

namespace {
struct Uart {
    std::string sent;
    Pl011 u{this, [](void* self, std::uint8_t b) noexcept { static_cast<Uart*>(self)->sent += static_cast<char>(b); }};
};
}  // namespace

TEST_CASE("bytes go out in order and the line follows the mask", "[pl011]") {
    Uart t;
    for (const char c : std::string("hi")) t.u.write(0, 1, static_cast<std::uint8_t>(c));
    CHECK(t.sent == "hi");
    CHECK_FALSE(t.u.line());
    t.u.write(0x38, 4, 0x20);  // TXIM
    CHECK(t.u.line());
    t.u.write(0x44, 4, 0x20);
    CHECK_FALSE(t.u.line());
    t.u.write(0x30, 4, 0);  // off
    t.u.write(0, 1, 'x');
    CHECK(t.sent == "hi");
}

TEST_CASE("what is received comes out in order, and one byte too many is an overrun", "[pl011]") {
    Uart t;
    t.u.write(0x30, 4, 0x301);
    t.u.write(0x2C, 4, 0x70);  // FIFOs on
    for (int i = 0; i < 32; ++i) REQUIRE(t.u.receive(static_cast<std::uint8_t>(i)));
    CHECK_FALSE(t.u.receive(99));
    CHECK((t.u.read(0x18, 4) & 0x40) != 0);  // RXFF
    CHECK((t.u.read(0x3C, 4) & 0x400) != 0);
    for (int i = 0; i < 32; ++i) REQUIRE(t.u.read(0, 1) == static_cast<std::uint64_t>(i));
    CHECK((t.u.read(0x18, 4) & 0x10) != 0);  // RXFE
    CHECK(t.u.read(0, 4) == 0);
}

TEST_CASE("the identification registers say PL011", "[pl011]") {
    Uart t;
    CHECK(t.u.read(0xFE0, 4) == 0x11);
    CHECK(t.u.read(0xFE4, 4) == 0x10);
    CHECK(t.u.read(0xFFC, 4) == 0xB1);
}

TEST_CASE("every offset and width answers, and reserved places stay zero", "[pl011]") {
    Uart t;
    for (std::uint64_t offset = 0; offset < Pl011::size; ++offset)
        for (const unsigned width : {1u, 2u, 4u, 8u}) {
            t.u.write(offset, width, ~std::uint64_t{0});
            const auto v = t.u.read(offset, width);
            if (width < 8) REQUIRE(v >> 8 * width == 0);
            if (offset >= 0x50 && offset < 0xFE0) REQUIRE(v == 0);
        }
}
