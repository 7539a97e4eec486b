// Every exception class with every fault status code, with and without a valid syndrome, against a table written from the manual.
#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.aarch64;

using namespace axvcpu::aarch64;

namespace {

/// DDI 0487, ESR_EL2, EC: what each of the 64 is to the SDK, eight to a word. C call, S secure call, A abort, R register, W wait or yield,
/// a absent, v floating point or vectors, w watchpoint, b breakpoint or step, o breakpoint instruction, '-' none of these: not from a guest, or reserved.
constexpr std::string_view classes = "aW-aaaav" "aaa-a---" "--aa--CS" "Rva--a--" "A---A---" "--------" "b-b-w---" "o---o---";

auto letter(Cause c) -> char {
    switch (c) {
        case Cause::call: return 'C';
        case Cause::secure_call: return 'S';
        case Cause::abort: return 'A';
        case Cause::register_access: return 'R';
        case Cause::wait: case Cause::yield: return 'W';
        case Cause::absent: return 'a';
        case Cause::vectors: return 'v';
        case Cause::watchpoint: return 'w';
        case Cause::breakpoint: return 'b';
        case Cause::own_breakpoint: return 'o';
        default: return '-';
    }
}

/// DDI 0487, ESR_EL2, DFSC and IFSC: a letter for each of the 64. s address size, t translation, f access flag, p permission, x external
/// (and parity or ECC), a alignment, c conflict, u unsupported, '-' reserved or none of these.
constexpr std::string_view faults =
    "ssss" "tttt" "ffff" "pppp" "x-xx" "xxxx" "x-xx" "xxxx" "-a--" "----" "-stt" "s---" "c---" "uu--" "----" "----";

auto letter(Fault f) -> char {
    switch (f) {
        case Fault::address_size: return 's';
        case Fault::translation: return 't';
        case Fault::access_flag: return 'f';
        case Fault::permission: return 'p';
        case Fault::external: return 'x';
        case Fault::alignment: return 'a';
        case Fault::tlb_conflict: return 'c';
        case Fault::unsupported: return 'u';
        default: return '-';
    }
}

/// One of each: class, status code, ISV, WnR, S1PTW, CM.
template <class F>
void each_syndrome(F f) {
    for (std::uint64_t ec = 0; ec < 64; ++ec)
        for (std::uint32_t code = 0; code < 64; ++code)
            for (unsigned flags = 0; flags < 16; ++flags) {
                const bool isv = (flags & 1) != 0, wnr = (flags & 2) != 0, walk = (flags & 4) != 0, cm = (flags & 8) != 0;
                f(Esr{ec << 26 | 1u << 25 | (isv ? 1u << 24 : 0) | (cm ? 1u << 8 : 0) | (walk ? 1u << 7 : 0) | (wnr ? 1u << 6 : 0) | code}, isv, wnr, walk, cm);
            }
}

}  // namespace

TEST_CASE("every exception class has a cause, whatever else the syndrome says", "[syndrome][A6]") {
    unsigned wrong = 0, seen = 0;
    each_syndrome([&](Esr esr, bool, bool, bool, bool) {
        ++seen;
        wrong += letter(cause_of(esr)) != classes[esr.value >> 26];
    });
    CHECK(seen == 64 * 64 * 16);
    CHECK(wrong == 0);
}

TEST_CASE("WFI and WFIT wait, WFE and WFET yield", "[syndrome]") {  // QEMU traps no WFE: no guest of the system suites shows it
    for (const std::uint64_t ti : {0, 2}) CHECK(cause_of({std::uint64_t{1} << 26 | ti}) == Cause::wait);
    for (const std::uint64_t ti : {1, 3}) CHECK(cause_of({std::uint64_t{1} << 26 | ti}) == Cause::yield);
}

TEST_CASE("every class with every fault status code, with a valid syndrome and without", "[syndrome][A1][A5]") {
    unsigned wrong = 0;
    each_syndrome([&](Esr esr, bool isv, bool wnr, bool walk, bool cm) {
        const auto code = esr.value & 0x3F, ec = esr.value >> 26;
        const auto fault = faults[code];
        const Abort abort{esr.iss()};
        wrong += letter(abort.fault()) != fault || abort.write() != wnr || abort.on_table_walk() != walk || abort.cache_maintenance() != cm;
        wrong += abort.hpfar_valid() != (walk || fault != 'p');
        if (ec != 0x20 && ec != 0x24) return;
        const bool load_or_store = ec == 0x24 && !walk && (fault == 't' || fault == 'p');
        const auto expected = !load_or_store ? Outside::fault : isv ? Outside::access : cm ? Outside::fault : Outside::instruction;
        wrong += outside(esr) != expected;
        const auto access = decode_access(esr.value);
        wrong += access.has_value() != isv || (access && access->write != wnr);
        // The short way takes what the long way would, too, and of the translation faults all but those of levels below 0.
        wrong += is_plain_access(esr.value) != (expected == Outside::access && code >= 4 && code < 8);
    });
    CHECK(wrong == 0);
}

TEST_CASE("no class but an abort from a guest's load or store is a plain access", "[syndrome]") {
    unsigned wrong = 0;
    each_syndrome([&](Esr esr, bool, bool, bool, bool) { wrong += is_plain_access(esr.value) && cause_of(esr) != Cause::abort; });
    CHECK(wrong == 0);
}

TEST_CASE("every ICC_SGI1R: range selector, routing mode, INTID, affinities, each target", "[sgi][A24]") {
    unsigned wrong = 0, seen = 0;
    const auto one = [&](std::uint64_t rs, std::uint64_t irm, std::uint64_t id, std::uint64_t aff3, std::uint64_t aff2, std::uint64_t aff1, std::uint64_t targets) {
        ++seen;
        const auto s = decode_sgi(aff3 << 48 | rs << 44 | irm << 40 | aff2 << 32 | id << 24 | aff1 << 16 | targets);
        wrong += s.cluster != (aff3 * 0x1'0000'0000 + aff2 * 0x1'0000 + aff1 * 0x100 + rs * 16) || s.targets != targets || s.id != id || s.others != (irm == 1);
    };
    for (std::uint64_t rs = 0; rs < 16; ++rs)
        for (std::uint64_t irm = 0; irm < 2; ++irm)
            for (std::uint64_t id = 0; id < 16; ++id)
                for (std::uint64_t target = 0; target < 18; ++target) {
                    const std::uint64_t targets = target == 16 ? 0 : target == 17 ? 0xFFFF : std::uint64_t{1} << target;
                    for (unsigned bit = 0; bit <= 24; ++bit) {  // each bit of the three affinities alone, and none
                        const auto a = bit == 24 ? 0u : 1u << bit;
                        one(rs, irm, id, a >> 16 & 0xFF, a >> 8 & 0xFF, a & 0xFF, targets);
                    }
                }
    for (std::uint64_t a = 0; a < 256; ++a)
        for (std::uint64_t b = 0; b < 256; ++b) one(a % 16, 0, b % 16, a, b, a ^ b, 1);
    CHECK(seen == 16 * 2 * 16 * 18 * 25 + 65'536);
    CHECK(wrong == 0);
    CHECK(decode_sgi(~std::uint64_t{0}) == decode_sgi(0x00FF'F1FF'0FFF'FFFF));  // reserved bits mean nothing
}
