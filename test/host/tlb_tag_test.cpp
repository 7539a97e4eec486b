#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;
import axvcpu.tlb_tag;

using namespace axvcpu;
using Flush = TlbTagDomain::Flush;

TEST_CASE("a VM keeps its tag, and coming back costs no flush", "[tlb_tag][A11]") {
    TlbTagDomain d;
    TlbTagCpu cpu;
    REQUIRE(d.add(cpu, 8));
    TlbTag vm;
    const auto first = d.assign(cpu, vm, 0);
    CHECK(first.flush == Flush::all);  // what the CPU held before is unknown
    CHECK(first.tag.value != 0);
    const auto again = d.assign(cpu, vm, 0);
    CHECK(again.flush == Flush::none);
    CHECK(again.tag == first.tag);
}

TEST_CASE("another vCPU of the VM on the same CPU flushes the VM's tag there", "[tlb_tag]") {
    TlbTagDomain d;
    TlbTagCpu a, b;
    REQUIRE(d.add(a, 8));
    REQUIRE(d.add(b, 8));
    TlbTag vm;
    static_cast<void>(d.assign(a, vm, 0));
    static_cast<void>(d.assign(b, vm, 1));
    CHECK(d.assign(a, vm, 0).flush == Flush::none);
    CHECK(d.assign(a, vm, 1).flush == Flush::tag);
    CHECK(d.assign(a, vm, 1).flush == Flush::none);
    CHECK(d.assign(a, vm, 0).flush == Flush::tag);
}

TEST_CASE("a tag in use is handed on to another vCPU of its VM, no other one is", "[tlb_tag]") {
    TlbTagDomain d;
    TlbTagCpu cpu;
    REQUIRE(d.add(cpu, 8));
    TlbTag vm, other, never;
    static_cast<void>(d.assign(cpu, other, 0));
    static_cast<void>(d.assign(cpu, vm, 0));
    CHECK_FALSE(d.hand_on(cpu, other, 1));
    CHECK_FALSE(d.hand_on(cpu, never, 0));
    CHECK(d.hand_on(cpu, vm, 1));
    CHECK(d.assign(cpu, vm, 1).flush == Flush::none);  // the one that it was handed to
    CHECK(d.assign(cpu, vm, 0).flush == Flush::tag);
    d.renounce(vm);
    CHECK_FALSE(d.hand_on(cpu, vm, 1));
}

TEST_CASE("no two VMs of a generation share a tag, and a VM that runs through a roll-over keeps its own", "[tlb_tag]") {
    TlbTagDomain d;
    std::array<TlbTagCpu, 3> cpus;
    for (auto& c : cpus) REQUIRE(d.add(c, 3));
    std::array<TlbTag, 40> vms{};
    TlbTag stays;
    const auto kept = d.assign(cpus[2], stays, 0).tag.value;
    std::mt19937 random(1);
    for (int i = 0; i < 20'000; ++i) {
        auto& vm = vms[random() % vms.size()];
        auto& cpu = cpus[random() % 2];
        const auto before = d.generation();
        const auto got = d.assign(cpu, vm, 0);
        REQUIRE(got.tag.value != kept);
        if (d.generation() != before) REQUIRE(got.flush == Flush::all);
        for (auto& other : vms) {
            if (&other == &vm || other.generation != vm.generation) continue;
            REQUIRE(other.value != vm.value);
        }
    }
    CHECK(d.assign(cpus[2], stays, 0).tag.value == kept);
    CHECK(d.generation() > 100);
}

/// A TLB that never forgets: an entry is (tag, owner). Using a tag while an entry of another owner is there is the bug.
TEST_CASE("no stale translation survives, on a TLB that never evicts", "[tlb_tag]") {
    TlbTagDomain d;
    std::array<TlbTagCpu, 2> cpus;
    std::array<std::map<std::uint16_t, std::set<std::pair<std::size_t, unsigned>>>, 2> tlb;  // tag -> (VM, vCPU) that filled it
    for (auto& c : cpus) REQUIRE(d.add(c, 3));
    std::array<TlbTag, 12> vms{};
    std::mt19937 random(7);
    for (int i = 0; i < 50'000; ++i) {
        const std::size_t c = random() % 2, v = random() % vms.size();
        const unsigned vcpu = random() % 2;
        const auto got = d.assign(cpus[c], vms[v], vcpu);
        if (got.flush == Flush::all) tlb[c].clear();
        if (got.flush == Flush::tag) tlb[c].erase(got.tag.value);
        for (const auto& owner : tlb[c][got.tag.value]) REQUIRE(owner == std::pair{std::size_t{v}, vcpu});
        tlb[c][got.tag.value].insert({v, vcpu});
    }
}

TEST_CASE("a domain refuses more CPUs than it has tags", "[tlb_tag]") {
    TlbTagDomain d;
    std::array<TlbTagCpu, 4> cpus;
    CHECK(d.add(cpus[0], 2));
    CHECK(d.add(cpus[1], 2));
    CHECK(d.add(cpus[2], 2));
    CHECK_FALSE(d.add(cpus[3], 2));
}

TEST_CASE("a CPU that is taken away does not hold tags back, and a tag that is renounced is not used again", "[tlb_tag]") {
    TlbTagDomain d;
    TlbTagCpu a, b;
    REQUIRE(d.add(a, 2));
    REQUIRE(d.add(b, 2));
    TlbTag vm{};
    const auto first = d.assign(b, vm, 0).tag;
    d.renounce(vm);
    CHECK(d.assign(a, vm, 0).tag.value != first.value);
    d.remove(b);
    d.remove(b);  // twice is no harm
    std::array<TlbTag, 8> vms{};
    for (auto& v : vms) CHECK(d.assign(a, v, 0).tag.value != 0);
    CHECK(d.generation() > 1);
}
