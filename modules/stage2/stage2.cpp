module axvcpu.stage2;
import std;

namespace axvcpu {

namespace {
constexpr auto block_size(std::uint64_t level) noexcept -> std::uint64_t { return std::uint64_t{4096} << (9 * level); }
auto load(const std::uint64_t* e) noexcept -> std::uint64_t {
    return std::atomic_ref(*const_cast<std::uint64_t*>(e)).load(std::memory_order_acquire);
}
}  // namespace

Stage2::~Stage2() { free_tables(root_, top_level(), root_size(*format_, levels_, bits_) / sizeof(Entry)); }

void Stage2::free_tables(HostPhysAddr at, std::uint64_t level, std::uint64_t entries) noexcept {
    Entry* t = table(at);
    for (std::uint64_t i = 0; i < entries; ++i) {
        if (level == 0 || !present(t[i]) || is_leaf(t[i], level)) continue;
        free_tables(address(t[i]), level - 1, 512);
        frames_.give(frames_.self, address(t[i]));
        t[i] = 0;
    }
}

auto Stage2::check(GuestPhysAddr from, std::uint64_t size) const noexcept -> Result<void> {
    if ((from.value | size) % page_size != 0)
        return Error{Code::misaligned, "guest address and size must be multiples of 4096", page_size, from.value | size};
    const auto end = std::uint64_t{1} << bits_;
    if (size == 0 || from.value >= end || size > end - from.value)
        return Error{Code::bad_value, "the range must not be empty and must lie in the guest-physical space", end, from.value + size};
    return {};
}

/// Where an entry is a leaf by its permissions, one without any would be read as a pointer to a table.
auto Stage2::check(Permissions p) const noexcept -> Result<void> {
    if (format_->leaf_when_equal || p.read || p.write || p.execute) return {};
    return Error{Code::bad_value, "some permission: this format cannot say none; unmap instead"};
}

auto Stage2::is_leaf(Entry e, std::uint64_t level) const noexcept -> bool {
    if (level == 0) return true;
    return ((e & format_->leaf_mask) == format_->leaf_value) == format_->leaf_when_equal;
}

auto Stage2::leaf(HostPhysAddr a, std::uint64_t level, Permissions p, MemoryType t) const noexcept -> Entry {
    const auto& f = *format_;
    return a.value >> f.address_shift | (level == 0 ? f.page : f.block) | (p.read ? f.read : 0) | (p.write ? f.write : 0) |
           (p.execute ? f.execute : f.no_execute) | (t == MemoryType::normal ? f.normal : f.device);
}

auto Stage2::permissions(Entry e) const noexcept -> Permissions {
    const auto& f = *format_;
    const bool x = f.no_execute != 0 ? (e & f.no_execute) == 0 : (e & f.execute) == f.execute;
    return {.read = (e & f.read) == f.read, .write = (e & f.write) == f.write, .execute = x};
}

auto Stage2::type(Entry e) const noexcept -> MemoryType {
    const auto mask = format_->normal | format_->device;
    return mask != 0 && (e & mask) == format_->device ? MemoryType::device : MemoryType::normal;
}

/// Inlined into allowed(), which is part of what a fault costs; everybody else shares find().
[[gnu::always_inline]] inline auto Stage2::find_at_once(GuestPhysAddr a) const noexcept -> Place {
    auto level = top_level();
    Entry* e = root_table_ + (a.value >> (12 + 9 * level));  // the root may have more than 512
    for (;;) {
        const Entry value = load(e);
        if (!present(value) || is_leaf(value, level)) return {e, level, value};
        e = table(address(value)) + (a.value >> (12 + 9 * --level) & 511);
    }
}

[[gnu::noinline]] auto Stage2::find(GuestPhysAddr a) const noexcept -> Place { return find_at_once(a); }

/// Inlined into map(), its only user: a fault that maps a page costs what this does.
[[gnu::always_inline]] inline auto Stage2::place(GuestPhysAddr a, std::uint64_t wanted) noexcept -> Result<Entry*> {
    auto level = top_level();
    Entry* e = root_table_ + (a.value >> (12 + 9 * level));
    while (level != wanted) {
        Entry value = load(e);
        if (!present(value)) {
            const auto frame = frames_.take(frames_.self);
            if (frame.value == 0) return Error{Code::no_frame, "a frame for a stage-2 table"};
            const Entry made = frame.value >> format_->address_shift | format_->table;
            // Another CPU may put its table here first; then ours goes back. Release: the zeroes before the pointer.
            if (std::atomic_ref(*e).compare_exchange_strong(value, made, std::memory_order_acq_rel)) value = made;
            else frames_.give(frames_.self, frame);
        }
        if (is_leaf(value, level)) return Error{Code::exists, "nothing mapped in the range", 0, a.value};
        e = table(address(value)) + (a.value >> (12 + 9 * --level) & 511);
    }
    return e;
}

auto Stage2::map(GuestPhysAddr from, HostPhysAddr to, std::uint64_t size, Permissions p, MemoryType type) noexcept -> Result<void> {
    if (const auto ok = check(from, size); !ok) return ok.error();
    if (const auto ok = check(p); !ok) return ok.error();
    if (to.value % page_size != 0) return Error{Code::misaligned, "the host address must be a multiple of 4096", page_size, to.value};
    while (size != 0) {
        auto level = std::min<std::uint64_t>(format_->largest_block_level, top_level());
        while (level > 0 && ((from.value | to.value) % block_size(level) != 0 || size < block_size(level))) --level;
        for (;;) {
            const auto e = place(from, level);
            if (!e) return e.error();
            Entry none = 0;
            if (std::atomic_ref(**e).compare_exchange_strong(none, leaf(to, level, p, type), std::memory_order_release)) break;
            // Unmapping leaves tables where they are: in an empty one a block is mapped as what fits there.
            if (level == 0 || is_leaf(none, level)) return Error{Code::exists, "nothing mapped in the range", 0, from.value};
            --level;
        }
        from.value += block_size(level);
        to.value += block_size(level);
        size -= block_size(level);
    }
    return {};
}

/// Break before make: the old entry is gone from every TLB before the new one can be read.
void Stage2::replace(Entry* e, Entry next, GuestPhysAddr at, std::uint64_t size) noexcept {
    std::atomic_ref(*e).store(0, std::memory_order_release);
    if (maintenance_.invalidate != nullptr) maintenance_.invalidate(maintenance_.self, at, size);
    if (maintenance_.wait != nullptr) maintenance_.wait(maintenance_.self);
    std::atomic_ref(*e).store(next, std::memory_order_release);
}

auto Stage2::split(Place p) noexcept -> Result<void> {
    const auto frame = frames_.take(frames_.self);
    if (frame.value == 0) return Error{Code::no_frame, "a frame for a stage-2 table"};
    const Entry old = load(p.entry);
    Entry* t = table(frame);
    for (std::uint64_t i = 0; i < 512; ++i)
        t[i] = leaf(address(old) + i * block_size(p.level - 1), p.level - 1, permissions(old), type(old));
    // The size of the whole VM: at an intermediate level only a full invalidation is sure to drop everything derived from it.
    replace(p.entry, frame.value >> format_->address_shift | format_->table, {0}, 0);
    return {};
}

/// Through a pointer: one copy of this loop in the archive instead of one for each use.
[[gnu::noinline]] auto Stage2::visit_leaves(GuestPhysAddr from, std::uint64_t size, bool pages_only, void* self, Visit visit) noexcept -> Result<void> {
    if (auto ok = check(from, size); !ok) return ok;
    for (std::uint64_t done = 0; done < size;) {
        const GuestPhysAddr at = from + done;
        const Place p = find(at);
        const std::uint64_t block = block_size(p.level), start = at.value & ~(block - 1);
        const bool whole = start >= from.value && start + block <= from.value + size;
        if (present(load(p.entry))) {
            if (p.level > 0 && (!whole || pages_only)) {
                if (auto ok = split(p); !ok) return ok;
                continue;
            }
            visit(self, p, GuestPhysAddr{start});
        }
        done = start + block - from.value;
    }
    return {};
}

template <class F>
auto Stage2::each_leaf(GuestPhysAddr from, std::uint64_t size, bool pages_only, F f) noexcept -> Result<void> {
    return visit_leaves(from, size, pages_only, &f, [](void* self, Place p, GuestPhysAddr at) noexcept { (*static_cast<F*>(self))(p, at); });
}

auto Stage2::unmap(GuestPhysAddr from, std::uint64_t size) noexcept -> Unmapped {
    bool any = false;
    auto ok = each_leaf(from, size, false, [&](Place p, GuestPhysAddr) {
        std::atomic_ref(*p.entry).store(0, std::memory_order_release);
        any = true;
    });
    if (any && maintenance_.invalidate != nullptr) maintenance_.invalidate(maintenance_.self, from, size);
    return {ok, any ? maintenance_ : TlbMaintenance{}};
}

auto Stage2::protect(GuestPhysAddr from, std::uint64_t size, Permissions p) noexcept -> Result<void> {
    if (auto ok = check(p); !ok) return ok;
    return each_leaf(from, size, false, [&](Place at, GuestPhysAddr start) {
        const Entry old = load(at.entry), next = leaf(address(old), at.level, p, type(old));
        if (next != old) replace(at.entry, next, start, block_size(at.level));
    });
}

auto Stage2::walk(GuestPhysAddr a) const noexcept -> Result<Mapping> {
    if (a.value >> bits_ != 0) return Error{Code::bad_value, "an address in the guest-physical space", std::uint64_t{1} << bits_, a.value};
    const Place p = find(a);
    const Entry e = p.value;
    if (!present(e)) return Error{Code::absent, "a mapping at the address", 0, a.value};
    const std::uint64_t size = block_size(p.level);
    return Mapping{{(address(e).value & ~(size - 1)) | (a.value & (size - 1))}, size, permissions(e), type(e)};
}

auto Stage2::allowed(GuestPhysAddr a) const noexcept -> std::optional<Permissions> {
    if (a.value >> bits_ != 0) return std::nullopt;
    const auto e = find_at_once(a).value;
    if (!present(e)) return std::nullopt;
    return permissions(e);
}

auto Stage2::log_dirty(GuestPhysAddr from, std::uint64_t size) noexcept -> Result<void> {
    return each_leaf(from, size, true, [&](Place at, GuestPhysAddr start) {
        const Entry old = load(at.entry);
        auto p = permissions(old);
        p.write = false;
        const Entry next = leaf(address(old), 0, p, type(old));
        if (next != old) replace(at.entry, next, start, page_size);
    });
}

auto Stage2::mark_dirty(GuestPhysAddr a) noexcept -> Result<void> {
    if (a.value >> bits_ != 0) return Error{Code::bad_value, "an address in the guest-physical space", std::uint64_t{1} << bits_, a.value};
    const Place at = find(a);
    Entry old = load(at.entry);
    if (!present(old)) return Error{Code::absent, "a mapping at the address", 0, a.value};
    auto p = permissions(old);
    p.write = true;
    // More permission for the same page needs no break; a CPU that still holds the old entry faults once more.
    std::atomic_ref(*at.entry).compare_exchange_strong(old, leaf(address(old), at.level, p, type(old)), std::memory_order_release);
    return {};
}

auto Stage2::take_dirty(GuestPhysAddr from, std::uint64_t size, void* self, void (*dirty)(void*, GuestPhysAddr) noexcept) noexcept
    -> Result<void> {
    return each_leaf(from, size, true, [&](Place at, GuestPhysAddr start) {
        const Entry old = load(at.entry);
        auto p = permissions(old);
        if (!p.write) return;
        p.write = false;
        replace(at.entry, leaf(address(old), 0, p, type(old)), start, page_size);
        dirty(self, start);
    });
}

}  // namespace axvcpu
