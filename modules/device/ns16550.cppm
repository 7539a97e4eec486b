// A 16550A UART (National Semiconductor PC16550D) with byte registers one byte apart. Bytes go out at once; bytes come in through
// the FIFO of 16. Portable; knows no hypervisor.
export module axvcpu.device.ns16550;
import std;

export namespace axvcpu::device {

/// One UART. Not synchronized: its owner serializes calls.
class Ns16550 {
public:
    static constexpr std::uint64_t size = 0x100;  ///< bytes of its register window; registers 0 to 7

    /// `transmit(self, byte)` is called for each byte that the guest sends.
    Ns16550(void* self, void (*transmit)(void*, std::uint8_t) noexcept) noexcept : self_(self), transmit_(transmit) {}

    /// `offset` below `size`. Registers are bytes; a wider access reaches the one at `offset`. Reserved places read as zero.
    [[gnu::always_inline]] inline auto read(std::uint64_t offset, unsigned) noexcept -> std::uint64_t {
        if (offset == line_status && error_ == 0) [[likely]] return status();  // every driver asks before every byte
        return read_register(offset);
    }
    void write(std::uint64_t offset, unsigned width, std::uint64_t value) noexcept;
    /// A byte for the guest. False: the FIFO is full, the byte is lost and the overrun bit set, as on the wire.
    auto receive(std::uint8_t byte) noexcept -> bool;
    /// The interrupt line (INTR), level-triggered.
    inline auto line() const noexcept -> bool { return line_; }

private:
    enum Offset : std::uint64_t { data, interrupt_enable, interrupt_id, line_control, modem_control, line_status, modem_status, scratch };
    enum : std::uint8_t { receive_enable = 1, transmit_enable = 2, line_enable = 4, divisor_latch = 0x80, overrun = 2 };
    inline auto status() const noexcept -> std::uint8_t {
        return static_cast<std::uint8_t>(0x60 | (count_ != 0 ? 1 : 0) | error_);  // THRE, TEMT, DR, OE
    }
    auto read_register(std::uint64_t offset) noexcept -> std::uint8_t;
    auto identify() noexcept -> std::uint8_t;
    auto fifo_depth() const noexcept -> unsigned { return (fifo_control_ & 1) != 0 ? 16 : 1; }
    void update_line() noexcept;

    void* self_;
    void (*transmit_)(void*, std::uint8_t) noexcept;
    std::array<std::uint8_t, 16> fifo_{};
    std::uint8_t head_ = 0, count_ = 0, error_ = 0;
    std::uint8_t enable_ = 0, line_control_ = 0, modem_control_ = 0, scratch_ = 0, fifo_control_ = 0, divisor_low_ = 0, divisor_high_ = 0;
    bool transmit_empty_ = false;  // the THRE interrupt is pending
    bool line_ = false;
};

}  // namespace axvcpu::device
