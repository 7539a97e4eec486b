// SVM: every exit that this first step knows, produced by a guest that does the thing, checked field by field, completed, retried, failed.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <fmt/compile.h>
#include "../bare_host.hpp"
import axvcpu.fmt;

using namespace harness;

GUEST(call_guest, "mov $0xC0DE, %eax\nmov $1, %edi\nmov $2, %esi\nmov $6, %r9d\nvmmcall\nmov %rax, %rdi\n" REPORT);

TEST_CASE("a hypercall carries its arguments, completes with a value, and moves on by its length", "[call]") {
    Machine m(call_guest);
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == 0xC0DE);
    CHECK(h.args[0] == 1);
    CHECK(h.args[1] == 2);
    CHECK(h.args[5] == 6);
    CHECK(get<"RIP">(m) == m.at(call_guest).value + 21);
    REQUIRE(b.retry());
    static_cast<void>(leaves<exit::Hypercall>(b));
    REQUIRE(b.complete(0x1234'5678'9ABC'DEF0));
    CHECK(get<"RIP">(m) == m.at(call_guest).value + 24);
    CHECK(leaves<exit::Hypercall>(b).args[0] == 0x1234'5678'9ABC'DEF0);
}

// Handlers of the guest's own: an IDT is made at r15, whose entries 6, 13 and 14 point at `guest_fault`, which reports vector-free facts:
// rdi = error code or RIP, rsi = what lies behind it.
asm(R"(
    .pushsection .guest_payload,"a"
guest_fault:
    pop %rdi
    pop %rsi
    mov $0xFA17, %eax
    vmmcall
    hlt
guest_gdt:
    .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
    .popsection
)");
/// Makes an IDT at ram_base + 0x30000 and a GDT, and loads them with a stack. Clobbers rax, rbx, rcx, rdx, r8.
#define HANDLERS \
    "lea guest_fault(%rip), %rax\nmov $0x40030000, %rbx\nmov $32, %ecx\n1: mov %ax, (%rbx)\nmovw $8, 2(%rbx)\nmovw $0x8E00, 4(%rbx)\nmov %rax, %rdx\nshr $16, %rdx\nmov %dx, 6(%rbx)\n" \
    "shr $16, %rdx\nmov %edx, 8(%rbx)\nmovl $0, 12(%rbx)\nadd $16, %rbx\nloop 1b\nmov $0x40031000, %rbx\nmovw $511, (%rbx)\nmov $0x40030000, %rax\nmov %rax, 2(%rbx)\nlidt (%rbx)\n" \
    "lea guest_gdt(%rip), %rax\nmovw $23, (%rbx)\nmov %rax, 2(%rbx)\nlgdt (%rbx)\nmov $16, %eax\nmov %eax, %ss\nmov $0x40038000, %rsp\npush $8\nlea 2f(%rip), %rax\npush %rax\nlretq\n2:\n"

GUEST(port_guest, "mov $0x11223344, %eax\nmov $0x3F8, %dx\nout %al, %dx\nout %ax, %dx\nout %eax, $0x80\nmov $-1, %rax\nin $0x60, %al\nmov %rax, %rdi\nin %dx, %ax\nmov %rax, %rsi\nin %dx, %eax\nmov %rax, %rdx\n" REPORT);

TEST_CASE("ports: each width out and in, and what a narrow read leaves of RAX", "[port]") {
    Machine m(port_guest);
    auto b = percpu().bind(m.vcpu());
    for (const auto& [port, width, value] : {std::tuple{0x3F8u, 1u, 0x44u}, {0x3F8u, 2u, 0x3344u}, {0x80u, 4u, 0x1122'3344u}}) {
        const auto w = leaves<exit::IoWrite>(b);
        CHECK(w.port == port);
        CHECK(w.width == width);
        CHECK(w.value == value);
        REQUIRE(b.complete());
    }
    for (const auto& [port, width] : {std::pair{0x60u, 1u}, {0x3F8u, 2u}, {0x3F8u, 4u}}) {
        const auto r = leaves<exit::IoRead>(b);
        CHECK(r.port == port);
        CHECK(r.width == width);
        REQUIRE(b.complete(0x1'8899'AABB));
    }
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0xFFFF'FFFF'FFFF'FFBB);
    CHECK(h.args[1] == 0xFFFF'FFFF'FFFF'AABB);
    CHECK(h.args[2] == 0x8899'AABB);
}

GUEST(load_guest, "mov $-1, %rdi\nmov %rdi, %rdx\nmov %rdi, %rcx\nmov (%rsi), %dil\nmov (%rsi), %dx\nmov (%rsi), %ecx\nmov (%rsi), %r8\nmovsbq (%rsi), %r9\n" REPORT
                  "movzwl 4(%rsi,%rax,1), %edi\n");
GUEST(load_more, "mov $-1, %rbx\nmov %rbx, %rdi\nmovzbl (%rsi), %edi\nmov (%rsi), %bh\nmov %rbx, %rdx\nmovslq (%rsi), %rcx\nmov $2, %r10\nmov 8(%rsi,%r10,4), %r8d\nmovabs 0x0A000000, %eax\nmov %eax, %r9d\n" REPORT);

TEST_CASE("MMIO loads by a real decoder: every width, extension, high byte and addressing form", "[mmio][X3]") {
    constexpr std::uint64_t answer = 0x8233'4455'8677'8899;
    SECTION("widths") {
        Machine m(load_guest, device_base.value + 0x18);
        auto b = percpu().bind(m.vcpu());
        for (const unsigned width : {1, 2, 4, 8, 1}) {
            const auto r = leaves<exit::MmioRead>(b);
            CHECK(r.addr == device_base + 0x18);
            CHECK(r.width == width);
            REQUIRE(b.complete(answer));
        }
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.args[0] == 0xFFFF'FFFF'FFFF'FF99);
        CHECK(h.args[2] == 0xFFFF'FFFF'FFFF'8899);
        CHECK(h.args[3] == 0x8677'8899);
        CHECK(h.args[4] == answer);
        CHECK(h.args[5] == 0xFFFF'FFFF'FFFF'FF99);
    }
    SECTION("forms") {
        Machine m(load_more, device_base.value);
        auto b = percpu().bind(m.vcpu());
        for (const auto& [offset, width] : {std::pair{0u, 1u}, {0u, 1u}, {0u, 4u}, {16u, 4u}, {0u, 4u}}) {
            const auto r = leaves<exit::MmioRead>(b);
            CHECK(r.addr == device_base + offset);
            CHECK(r.width == width);
            REQUIRE(b.complete(answer));
        }
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.args[0] == 0x99);
        CHECK(h.args[2] == 0xFFFF'FFFF'FFFF'99FF);
        CHECK(h.args[3] == 0xFFFF'FFFF'8677'8899);
        CHECK(h.args[4] == 0x8677'8899);
        CHECK(h.args[5] == 0x8677'8899);
    }
}

GUEST(store_guest, "mov $0x1122334455667788, %rbx\nmov %bl, (%rsi)\nmov %bh, (%rsi)\nmov %bx, (%rsi)\nmov %ebx, (%rsi)\nmov %rbx, (%rsi)\nmovl $0x12345678, 0x10(%rsi)\nmovq $-2, (%rsi)\n" REPORT);

TEST_CASE("MMIO stores have their width and nothing above it, immediate values included", "[mmio][X3]") {
    Machine m(store_guest, device_base.value);
    auto b = percpu().bind(m.vcpu());
    for (const auto& [width, value] : {std::pair{1u, 0x88ull}, {1u, 0x77ull}, {2u, 0x7788ull}, {4u, 0x5566'7788ull}, {8u, 0x1122'3344'5566'7788ull}, {4u, 0x1234'5678ull}, {8u, ~1ull}}) {
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.width == width);
        CHECK(w.value == value);
        REQUIRE(b.complete());
    }
    CHECK(leaves<exit::Hypercall>(b).number == report);
}

GUEST(add_guest, HANDLERS "addl $1, (%rsi)\n" REPORT);

TEST_CASE("what is no plain load or store leaves as it is, and fail() is a fault of the guest", "[mmio][X3]") {
    Machine m(add_guest, device_base.value);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.addr == device_base);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).number == 0xFA17);
}

GUEST(cpuid_guest, "mov $1, %eax\ncpuid\nmov %rcx, %r8\nmov %rdx, %r9\nmov %rbx, %r10\nmov $0x80000001, %eax\ncpuid\nmov %rcx, %rdi\nmov $0x40000000, %eax\ncpuid\nmov %rbx, %rsi\nmov $0x99, %eax\ncpuid\nmov %rax, %rdx\nor %rbx, %rdx\nmov %r10, %rcx\n" REPORT);

TEST_CASE("CPUID shows what is switched, and a hypervisor; what it does not know is zero", "[cpuid][X7]") {
    Machine m(cpuid_guest);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK((h.args[4] >> 31 & 1) == 1);             // hypervisor present
    CHECK((h.args[4] & (1 << 26 | 1 << 27 | 1 << 28)) == 0);  // no XSAVE, OSXSAVE, AVX
    CHECK((h.args[5] & 1 << 9) == 0);              // no APIC
    CHECK((h.args[5] & 1 << 25) != 0);             // SSE
    CHECK((h.args[0] & 1 << 2) == 0);              // no SVM
    CHECK(h.args[1] == 0x6376'7861);
    CHECK(h.args[2] == 0);
    CHECK((h.args[3] >> 24) == 0);                 // APIC id 0
}

GUEST(msr_guest, "mov $0xC0000080, %ecx\nrdmsr\nmov %rax, %rdi\nor $1, %eax\nwrmsr\nrdmsr\nmov %rax, %rsi\nmov $0xC0000082, %ecx\nmov $0x12345678, %eax\nmov $0x7FFF, %edx\nwrmsr\nrdmsr\nmov %rax, %r8\nmov %rdx, %r9\n"
                 "mov $0x10, %ecx\nrdmsr\nshl $32, %rdx\nadd %rax, %rdx\n" REPORT);
GUEST(msr_refused, HANDLERS "mov %esi, %ecx\nxor %eax, %eax\nxor %edx, %edx\nrdmsr\n" REPORT);
GUEST(efer_refused, HANDLERS "mov $0xC0000080, %ecx\nrdmsr\nand $~0x100, %eax\nwrmsr\n" REPORT);
GUEST(lstar_refused, HANDLERS "mov $0xC0000082, %ecx\nmov $0x80000000, %edx\nwrmsr\n" REPORT);

TEST_CASE("MSRs: what is switched is the guest's, EFER.SVME is hidden, the counter is the VM's", "[msr][X11][X12]") {
    Machine m(msr_guest);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0xD00);
    CHECK(h.args[1] == 0xD01);
    CHECK(h.args[4] == 0x1234'5678);
    CHECK(h.args[5] == 0x7FFF);
    CHECK(h.args[2] < 600 * runtime::frequency());  // it started with the VM
}

TEST_CASE("MSRs: unknown ones, a change of LME under paging and addresses that are none are #GP", "[msr][X7][X11]") {
    const auto payload = GENERATE(+msr_refused, +efer_refused, +lstar_refused);
    Machine m(payload, 0xC001'0114);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == 0xFA17);
    CHECK(h.args[0] == 0);  // the error code of #GP
}

TEST_CASE("MSRs: an exit where the policy says so, completed or failed", "[msr]") {
    Machine m(msr_refused, 0x8B, {.policy = {.system_registers = true}});
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::SysRegRead>(b).reg == 0x8B);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).number == 0xFA17);
}

GUEST(cr4_guest, HANDLERS "mov %cr4, %rax\nor $0x200, %rax\nmov %rax, %cr4\nmov %cr4, %rdi\nmov %rax, %r12\nor %rsi, %r12\nmov %r12, %cr4\nmov $1, %esi\n" REPORT);

TEST_CASE("CR4: what is not switched cannot be turned on", "[cr][X12]") {
    for (const std::uint64_t bit : {1u << 18, 1u << 13, 1u << 22, 1u << 6}) {  // OSXSAVE, VMXE, PKE, MCE
        Machine m(cr4_guest, bit);
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves<exit::Hypercall>(b).number == 0xFA17);
    }
    Machine m(cr4_guest, 1 << 10);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == report);
    CHECK((h.args[0] & 0x200) != 0);
}

TEST_CASE("HLT is Halt, and goes on behind itself", "[wait]") {
    Machine m(wait_forever);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Halt>(b));
    CHECK(get<"RIP">(m) == m.at(wait_forever).value);
    REQUIRE(b.complete());
    CHECK(get<"RIP">(m) == m.at(wait_forever).value + 1);
    static_cast<void>(leaves<exit::Halt>(b));
}

GUEST(triple_fault, "mov $0x40031000, %rbx\nmovw $0, (%rbx)\nlidt (%rbx)\nud2\n");

TEST_CASE("a triple fault is Shutdown: nothing runs until a reset", "[end][X2]") {
    Machine m(triple_fault);
    {
        auto b = percpu().bind(m.vcpu());
        static_cast<void>(leaves<exit::Shutdown>(b));
        CHECK(b.run().error().code == Code::bad_state);
    }
    CHECK(m.vcpu().state() == State::off);
    REQUIRE(m.vcpu().reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
}

TEST_CASE("a host interrupt ends the guest, pending, and a deadline does", "[host][timer]") {
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    runtime::mask_interrupts();
    runtime::send_interrupt(0, 3);
    static_cast<void>(leaves<exit::ExternalInterrupt>(b));
    static unsigned taken = 0;
    runtime::set_handler(3, [](unsigned) { ++taken; });
    take_interrupts();
    CHECK(taken == 1);
    const auto until = runtime::now() + runtime::frequency() / 50;
    const auto e = b.run(until);
    REQUIRE(e);
    CHECK(e->is<exit::TimerExpired>());
    CHECK(runtime::now() >= until);
    CHECK(runtime::timer() == runtime::no_timer);
}

TEST_CASE("a state that the hardware refuses is a FailEntry that names the rules, and the vCPU can be run again", "[end]") {
    Machine m(call_forever);
    REQUIRE(m.vcpu().set(id<"CR0">(), 0x8000'0011 | 1u << 29));   // NW without CD
    REQUIRE(m.vcpu().set(id<"DR7">(), 0x1'0000'0400));
    {
        auto b = percpu().bind(m.vcpu());
        const auto f = leaves<exit::FailEntry>(b);
        // [failentry]
        std::array<char, 300> text;
        const auto size = fmt::format_to_n(text.data(), text.size(), FMT_COMPILE("{}"), FailEntryReport{f, arch::entry_rules}).size;
        const std::string_view report(text.data(), size);  // "... not kept: CR0.NW is 0 where CR0.CD is 0; ..."
        // [end]
        CHECK(report.find("not kept: CR0.NW is 0 where CR0.CD is 0; not kept: DR7[63:32] are 0") != report.npos);
        CHECK(static_cast<std::uint32_t>(f.reason) == static_cast<std::uint32_t>(arch::exit_code::invalid));
        CHECK(f.broken == (1u << 1 | 1u << 6));
        CHECK(arch::entry_rules[1] == "CR0.NW is 0 where CR0.CD is 0");
        CHECK(b.run().error().code == Code::bad_state);
    }
    REQUIRE(m.vcpu().reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
}

// Each is undefined for a guest that CPUID shows no hypervisor's or hidden instruction.
GUEST(undefined_vmrun, HANDLERS "vmrun %rax\n" REPORT);
GUEST(undefined_stgi, HANDLERS "stgi\n" REPORT);
GUEST(undefined_monitor, HANDLERS "monitor\n" REPORT);
GUEST(undefined_xsetbv, HANDLERS "xor %ecx, %ecx\nxsetbv\n" REPORT);

TEST_CASE("instructions that the guest does not have are undefined", "[hostile][X35]") {
    struct Row { const char* name; const unsigned char* payload; };
    const auto row = GENERATE(Row{"vmrun", undefined_vmrun}, Row{"stgi", undefined_stgi}, Row{"monitor", undefined_monitor}, Row{"xsetbv", undefined_xsetbv});
    INFO(row.name);
    Machine m(row.payload);
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).number == 0xFA17);
}

GUEST(stepping, HANDLERS "pushf\norl $0x100, (%rsp)\npopf\ncpuid\nnop\n" REPORT);

TEST_CASE("an emulated instruction ends as the hardware's own would: single step traps behind it", "[debug]") {
    Machine m(stepping);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == 0xFA17);
    CHECK((get<"DR6">(m) & 1 << 14) != 0);
}

GUEST(rdtscp_guest, HANDLERS "rdtscp\nmov %rcx, %rdi\n" REPORT);

TEST_CASE("RDTSCP is undefined, or, where the machine has no intercept for it, shows nothing of the host", "[hostile]") {
    arch::write<"TSC_AUX">(0x1234);
    REQUIRE(percpu().disable());
    REQUIRE(percpu().enable());
    Machine m(rdtscp_guest);
    {
        auto b = percpu().bind(m.vcpu());
        const auto h = leaves<exit::Hypercall>(b);
        CHECK((h.number == 0xFA17 || h.args[0] == 0));
    }
    CHECK(arch::read<"TSC_AUX">() == 0x1234);
}

TEST_CASE("the host's system-call and base registers come back with each exit", "[host]") {
    constexpr std::uint32_t lstar = arch::msr_of<"LSTAR">, kernel_gs = arch::msr_of<"KERNEL_GS_BASE">;
    arch::write_msr(lstar, 0x1234'5000);
    arch::write_msr(kernel_gs, 0x6789'A000);
    Machine m(msr_guest);  // gives LSTAR a value of its own
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
    CHECK(arch::read_msr(lstar) == 0x1234'5000);
    CHECK(arch::read_msr(kernel_gs) == 0x6789'A000);
    arch::write_msr(lstar, 0);
    arch::write_msr(kernel_gs, 0);
}

TEST_CASE("floating point is switched with its vCPU: never at its first use", "[misuse][fp]") {
    Machine m(call_guest);
    Slot slot[1];
    Vm<BareHost> vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram, .policy = {.lazy_fp = true}}};
    auto refused = Vcpu<BareHost>::create(slot[0], vm, create_config(ram_base, 0, m.at(call_guest), 0, false));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::unsupported);
}

GUEST(leave_in_fp, "mov $0x12345678, %eax\nmovd %eax, %mm0\nmovd %eax, %xmm15\nmov $0xC0DE, %eax\nvmmcall\n" REPORT);

TEMPLATE_TEST_CASE("what a guest leaves in the x87 and SSE registers is gone after its unbinding", "[canary][bind][fp]", Host, BareHost) {
    alignas(16) static std::array<std::uint32_t, 128> image;
    image.fill(~0u);
    Enabled<TestType> here;
    Machine m(leave_in_fp);
    Slot slot[1];
    Vm<TestType> vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
    auto v = Vcpu<TestType>::create(slot[0], vm, create_config(ram_base, 0, m.at(leave_in_fp), 0, false));
    REQUIRE(v);
    constexpr auto cr4 = arch::registers[arch::index<"CR4">].id();
    REQUIRE(v->set(cr4, v->get(cr4).value_or(0) | 1 << 9));  // OSFXSR
    bool ran = false;
    {
        auto b = here.cpu.bind(*v);
        const auto e = b.run();
        ran = e && e->template is<exit::Hypercall>();
    }
    asm volatile("fxsave64 %0" : "=m"(image));
    CHECK(ran);
    CHECK(image[8] == 0);                                   // ST0, MM0
    CHECK(image[40 + 15 * 4] == 0);                         // XMM15
    const auto kept = v->get(arch::registers[arch::index<"FXSAVE">].id(2));
    CHECK((kept.value_or(0) & 0xFFFF'FFFF) == 0x1234'5678);  // they are the guest's, still
}

TEST_CASE("an exception that waits to be delivered is in a snapshot, and a third one in its delivery ends the vCPU", "[fail][registers]") {
    Machine m(call_guest);
    std::array<reg::Value, Vcpu<Host>::snapshot_size> all;
    const auto pending = arch::registers[arch::index<"EVENTINJ">].id();
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).number == 0xC0DE);
    REQUIRE(b.fail());
    const auto count = m.vcpu().snapshot(all);
    REQUIRE(count);
    CHECK(std::ranges::any_of(std::span(all).first(*count), [&](const reg::Value& r) { return r.id == pending && (r.low & 0xFF) == 6 && (r.low >> 31 & 1) != 0; }));
    REQUIRE(m.vcpu().set(pending, arch::event(8, true)));
    m.vcpu().core().pending.kind = arch::Pending::Kind::fault;  // as when the stack for it is nowhere
    REQUIRE(b.fail());
    const auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::Shutdown>());
    CHECK(b.run().error().code == Code::bad_state);
}

TEST_CASE("set() keeps to a register's own bits", "[registers]") {
    Machine m(call_guest);
    constexpr auto cpl = arch::registers[arch::index<"CPL">].id();
    REQUIRE(m.vcpu().set(cpl, 0xFF));
    CHECK(m.vcpu().get(cpl).value_or(99) == 3);
}
