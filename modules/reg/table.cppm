// Register tables: one constexpr array per architecture says everything about its registers.
// Context layout, save and restore, get and set by id, dumps, snapshots and tests all derive from it.
export module axvcpu.reg;
import std;

export namespace axvcpu::reg {

/// When the SDK moves a register between the machine and a vCPU's context.
enum class Policy : std::uint8_t {
    every_entry,  ///< guest and host both use it: switched on each entry and exit
    on_bind,      ///< only guests use it: switched when another vCPU takes the CPU
    vector,       ///< moved with the floating-point and vector state
    trapped,      ///< the guest's accesses are emulated; lives in memory only
    fixed,        ///< the guest's reads are answered from the VM's feature set; has no storage
    control_block,  ///< the hardware keeps it in a block in memory, which it moves by itself; has no storage in the context
    host_owned,   ///< written by the SDK from the VM's configuration, never read back; has no storage
};
/// Whether registers of this policy take room in a vCPU's context.
constexpr auto stored(Policy p) noexcept -> bool { return p < Policy::fixed; }

/// Groups of registers in the published ids.
enum class Class : std::uint8_t { core = 1, system = 2, vector = 3 };

/// A published register id: arch:8 | class:8 | log2 bytes:8 | index:8 | encoding:32. Never reused.
struct Id {
    std::uint64_t value = 0;
    friend constexpr auto operator<=>(Id, Id) = default;
};

/// What is true of one register. `Encoding` is the architecture's way to name it in an instruction; `Encoding::packed()`
/// is its published form, `Encoding::arch` the architecture's number in an id.
template <class Encoding, class Feature>
struct Register {
    std::string_view name;  ///< as the architecture's manual spells it
    Encoding encoding;
    Policy policy;
    std::uint64_t reset = 0;                     ///< value after the vCPU is created or reset
    std::uint64_t writable = ~std::uint64_t{0};  ///< bits that `set` may change; the rest keep `reset`
    Feature feature{};                           ///< what the CPU must have; reading an absent register is undefined
    Class group = Class::system;
    std::uint8_t log2_bytes = 3;                 ///< width of one element
    std::uint16_t count = 1;                     ///< elements, where it is an array

    constexpr auto bytes() const noexcept -> std::size_t { return std::size_t{1} << log2_bytes; }
    constexpr auto id(std::uint8_t element = 0) const noexcept -> Id {
        return {std::uint64_t{Encoding::arch} << 56 | std::uint64_t{static_cast<std::uint8_t>(group)} << 48 |
                std::uint64_t{log2_bytes} << 40 | std::uint64_t{element} << 32 | encoding.packed()};
    }
};

/// A name usable as a template argument, so that a misspelt register does not compile.
template <std::size_t N>
struct Name {
    char text[N];
    consteval Name(const char (&literal)[N]) { std::ranges::copy(literal, text); }
    constexpr auto view() const -> std::string_view { return {text, N - 1}; }
};

/// Index of the register called `Wanted` in `Table`. Does not compile when there is none.
template <const auto& Table, Name Wanted>
consteval auto index() -> std::size_t {
    constexpr auto found = static_cast<std::size_t>(
        std::ranges::find(Table, Wanted.view(), [](const auto& r) { return r.name; }) - Table.begin());
    static_assert(found < Table.size(), "the table has no register of this name");
    return found;
}

/// Where each register of `Table` starts in a context, in bytes; one more element gives the size. Table order is layout order.
template <const auto& Table>
inline constexpr auto layout = [] {
    std::array<std::uint32_t, Table.size() + 1> at{};
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < Table.size(); ++i) {
        const auto width = static_cast<std::uint32_t>(Table[i].bytes());
        if (stored(Table[i].policy)) next = (next + width - 1) / width * width;
        at[i] = next;
        if (stored(Table[i].policy)) next += width * Table[i].count;
    }
    at[Table.size()] = (next + 15) / 16 * 16;
    return at;
}();

/// What code looks up of a register at run time: of those rows that have a value for each vCPU, in 40 bytes. The whole table stays in
/// the compiler.
template <class Feature>
struct Facts {
    Id first;                        ///< id of element 0
    std::uint64_t reset, writable;
    std::uint16_t row, count;
    std::uint16_t offset;            ///< of element 0 in the context, in bytes; where the context has it
    std::uint8_t log2_bytes;
    Policy policy;
    Feature feature;
};
template <const auto& Table>
inline constexpr auto facts = [] {
    constexpr auto kept = [](const auto& r) { return stored(r.policy) || r.policy == Policy::control_block; };
    std::array<Facts<decltype(Table[0].feature)>, static_cast<std::size_t>(std::ranges::count_if(Table, kept))> out{};
    std::size_t n = 0;
    for (std::size_t i = 0; i < Table.size(); ++i)
        if (const auto& r = Table[i]; kept(r)) out[n++] = {r.id(), r.reset, r.writable, static_cast<std::uint16_t>(i), r.count, static_cast<std::uint16_t>(layout<Table>[i]), r.log2_bytes, r.policy, r.feature};
    return out;
}();

/// A register found by its id: its row in the table, the element, and where its facts are.
struct Position { std::size_t row; std::uint8_t element; std::uint16_t fact; };

/// One element of a register, for snapshots. `high`: bits 127 to 64, where it has them.
struct Value {
    Id id;
    std::uint64_t low = 0, high = 0;
};

/// How many elements of `Table` a host can set: the most that a snapshot holds.
template <const auto& Table>
inline constexpr std::size_t settable = [] {
    std::size_t n = 0;
    for (const auto& f : facts<Table>) n += f.writable != 0 ? f.count : 0;
    return n;
}();

/// Calls f(id, wide) for each of them, in table order, which is the order of restoring; `wide`: it has more than 8 bytes.
template <const auto& Table, class F>
constexpr void each_settable(F f) {
    for (const auto& r : facts<Table>)
        for (std::uint32_t n = 0; r.writable != 0 && n < r.count; ++n) f(Id{r.first.value | std::uint64_t{n} << 32}, r.log2_bytes > 3);
}

/// Registers that have a value for each vCPU.
template <const auto& Table>
constexpr auto find(Id id) noexcept -> std::optional<Position> {
    constexpr auto element_mask = std::uint64_t{0xFF} << 32;
    const auto element = static_cast<std::uint8_t>(id.value >> 32);
    for (std::size_t i = 0; i < facts<Table>.size(); ++i)
        if (const auto& f = facts<Table>[i]; f.first.value == (id.value & ~element_mask) && element < f.count) return Position{f.row, element, static_cast<std::uint16_t>(i)};
    return std::nullopt;
}

/// The values of all registers of `Table` for one vCPU.
/// Touched only by the CPU on which the vCPU is bound, or by anyone while it is not bound.
template <const auto& Table>
class Context {
public:
    constexpr Context() noexcept { reset(); }

    constexpr void reset() noexcept {
        words_ = {};
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (([&] {
                if constexpr (stored(Table[I].policy) && Table[I].reset != 0)
                    for (std::size_t n = 0; n < Table[I].count; ++n) words_[layout<Table>[I] / 8 + n] = Table[I].reset;
            }()), ...);
        }(std::make_index_sequence<Table.size()>{});
    }

    template <Name Wanted>
    constexpr auto get(std::size_t element = 0) const noexcept -> std::uint64_t { return words_[word<Wanted>() + element]; }

    /// Bits outside the register's writable mask keep their reset value.
    template <Name Wanted>
    constexpr void set(std::uint64_t value, std::size_t element = 0) noexcept {
        constexpr auto i = index<Table, Wanted>();
        words_[word<Wanted>() + element] = (value & Table[i].writable) | (Table[i].reset & ~Table[i].writable);
    }

    /// The value at a position; element widths above 8 bytes take two words, `high` chooses the upper one.
    constexpr auto at(Position p, bool high = false) noexcept -> std::uint64_t& {
        const auto& f = facts<Table>[p.fact];
        return words_[(f.offset + (std::size_t{p.element} << f.log2_bytes)) / 8 + high];
    }

    /// Bytes 0 to 7, or with `high` 8 to 15, of an element; no mask applies.
    template <Name Wanted>
    constexpr auto raw(std::size_t element = 0, bool high = false) noexcept -> std::uint64_t& {
        return words_[word<Wanted>() + (element << Table[index<Table, Wanted>()].log2_bytes) / 8 + high];
    }

    /// The value of a register that is no array, by its row.
    template <std::size_t Row>
    [[gnu::always_inline]] constexpr auto row() noexcept -> std::uint64_t& { return words_[layout<Table>[Row] / 8]; }
    template <std::size_t Row>
    [[gnu::always_inline]] constexpr auto row() const noexcept -> std::uint64_t { return words_[layout<Table>[Row] / 8]; }

    /// Where assembly finds the register, in bytes from the start of the context.
    template <Name Wanted>
    static consteval auto offset() -> std::size_t { return layout<Table>[index<Table, Wanted>()]; }

    /// Calls `move.operator()<Row>(value)` for each single register with policy `P`, in table order.
    template <Policy P, class Move>
    [[gnu::always_inline]] constexpr void for_each(Move move) noexcept {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (([&] {
                if constexpr (Table[I].policy == P) move.template operator()<I>(words_[layout<Table>[I] / 8]);
            }()), ...);
        }(std::make_index_sequence<Table.size()>{});
    }

private:
    template <Name Wanted>
    static consteval auto word() -> std::size_t {
        static_assert(stored(Table[index<Table, Wanted>()].policy), "this register has no storage");
        return layout<Table>[index<Table, Wanted>()] / 8;
    }
    alignas(16) std::array<std::uint64_t, layout<Table>[Table.size()] / 8> words_{};
};

}  // namespace axvcpu::reg
