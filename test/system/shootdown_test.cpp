// Several CPUs: what one changes in a VM's memory while the VM's guests run, wait or stand on others. Unmapping, the dirty log, fences, tags.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {
constexpr auto page = ram_base + 0x2'0000;
}  // namespace

TEST_CASE("an unmapped page is gone when unmap is over: for a guest that runs on another CPU", "[smp][stage2]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (int i = 0; i < 50; ++i) {
        Machine m(wait_for_value, page.value);
        RunsOn other(1, m.vcpu());
        while (m.vcpu().state() != State::running) {}
        for (volatile int wait = i * 97 % 1000; wait > 0; wait = wait - 1) {}
        {
            auto first = m.stage2.unmap(page + 0x1000, 4096), second = m.stage2.unmap(page + 0x2000, 4096), last = m.stage2.unmap(page, 4096);
            REQUIRE((first && second && last));
            last.wait();
        }
        *reinterpret_cast<volatile std::uint64_t*>(m.host(page)) = 1;  // the frame is the host's now: the guest never sees this
        REQUIRE(other.wait() == Exit::index_of<exit::NestedPageFault>());
    }
}

TEST_CASE("an unmapped page is gone when unmap is over: for one that is bound elsewhere and not in the guest, and for one that is unbound or blocked", "[smp][stage2]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (const auto place : {State::ready, State::free, State::blocked}) {
        const bool stays_bound = place == State::ready;
        Machine m(read_forever, page.value);
        std::atomic<int> step{0};
        std::size_t before = 0, after = 0;
        auto other = [&]() noexcept {
            {
                auto b = percpu().bind(m.vcpu());
                if (const auto e = b.run()) before = e->index();  // it has read the page once, and stands in the host
                static_cast<void>(b.complete());
                if (stays_bound) {
                    for (step = 1; step != 2;) {}
                    if (const auto e = b.run()) after = e->index();
                    return;
                }
            }
            if (place == State::blocked && !m.vcpu().block().value_or(false)) return;
            for (step = 1; step != 2;) {}
            if (place == State::blocked) static_cast<void>(m.vcpu().unblock());
            auto b = percpu().bind(m.vcpu());
            if (const auto e = b.run()) after = e->index();
        };
        OnCpu job(1, other);
        while (step != 1) {}
        REQUIRE(m.stage2.unmap(page, 4096));  // waits for nobody: nobody is in the guest
        step = 2;
        job.wait();
        CHECK(before == Exit::index_of<exit::Hypercall>());
        CHECK(after == Exit::index_of<exit::NestedPageFault>());
    }
}

namespace {
/// On each of two CPUs: its own vCPU reads a page, which the other CPU unmaps from its VM; both wait in unmap() for each other.
struct Mutual {
    Machine first{read_forever, page.value}, second{read_forever, page.value};
    std::atomic<unsigned> steps{0}, wrong{0};
    void together(unsigned n) noexcept {  // both have come to step n
        ++steps;
        while (steps < 2 * n) {}
    }
    void go(bool is_first, unsigned rounds) noexcept {
        auto &mine = is_first ? first : second, &theirs = is_first ? second : first;
        auto b = percpu().bind(mine.vcpu());
        unsigned n = 0;
        for (unsigned i = 0; i < rounds; ++i) {
            const auto reads = run_on(b);
            wrong += !reads || !reads->is<exit::Hypercall>() || !b.complete();
            together(++n);
            wrong += !theirs.stage2.unmap(page, 4096);
            together(++n);
            const auto faults = run_on(b);
            wrong += !faults || !faults->is<exit::NestedPageFault>() || !b.retry();
            together(++n);
            wrong += !theirs.stage2.map(page, Host::virt_to_phys(theirs.host(page)), 4096, {}, MemoryType::normal);
            together(++n);
        }
    }
};
}  // namespace

TEST_CASE("two CPUs that unmap a page of each other's guest at the same time both go on, and both pages are gone", "[smp][stage2]") {
    if (!have_cpu(1)) SKIP("one CPU");
    constexpr unsigned rounds = 500;
    Mutual both;
    auto there = [&]() noexcept { both.go(false, rounds); };
    OnCpu job(1, there);
    both.go(true, rounds);
    job.wait();
    CHECK(both.wrong == 0);
}

TEST_CASE("the dirty log misses no page that a guest on another CPU writes to while it is taken", "[smp][stage2]") {
    if (!have_cpu(1)) SKIP("one CPU");
    constexpr unsigned pages = 8;
    Machine m(count_pages, page.value);
    REQUIRE(m.stage2.log_dirty(page, pages * 0x1000));
    std::atomic<std::uint64_t> faults{0}, strange{0};
    auto writes = [&]() noexcept {
        auto b = percpu().bind(m.vcpu());
        for (;;) {
            const auto e = run_on(b);
            if (!e || e->is<exit::Kicked>()) return;
            const auto f = e->get<exit::NestedPageFault>();
            strange += !f || (f->present && f->access != Access::write) || !b.retry();
            if (f && f->present) static_cast<void>(m.stage2.mark_dirty(f->addr));  // absent: it is just being protected, and faults again
            ++faults;
        }
    };
    const auto count = [&](unsigned n) { return *reinterpret_cast<volatile std::uint64_t*>(m.host(page + n * 0x1000)); };
    struct Taken { bool dirty[pages]; } taken{};
    const auto take = [](void* self, GuestPhysAddr a) noexcept { static_cast<Taken*>(self)->dirty[(a.value - page.value) / 0x1000] = true; };
    std::uint64_t known[pages]{};
    unsigned missed = 0, named = 0;
    // What is written after a take is in the next one, or still to be written down: so a page that changed from before a take to before
    // the next one is named by one of the two.
    const auto look = [&](std::uint64_t (&now)[pages], Taken& t) {
        for (unsigned i = 0; i < pages; ++i) now[i] = count(i);
        t = {};
        REQUIRE(m.stage2.take_dirty(page, pages * 0x1000, &t, take));
    };
    Taken before{};
    {
        OnCpu job(1, writes);
        const KickedAtEnd ends(m);
        await([&] { return faults != 0; });
        look(known, before);
        for (unsigned round = 0; round < 500; ++round) {
            std::uint64_t now[pages];
            const auto faulted = faults.load();
            look(now, taken);
            await([&] { return faults != faulted; });  // all are protected: the guest's next store is a fault
            for (unsigned i = 0; i < pages; ++i) {
                missed += now[i] != known[i] && !before.dirty[i] && !taken.dirty[i];
                named += taken.dirty[i];
                known[i] = now[i];
            }
            before = taken;
        }
    }
    CHECK(strange == 0);
    CHECK(missed == 0);
    CHECK(named > pages);
    CHECK(faults >= named);
}

TEST_CASE("a tag that a running guest uses is given to nobody else, through every roll-over", "[smp][tlb][A11]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine runs(spin);
    std::atomic<std::uint64_t> tag{~std::uint64_t{0}}, at_end{0};
    auto there = [&]() noexcept {
        auto b = percpu().bind(runs.vcpu());
        tag = loaded_tag();
        static_cast<void>(run_on(b));
        at_end = loaded_tag();
    };
    OnCpu job(1, there);
    {
        const KickedAtEnd ends(runs);
        await([&] { return runs.vcpu().state() == State::running; });
        std::set<std::uint64_t> given;
        unsigned rolled = 0;
        for (unsigned i = 0; i < 700; ++i) {
            Machine m(call_forever);
            auto b = percpu().bind(m.vcpu());
            REQUIRE(b.run());
            REQUIRE(loaded_tag() != tag.load());
            rolled += !given.insert(loaded_tag()).second;
        }
        if (capabilities().tag_bits <= 8) CHECK(rolled > 0);
    }
    job.wait();
    CHECK(at_end == tag);
}

TEST_CASE("guests that fence each other without end all come to an end", "[smp][tlb]") {
    if (!have_cpu(1)) SKIP("one CPU");
    const unsigned cpus = have_cpu(2) && have_cpu(3) ? 4 : 2;
    Machine m(fence_others, 2'000, {.vcpus = cpus});
    for (unsigned i = 1; i < cpus; ++i) REQUIRE(m.vcpu(i).reset(m.at(fence_others), 2'000));
    std::vector<std::unique_ptr<RunsOn>> others;
    for (unsigned i = 1; i < cpus; ++i) others.push_back(std::make_unique<RunsOn>(i, m.vcpu(i)));
    auto b = percpu().bind(m.vcpu());
    const auto e = run_on(b);
    REQUIRE(e);
    CHECK(e->is<exit::Hypercall>());
    for (auto& o : others) CHECK(o->wait() == Exit::index_of<exit::Hypercall>());
}
