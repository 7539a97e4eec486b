// What every call of the SDK that can be refused returns.
export module axvcpu.result;
import std;

export namespace axvcpu {

/// Why a call was refused. Nothing has changed when one of these comes back.
enum class Code : std::uint8_t {
    bad_state,         ///< the object is in a state in which this call means nothing
    wrong_cpu,         ///< called on another CPU than the one the vCPU is bound to
    no_exit,           ///< nothing is outstanding that could be completed, failed or retried
    bad_value,         ///< an argument is outside its range
    misaligned,        ///< an address or size is not aligned as required
    no_stage2,         ///< the VM has no stage-2 root
    unknown_register,  ///< no register has this id, or this CPU does not have it
    read_only,         ///< the register cannot be set
    unsupported,       ///< this CPU lacks what was asked for
    too_small,         ///< the memory handed over is too small
    no_frame,          ///< the frame source gave none
    exists,            ///< something is there already (a mapping, a vCPU with this id)
    absent,            ///< nothing is there (no mapping, no such vCPU)
    not_owner,         ///< the object belongs to another VM or CPU
};

/// A refusal: what was wrong, in words and in numbers.
struct Error {
    Code code;
    const char* what;            ///< one line that names what was expected
    std::uint64_t expected = 0;  ///< as a number, where it is one (a state, a CPU, a bound)
    std::uint64_t found = 0;
    friend constexpr bool operator==(const Error& a, const Error& b) noexcept {
        return a.code == b.code && a.expected == b.expected && a.found == b.found;
    }
};

/// A value or an Error. The members have the names of std::expected, to become that when the baseline is C++23.
template <class T>
class [[nodiscard]] Result {
    using Stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;
    static_assert(std::is_trivially_copyable_v<Stored>, "results travel through memory as plain bytes");

public:
    using value_type = T;
    constexpr Result(Error e) noexcept : error_(e), ok_(false) {}
    constexpr Result(T& value) noexcept requires std::is_reference_v<T> : value_(&value), ok_(true) {}
    constexpr Result(const T& value) noexcept requires(!std::is_reference_v<T>) : value_(value), ok_(true) {}

    constexpr auto has_value() const noexcept -> bool { return ok_; }
    constexpr explicit operator bool() const noexcept { return ok_; }
    constexpr auto operator*() noexcept -> std::remove_reference_t<T>& { return ref(); }
    constexpr auto operator*() const noexcept -> const std::remove_reference_t<T>& { return ref(); }
    constexpr auto operator->() noexcept -> std::remove_reference_t<T>* { return &ref(); }
    constexpr auto operator->() const noexcept -> const std::remove_reference_t<T>* { return &ref(); }
    constexpr auto value_or(T other) const noexcept -> T requires(!std::is_reference_v<T>) { return ok_ ? value_ : other; }
    constexpr auto error() const noexcept -> const Error& { return error_; }

private:
    constexpr auto ref() noexcept -> std::remove_reference_t<T>& {
        if constexpr (std::is_reference_v<T>) return *value_; else return value_;
    }
    constexpr auto ref() const noexcept -> const std::remove_reference_t<T>& {
        if constexpr (std::is_reference_v<T>) return *value_; else return value_;
    }
    union {
        Stored value_;
        Error error_;
    };
    bool ok_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    inline constexpr Result() noexcept : error_{Code::bad_state, nullptr, 0, 0}, ok_(true) {}
    constexpr Result(Error e) noexcept : error_(e), ok_(false) {}
    constexpr auto has_value() const noexcept -> bool { return ok_; }
    constexpr explicit operator bool() const noexcept { return ok_; }
    constexpr auto error() const noexcept -> const Error& { return error_; }

private:
    Error error_;
    bool ok_;
};

}  // namespace axvcpu
