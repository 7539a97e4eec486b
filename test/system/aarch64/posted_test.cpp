// Interrupts that come from another CPU: to a vCPU that runs, is halted, is not bound.
#include "gic.hpp"

using namespace harness;

// SPIs enabled; says at x24 that it is ready; waits by WFI where x0 is not 0; reports what it has taken.
GUEST(posted_guest, GIC_ON "movz x9, #0x0800, lsl #16\nmov w10, #-1\nstr w10, [x9, #0x84]\nstr w10, [x9, #0x104]\nmovz x24, #0x4003, lsl #16\nmov x25, #1\nstr x25, [x24]\n"
                    "1: cbz x0, 2f\nwfi\n2: cbz x21, 1b\nmov x1, x21\n" REPORT "b .\n");
// vCPU 1 takes one SGI and reports; vCPU 0 sends it when that is ready, and reports.
GUEST(sgi_receiver, GIC_ON_OF("0x080D") "movz x24, #0x4003, lsl #16\nmov x25, #1\nstr x25, [x24]\n1: cbz x0, 2f\nwfi\n2: cbz x21, 1b\nmov x1, x21\n" REPORT "b .\n");
GUEST(sgi_sender, GIC_ON "movz x24, #0x4003, lsl #16\n1: ldr x25, [x24]\ncbz x25, 1b\nmov x1, #2\nmovk x1, #0x0500, lsl #16\nmsr S3_0_C12_C11_5, x1\nisb\n" REPORT "b .\n");

namespace {

/// A VM whose SPI 40 is an edge, and another CPU that raises it.
struct Posted {
    explicit Posted(bool waits) : m(posted_guest, waits, {.controller = true}) {
        DeviceAccess edge{gicd_base + 0xC08, 0xAAAA'AAAA, 4, true};
        REQUIRE(m.controller.access(0, edge));
    }
    auto ready() -> bool { return *reinterpret_cast<const volatile std::uint64_t*>(m.host(ram_base + 0x3'0000)) != 0; }
    void raise() noexcept { m.controller.set_line(40, true); }
    void run_to_halt() {
        auto b = percpu().bind(m.vcpu());
        const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        REQUIRE(b.complete());
    }
    void takes_one(Vcpu<Host>::Bound& b) {
        CHECK(run_to_report(b)[0] == 1);
        CHECK(taken(m, 0) == 40);
    }
    Machine m;
};

}  // namespace

TEST_CASE("an interrupt from another CPU comes to a vCPU that runs", "[smp][gic][mailbox]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (int i = 0; i < 20; ++i) {
        Posted p(false);
        auto post = [&]() noexcept {
            const auto until = runtime::now() + 30 * runtime::frequency();
            while ((!p.ready() || p.m.vcpu().state() != State::running) && runtime::now() < until) {}
            for (volatile int wait = i * 97; wait > 0; wait = wait - 1) {}
            p.raise();
        };
        auto b = percpu().bind(p.m.vcpu());
        OnCpu other(1, post);
        p.takes_one(b);
    }
}

TEST_CASE("an interrupt from another CPU comes to a vCPU that is halted", "[smp][gic][mailbox]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (const bool answered : {false, true}) {  // while Halt is outstanding, and after
        Posted p(true);
        auto post = [&]() noexcept { p.raise(); };
        auto b = percpu().bind(p.m.vcpu());
        const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        if (answered) REQUIRE(b.complete());
        OnCpu(1, post).wait();
        if (!answered) REQUIRE(b.complete());
        p.takes_one(b);
    }
}

TEST_CASE("an interrupt from another CPU comes to a vCPU that is not bound: the host is told to wake it where it is blocked", "[smp][gic][mailbox]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (const bool blocked : {false, true}) {
        Posted p(true);
        auto post = [&]() noexcept { p.raise(); };
        p.run_to_halt();
        if (blocked) {
            const auto ok = p.m.vcpu().block();
            REQUIRE(ok);
            REQUIRE(*ok);
        }
        const auto before = wakes();
        OnCpu(1, post).wait();
        CHECK(wakes() == before + blocked);
        if (blocked) REQUIRE(p.m.vcpu().unblock());
        else CHECK_FALSE(*p.m.vcpu().block());  // something waits for it
        auto b = percpu().bind(p.m.vcpu());
        p.takes_one(b);
    }
}

TEST_CASE("a software interrupt of a vCPU comes to a vCPU on another CPU, which runs or waits", "[smp][gic][mailbox][A24]") {
    if (!have_cpu(1)) SKIP("one CPU");
    for (int i = 0; i < 10; ++i) {
        Machine m(sgi_sender, 0, {.vcpus = 2, .controller = true});
        REQUIRE(m.vcpu(1).reset(m.at(sgi_receiver), i % 2));
        unsigned halts = 0;
        std::uint64_t reported = 0;
        auto receive = [&]() noexcept {
            auto b = percpu().bind(m.vcpu(1));
            for (;;) {
                const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());
                if (!e) return;
                if (const auto h = e->get<exit::Hypercall>()) {
                    reported = h->args[0];
                    return;
                }
                if (!e->is<exit::Halt>() || !b.complete()) return;
                ++halts;
            }
        };
        OnCpu other(1, receive);
        auto b = percpu().bind(m.vcpu());
        static_cast<void>(run_to_report(b));
        other.wait();
        CHECK(reported == 1);
        CHECK(taken(m, 0) == 5);
        if (i % 2 == 0) CHECK(halts == 0);
    }
}
