// Where the hardened C++ library reports a broken precondition.
import std;
import runtime;

namespace std { inline namespace __1 {
[[noreturn]] void __libcpp_verbose_abort(const char* format, ...) noexcept;
void __libcpp_verbose_abort(const char* format, ...) noexcept {
    runtime::print("\nlibrary assertion: ");
    runtime::print(format);
    runtime::exit(98);
}
}}
