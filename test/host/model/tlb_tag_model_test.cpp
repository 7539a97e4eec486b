// The tag allocator's own code against a TLB that never evicts: every sequence of binds of a few VMs on two and three CPUs.
#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.tlb_tag;

using namespace axvcpu;
using Flush = TlbTagDomain::Flush;

namespace {

/// Which flushes the CPU really does.
struct Faults { bool lose_all = false, lose_tag = false; };

/// A machine: what each CPU's TLB holds, by tag; who runs where.
struct World {
    static constexpr unsigned vms = 4, vcpus = 2;
    explicit World(unsigned cpus, unsigned bits) : cpu(cpus), held(cpus), running(cpus, -1) {
        for (auto& c : cpu) if (!domain.add(c, bits)) broken = true;
    }
    TlbTagDomain domain;
    std::vector<TlbTagCpu> cpu;
    struct Entry { unsigned vm, vcpu; friend auto operator<=>(const Entry&, const Entry&) = default; };
    std::vector<std::map<std::uint16_t, std::set<Entry>>> held;
    std::vector<int> running;
    std::array<TlbTag, vms> tags{};
    bool broken = false;

    bool switches = false;  // a vCPU goes straight to the next one, where it can
    /// Binds a vCPU. False: the CPU may now use another's translation, or two VMs share a number.
    auto bind(unsigned on, unsigned vm, unsigned vcpu, Faults faults) -> bool {
        const bool handed_on = switches && running[on] >= 0 && domain.hand_on(cpu[on], tags[vm], vcpu);
        const auto got = handed_on ? TlbTagDomain::Assigned{tags[vm], Flush::tag} : domain.assign(cpu[on], tags[vm], vcpu);
        running[on] = static_cast<int>(vm);
        if (got.flush == Flush::all && !faults.lose_all) held[on].clear();
        if (got.flush == Flush::tag && !faults.lose_tag) held[on][got.tag.value].clear();
        auto& mine = held[on][got.tag.value];
        for (const auto& e : mine) if (e.vm != vm || e.vcpu != vcpu) return false;
        mine.insert({vm, vcpu});
        // The guest's broadcast maintenance works by number: VMs that run at the same time must not share one, vCPUs of one VM must.
        for (std::size_t c = 0; c < running.size(); ++c) {
            if (running[c] < 0 || c == on) continue;
            const auto other = static_cast<unsigned>(running[c]);
            if (other != vm && tags[other].value == got.tag.value) return false;
        }
        return got.tag.value != 0;
    }
};

/// All sequences of `depth` binds. Gives how many were tried, or nothing when one went wrong.
auto explore(unsigned cpus, unsigned bits, unsigned depth, Faults faults, bool switches = false) -> std::optional<std::size_t> {
    const unsigned choices = cpus * World::vms * World::vcpus;
    std::size_t total = 1;
    for (unsigned i = 0; i < depth; ++i) total *= choices;
    for (std::size_t n = 0; n < total; ++n) {
        World w(cpus, bits);
        w.switches = switches;
        if (w.broken) return std::nullopt;
        auto rest = n;
        for (unsigned i = 0; i < depth; ++i, rest /= choices) {
            const auto c = static_cast<unsigned>(rest % choices);
            const auto vm = c / cpus / World::vcpus, vcpu = c / cpus % World::vcpus;
            if (!w.bind(c % cpus, vm, vcpu, faults)) return std::nullopt;
        }
    }
    return total;
}

/// Long random walks, for what only shows after several roll-overs.
auto wander(unsigned cpus, unsigned bits, Faults faults, bool switches = false) -> bool {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        std::mt19937 random(seed);
        World w(cpus, bits);
        w.switches = switches;
        for (int i = 0; i < 2'000; ++i) {
            const auto on = static_cast<unsigned>(random() % cpus);
            if (random() % 8 == 0) {
                w.running[on] = -1;
            } else if (random() % 16 == 0) {
                w.domain.renounce(w.tags[random() % World::vms]);  // as after an unmap where the hardware does not broadcast
                std::ranges::fill(w.running, -1);
            } else if (!w.bind(on, static_cast<unsigned>(random() % World::vms), static_cast<unsigned>(random() % World::vcpus), faults)) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace

TEST_CASE("no CPU ever runs on another's translations: every sequence of five binds on two CPUs with three tags", "[model][tlb][A11][R17]") {
    const auto n = explore(2, 2, 5, {});
    REQUIRE(n);
    CHECK(*n == 1'048'576);
}

TEST_CASE("nor after many roll-overs, on two and three CPUs", "[model][tlb][A11]") {
    CHECK(wander(2, 2, {}));
    CHECK(wander(3, 3, {}));
}

TEST_CASE("nor when vCPUs go straight to the next one", "[model][tlb]") {
    CHECK(explore(2, 2, 4, {}, true));
    CHECK(wander(2, 2, {}, true));
    CHECK(wander(3, 3, {}, true));
    CHECK_FALSE(wander(2, 2, {.lose_all = true}, true));
    CHECK_FALSE(wander(2, 2, {.lose_tag = true}, true));
}

TEST_CASE("the model finds a CPU that forgets to flush", "[model][tlb]") {
    CHECK_FALSE(wander(2, 2, {.lose_all = true}));
    CHECK_FALSE(explore(2, 2, 4, {.lose_tag = true}));
}
