#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
import std;
import axvcpu;
import axvcpu.aarch64;
import axvcpu.riscv64;

using namespace axvcpu;

namespace {

/// Physical memory of the test: frames from an arena, so that addresses translate by an offset.
struct Arena {
    static constexpr std::size_t size = 4096 * 608;
    static inline unsigned char* memory = static_cast<unsigned char*>(std::aligned_alloc(65536, size));
    static inline std::size_t used = 0, live = 0;
    static void reset() { used = live = 0; std::memset(memory, 0, size); }
};
struct TestHal {
    static auto virt_to_phys(const void* p) noexcept -> HostPhysAddr { return {static_cast<std::uint64_t>(static_cast<const unsigned char*>(p) - Arena::memory) + 0x10'0000}; }
    static auto phys_to_virt(HostPhysAddr a) noexcept -> void* { return Arena::memory + (a.value - 0x10'0000); }
    static auto this_cpu() noexcept -> CpuId { return {}; }
    static void kick(CpuId) noexcept {}
};
auto take(void* limit) noexcept -> HostPhysAddr {
    if (limit != nullptr && Arena::used / 4096 >= *static_cast<std::size_t*>(limit)) return {};
    auto* p = Arena::memory + Arena::used;
    Arena::used += 4096;
    ++Arena::live;
    return TestHal::virt_to_phys(p);
}
void give(void*, HostPhysAddr) noexcept { --Arena::live; }

struct Tables {
    unsigned levels, bits;
    HostPhysAddr root;
    Stage2 s;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> flushed;
    unsigned waits = 0;
    Tables(unsigned l, unsigned b, std::size_t* limit = nullptr, const Stage2Format& format = aarch64::stage2_format)
        : levels(l), bits(b), root(make_root(format, l, b)), s(format, root, l, b, {limit, take, give}, hal_table<TestHal>) {
        s.set_maintenance({this, [](void* self, GuestPhysAddr a, std::uint64_t n) noexcept { static_cast<Tables*>(self)->flushed.emplace_back(a.value, n); },
                           [](void* self) noexcept { ++static_cast<Tables*>(self)->waits; }});
    }
    static auto make_root(const Stage2Format& format, unsigned l, unsigned b) -> HostPhysAddr {
        Arena::reset();
        const auto size = Stage2::root_size(format, l, b);
        Arena::used = size;
        return TestHal::virt_to_phys(Arena::memory);
    }
};
constexpr std::uint64_t mib2 = 0x20'0000;

}  // namespace

TEST_CASE("what is mapped is found, with its size, permissions and type", "[stage2]") {
    const auto [levels, bits] = GENERATE(std::pair{3u, 39u}, std::pair{3u, 40u}, std::pair{4u, 48u});
    Tables t(levels, bits);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2 + 4096, {.write = false}, MemoryType::normal));
    REQUIRE(t.s.map({0x0900'0000}, {0x0900'0000}, 4096, {.execute = false}, MemoryType::device));
    const auto block = t.s.walk({0x4012'3456});
    REQUIRE(block);
    CHECK(block->address.value == 0x8012'3456);
    CHECK(block->size == mib2);
    CHECK(block->permissions == Permissions{.write = false});
    const auto page = t.s.walk({0x4020'0FFF});
    REQUIRE(page);
    CHECK(page->size == 4096);
    const auto device = t.s.walk({0x0900'0000});
    REQUIRE(device);
    CHECK(device->type == MemoryType::device);
    CHECK_FALSE(device->permissions.execute);
    CHECK(t.s.walk({0x4020'1000}).error().code == Code::absent);
    CHECK(t.s.allowed({0x4012'3456}) == Permissions{.write = false});
    CHECK(t.s.allowed({0x0900'0000}) == Permissions{.execute = false});
    CHECK_FALSE(t.s.allowed({0x4020'1000}));
    CHECK_FALSE(t.s.allowed({std::uint64_t{1} << bits}));
}

TEST_CASE("a descriptor is what DDI 0487 says", "[stage2]") {
    Tables t(3, 39);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal));
    const auto* l1 = static_cast<std::uint64_t*>(TestHal::phys_to_virt(t.root));
    CHECK((l1[1] & 3) == 3);  // a table
    const auto* l2 = static_cast<std::uint64_t*>(TestHal::phys_to_virt({l1[1] & 0xFFFF'FFFF'F000}));
    CHECK(l2[0] == (0x8000'0000 | 1 | 0xF << 2 | 3 << 6 | 3 << 8 | 1 << 10));
}

TEST_CASE("bad arguments are refused and change nothing", "[stage2]") {
    Tables t(3, 39);
    CHECK(t.s.map({0x4000'0800}, {0}, 4096, {}, MemoryType::normal).error().code == Code::misaligned);
    CHECK(t.s.map({0x4000'0000}, {0x800}, 4096, {}, MemoryType::normal).error().code == Code::misaligned);
    CHECK(t.s.map({0x4000'0000}, {0}, 0, {}, MemoryType::normal).error().code == Code::bad_value);
    CHECK(t.s.map({std::uint64_t{1} << 39}, {0}, 4096, {}, MemoryType::normal).error().code == Code::bad_value);
    CHECK(t.s.map({(std::uint64_t{1} << 39) - 4096}, {0}, 8192, {}, MemoryType::normal).error().code == Code::bad_value);
    CHECK(t.s.map({~std::uint64_t{0xFFF}}, {0}, 8192, {}, MemoryType::normal).error().code == Code::bad_value);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, 4096, {}, MemoryType::normal));
    CHECK(t.s.map({0x4000'0000}, {0x9000'0000}, 4096, {}, MemoryType::normal).error().code == Code::exists);
    CHECK(t.s.walk({0x4000'0000})->address.value == 0x8000'0000);
    CHECK(t.s.walk({std::uint64_t{1} << 40}).error().code == Code::bad_value);
}

TEST_CASE("a block that has been split and unmapped is mapped again, in the tables that are there", "[stage2]") {
    Tables t(3, 39);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal));
    REQUIRE(t.s.protect({0x4000'1000}, 4096, {.write = false}));
    REQUIRE(t.s.unmap({0x4000'0000}, mib2));
    const auto frames = Arena::live;
    REQUIRE(t.s.map({0x4000'0000}, {0xA000'0000}, 2 * mib2, {}, MemoryType::normal));
    CHECK(Arena::live == frames);
    CHECK(t.s.walk({0x401F'F000})->address.value == 0xA01F'F000);
    CHECK(t.s.walk({0x401F'F000})->size == 4096);
    CHECK(t.s.walk({0x4020'0000})->size == mib2);
    CHECK(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal).error().code == Code::exists);
}

TEST_CASE("no frame for a table is an error, not a crash", "[stage2]") {
    std::size_t limit = 2;  // the root and one more
    Tables t(3, 39, &limit);
    CHECK(t.s.map({0x4000'0000}, {0x8000'0000}, 4096, {}, MemoryType::normal).error().code == Code::no_frame);
}

TEST_CASE("unmapping part of a block splits it, drops the translations, and leaves the rest", "[stage2]") {
    Tables t(3, 39);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal));
    REQUIRE(t.s.unmap({0x4000'1000}, 4096));
    CHECK_FALSE(t.s.walk({0x4000'1000}));
    CHECK(t.s.walk({0x4000'0000})->address.value == 0x8000'0000);
    CHECK(t.s.walk({0x401F'F000})->address.value == 0x801F'F000);
    CHECK(t.waits == 2);
    REQUIRE(t.flushed.size() == 2);
    CHECK(t.flushed[0].second == 0);  // the split: everything
    CHECK(t.flushed[1] == std::pair<std::uint64_t, std::uint64_t>{0x4000'1000, 4096});
    CHECK(t.s.unmap({0x4000'1000}, 4096));  // a hole is no error
    CHECK(t.flushed.size() == 2);           // and costs nothing
}

TEST_CASE("what unmapping gives is waited for once, when it is asked or at its end, and several are under way at a time", "[stage2]") {
    Tables t(3, 39);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, 4 * 4096, {}, MemoryType::normal));
    {
        auto first = t.s.unmap({0x4000'0000}, 4096);
        auto second = t.s.unmap({0x4000'1000}, 4096);
        REQUIRE(first);
        REQUIRE(second);
        CHECK(t.flushed.size() == 2);
        CHECK(t.waits == 0);
        first.wait();
        CHECK(t.waits == 1);
        first.wait();
        CHECK(t.waits == 1);
        auto moved = std::move(second);
        second.wait();
        CHECK(t.waits == 1);
    }
    CHECK(t.waits == 2);
    {
        const auto nothing = t.s.unmap({0x4000'0000}, 4096);
        CHECK(nothing);
        const auto wrong = t.s.unmap({0x4000'0001}, 4096);
        CHECK(wrong.error().code == Code::misaligned);
    }
    CHECK(t.waits == 2);
    REQUIRE(t.s.protect({0x4000'2000}, 4096, {.write = false}));  // in force when it returns
    CHECK(t.waits == 3);
}

TEST_CASE("the dirty log names the pages that were written, once", "[stage2]") {
    Tables t(3, 39);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal));
    REQUIRE(t.s.log_dirty({0x4000'0000}, mib2));
    CHECK_FALSE(t.s.walk({0x4000'3000})->permissions.write);
    REQUIRE(t.s.mark_dirty({0x4000'3ABC}));
    CHECK(t.s.walk({0x4000'3000})->permissions.write);
    std::vector<std::uint64_t> pages;
    const auto collect = [](void* self, GuestPhysAddr a) noexcept { static_cast<std::vector<std::uint64_t>*>(self)->push_back(a.value); };
    REQUIRE(t.s.take_dirty({0x4000'0000}, mib2, &pages, collect));
    CHECK(pages == std::vector<std::uint64_t>{0x4000'3000});
    pages.clear();
    REQUIRE(t.s.take_dirty({0x4000'0000}, mib2, &pages, collect));
    CHECK(pages.empty());
}

TEST_CASE("tables agree with a map of pages, whatever is done to them", "[stage2]") {
    std::size_t left = 0;
    {
        Tables t(3, 39);
        std::map<std::uint64_t, std::uint64_t> model;
        std::mt19937_64 random(3);
        for (int i = 0; i < 3000; ++i) {
            const std::uint64_t from = 0x4000'0000 + random() % 1024 * 4096, size = (1 + random() % (i % 7 == 0 ? 600 : 8)) * 4096;
            const std::uint64_t to = 0x8000'0000 + (from - 0x4000'0000);
            bool empty = true;
            for (auto a = from; a < from + size; a += 4096) empty &= !model.contains(a);
            if (random() % 2 == 0 && empty) {
                REQUIRE(t.s.map({from}, {to}, size, {}, MemoryType::normal));
                for (auto a = from; a < from + size; a += 4096) model[a] = to + (a - from);
            } else {
                REQUIRE(t.s.unmap({from}, size));
                for (auto a = from; a < from + size; a += 4096) model.erase(a);
            }
        }
        for (std::uint64_t a = 0x4000'0000; a < 0x4000'0000 + 1700 * 4096; a += 4096) {
            const auto m = t.s.walk({a});
            REQUIRE(m.has_value() == model.contains(a));
            if (m) REQUIRE(m->address.value == model[a]);
        }
        left = Arena::live;
        CHECK(left > 0);
    }
    CHECK(Arena::live == 0);  // every table was given back
}

TEST_CASE("no address beyond the guest-physical space is followed", "[stage2]") {
    Tables t(3, 39);
    for (const std::uint64_t a : {std::uint64_t{1} << 39, std::uint64_t{1} << 47, ~std::uint64_t{0}}) {
        CHECK(t.s.mark_dirty({a}).error().code == Code::bad_value);
        CHECK(t.s.walk({a}).error().code == Code::bad_value);
    }
}

TEST_CASE("no table is wider than the machine's physical addresses", "[stage2][A25]") {
    using aarch64::stage2_shape_ok;
    CHECK(aarch64::physical_bits(5) == 48);
    CHECK(aarch64::physical_bits(6) == 48);  // 52 bits need other descriptors
    CHECK(aarch64::physical_bits(0) == 32);
    CHECK(stage2_shape_ok(3, 39, 44));
    CHECK(stage2_shape_ok(4, 44, 44));
    CHECK_FALSE(stage2_shape_ok(4, 48, 44));
    CHECK_FALSE(stage2_shape_ok(3, 39, 36));
    CHECK_FALSE(stage2_shape_ok(3, 44, 48));
    CHECK_FALSE(stage2_shape_ok(5, 48, 48));
    CHECK((aarch64::vtcr(4, 48, 6, 16) >> 16 & 7) == 5);  // PS is capped
    CHECK((aarch64::vtcr(3, 39, 4, 8) & 0x3F) == 25);     // T0SZ
}

TEST_CASE("every format does the same: AArch64, Sv39x4, Sv48x4, Sv57x4", "[stage2][R17]") {
    const auto which = GENERATE(0, 1, 2, 3);
    const auto& format = which == 0 ? aarch64::stage2_format : riscv64::stage2_format;
    const unsigned levels = which == 0 ? 3 : 2 + static_cast<unsigned>(which);
    const unsigned bits = which == 0 ? 39 : riscv64::guest_address_bits(levels);
    Tables t(levels, bits, nullptr, format);
    CHECK(t.s.levels() == levels);
    CHECK(t.s.address_bits() == bits);
    CHECK(t.s.root().value == t.root.value);
    REQUIRE(t.s.map({0x8000'0000}, {0x1'0000'0000}, 2 * mib2, {}, MemoryType::normal));
    REQUIRE(t.s.map({(std::uint64_t{1} << bits) - 4096}, {0x5000}, 4096, {.write = false}, MemoryType::normal));
    CHECK(t.s.walk({(std::uint64_t{1} << bits) - 1})->address.value == 0x5FFF);
    CHECK(t.s.walk({0x8000'1234})->address.value == 0x1'0000'1234);
    CHECK(t.s.walk({0x8000'1234})->size == mib2);
    // A page of the block: the block is split, the rest stays what it was.
    REQUIRE(t.s.protect({0x8000'1000}, 4096, {.write = false, .execute = false}));
    CHECK(t.s.walk({0x8000'1000})->permissions == Permissions{.write = false, .execute = false});
    CHECK(t.s.walk({0x8000'1000})->size == 4096);
    CHECK(t.s.walk({0x8000'2000})->permissions == Permissions{});
    CHECK_FALSE(t.flushed.empty());
    REQUIRE(t.s.protect({0x8000'0000}, 2 * mib2, {}));
    CHECK(t.s.walk({0x8000'1000})->permissions == Permissions{});
    t.flushed.clear();
    REQUIRE(t.s.unmap({0x8000'1000}, 4096));
    CHECK(t.flushed.size() == 1);
    CHECK(t.s.walk({0x8000'1000}).error().code == Code::absent);
    CHECK(t.s.walk({0x8000'0000}));
}

TEST_CASE("no permission at all is refused where an entry cannot say it", "[stage2]") {
    constexpr Permissions none{.read = false, .write = false, .execute = false};
    Tables ours(3, 41, nullptr, riscv64::stage2_format);
    CHECK(ours.s.map({0x1000}, {0x1000}, 4096, none, MemoryType::normal).error().code == Code::bad_value);
    REQUIRE(ours.s.map({0}, {0}, mib2, {}, MemoryType::normal));
    CHECK(ours.s.protect({0}, mib2, none).error().code == Code::bad_value);
    CHECK(ours.s.walk({0})->permissions == Permissions{});
    Tables theirs(3, 39);
    REQUIRE(theirs.s.map({0}, {0}, mib2, {}, MemoryType::normal));
    REQUIRE(theirs.s.protect({0}, mib2, none));
    CHECK(theirs.s.walk({0})->permissions == none);
}

TEST_CASE("hgatp: mode, VMID and root", "[stage2][riscv64]") {
    CHECK(riscv64::hgatp(3, 5, 0x8000'4000) == (std::uint64_t{8} << 60 | std::uint64_t{5} << 44 | 0x80004));
    CHECK(riscv64::hgatp_mode(4) == 9);
    CHECK(riscv64::hgatp_mode(5) == 10);
    CHECK(riscv64::hgatp_mode(2) == 0);
    CHECK(riscv64::guest_address_bits(3) == 41);
    CHECK(Stage2::root_size(riscv64::stage2_format, 3, 41) == 0x4000);
    CHECK(Stage2::root_size(riscv64::stage2_format, 3, 39) == 0x4000);  // whatever the guest has, the hardware reads 16 KiB
}

TEST_CASE("break before make: while translations are dropped the changed entry is absent", "[stage2]") {
    Arena::reset();
    Tables f(3, 39);
    struct Look {
        Stage2* tables;
        unsigned calls = 0, present = 0;
    } look{&f.s};
    f.s.set_maintenance({&look, [](void* self, GuestPhysAddr, std::uint64_t) noexcept {
        auto& l = *static_cast<Look*>(self);
        ++l.calls;
        l.present += l.tables->walk({0x4000'0000}).has_value();
    }});
    REQUIRE(f.s.map({0x4000'0000}, {0x8000'0000}, 0x20'0000, {}, MemoryType::normal));
    REQUIRE(f.s.protect({0x4000'0000}, 0x1000, {.write = false}));  // splits the block, then changes the page
    CHECK(look.calls == 2);
    REQUIRE(f.s.protect({0x4000'0000}, 0x1000, {}));
    REQUIRE(f.s.unmap({0x4000'0000}, 0x1000));
    CHECK(look.calls == 4);
    CHECK(look.present == 0);
}

TEST_CASE("a range that begins in the middle of a hole ends where it was said to, and every page in it is found", "[stage2]") {
    Arena::reset();
    Tables f(3, 39);
    for (const std::uint64_t page : {0x4020'0000, 0x4020'1000, 0x4040'0000}) REQUIRE(f.s.map({page}, {0x8000'0000 + page}, 0x1000, {}, MemoryType::normal));
    REQUIRE(f.s.protect({0x4000'1000}, 0x20'0000, {.write = false}));  // up to and with the first page
    CHECK_FALSE(f.s.walk({0x4020'0000})->permissions.write);
    CHECK(f.s.walk({0x4020'1000})->permissions.write);
    REQUIRE(f.s.unmap({0x4000'1000}, 0x20'1000));
    CHECK_FALSE(f.s.walk({0x4020'0000}));
    CHECK_FALSE(f.s.walk({0x4020'1000}));
    CHECK(f.s.walk({0x4040'0000}));
}

TEST_CASE("a block that cannot be split for want of a frame stays as it is: unmap, protect and the dirty log say so", "[stage2]") {
    std::size_t limit = 608;
    Tables t(3, 39, &limit);
    REQUIRE(t.s.map({0x4000'0000}, {0x8000'0000}, mib2, {}, MemoryType::normal));
    limit = Arena::used / 4096;  // none is left
    const GuestPhysAddr page{0x4000'3000};
    {
        const auto unmapped = t.s.unmap(page, 4096);
        REQUIRE_FALSE(unmapped);
        CHECK(unmapped.error().code == Code::no_frame);
    }
    CHECK(t.s.protect(page, 4096, {.write = false}).error().code == Code::no_frame);
    CHECK(t.s.log_dirty(page, 4096).error().code == Code::no_frame);
    const auto whole = t.s.walk(page);
    REQUIRE(whole);
    CHECK(whole->size == mib2);
    CHECK(whole->address.value == 0x8000'3000);
    CHECK(whole->permissions == Permissions{});
    CHECK(t.s.mark_dirty({0x5000'0000}).error().code == Code::absent);
    limit = 608;
    CHECK(t.s.protect(page, 4096, {.write = false}));
    CHECK(t.s.walk(page)->size == 4096);
}
