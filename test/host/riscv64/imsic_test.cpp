#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.riscv64;

using axvcpu::riscv64::InterruptFile;
using Op = axvcpu::riscv64::CsrAccess::Op;

namespace {
auto read(InterruptFile& f, std::uint64_t select) { return f.sireg(select, Op::set, false, 0); }
auto write(InterruptFile& f, std::uint64_t select, std::uint64_t value) { return f.sireg(select, Op::write, true, value); }
}  // namespace

TEST_CASE("an interrupt file names the lowest identity that is pending, enabled and below the threshold", "[imsic]") {
    InterruptFile f;
    for (const std::uint32_t id : {200u, 64u, 63u, 7u}) f.deliver(id);
    CHECK(f.top() == 0);  // none is enabled
    for (unsigned w = 0; w < 4; ++w) write(f, 0xC0 + 2 * w, ~0ull);
    CHECK(f.top() == 7);
    CHECK_FALSE(f.signals());  // delivery is off
    write(f, 0x70, 1);
    CHECK(f.signals());
    write(f, 0x72, 7);
    CHECK(f.top() == 0);  // not below the threshold
    CHECK_FALSE(f.signals());
    write(f, 0x72, 8);
    CHECK(f.top() == 7);
    write(f, 0x72, 0);
    for (const std::uint32_t id : {7u, 63u, 64u, 200u}) {
        CHECK(f.stopei(false) == (id << 16 | id));  // a look claims nothing
        CHECK(f.stopei(true) == (id << 16 | id));
    }
    CHECK(f.stopei(true) == 0);
}

TEST_CASE("identities that a file does not have are dropped", "[imsic]") {
    InterruptFile f;
    for (const std::uint32_t id : {0u, 256u, 2047u, ~0u}) f.deliver(id);
    for (unsigned w = 0; w < 4; ++w) CHECK(read(f, 0x80 + 2 * w) == 0);
    f.deliver(255);
    CHECK(read(f, 0x86) == std::uint64_t{1} << 63);
}

TEST_CASE("an interrupt file's registers: what each keeps, and what each operation makes of it", "[imsic]") {
    InterruptFile f;
    CHECK(write(f, 0x70, ~0ull) == 0);
    CHECK(read(f, 0x70) == 1);
    write(f, 0x72, ~0ull);
    CHECK(read(f, 0x72) == 0x7FF);
    write(f, 0x80, ~0ull);
    CHECK(read(f, 0x80) == ~1ull);  // identity 0 is none
    write(f, 0xC0, ~0ull);
    CHECK(read(f, 0xC0) == ~1ull);
    CHECK(f.sireg(0x80, Op::clear, true, 0xFF) == ~1ull);
    CHECK(read(f, 0x80) == ~0xFFull);
    CHECK(f.sireg(0x80, Op::set, true, 0x11) == ~0xFFull);
    CHECK(read(f, 0x80) == (~0xFFull | 0x10));
    CHECK(f.sireg(0xC2, Op::set, true, 5) == 0);
    CHECK(f.sireg(0xC2, Op::clear, true, 1) == 5);
    CHECK(read(f, 0xC2) == 4);
}

TEST_CASE("every number that siselect can hold: a register, zero, or an illegal instruction", "[imsic]") {
    for (std::uint64_t select = 0; select < 0x200; ++select) {
        InterruptFile f;
        const auto was = write(f, select, ~0ull);
        const auto is = read(f, select);
        INFO("siselect " << select);
        const bool priority = select >= 0x30 && select <= 0x3F, of_file = select >= 0x70 && select <= 0xFF;
        const bool there = (priority && select % 2 == 0) || (of_file && (select < 0x80 || select % 2 == 0));
        CHECK(was.has_value() == there);
        if (!there) continue;
        CHECK(was == 0);
        const bool keeps = select == 0x70 || select == 0x72 || (select >= 0x80 && select % 0x40 < 8);
        CHECK((is != 0) == keeps);
    }
}

TEST_CASE("a file that leaves memory and comes back keeps everything, and what was delivered meanwhile", "[imsic]") {
    InterruptFile f;
    write(f, 0x70, 1);
    write(f, 0x72, 90);
    write(f, 0xC0, 0x0F00);
    f.deliver(8);
    f.deliver(100);
    const auto delivery = f.delivery(), threshold = f.threshold(), enabled = f.enabled(0), pending = f.take_pending(0), high = f.take_pending(1);
    CHECK(pending == 1 << 8);
    f.deliver(9);
    f.put_back(delivery, threshold);
    f.put_back(0, pending, enabled);
    f.put_back(1, high, 0);
    CHECK(f.top() == 8);
    CHECK(f.stopei(true) == (8u << 16 | 8));
    CHECK(f.top() == 9);
    CHECK(read(f, 0x82) == std::uint64_t{1} << 36);
    f.clear();
    CHECK(f.delivery() == 0);
    CHECK(read(f, 0x82) == 0);
    CHECK(read(f, 0xC0) == 0);
}
