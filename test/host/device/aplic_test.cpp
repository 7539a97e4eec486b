#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;
import axvcpu.device.aplic;

using namespace axvcpu;
using axvcpu::device::Aplic;

namespace {
struct Fixture {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> sent;
    Aplic aplic{{0x0D00'0000}, 2, {&sent, [](void* self, std::uint32_t hart, std::uint32_t id) noexcept {
                    static_cast<std::vector<std::pair<std::uint32_t, std::uint32_t>>*>(self)->emplace_back(hart, id);
                }}};
    auto read(std::uint64_t offset, std::uint8_t width = 4) -> std::uint64_t {
        DeviceAccess a{{0x0D00'0000 + offset}, 0xDEAD, width, false};
        REQUIRE(aplic.access(0, a));
        return a.value;
    }
    void write(std::uint64_t offset, std::uint64_t value, std::uint8_t width = 4) {
        DeviceAccess a{{0x0D00'0000 + offset}, value, width, true};
        REQUIRE(aplic.access(0, a));
    }
    /// What has been sent since the last look.
    auto msis() -> std::vector<std::pair<std::uint32_t, std::uint32_t>> { return std::exchange(sent, {}); }
    /// Source `n` in this mode, enabled, sent to hart 1 as identity 40 + n.
    void prepare(std::uint32_t n, std::uint32_t mode) {
        write(4 * n, mode);
        write(0x3000 + 4 * n, 1u << 18 | (40 + n));
        write(0x1EDC, n);
        write(0, 1 << 8 | 1 << 2);
    }
};
using Msis = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
constexpr std::uint32_t detached = 1, rising = 4, falling = 5, high = 6, low = 7;
}  // namespace

TEST_CASE("APLIC: domaincfg reads as a domain of MSIs, and keeps its enable bit alone", "[aplic]") {
    Fixture f;
    CHECK(f.read(0) == 0x8000'0004);
    f.write(0, 0xFFFF'FFFF);
    CHECK(f.read(0) == 0x8000'0104);
    f.write(0, 0);
    CHECK(f.read(0) == 0x8000'0004);
}

TEST_CASE("APLIC: a source without a mode has no pending bit, no enable bit and no target", "[aplic]") {
    Fixture f;
    f.write(0x3000 + 4 * 9, 1u << 18 | 5);
    f.write(0x1EDC, 9);
    f.write(0x1CDC, 9);
    f.aplic.set_line(9, true);
    CHECK(f.read(0x3000 + 4 * 9) == 0);
    CHECK(f.read(0x1E00) == 0);
    CHECK(f.read(0x1C00) == 0);
    for (const std::uint32_t reserved : {2u, 3u, 1u << 10 | 4}) {  // reserved modes, and a delegation to no child
        f.write(4 * 9, reserved);
        CHECK(f.read(4 * 9) == 0);
    }
    f.prepare(9, rising);
    f.write(0x1CDC, 9);
    f.msis();
    f.write(4 * 9, 0);  // and it loses all three
    CHECK(f.read(0x3000 + 4 * 9) == 0);
    CHECK(f.read(0x1E00) == 0);
}

TEST_CASE("APLIC: a level source sends once each time its line goes up, and again when it is asked to while it is up", "[aplic]") {
    Fixture f;
    f.prepare(10, high);
    CHECK(f.msis().empty());
    f.aplic.set_line(10, true);
    CHECK(f.msis() == Msis{{1, 50}});
    f.aplic.set_line(10, true);
    CHECK(f.msis().empty());
    CHECK(f.read(0x1D00) == 1 << 10);  // in_clrip shows the line
    f.write(0x2000, 10);               // setipnum_le, as an end of interrupt
    CHECK(f.msis() == Msis{{1, 50}});
    f.aplic.set_line(10, false);
    f.write(0x2000, 10);
    f.write(0x1C00, 1 << 10);
    CHECK(f.msis().empty());
    CHECK(f.read(0x1C00) == 0);
    f.aplic.set_line(10, true);
    CHECK(f.msis() == Msis{{1, 50}});
}

TEST_CASE("APLIC: a level that falls before it may be sent is not sent", "[aplic]") {
    Fixture f;
    f.prepare(10, high);
    f.write(0x1FDC, 10);  // clrienum
    f.aplic.set_line(10, true);
    CHECK(f.read(0x1C00) == 1 << 10);
    f.aplic.set_line(10, false);
    CHECK(f.read(0x1C00) == 0);
    f.write(0x1EDC, 10);
    CHECK(f.msis().empty());
}

TEST_CASE("APLIC: a source that is low when active sends while its line is down", "[aplic]") {
    Fixture f;
    f.prepare(33, low);
    CHECK(f.msis().empty() == false);  // the line is down already when the mode is set, and the source was enabled after
    f.aplic.set_line(33, true);
    CHECK(f.msis().empty());
    CHECK(f.read(0x1D04) == 0);
    f.aplic.set_line(33, false);
    CHECK(f.msis() == Msis{{1, 73}});
    CHECK(f.read(0x1D04) == 2);
}

TEST_CASE("APLIC: edges are kept until they are sent, whatever the line does", "[aplic]") {
    Fixture f;
    f.prepare(5, rising);
    f.write(0, 0);
    f.aplic.set_line(5, true);
    f.aplic.set_line(5, false);
    CHECK(f.read(0x1C00) == 1 << 5);
    CHECK(f.msis().empty());
    f.write(0, 1 << 8);  // all that waited is sent when the domain is enabled
    CHECK(f.msis() == Msis{{1, 45}});
    CHECK(f.read(0x1C00) == 0);
    f.aplic.set_line(6, true);
    f.prepare(6, falling);
    f.msis();
    f.aplic.set_line(6, false);
    CHECK(f.msis() == Msis{{1, 46}});
    f.prepare(7, detached);
    f.aplic.set_line(7, true);
    CHECK(f.msis().empty());
    f.write(0x1CDC, 7);
    CHECK(f.msis() == Msis{{1, 47}});
}

TEST_CASE("APLIC: bits and numbers reach the same sources, and none that is not there", "[aplic]") {
    Fixture f;
    for (std::uint32_t n = 1; n < Aplic::sources; ++n) f.write(4 * n, detached);
    for (std::uint32_t w = 0; w < 4; ++w) f.write(0x1E00 + 4 * w, 0xFFFF'FFFF);
    CHECK(f.read(0x1E00) == 0xFFFF'FFFE);  // there is no source 0
    CHECK(f.read(0x1E0C) == 1);            // and 96 is the last
    f.write(0x1F04, 0xF);
    CHECK(f.read(0x1E04) == 0xFFFF'FFF0);
    f.write(0x1CDC, 200);
    f.write(0x1CDC, 0);
    for (std::uint32_t w = 0; w < 4; ++w) CHECK(f.read(0x1C00 + 4 * w) == 0);
    f.write(0x1C08, 6);
    CHECK(f.read(0x1C08) == 6);
    f.write(0x1DDC, 65);
    CHECK(f.read(0x1C08) == 4);
    f.write(0x1D08, 4);
    CHECK(f.read(0x1C08) == 0);
}

TEST_CASE("APLIC: genmsi sends at once; harts that are none get nothing; targets keep hart and identity alone", "[aplic]") {
    Fixture f;
    f.write(0x3000, 0xFFFF'FFFF);
    CHECK(f.msis().empty());
    f.write(0x3000, 1u << 18 | 9);
    CHECK(f.msis() == Msis{{1, 9}});
    CHECK(f.read(0x3000) == (1u << 18 | 9));
    f.prepare(3, rising);
    f.write(0x3000 + 12, 0xFFFF'FFFF);
    CHECK(f.read(0x3000 + 12) == (0x3FFFu << 18 | 0x7FF));
    f.aplic.set_line(3, true);
    CHECK(f.msis().empty());
}

TEST_CASE("APLIC: other widths, odd offsets and places without a register read zero and change nothing", "[aplic]") {
    Fixture f;
    f.prepare(10, rising);
    for (std::uint64_t offset = 0; offset < Aplic::size; offset += 2)
        for (const std::uint8_t width : {1, 2, 8}) {
            CHECK(f.read(offset, width) == 0);
            f.write(offset, ~0ull, width);
        }
    for (std::uint64_t offset = 2; offset < Aplic::size; offset += 4) f.write(offset, ~0ull);
    CHECK(f.msis().empty());
    CHECK(f.read(4 * 10) == rising);
    for (std::uint64_t offset : {0x188ull, 0x1BC0ull, 0x1CE0ull, 0x2004ull, 0x3200ull, 0x7FFCull}) {
        f.write(offset, 0xFFFF'FFFF);
        CHECK(f.read(offset) == 0);
    }
    DeviceAccess beyond{{0x0D00'0000 + Aplic::size}, 0, 4, false};
    CHECK_FALSE(f.aplic.access(0, beyond));
    f.aplic.set_line(0, true);
    f.aplic.set_line(97, true);
    CHECK(f.msis().empty());
}
