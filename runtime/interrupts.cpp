// Who is called for an interrupt; where it comes from is the machine's part.
module runtime;
import std;

namespace runtime {

namespace {
constinit std::atomic<void (*)(unsigned)> handlers[288]{};
}

void set_handler(unsigned interrupt, void (*handler)(unsigned)) noexcept {
    if (interrupt < std::size(handlers)) handlers[interrupt].store(handler);
}

void detail::run_handler(unsigned interrupt) noexcept {
    if (interrupt >= std::size(handlers)) return;
    if (auto* h = handlers[interrupt].load()) h(interrupt);
}

}  // namespace runtime
