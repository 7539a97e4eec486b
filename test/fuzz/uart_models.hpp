// The UARTs' register files as their manuals' tables have them, for the fuzzer of the device models to compare with.
#pragma once
import std;

namespace fuzz {

/// A PL011's registers by the manual's tables (DDI 0183, Summary of registers): what was written reads back in its field, bytes in order.
struct Pl011Model {
    std::array<std::uint32_t, 0x50 / 4> held{};
    std::deque<std::uint8_t> bytes;
    std::string out;
    bool error = false, transmitted = false;
    Pl011Model() { held[0x30 / 4] = 0x301, held[0x34 / 4] = 0x12; }
    static auto mask(std::uint64_t offset) -> std::uint32_t {
        switch (offset) {
            case 0x20: return 0xFF;
            case 0x24: return 0xFFFF;
            case 0x28: case 0x34: return 0x3F;
            case 0x2C: return 0xFF;
            case 0x30: return 0xFF87;
            case 0x38: return 0x7FF;
            case 0x48: return 7;
            default: return 0;
        }
    }
    auto depth() const -> std::size_t { return (held[0x2C / 4] & 0x10) != 0 ? 32 : 1; }
    auto level() const -> std::size_t {  // UARTIFLS: an eighth, a quarter, a half, three quarters, seven eighths
        constexpr std::array<std::size_t, 8> of{4, 8, 16, 24, 28, 28, 28, 28};
        return depth() == 1 ? 1 : of[held[0x34 / 4] >> 3 & 7];
    }
    /// A whole register; nothing: raw and masked status, whose receive bits are looked at apart.
    auto read(std::uint64_t offset) -> std::optional<std::uint32_t> {
        constexpr std::array<std::uint8_t, 8> ids{0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1};
        switch (offset) {
            case 0: {
                if (bytes.empty()) return 0;
                const auto b = bytes.front();
                bytes.pop_front();
                return b;
            }
            case 4: return error ? 8 : 0;
            case 0x18: return 0x80 | (bytes.empty() ? 0x10 : 0) | (bytes.size() == depth() ? 0x40 : 0);
            case 0x3C: case 0x40: return std::nullopt;
            default: return offset >= 0xFE0 ? ids[(offset - 0xFE0) / 4] : offset < 0x50 ? held[offset / 4] : 0;
        }
    }
    void write(std::uint64_t offset, std::uint32_t value) {
        if (offset == 0) {
            if ((held[0x30 / 4] & 0x101) == 0x101) out.push_back(static_cast<char>(value));
            transmitted = true;
        }
        if (offset == 4) error = false;
        if (offset == 0x2C && ((held[0x2C / 4] ^ value) & 0x10) != 0) bytes.clear();
        if (offset == 0x44 && (value & 0x20) != 0) transmitted = false;
        if (mask(offset) != 0) held[offset / 4] = value & mask(offset);
    }
    auto receive(std::uint8_t byte) -> bool {
        if ((held[0x30 / 4] & 0x201) != 0x201) return false;
        if (bytes.size() == depth()) return error = true, false;
        bytes.push_back(byte);
        return true;
    }
};

/// A 16550A by its data sheet's tables (PC16550D, Summary of Registers).
struct Ns16550Model {
    std::deque<std::uint8_t> bytes;
    std::string out;
    std::uint8_t enable = 0, line_control = 0, modem_control = 0, scratch = 0, low = 0, high = 0;
    bool fifos = false, overrun = false, empty = false;  // empty: the transmitter's interrupt is due
    auto depth() const -> std::size_t { return fifos ? 16 : 1; }
    auto latch() const -> bool { return (line_control & 0x80) != 0; }
    auto cause() const -> unsigned {  // by urgency
        return (enable & 4) != 0 && overrun ? 6 : (enable & 1) != 0 && !bytes.empty() ? 4 : (enable & 2) != 0 && empty ? 2 : 1;
    }
    auto read(std::uint64_t offset) -> std::uint8_t {
        switch (offset) {
            case 0: {
                if (latch()) return low;
                if (bytes.empty()) return 0;
                const auto b = bytes.front();
                bytes.pop_front();
                return b;
            }
            case 1: return latch() ? high : enable;
            case 2: {
                const auto c = cause();
                if (c == 2) empty = false;
                return static_cast<std::uint8_t>(c | (fifos ? 0xC0 : 0));
            }
            case 3: return line_control;
            case 4: return modem_control;
            case 5: return static_cast<std::uint8_t>(0x60 | (bytes.empty() ? 0 : 1) | (std::exchange(overrun, false) ? 2 : 0));
            case 6: return 0xB0;
            case 7: return scratch;
            default: return 0;
        }
    }
    void write(std::uint64_t offset, std::uint8_t value) {
        switch (offset) {
            case 0:
                if (latch()) { low = value; break; }
                if ((modem_control & 0x10) != 0) receive(value); else out.push_back(static_cast<char>(value));
                empty = true;
                break;
            case 1:
                if (latch()) { high = value; break; }
                if ((value & 2) != 0 && (enable & 2) == 0) empty = true;
                enable = value & 0xF;
                break;
            case 2:
                if ((value & 1) != fifos || (value & 2) != 0) bytes.clear();
                fifos = (value & 1) != 0;
                break;
            case 3: line_control = value; break;
            case 4: modem_control = value & 0x1F; break;
            case 7: scratch = value; break;
            default: break;
        }
    }
    auto receive(std::uint8_t byte) -> bool {
        if (bytes.size() == depth()) return overrun = true, false;
        bytes.push_back(byte);
        return true;
    }
};

}  // namespace fuzz
