// Stage-2 translation tables: guest-physical to host-physical. One walker for all formats; a format is data.
export module axvcpu.stage2;
import std;
import axvcpu.result;
import axvcpu.hal;

export namespace axvcpu {

/// What a guest may do with a page.
struct Permissions {
    bool read = true, write = true, execute = true;
    friend constexpr bool operator==(Permissions, Permissions) = default;
};
enum class MemoryType : std::uint8_t { normal, device };

/// How an architecture spells a table entry. All entries are 8 bytes, tables 4 KiB (the root may be larger).
struct Stage2Format {
    std::uint64_t address_mask;     ///< bits of an entry that hold the address, before the shift
    std::uint8_t address_shift;     ///< entry = address >> shift
    std::uint64_t present_mask;     ///< an entry is present when any of these bits is set
    std::uint64_t table;            ///< a pointer to the next table
    std::uint64_t page, block;      ///< a leaf at the last level, and above it
    std::uint64_t leaf_mask, leaf_value;  ///< above the last level, an entry is a leaf when (entry & mask) matches value != 0
    bool leaf_when_equal;           ///< leaf when (entry & leaf_mask) == leaf_value; else when it is not equal
    std::uint64_t read, write, execute, no_execute;  ///< bits set when allowed; the last one when execution is not
    std::uint64_t normal, device;   ///< memory-type bits
    std::uint8_t root_pages;        ///< a root has at least this many pages
    std::uint8_t largest_block_level;  ///< levels counted from the last one, 0: 4 KiB, 1: 2 MiB, 2: 1 GiB
};

/// A source of zeroed 4 KiB frames for tables. Called from map, unmap and protect, on the caller's CPU.
struct FrameSource {
    void* self;
    auto (*take)(void* self) noexcept -> HostPhysAddr;  ///< {0} when there is none
    void (*give)(void* self, HostPhysAddr) noexcept;
};

/// How translations are dropped. `size` 0: all of the VM.
struct TlbMaintenance {
    void* self = nullptr;
    void (*invalidate)(void* self, GuestPhysAddr from, std::uint64_t size) noexcept = nullptr;  ///< every CPU is told
    void (*wait)(void* self) noexcept = nullptr;  ///< until no CPU uses any more what it was told to drop before; nullptr: invalidate() has waited
};

/// What unmap() gives: whether it could, and the end of it. The frames are free after wait() or at this object's end, not before: with
/// `auto u = unmap(...)` call `u.wait()`. Several can be under way at a time. It ends before the VM does.
class [[nodiscard]] Unmapped {
public:
    Unmapped(Result<void> ok, const TlbMaintenance& pending) noexcept : ok_(ok), pending_(pending) {}
    Unmapped(Unmapped&& other) noexcept : ok_(other.ok_), pending_(std::exchange(other.pending_, {})) {}
    auto operator=(Unmapped&&) -> Unmapped& = delete;
    inline ~Unmapped() { wait(); }
    inline auto has_value() const noexcept -> bool { return ok_.has_value(); }
    inline explicit operator bool() const noexcept { return ok_.has_value(); }
    inline auto error() const noexcept -> const Error& { return ok_.error(); }
    /// Returns when no CPU of the VM uses the old translations, nor the SDK for one of its vCPUs. On any CPU, but not inside run().
    inline void wait() noexcept {
        if (const auto p = std::exchange(pending_, {}); p.wait != nullptr) p.wait(p.self);
    }

private:
    Result<void> ok_;
    TlbMaintenance pending_;
};

/// What a walk found.
struct Mapping {
    HostPhysAddr address;   ///< of the byte asked for
    std::uint64_t size;     ///< of the page or block that holds it, bytes
    Permissions permissions;
    MemoryType type;
};

/// The tables of one VM. map() and mark_dirty() may run on several CPUs at once, and beside the rest; of unmap, protect, log_dirty and
/// take_dirty one at a time.
/// A guest that touches a page while its entry is being replaced leaves with NestedPageFault; retry() is the right answer.
class Stage2 {
public:
    static constexpr std::uint64_t page_size = 4096;

    /// `root`: zeroed, `root_size()` bytes, aligned to its size; what the HAL says of it is asked once, here. `levels`: 3, 4 or 5.
    /// `address_bits`: size of the guest-physical space.
    Stage2(const Stage2Format& format, HostPhysAddr root, unsigned levels, unsigned address_bits, FrameSource frames,
           const HalTable& hal) noexcept
        : format_(&format), root_(root), levels_(levels), bits_(address_bits), frames_(frames), hal_(&hal), root_table_(table(root)) {}
    ~Stage2();
    Stage2(const Stage2&) = delete;
    auto operator=(const Stage2&) -> Stage2& = delete;

    /// Bytes of the root table for this many levels and address bits.
    static constexpr auto root_size(const Stage2Format& format, unsigned levels, unsigned address_bits) noexcept -> std::uint64_t {
        const unsigned covered = 12 + 9 * levels;
        return std::max(page_size * format.root_pages, page_size << (address_bits > covered ? address_bits - covered : 0));
    }

    /// Maps `size` bytes. Uses the largest blocks that fit. Errors: misaligned, bad_value (beyond the address space; no permission
    /// at all, where an entry cannot say so), exists
    /// (something is mapped there; what was mapped before it stays, be it part of a block), no_frame.
    auto map(GuestPhysAddr from, HostPhysAddr to, std::uint64_t size, Permissions, MemoryType) noexcept -> Result<void>;
    /// Removes what is mapped in the range; a hole in it is no error. The frames are free when what it gives has been waited for. Errors:
    /// misaligned, bad_value, no_frame (a block had to be split; what comes before it is removed).
    auto unmap(GuestPhysAddr from, std::uint64_t size) noexcept -> Unmapped;
    /// Gives new permissions to what is mapped in the range; in force when it returns. Same errors as unmap.
    auto protect(GuestPhysAddr from, std::uint64_t size, Permissions) noexcept -> Result<void>;
    /// What is mapped at an address. Errors: absent, bad_value.
    auto walk(GuestPhysAddr) const noexcept -> Result<Mapping>;
    /// What is allowed at an address; nothing where nothing is mapped. The part of walk() that a fault needs.
    auto allowed(GuestPhysAddr) const noexcept -> std::optional<Permissions>;

    /// Starts or restarts the dirty log: splits blocks into pages and takes the write permission away.
    auto log_dirty(GuestPhysAddr from, std::uint64_t size) noexcept -> Result<void>;
    /// Answers a write fault in a logged range: the page is writable from here on and counts as dirty. Errors: absent
    /// (its entry is just being replaced: retry()).
    auto mark_dirty(GuestPhysAddr) noexcept -> Result<void>;
    /// Calls `dirty(self, page)` for each page written since the last call, and protects it again.
    auto take_dirty(GuestPhysAddr from, std::uint64_t size, void* self, void (*dirty)(void* self, GuestPhysAddr) noexcept) noexcept
        -> Result<void>;

    inline void set_maintenance(TlbMaintenance m) noexcept { maintenance_ = m; }
    inline auto has_maintenance() const noexcept -> bool { return maintenance_.invalidate != nullptr; }
    inline auto root() const noexcept -> HostPhysAddr { return root_; }
    inline auto levels() const noexcept -> unsigned { return levels_; }
    inline auto address_bits() const noexcept -> unsigned { return bits_; }

private:
    using Entry = std::uint64_t;
    struct Place { Entry* entry; std::uint64_t level; Entry value; };  // level from the last one, which is 0; value: as it was read
    inline auto top_level() const noexcept -> std::uint64_t { return std::uint64_t{levels_} - 1; }
    auto check(GuestPhysAddr from, std::uint64_t size) const noexcept -> Result<void>;
    auto check(Permissions) const noexcept -> Result<void>;
    inline auto present(Entry e) const noexcept -> bool { return (e & format_->present_mask) != 0; }
    auto is_leaf(Entry e, std::uint64_t level) const noexcept -> bool;
    auto leaf(HostPhysAddr, std::uint64_t level, Permissions, MemoryType) const noexcept -> Entry;
    inline auto address(Entry e) const noexcept -> HostPhysAddr { return {(e & format_->address_mask) << format_->address_shift}; }
    auto permissions(Entry e) const noexcept -> Permissions;
    auto type(Entry e) const noexcept -> MemoryType;
    inline auto table(HostPhysAddr a) const noexcept -> Entry* { return static_cast<Entry*>(hal_->phys_to_virt(a)); }
    auto find(GuestPhysAddr) const noexcept -> Place;                        // the entry at which a walk ends
    auto find_at_once(GuestPhysAddr) const noexcept -> Place;
    auto place(GuestPhysAddr, std::uint64_t level) noexcept -> Result<Entry*>;  // makes the tables down to `level`
    auto split(Place) noexcept -> Result<void>;
    using Visit = void (*)(void*, Place, GuestPhysAddr) noexcept;
    auto visit_leaves(GuestPhysAddr, std::uint64_t size, bool pages_only, void* self, Visit) noexcept -> Result<void>;
    template <class F> auto each_leaf(GuestPhysAddr, std::uint64_t size, bool pages_only, F) noexcept -> Result<void>;
    void replace(Entry*, Entry next, GuestPhysAddr, std::uint64_t size) noexcept;
    void free_tables(HostPhysAddr table, std::uint64_t level, std::uint64_t entries) noexcept;

    const Stage2Format* format_;
    HostPhysAddr root_;
    unsigned levels_, bits_;
    FrameSource frames_;
    const HalTable* hal_;
    Entry* root_table_;      // every walk begins there
    TlbMaintenance maintenance_;
};

}  // namespace axvcpu
