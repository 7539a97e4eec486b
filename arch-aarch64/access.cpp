module axvcpu.aarch64;
import std;

namespace axvcpu::aarch64 {

namespace {
template <unsigned N> auto read_one() noexcept -> std::uint64_t {
    constexpr Sysreg r = registers[index<"ICH_LR0_EL2">].encoding;
    std::uint64_t value;
    asm volatile("mrs %0, S%c1_%c2_C%c3_C%c4_%c5" : "=r"(value) : "i"(r.op0), "i"(r.op1), "i"(r.crn), "i"(r.crm + N / 8), "i"(N % 8));
    return value;
}
template <unsigned N> void write_one(std::uint64_t value) noexcept {
    constexpr Sysreg r = registers[index<"ICH_LR0_EL2">].encoding;
    asm volatile("msr S%c1_%c2_C%c3_C%c4_%c5, %0" :: "r"(value), "i"(r.op0), "i"(r.op1), "i"(r.crn), "i"(r.crm + N / 8), "i"(N % 8));
}
}  // namespace

auto read_other_list_register(unsigned n) noexcept -> std::uint64_t {
    switch (n) {
        case 1: return read_one<1>(); case 2: return read_one<2>(); case 3: return read_one<3>();
        case 4: return read_one<4>(); case 5: return read_one<5>(); case 6: return read_one<6>(); case 7: return read_one<7>();
        case 8: return read_one<8>(); case 9: return read_one<9>(); case 10: return read_one<10>(); case 11: return read_one<11>();
        case 12: return read_one<12>(); case 13: return read_one<13>(); case 14: return read_one<14>(); default: return read_one<15>();
    }
}

void write_other_list_register(unsigned n, std::uint64_t v) noexcept {
    switch (n) {
        case 1: return write_one<1>(v); case 2: return write_one<2>(v); case 3: return write_one<3>(v);
        case 4: return write_one<4>(v); case 5: return write_one<5>(v); case 6: return write_one<6>(v); case 7: return write_one<7>(v);
        case 8: return write_one<8>(v); case 9: return write_one<9>(v); case 10: return write_one<10>(v); case 11: return write_one<11>(v);
        case 12: return write_one<12>(v); case 13: return write_one<13>(v); case 14: return write_one<14>(v); default: return write_one<15>(v);
    }
}

}  // namespace axvcpu::aarch64
