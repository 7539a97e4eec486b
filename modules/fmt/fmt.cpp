// What fmt calls where a program is wrong; formats that are compiled never do.
#include <fmt/core.h>

namespace fmt { inline namespace v10 { namespace detail {
FMT_NORETURN void assert_fail(const char*, int, const char*) { __builtin_trap(); }
FMT_NORETURN void throw_format_error(const char*) { __builtin_trap(); }
auto is_printable(uint32_t c) -> bool { return c >= 0x20 && c < 0x7F; }
}}}  // namespace fmt::v10::detail
