module axvcpu.device.ns16550;
import std;

namespace axvcpu::device {

void Ns16550::update_line() noexcept {
    line_ = ((enable_ & receive_enable) != 0 && count_ != 0) || ((enable_ & transmit_enable) != 0 && transmit_empty_) || ((enable_ & line_enable) != 0 && error_ != 0);
}

/// IIR: the most urgent cause; reading it takes the transmitter's away.
auto Ns16550::identify() noexcept -> std::uint8_t {
    const std::uint8_t fifos = (fifo_control_ & 1) != 0 ? 0xC0 : 0;
    if ((enable_ & line_enable) != 0 && error_ != 0) return fifos | 6;
    if ((enable_ & receive_enable) != 0 && count_ != 0) return fifos | 4;
    if ((enable_ & transmit_enable) != 0 && transmit_empty_) {
        transmit_empty_ = false;
        update_line();
        return fifos | 2;
    }
    return fifos | 1;
}

auto Ns16550::read_register(std::uint64_t offset) noexcept -> std::uint8_t {
    const bool divisor = (line_control_ & divisor_latch) != 0;
    switch (offset) {
        case data: {
            if (divisor) return divisor_low_;
            if (count_ == 0) return 0;
            const auto byte = fifo_[head_];
            head_ = static_cast<std::uint8_t>((head_ + 1) % fifo_.size());
            --count_;
            update_line();
            return byte;
        }
        case interrupt_enable: return divisor ? divisor_high_ : enable_;
        case interrupt_id: return identify();
        case line_control: return line_control_;
        case modem_control: return modem_control_;
        case line_status: {  // reading it takes the error away, and its interrupt
            const auto value = status();
            error_ = 0;
            update_line();
            return value;
        }
        case modem_status: return 0xB0;  // DCD, DSR, CTS: somebody is always there
        case scratch: return scratch_;
        default: return 0;
    }
}

void Ns16550::write(std::uint64_t offset, unsigned, std::uint64_t v) noexcept {
    const auto value = static_cast<std::uint8_t>(v);
    const bool divisor = (line_control_ & divisor_latch) != 0;
    switch (offset) {
        case data:
            if (divisor) {
                divisor_low_ = value;
                break;
            }
            if ((modem_control_ & 0x10) != 0) static_cast<void>(receive(value));  // loopback
            else transmit_(self_, value);
            transmit_empty_ = true;  // the FIFO is empty again already
            break;
        case interrupt_enable:
            if (divisor) {
                divisor_high_ = value;
                break;
            }
            if ((value & ~enable_ & transmit_enable) != 0) transmit_empty_ = true;
            enable_ = value & 0xF;
            break;
        case interrupt_id:  // FCR
            if (((fifo_control_ ^ value) & 1) != 0 || (value & 2) != 0) head_ = count_ = 0;
            fifo_control_ = value & 0xC9;
            break;
        case line_control: line_control_ = value; break;
        case modem_control: modem_control_ = value & 0x1F; break;
        case scratch: scratch_ = value; break;
        default: break;
    }
    update_line();
}

auto Ns16550::receive(std::uint8_t byte) noexcept -> bool {
    if (count_ >= fifo_depth()) {
        error_ |= overrun;
        update_line();
        return false;
    }
    fifo_[(head_ + count_++) % fifo_.size()] = byte;
    update_line();
    return true;
}

}  // namespace axvcpu::device
