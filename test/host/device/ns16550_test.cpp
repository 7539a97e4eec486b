#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.device.ns16550;

using axvcpu::device::Ns16550;

namespace {
struct Fixture {
    std::string out;
    Ns16550 uart{this, [](void* self, std::uint8_t b) noexcept { static_cast<Fixture*>(self)->out.push_back(static_cast<char>(b)); }};
};
}  // namespace

TEST_CASE("bytes go out; the transmitter is always ready", "[ns16550]") {
    Fixture f;
    for (const char c : std::string_view("hello")) {
        CHECK((f.uart.read(5, 1) & 0x60) == 0x60);
        f.uart.write(0, 1, static_cast<std::uint8_t>(c));
    }
    CHECK(f.out == "hello");
}

TEST_CASE("the divisor latch hides data and interrupt enable", "[ns16550]") {
    Fixture f;
    f.uart.write(3, 1, 0x83);
    f.uart.write(0, 1, 0x12);
    f.uart.write(1, 1, 0x34);
    CHECK(f.uart.read(0, 1) == 0x12);
    CHECK(f.uart.read(1, 1) == 0x34);
    f.uart.write(3, 1, 0x03);
    CHECK(f.out.empty());
    CHECK(f.uart.read(1, 1) == 0);
    f.uart.write(7, 1, 0xA5);
    CHECK(f.uart.read(7, 1) == 0xA5);
}

TEST_CASE("received bytes wait in the FIFO and interrupt; overrun is told once", "[ns16550]") {
    Fixture f;
    f.uart.write(2, 1, 1);
    f.uart.write(1, 1, 1);
    CHECK_FALSE(f.uart.line());
    for (int i = 0; i < 16; ++i) CHECK(f.uart.receive(static_cast<std::uint8_t>('a' + i)));
    CHECK(f.uart.line());
    CHECK(f.uart.read(2, 1) == 0xC4);
    CHECK_FALSE(f.uart.receive('z'));
    CHECK((f.uart.read(5, 1) & 3) == 3);
    CHECK((f.uart.read(5, 1) & 3) == 1);
    for (int i = 0; i < 16; ++i) CHECK(f.uart.read(0, 1) == static_cast<unsigned>('a' + i));
    CHECK_FALSE(f.uart.line());
    CHECK((f.uart.read(5, 1) & 1) == 0);
}

TEST_CASE("an overrun interrupts until the line status is read", "[ns16550]") {
    Fixture f;
    f.uart.write(1, 1, 4);
    CHECK(f.uart.receive('a'));
    CHECK_FALSE(f.uart.line());
    CHECK_FALSE(f.uart.receive('b'));
    CHECK(f.uart.line());
    CHECK((f.uart.read(2, 1) & 0xF) == 6);
    CHECK(f.uart.read(5, 1) == 0x63);
    CHECK_FALSE(f.uart.line());
    CHECK(f.uart.read(5, 1) == 0x61);
}

TEST_CASE("the transmitter's interrupt: pending when enabled and after each byte, gone when named", "[ns16550]") {
    Fixture f;
    f.uart.write(1, 1, 2);
    CHECK(f.uart.line());
    CHECK((f.uart.read(2, 1) & 0xF) == 2);
    CHECK_FALSE(f.uart.line());
    CHECK((f.uart.read(2, 1) & 0xF) == 1);
    f.uart.write(0, 1, 'x');
    CHECK(f.uart.line());
    f.uart.write(1, 1, 0);
    CHECK_FALSE(f.uart.line());
}

TEST_CASE("every offset answers, and reserved places stay zero", "[ns16550]") {
    Fixture f;
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        const auto offset = random() % Ns16550::size;
        if (random() % 2 != 0) f.uart.write(offset, 1, random());
        else REQUIRE(f.uart.read(offset, 1) <= 0xFF);
        if (random() % 8 == 0) static_cast<void>(f.uart.receive(static_cast<std::uint8_t>(random())));
    }
    for (std::uint64_t offset = 8; offset < Ns16550::size; ++offset) CHECK(f.uart.read(offset, 1) == 0);
}
