// A host without floating point of its own, and VMs of it beside the harness's. The tests use it themselves, so between bind and unbind
// they look at other registers only.
#pragma once
#include "harness.hpp"

namespace harness {

struct BareHost : Host {
    static constexpr HostFp host_fp = HostFp::none;
};

/// This CPU, enabled with this HAL while this lives.
template <class H>
struct Enabled {
    Enabled() {
        REQUIRE(percpu().disable());
        REQUIRE(cpu.enable());
    }
    ~Enabled() {
        CHECK(cpu.disable());
        CHECK(percpu().enable());
    }
    static inline PerCpu<H> cpu;
};

/// A VM of two vCPUs with this HAL, on a Machine's memory.
template <class H>
struct Two {
    explicit Two(const void* payload, std::uint64_t first = 0, std::uint64_t second = 0, VmPolicy policy = {})
        : m(payload), vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram, .policy = policy}} {
        for (std::uint32_t i = 0; i < 2; ++i) vcpu[i] = &*Vcpu<H>::create(slots[i], vm, create_config(ram_base, i, m.at(payload), i == 0 ? first : second, false));
    }
    Machine m;
    Slot slots[2];
    Vm<H> vm;
    Vcpu<H>* vcpu[2];
};

}  // namespace harness
