// Reports: text on the console that is ours, the end, and what is printed when the host itself faults.
module runtime;
import std;

namespace runtime {

namespace {
constinit Spinlock console;
}

void print(std::string_view text) noexcept {
    // A fault report from a CPU that holds the lock must still come out.
    for (unsigned tries = 0; tries < 100'000'000; ++tries)
        if (console.try_lock()) break;
    for (const char c : text) detail::put_report_byte(static_cast<std::uint8_t>(c));
    console.unlock();
}

void print_hex(std::uint64_t v) noexcept {
    std::array<char, 18> text{'0', 'x'};
    auto end = std::to_chars(text.data() + 2, text.data() + text.size(), v, 16).ptr;
    print({text.data(), static_cast<std::size_t>(end - text.data())});
}

void print_decimal(std::uint64_t v) noexcept {
    std::array<char, 20> text{};
    auto end = std::to_chars(text.data(), text.data() + text.size(), v).ptr;
    print({text.data(), static_cast<std::size_t>(end - text.data())});
}

void exit(int status) noexcept {
    print("\n@exit ");
    print_decimal(static_cast<unsigned>(status));
    print("\n");
    detail::power_off();
}

namespace detail {
void report_fault(std::uint64_t pc, std::uint64_t frame_pointer, std::span<const std::uint64_t> registers, char letter,
                  std::initializer_list<std::pair<std::string_view, std::uint64_t>> facts) noexcept {
    static constinit std::atomic<unsigned> dying{0};  // the CPU that reports, + 1
    if (auto none = 0u; !dying.compare_exchange_strong(none, this_cpu() + 1)) {
        if (none == this_cpu() + 1) exit(99);  // a fault in the report itself: what has been said stands
        for (;;) {}
    }
    const auto item = [](std::string_view name, std::uint64_t value) { print(name); print_hex(value); };
    print("\nhost fault on CPU ");
    print_decimal(this_cpu());
    for (const auto& [name, value] : facts) item(name, value);
    item("\n  at ", pc);
#if defined(__aarch64__) || defined(__x86_64__)
    constexpr int caller = 0, address = 1;    // of the frame record that x29 or rbp points at
#else
    constexpr int caller = -2, address = -1;  // below where s0 points
#endif
    for (auto* fp = reinterpret_cast<const std::uint64_t*>(frame_pointer); fp != nullptr && reinterpret_cast<std::uint64_t>(fp) % 8 == 0;
         fp = reinterpret_cast<const std::uint64_t*>(fp[caller])) {
        item("\n  at ", fp[address]);
        if (fp[caller] <= reinterpret_cast<std::uint64_t>(fp)) break;
    }
    for (std::size_t i = 0; i < registers.size(); ++i) {
        const std::array text{letter};
        print(i % 4 == 0 ? "\n  " : "  ");
        print({text.data(), 1});
        print_decimal(i);
        item(" ", registers[i]);
    }
    exit(99);
}
}  // namespace detail

}  // namespace runtime
