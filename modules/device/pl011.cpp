module axvcpu.device.pl011;
import std;

namespace axvcpu::device {

namespace {
constexpr std::uint32_t enable = 1 << 0, transmit_enable = 1 << 8, receive_enable = 1 << 9;
constexpr std::array<std::uint8_t, 8> ids{0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1};  // UARTPeriphID0-3 (r1p5), UARTPCellID0-3
}  // namespace

auto Pl011::receive_level() const noexcept -> unsigned {
    if (fifo_depth() == 1) return 1;
    constexpr std::array<std::uint8_t, 8> level{4, 8, 16, 24, 28, 28, 28, 28};  // UARTIFLS.RXIFLSEL: 1/8 to 7/8
    return level[levels_ >> 3 & 7];
}

void Pl011::update_receive() noexcept {
    flags_ = 0x80 | (count_ == 0 ? 0x10 : 0) | (count_ >= fifo_depth() ? 0x40 : 0);  // TXFE, RXFE, RXFF
    if (count_ >= receive_level()) raw_ |= receive_ready; else raw_ &= ~receive_ready;
    // The timeout stands for "bytes wait and no more come"; here none is ever on its way.
    if (count_ != 0) raw_ |= receive_timeout; else raw_ &= ~receive_timeout;
    update_line();
}

auto Pl011::receive(std::uint8_t byte) noexcept -> bool {
    if ((control_ & (enable | receive_enable)) != (enable | receive_enable)) return false;
    if (count_ >= fifo_depth()) {
        error_ |= 8;
        raw_ |= overrun;
        update_line();
        return false;
    }
    fifo_[(head_ + count_++) % fifo_.size()] = byte;
    update_receive();
    return true;
}

auto Pl011::read_register(std::uint64_t offset) noexcept -> std::uint32_t {
    switch (offset) {
        case data: return take_byte();
        case receive_status: return error_;
        case flags: return flags_;
        case low_power: return low_power_;
        case integer_divisor: return integer_divisor_;
        case fraction_divisor: return fraction_divisor_;
        case line_control: return line_control_;
        case control: return control_;
        case fifo_levels: return levels_;
        case interrupt_mask: return mask_;
        case raw_status: return raw_;
        case masked_status: return raw_ & mask_;
        case dma_control: return dma_;
        default: return identify(offset);
    }
}

auto Pl011::take_byte() noexcept -> std::uint32_t {
    if (count_ == 0) return 0;
    const std::uint32_t byte = fifo_[head_];
    head_ = static_cast<std::uint8_t>((head_ + 1) % fifo_.size());
    --count_;
    update_receive();
    return byte;
}

auto Pl011::identify(std::uint64_t offset) const noexcept -> std::uint32_t {
    return offset >= identification && offset < size ? ids[(offset - identification) / 4] : 0;
}

void Pl011::write(std::uint64_t offset, unsigned, std::uint64_t v) noexcept {
    const auto value = static_cast<std::uint32_t>(v);
    switch (offset) {
        case data:
            if ((control_ & (enable | transmit_enable)) == (enable | transmit_enable)) transmit_(self_, static_cast<std::uint8_t>(value));
            raw_ |= transmit_ready;  // the FIFO is empty again already
            update_line();
            break;
        case receive_status: error_ = 0; break;
        case low_power: low_power_ = value & 0xFF; break;
        case integer_divisor: integer_divisor_ = value & 0xFFFF; break;
        case fraction_divisor: fraction_divisor_ = value & 0x3F; break;
        case line_control:
            if (((line_control_ ^ value) & 0x10) != 0) count_ = head_ = 0;  // FEN changes: the FIFO is flushed
            line_control_ = value & 0xFF;
            update_receive();
            break;
        case control: control_ = value & 0xFF87; break;
        case fifo_levels:
            levels_ = value & 0x3F;
            update_receive();
            break;
        case interrupt_mask:
            mask_ = value & 0x7FF;
            update_line();
            break;
        case interrupt_clear:
            raw_ &= ~(value & 0x7FF);
            if ((value & receive_ready) == 0) update_receive();
            update_line();
            break;
        case dma_control: dma_ = value & 7; break;
        default: break;
    }
}

}  // namespace axvcpu::device
