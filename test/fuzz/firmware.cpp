// PSCI, SMCCC and SBI: whatever the registers hold, a call is decoded into something that the specification allows.
import std;
import axvcpu.aarch64;
import axvcpu.riscv64;

namespace {

void check(bool good) { if (!good) std::abort(); }

void psci(const std::array<std::uint64_t, 8>& r) {
    using namespace axvcpu::aarch64;
    const auto c = decode_call(r[0], r[1], r[2], r[3]);
    const bool ours = is_firmware_call(r[0]);
    check(ours == (c.kind != FirmwareCall::Kind::unknown));
    const bool wide = (r[0] & 0x4000'0000) != 0;
    if (c.kind == FirmwareCall::Kind::answer) {
        const auto signed_value = static_cast<std::int64_t>(c.value);
        check((signed_value >= -9 && signed_value <= 2) || c.value == 0x1'0001);
    } else if (!wide && ours) {
        check(c.entry >> 32 == 0 && c.arg >> 32 == 0 && c.target >> 32 == 0);  // 32-bit calls look at 32 bits (A10)
    }
    const auto sgi = decode_sgi(r[4]);
    check(sgi.id < 16 && (sgi.cluster & ~std::uint64_t{0xFF'00FF'FFF0}) == 0);
    static_cast<void>(fault_of(static_cast<std::uint32_t>(r[5])));
}

void sbi(const std::array<std::uint64_t, 8>& r) {
    using namespace axvcpu::riscv64;
    const bool console = r[7] % 2 != 0;
    constexpr std::array<std::uint64_t, 8> known{eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::pmu, eid::dbcn};
    const auto extension = r[0] % 3 == 0 ? r[0] : r[0] % 3 == 1 ? known[r[0] / 3 % known.size()] : r[0] / 3 % 16;
    const auto c = decode_call({extension, r[1] % 12, {r[2], r[3], r[4], r[5], r[6]}}, {.console = console});
    const auto error = static_cast<std::int64_t>(c.error);
    check(error <= 0 && error >= -8);
    if (c.kind == SbiCall::Kind::answer && error != 0) check(c.value == 0);
    if (c.kind == SbiCall::Kind::unknown) check(extension > 15 && std::ranges::find(known, extension) == known.end());
    if (c.kind == SbiCall::Kind::reset) check(c.value <= 2);
    if (c.kind == SbiCall::Kind::hart_suspend) check(c.value == 0 || c.value == 0x8000'0000);
    using Kind = SbiCall::Kind;
    if (c.kind == Kind::console_write || c.kind == Kind::console_read || c.kind == Kind::console_byte || c.kind == Kind::console_get) check(console);
    check(!c.legacy || extension <= 15);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::array<std::uint64_t, 8> r{};
    for (; size >= sizeof r; size -= sizeof r, data += sizeof r) {
        __builtin_memcpy(r.data(), data, sizeof r);
        psci(r);
        sbi(r);
    }
    return 0;
}
