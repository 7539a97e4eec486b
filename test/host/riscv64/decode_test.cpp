#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.riscv64;

using namespace axvcpu::riscv64;

TEST_CASE("loads and stores by their own bits", "[riscv64][decode][R19][R21]") {
    struct Row { std::uint32_t insn; Access expected; };
    const std::array rows{
        Row{0x0002'8503, {1, 10, false, true}},                        // lb a0, 0(t0)
        Row{0x0002'C503, {1, 10, false, false}},                       // lbu
        Row{0x0002'9503, {2, 10, false, true}},                        // lh
        Row{0x0002'D503, {2, 10, false, false}},                       // lhu
        Row{0x0002'A503, {4, 10, false, true}},                        // lw
        Row{0x0002'E503, {4, 10, false, false}},                       // lwu
        Row{0x0002'B503, {8, 10, false, true}},                        // ld
        Row{0x00A2'8023, {1, 10, true, false}},                        // sb a0, 0(t0)
        Row{0x00A2'B023, {8, 10, true, false}},                        // sd
        Row{0x0002'A087, {.bytes = 4, .reg = 1, .fp = true}},          // flw f1, 0(t0)
        Row{0x0002'B107, {.bytes = 8, .reg = 2, .fp = true}},          // fld f2
        Row{0x0012'A027, {.bytes = 4, .reg = 1, .write = true, .fp = true}},  // fsw f1
        Row{0x0062'A52F, {.bytes = 4, .reg = 10, .write = true, .sign_extend = true, .amo = Amo::add, .source = 6}},   // amoadd.w a0, t1, (t0)
        Row{0x0862'B52F, {.bytes = 8, .reg = 10, .write = true, .sign_extend = true, .amo = Amo::swap, .source = 6}},  // amoswap.d
    };
    for (const auto& r : rows) {
        INFO(std::hex << r.insn);
        REQUIRE(decode_instruction(r.insn));
        CHECK(*decode_instruction(r.insn) == r.expected);
    }
    for (const std::uint32_t other : {0x1002'A52Fu /* lr.w */, 0x1862'A52Fu /* sc.w */, 0x0205'6007u /* vle32 */, 0x0000'0013u, 0x0000'0073u, 0x0002'F503u, 0x0002'C023u, 0x0000'003Fu})
        CHECK_FALSE(decode_instruction(other));
}

TEST_CASE("compressed accesses: every 16-bit word decodes to nothing or to what it says", "[riscv64][decode][R19]") {
    unsigned found = 0;
    for (std::uint32_t w = 0; w < 0x1'0000; ++w) {
        if ((w & 3) == 3) continue;
        const auto a = decode_instruction(w);
        if (!a) continue;
        ++found;
        const auto quadrant = w & 3, funct3 = w >> 13;
        REQUIRE(a->length == 2);
        REQUIRE(quadrant != 1);                                  // no memory access in the second quadrant
        REQUIRE(a->amo == Amo::none);
        REQUIRE((a->bytes == 1 || a->bytes == 2 || a->bytes == 4 || a->bytes == 8));
        REQUIRE(a->write == (funct3 >= 5 || (funct3 == 4 && (w >> 11 & 1) != 0)));
        REQUIRE(a->fp == (funct3 == 1 || funct3 == 5));
        if (quadrant == 0) REQUIRE((a->reg >= 8 && a->reg < 16));
        if (quadrant == 2 && !a->write && !a->fp) REQUIRE(a->reg != 0);
        if (funct3 == 3 || funct3 == 7) REQUIRE(a->bytes == 8);
        if (funct3 == 2 || funct3 == 6) REQUIRE(a->bytes == 4);
    }
    CHECK(found > 20'000);
}

TEST_CASE("a transformed instruction gives the same access as the one it stands for", "[riscv64][decode]") {
    for (const std::uint32_t insn : {0x0002'A503u, 0x0002'C503u, 0x00A2'B023u, 0x0002'B107u, 0x0062'A52Fu}) {
        REQUIRE(decode_transformed(insn));
        CHECK(*decode_transformed(insn) == *decode_instruction(insn));
    }
    // Bit 1 clear: the original was compressed.
    const auto a = decode_transformed(0x0002'A503u & ~2u);
    REQUIRE(a);
    CHECK(a->length == 2);
    CHECK(a->bytes == 4);
    CHECK_FALSE(decode_transformed(0));
    CHECK_FALSE(decode_transformed(0x3020));
}

TEST_CASE("htinst: zero, pseudo-instructions of both widths, and instructions are told apart", "[riscv64][decode][R18]") {
    CHECK(classify_htinst(0) == TrapInstruction::unknown);
    for (const std::uint64_t v : {0x2000, 0x3000}) CHECK(classify_htinst(v) == TrapInstruction::page_table_read);
    for (const std::uint64_t v : {0x2020, 0x3020}) CHECK(classify_htinst(v) == TrapInstruction::page_table_write);
    CHECK(classify_htinst(0x0002'A503) == TrapInstruction::access);
    CHECK(classify_htinst(0x1234'0000) == TrapInstruction::unknown);
}

TEST_CASE("where an access goes: base register and offset", "[riscv64][decode][R19]") {
    struct Row { std::uint32_t insn; Target expected; };
    const std::array rows{
        Row{0xFF82'B503, {5, -8}},      // ld a0, -8(t0)
        Row{0x7FF2'A503, {5, 2047}},    // lw a0, 2047(t0)
        Row{0x8002'C503, {5, -2048}},   // lbu a0, -2048(t0)
        Row{0xFEA2'BC23, {5, -8}},      // sd a0, -8(t0)
        Row{0x7EA2'8FA3, {5, 2047}},    // sb a0, 2047(t0)
        Row{0x0103'3087, {6, 16}},      // fld f1, 16(t1)
        Row{0x0013'3827, {6, 16}},      // fsd f1, 16(t1)
        Row{0x0062'A52F, {5, 0}},       // amoadd.w a0, t1, (t0)
        Row{0x5C68, {8, 124}},          // c.lw a0, 124(s0)
        Row{0x7C68, {8, 248}},          // c.ld a0, 248(s0)
        Row{0xDC68, {8, 124}},          // c.sw a0, 124(s0)
        Row{0xFC68, {8, 248}},          // c.sd a0, 248(s0)
        Row{0x4044, {8, 4}},            // c.lw s1, 4(s0)
        Row{0x2400, {8, 8}},            // c.fld f8, 8(s0)
        Row{0x557E, {2, 252}},          // c.lwsp a0, 252(sp)
        Row{0x5502, {2, 32}},           // c.lwsp a0, 32(sp)
        Row{0x757E, {2, 504}},          // c.ldsp a0, 504(sp)
        Row{0x3522, {2, 40}},           // c.fldsp f10, 40(sp)
        Row{0xDFAA, {2, 252}},          // c.swsp a0, 252(sp)
        Row{0xFFAA, {2, 504}},          // c.sdsp a0, 504(sp)
        Row{0xA0AA, {2, 64}},           // c.fsdsp f10, 64(sp)
        Row{0x8068, {8, 3}},            // c.lbu a0, 3(s0)
        Row{0x842C, {8, 2}},            // c.lhu a1, 2(s0)
        Row{0x8450, {8, 0}},            // c.lh a2, 0(s0)
        Row{0x8844, {8, 1}},            // c.sb s1, 1(s0)
        Row{0x8C24, {8, 2}},            // c.sh s1, 2(s0)
    };
    for (const auto& r : rows) {
        INFO(std::hex << r.insn);
        REQUIRE(decode_instruction(r.insn));
        CHECK(decode_target(r.insn) == r.expected);
    }
    // Every compressed one: aligned to its size (Zcb's bytes and halves, too), never negative.
    for (std::uint32_t w = 0; w < 0x1'0000; ++w) {
        if ((w & 3) == 3) continue;
        const auto a = decode_instruction(w);
        if (!a) continue;
        const auto t = decode_target(w);
        REQUIRE(t.offset >= 0);
        REQUIRE(t.offset % a->bytes == 0);
        REQUIRE(((w & 3) == 2 ? t.base == 2 : t.base >= 8 && t.base < 16));
    }
}

TEST_CASE("waits on a reservation", "[riscv64][decode]") {
    CHECK(is_wait_on_reservation(0x00D0'0073));
    CHECK(is_wait_on_reservation(0x01D0'0073));
    for (const std::uint32_t other : {wfi_instruction, 0x0000'0073u, 0x00D0'00F3u, 0x02D0'0073u}) CHECK_FALSE(is_wait_on_reservation(other));
    CHECK_FALSE(decode_csr(0x00D0'0073));
}

TEST_CASE("what a load gives its register", "[riscv64][decode]") {
    CHECK(loaded_value({1, 0, false, true}, 0xFFFF'FF80) == 0xFFFF'FFFF'FFFF'FF80);
    CHECK(loaded_value({1, 0, false, false}, 0xFFFF'FF80) == 0x80);
    CHECK(loaded_value({4, 0, false, true}, 0x1'8000'0000) == 0xFFFF'FFFF'8000'0000);
    CHECK(loaded_value({8, 0, false, true}, 0x8000'0000'0000'0000) == 0x8000'0000'0000'0000);
    CHECK(loaded_value({.bytes = 4, .fp = true}, 0x3F80'0000) == 0xFFFF'FFFF'3F80'0000);
    CHECK(loaded_value({.bytes = 2, .fp = true}, 0x3C00) == 0xFFFF'FFFF'FFFF'3C00);
}

TEST_CASE("what an atomic operation stores", "[riscv64][decode]") {
    const auto of = [](Amo op, unsigned bytes, std::uint64_t old, std::uint64_t operand) {
        return amo_result({.bytes = static_cast<std::uint8_t>(bytes), .amo = op}, old, operand);
    };
    CHECK(of(Amo::swap, 4, 1, 0xF'FFFF'FFFF) == 0xFFFF'FFFF);
    CHECK(of(Amo::add, 4, 0xFFFF'FFFF, 2) == 1);
    CHECK(of(Amo::exclusive_or, 8, 0xF0, 0xFF) == 0x0F);
    CHECK(of(Amo::bit_and, 8, 0xF0, 0x3C) == 0x30);
    CHECK(of(Amo::bit_or, 8, 0xF0, 0x0F) == 0xFF);
    CHECK(of(Amo::min, 4, 0xFFFF'FFFF, 1) == 0xFFFF'FFFF);
    CHECK(of(Amo::max, 4, 0xFFFF'FFFF, 1) == 1);
    CHECK(of(Amo::min_unsigned, 4, 0xFFFF'FFFF, 1) == 1);
    CHECK(of(Amo::max_unsigned, 4, 0xFFFF'FFFF, 1) == 0xFFFF'FFFF);
    CHECK(of(Amo::min, 8, 5, ~std::uint64_t{0}) == ~std::uint64_t{0});
}

TEST_CASE("CSR instructions: what is read, what is written", "[riscv64][decode]") {
    auto a = decode_csr(0xC000'2573);  // csrr a0, cycle = csrrs a0, cycle, x0
    REQUIRE(a);
    CHECK(a->csr == 0xC00);
    CHECK(a->rd == 10);
    CHECK(a->reads);
    CHECK_FALSE(a->writes);
    a = decode_csr(0x1055'1073);       // csrw stvec, a0
    REQUIRE(a);
    CHECK_FALSE(a->reads);
    CHECK(a->writes);
    CHECK(a->source == 10);
    a = decode_csr(0x1001'7073);       // csrci sstatus, 2
    REQUIRE(a);
    CHECK(a->immediate);
    CHECK(a->op == CsrAccess::Op::clear);
    CHECK_FALSE(decode_csr(0x0000'0073));
    CHECK_FALSE(decode_csr(0x6000'4073));  // hlv.b
    CHECK(instruction_length(0x4501) == 2);
    CHECK(instruction_length(0x0000'0013) == 4);
    CHECK(instruction_length(0x0000'001F) == 0);
}

TEST_CASE("every atomic operation has its name, LR, SC and wider ones have none", "[riscv64][decode]") {
    const std::array<std::pair<std::uint32_t, Amo>, 9> known{{{0x01, Amo::swap}, {0x00, Amo::add}, {0x04, Amo::exclusive_or}, {0x0C, Amo::bit_and}, {0x08, Amo::bit_or},
                                                              {0x10, Amo::min}, {0x14, Amo::max}, {0x18, Amo::min_unsigned}, {0x1C, Amo::max_unsigned}}};
    for (std::uint32_t op = 0; op < 32; ++op) {
        const auto a = decode_instruction(op << 27 | 6 << 20 | 5 << 15 | 2 << 12 | 10 << 7 | 0x2F);
        const auto at = std::ranges::find(known, op, &std::pair<std::uint32_t, Amo>::first);
        REQUIRE(a.has_value() == (at != known.end()));
        if (a) CHECK(a->amo == at->second);
    }
    CHECK_FALSE(decode_instruction(6 << 20 | 5 << 15 | 4 << 12 | 10 << 7 | 0x2F));  // 128 bits
    CHECK(amo_result({.bytes = 4}, 1, 2) == 0);
}
