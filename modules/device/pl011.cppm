// A PL011 UART (DDI 0183). Bytes go out at once; bytes come in through a FIFO of 32. Portable; knows no hypervisor.
export module axvcpu.device.pl011;
import std;

export namespace axvcpu::device {

/// One UART. Not synchronized: its owner serializes calls.
class Pl011 {
public:
    static constexpr std::uint64_t size = 0x1000;  ///< bytes of its register window

    /// `transmit(self, byte)` is called for each byte that the guest sends.
    Pl011(void* self, void (*transmit)(void*, std::uint8_t) noexcept) noexcept : self_(self), transmit_(transmit) {}

    /// `offset` below `size`, `width` 1, 2, 4 or 8. Registers are 32 bits; reserved places read as zero and ignore writes.
    [[gnu::always_inline]] inline auto read(std::uint64_t offset, unsigned width) noexcept -> std::uint64_t {
        if (offset == flags) [[likely]] return flags_;  // every driver asks before every byte
        const std::uint64_t value = read_register(offset & 0xFFC) >> 8 * (offset & 3);
        return width >= 4 ? value : value & ((1u << 8 * width) - 1);
    }
    void write(std::uint64_t offset, unsigned width, std::uint64_t value) noexcept;
    /// A byte for the guest. False: the FIFO is full, the byte is lost and the overrun bit set, as on the wire.
    auto receive(std::uint8_t byte) noexcept -> bool;
    /// The interrupt line (UARTINTR), level-triggered.
    inline auto line() const noexcept -> bool { return line_; }

private:
    enum Offset : std::uint64_t {
        data = 0x000, receive_status = 0x004, flags = 0x018, low_power = 0x020, integer_divisor = 0x024, fraction_divisor = 0x028,
        line_control = 0x02C, control = 0x030, fifo_levels = 0x034, interrupt_mask = 0x038, raw_status = 0x03C, masked_status = 0x040,
        interrupt_clear = 0x044, dma_control = 0x048, identification = 0xFE0,
    };
    auto read_register(std::uint64_t offset) noexcept -> std::uint32_t;
    auto take_byte() noexcept -> std::uint32_t;
    auto identify(std::uint64_t offset) const noexcept -> std::uint32_t;
    enum Interrupt : std::uint32_t { receive_ready = 1 << 4, transmit_ready = 1 << 5, receive_timeout = 1 << 6, overrun = 1 << 10 };
    inline auto fifo_depth() const noexcept -> unsigned { return (line_control_ & 0x10) != 0 ? 32 : 1; }
    auto receive_level() const noexcept -> unsigned;
    void update_receive() noexcept;
    inline void update_line() noexcept { line_ = (raw_ & mask_) != 0; }

    void* self_;
    void (*transmit_)(void*, std::uint8_t) noexcept;
    std::array<std::uint8_t, 32> fifo_{};
    std::uint8_t head_ = 0, count_ = 0;
    std::uint32_t raw_ = 0, mask_ = 0, error_ = 0;
    std::uint32_t flags_ = 0x90;  // TXFE, RXFE
    bool line_ = false;           // of raw_ and mask_
    // On, as firmware leaves it: early consoles write without looking.
    std::uint32_t control_ = 0x301, line_control_ = 0, integer_divisor_ = 0, fraction_divisor_ = 0, levels_ = 0x12, dma_ = 0, low_power_ = 0;
};

}  // namespace axvcpu::device
