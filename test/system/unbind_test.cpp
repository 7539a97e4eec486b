// What a vCPU leaves behind on a CPU: nothing.
#include <catch2/catch_test_macros.hpp>
#include "bare_host.hpp"

using namespace harness;

namespace {
template <std::size_t I>
void look(std::vector<std::string_view>& left) {
    constexpr auto& r = arch::registers[I];
    if constexpr (r.policy == reg::Policy::on_bind) {
        const bool here = r.feature == arch::Feature::base || (capabilities().features >> static_cast<unsigned>(r.feature) & 1) != 0;
        if (here && !given_back(r.name) && cold_register<I>() != after_unbind(r.name)) left.push_back(r.name);
    }
}
}  // namespace

TEST_CASE("after an unbinding no register of the CPU holds anything of the guest", "[canary][bind]") {
    REQUIRE(percpu().disable());
    static PerCpu<BareHost> cpu;
    REQUIRE(cpu.enable());
    Machine m(call_forever);
    Slot slot[1];
    Vm<BareHost> vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
    auto& vcpu = *Vcpu<BareHost>::create(slot[0], vm, create_config(ram_base, 0, m.at(call_forever), 0, false));
    std::size_t planted = 0;
    std::array<std::uint64_t, vector_words> vectors;
    {
        auto b = cpu.bind(vcpu);
        REQUIRE(b.run());
        for (std::size_t i = 0; i < arch::registers.size(); ++i) {
            const auto& r = arch::registers[i];
            if (r.policy != reg::Policy::on_bind && r.policy != reg::Policy::vector) continue;
            for (unsigned n = 0; n < r.count; ++n) planted += static_cast<bool>(vcpu.set(r.id(n), canary(i + n, 0)));
        }
        plant_priorities();
    }
    read_vectors(vectors.data());  // before anything here uses them
    std::vector<std::string_view> left;
    [&]<std::size_t... I>(std::index_sequence<I...>) { (look<I>(left), ...); }(std::make_index_sequence<arch::registers.size()>{});
    const auto priorities = left_priorities();
    REQUIRE(cpu.disable());
    REQUIRE(percpu().enable());
    CHECK(planted > 40);
    for (const auto name : left) UNSCOPED_INFO("left: " << name);
    CHECK(left.empty());
    CHECK(priorities == 0);
    CHECK(std::ranges::count(vectors, 0u) == static_cast<std::ptrdiff_t>(vectors.size()));
}
