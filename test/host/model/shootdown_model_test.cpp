// Tags, mailbox and the order of an unmapping together, step by step: what a CPU does between two steps another one may do anything.
// The order is that of arch-riscv64/tlb.cpp, the one machine where a shootdown is ours to do.
#include <catch2/catch_test_macros.hpp>
#include "checker.hpp"
import axvcpu;
import axvcpu.tlb_tag;

using namespace axvcpu;
using model::Checker;
using Flush = TlbTagDomain::Flush;

namespace {

struct Faithful {
    template <class T> using Atomic = model::Atomic<T>;
    static void fence() { model::checker->fence(); }
};

/// What an unmapping leaves out, or does at another place.
enum class Broken : std::uint8_t { nothing, keeps_tag, renounces_last, asks_nobody, looks_twice, waits_for_nobody };

/// One VM whose vCPU n runs on CPU n; a page of it is taken away, from another CPU. A TLB never evicts, and holds for each tag whether it has that page.
struct Machine {
    static constexpr unsigned cpus = 1;
    explicit Machine(Broken b) : broken(b) {
        for (auto& c : cpu) static_cast<void>(domain.add(c, 4));
    }
    Broken broken;
    TlbTagDomain domain;
    std::array<TlbTagCpu, cpus> cpu;
    TlbTag tag;
    std::array<std::set<std::uint16_t>, cpus> held;  // tags under which the page is in that CPU's TLB
    std::array<BasicMailbox<Faithful>, cpus> box;
    std::array<bool, cpus> bound{};  // the state that bind() wins by an exchange and unbind() gives up last
    model::Atomic<std::uint32_t> mapped{1};
    bool reused = false, wrong = false;

    void bind_run_unbind(unsigned n) {
        model::checker->turn();
        bound[n] = true;
        model::checker->turn();
        const auto got = domain.assign(cpu[n], tag, n);
        model::checker->turn();
        if (got.flush == Flush::tag) held[n].erase(got.tag.value);
        if (got.flush == Flush::all) held[n].clear();
        run(n, got.tag.value);
        bound[n] = false;
    }
    void run(unsigned n, std::uint16_t number) {
        const auto here = BasicMailbox<Faithful>::place(CpuId{n});
        if (!box[n].enter(here)) return;  // it would take the request, drop everything, and come again
        if (mapped.load() != 0) held[n].insert(number);
        model::checker->turn();
        if (held[n].contains(number) && reused) wrong = true;
        box[n].leave();
    }
    auto running(unsigned n) -> bool { return bound[n] && box[n].in_guest(); }
    auto only_bound(unsigned n) -> bool { return bound[n] && !box[n].in_guest(); }

    void unmap() {
        mapped.store(0, std::memory_order_relaxed);
        Faithful::fence();
        const auto renounce = [&] {
            model::checker->turn();
            domain.renounce(tag);
        };
        if (broken != Broken::keeps_tag && broken != Broken::renounces_last) renounce();
        for (unsigned n = 0; n < cpus; ++n) {
            model::checker->turn();
            const bool there = broken == Broken::looks_twice ? running(n) || only_bound(n) : bound[n];
            if (!there || broken == Broken::asks_nobody) continue;
            box[n].post(Event::fence);
        }
        if (broken == Broken::renounces_last) renounce();
        for (unsigned n = 0; n < cpus; ++n)
            if (broken != Broken::waits_for_nobody && box[n].owes(Event::fence)) return;  // it would wait on; this execution ends here
        reused = true;
    }
};

/// vCPU 0, which has been here before and left the page in the TLB, comes back while the page is taken away.
auto unmapping(Broken broken) {
    return Checker::explore([broken](Checker& c) -> std::function<bool()> {
        auto m = std::make_shared<Machine>(broken);
        const auto before = m->domain.assign(m->cpu[0], m->tag, 0);
        m->held[0].insert(before.tag.value);
        c.thread([m] { m->bind_run_unbind(0); });
        c.thread([m] { m->unmap(); });
        return [m] { return !m->wrong; };
    }, 4);
}

/// Which vCPU of which VM each of two CPUs runs, one after the other.
struct Plan { std::array<std::array<unsigned, 2>, 2> vm; };

/// Two CPUs bind, flush, run and leave, with three numbers of which some are in use already.
auto binding(const Plan& plan, unsigned used, bool flushes) {
    return Checker::explore([plan, used, flushes](Checker& c) -> std::function<bool()> {
        struct State {
            TlbTagDomain domain;
            std::array<TlbTagCpu, 2> cpu;
            std::array<TlbTag, 4> tags{};
            std::array<std::map<std::uint16_t, unsigned>, 2> held;  // the VM whose translations are under a tag
            std::array<int, 2> running{-1, -1};
            bool wrong = false;
        };
        auto s = std::make_shared<State>();
        for (auto& cpu : s->cpu) static_cast<void>(s->domain.add(cpu, 2));
        for (unsigned vm = 0; vm < used; ++vm) s->held[vm % 2][s->domain.assign(s->cpu[vm % 2], s->tags[vm], 0).tag.value] = vm;
        for (unsigned n = 0; n < 2; ++n)
            c.thread([s, n, plan, flushes] {
                for (const auto vm : plan.vm[n]) {
                    model::checker->turn();
                    const auto got = s->domain.assign(s->cpu[n], s->tags[vm], n);
                    s->running[n] = static_cast<int>(vm);
                    model::checker->turn();
                    if (flushes && got.flush == Flush::tag) s->held[n].erase(got.tag.value);
                    if (flushes && got.flush == Flush::all) s->held[n].clear();
                    model::checker->turn();
                    const auto [at, fresh] = s->held[n].try_emplace(got.tag.value, vm);
                    if (!fresh && at->second != vm) s->wrong = true;
                    // Broadcast maintenance goes by number: another VM on the other CPU must have another one, the same VM the same.
                    const auto other = s->running[1 - n];
                    const bool shared = other >= 0 && s->tags[static_cast<unsigned>(other)].value == got.tag.value;
                    if (other >= 0 && shared != (static_cast<unsigned>(other) == vm)) s->wrong = true;
                }
                s->running[n] = -1;
            });
        return [s] { return !s->wrong; };
    });
}

}  // namespace

TEST_CASE("a page that is taken away is used by nobody once it can be used again: every interleaving of four preemptions with a vCPU that comes, runs and goes", "[model][tlb][R17]") {
    const auto n = unmapping(Broken::nothing);
    REQUIRE(n);
    CHECK(*n > 1000);
    for (const auto broken : {Broken::keeps_tag, Broken::renounces_last, Broken::asks_nobody, Broken::looks_twice, Broken::waits_for_nobody}) {
        INFO("variant " << static_cast<int>(broken));
        CHECK_FALSE(unmapping(broken));
    }
}

TEST_CASE("numbers roll over between any two steps of two CPUs", "[model][tlb][A11]") {
    const Plan plans[]{{{{{0, 3}, {1, 2}}}}, {{{{0, 3}, {1, 0}}}}, {{{{3, 0}, {3, 1}}}}};
    for (const auto& plan : plans) {
        for (const unsigned used : {2, 3}) {
            INFO("CPU 0: VMs " << plan.vm[0][0] << ", " << plan.vm[0][1] << "; CPU 1: " << plan.vm[1][0] << ", " << plan.vm[1][1] << "; numbers in use: " << used);
            CHECK(binding(plan, used, true));
        }
    }
    CHECK_FALSE(binding(plans[0], 3, false));
}
