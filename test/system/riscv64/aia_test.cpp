// IMSICs: a vCPU's interrupt file in memory and in the hart, and on its way between them.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"

using namespace harness;

// siselect 0x150, sireg 0x151, stopei 0x15C, stopi 0xDB0.
#define SELECT(n) "li t0, " #n "\ncsrw 0x150, t0\n"
/// Identities 1 to 255 enabled, delivery on.
#define FILE_ON SELECT(0xC0) "li t1, -1\ncsrw 0x151, t1\n" SELECT(0xC2) "csrw 0x151, t1\n" SELECT(0xC4) "csrw 0x151, t1\n" SELECT(0xC6) "csrw 0x151, t1\n" SELECT(0x70) "csrwi 0x151, 1\n"

GUEST(file_registers, SELECT(0x70) "csrwi 0x151, 1\ncsrr a0, 0x151\n" SELECT(0xC0) "li t1, 0x61\ncsrw 0x151, t1\ncsrci 0x151, 1\ncsrr a1, 0x151\n" SELECT(0x80) "csrwi 0x151, 0\nli t1, 0x40\ncsrs 0x151, t1\n"
                      "csrr a2, 0x15C\ncsrrw a3, 0x15C, zero\ncsrr a4, 0x15C\n" SELECT(0x30) "csrr a5, 0x151\n" REPORT);
GUEST(file_without_such, VECTORS SELECT(0x81) "csrr a0, 0x151\n");
GUEST(no_file, VECTORS "csrr a0, 0x15C\n");
// What is delivered before it looks; then whether stopi names an external interrupt, before and after it was claimed.
GUEST(file_interrupt, "csrw sie, zero\nli t0, 0x200\ncsrs sie, t0\n" FILE_ON REPORT "csrr a0, 0xDB0\ncsrrw a1, 0x15C, zero\ncsrr a2, 0xDB0\n" REPORT);
// Each waits for identity 1 at its own file and stores it to the other's page, arg times in all; hart 0 begins.
GUEST(play_ball, "mv s1, a1\nmv s2, a0\n" FILE_ON "li s3, 0x28000000\nxori t0, s2, 1\nslli t0, t0, 12\nadd s3, s3, t0\nli s4, 1\nbnez s2, 2f\n1: sw s4, (s3)\n2: csrrw t0, 0x15C, zero\nbeqz t0, 2b\n"
                 "addi s1, s1, -1\nbnez s1, 1b\nbeqz s2, 3f\nsw s4, (s3)\n3: mv a0, s1\n" REPORT);
// Notes each identity it takes in a byte of memory from arg on; reports when 255 came.
GUEST(take_all, "mv s1, a1\n" FILE_ON "li s2, 255\n1: csrrw t0, 0x15C, zero\nbeqz t0, 1b\nsrli t0, t0, 16\nadd t1, s1, t0\nlbu t2, (t1)\naddi t2, t2, 1\nsb t2, (t1)\nbne t0, s2, 1b\n" REPORT);
// A pattern in each register, an exit, and what is there then.
GUEST(keep_file, SELECT(0x72) "li t1, 100\ncsrw 0x151, t1\n" SELECT(0x70) "csrwi 0x151, 1\n" SELECT(0xC4) "li t1, 0x1234\ncsrw 0x151, t1\n" SELECT(0x82) "li t1, 0x77\ncsrs 0x151, t1\n" "1: csrr a4, 0x150\n" SELECT(0x72) "csrr a0, 0x151\n"
                 SELECT(0x70) "csrr a1, 0x151\n" SELECT(0xC4) "csrr a2, 0x151\n" SELECT(0x82) "csrr a3, 0x151\n" REPORT "j 1b\n");
// What any eip or eie register of the file holds, and stopei with all enabled.
GUEST(look_for_leftovers, "li a0, 0\nli t0, 0x80\n1: csrw 0x150, t0\ncsrr t1, 0x151\nor a0, a0, t1\naddi t0, t0, 2\nli t2, 0x100\nbne t0, t2, 1b\n" SELECT(0x72) "csrr a1, 0x151\n" SELECT(0x70) "csrr a2, 0x151\n" REPORT);
// Stores the identities 2 to 255 to hart 0's page, slowly.
GUEST(send_all, "li t0, 0x28000000\nli t1, 2\nli t2, 256\n1: sw t1, (t0)\nli t3, 2000\n2: addi t3, t3, -1\nbnez t3, 2b\naddi t1, t1, 1\nbne t1, t2, 1b\n" REPORT);
GUEST(sleep_until_message, FILE_ON "li t0, 0x200\ncsrw sie, t0\nwfi\ncsrrw a0, 0x15C, zero\n" REPORT);

namespace {

auto has_aia() -> bool { return (capabilities().features >> static_cast<unsigned>(riscv64::Feature::aia) & 1) != 0; }
auto has_files() -> bool { return runtime::guest_interrupt_file(1).page != 0; }

/// Harts give their files to vCPUs, or do not, as long as this lives; the other CPUs' as well where it is wanted.
class Files {
public:
    Files(bool give, bool others = false) : others_(others) { set(give); }
    ~Files() { set(false); }

private:
    void set(bool give) {
        Host::give_files = give;
        auto again = []() noexcept { static_cast<void>(percpu().disable()); static_cast<void>(percpu().enable()); };
        again();
        for (unsigned cpu = 1; others_ && have_cpu(cpu); ++cpu) OnCpu(cpu, again).wait();
    }
    bool others_;
};

auto run_to_report(Vcpu<Host>::Bound& b) -> exit::Hypercall {
    const auto e = run_on(b);
    REQUIRE(e);
    INFO("left with " << exit_names[e->index()]);
    REQUIRE(e->is<exit::Hypercall>());
    return *e->get<exit::Hypercall>();
}

/// In memory, and in the hart where it has files.
#define IN_MEMORY_AND_HART() \
    if (!has_aia()) SKIP("no AIA"); \
    const bool in_hart = GENERATE(false, true); \
    if (in_hart && !has_files()) return; \
    INFO((in_hart ? "in the hart" : "in memory"))

}  // namespace

TEST_CASE("an interrupt file answers alike in memory and in the hart", "[aia]") {
    IN_MEMORY_AND_HART();
    const Files files(in_hart);
    Machine m(file_registers, 0, {.aia = true});
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    CHECK((m.vcpu().core().file_page != nullptr) == in_hart);
    const auto h = run_to_report(b);
    CHECK(h.args[0] == 1);
    CHECK(h.args[1] == 0x60);
    CHECK(h.args[2] == (6 << 16 | 6));
    CHECK(h.args[3] == (6 << 16 | 6));
    CHECK(h.args[4] == 0);
    CHECK(h.args[5] == 0);
}

TEST_CASE("a register that an interrupt file does not have is an illegal instruction, and so is a file that a VM does not have", "[aia]") {
    IN_MEMORY_AND_HART();
    const Files files(in_hart);
    for (const bool aia : {true, false}) {
        Machine m(aia ? file_without_such : no_file, 0, {.aia = aia});
        auto b = percpu().bind(m.vcpu());
        const auto h = run_to_report(b);
        CHECK(h.number == exception);
        CHECK(h.args[0] == 2);
    }
}

TEST_CASE("a message shows in stopi until it is claimed", "[aia][interrupt]") {
    IN_MEMORY_AND_HART();
    const Files files(in_hart);
    Machine m(file_interrupt, 0, {.aia = true});
    auto b = percpu().bind(m.vcpu());
    run_to_report(b);
    riscv64::deliver_msi(&m.vm.core(), 0, 33);
    REQUIRE(b.complete());
    const auto h = run_to_report(b);
    CHECK(h.args[0] == (9 << 16 | 1));
    CHECK(h.args[1] == (33 << 16 | 33));
    CHECK(h.args[2] == 0);
}

TEST_CASE("vCPUs on two harts send each other messages, and none is lost", "[aia][smp]") {
    if (!have_cpu(1)) SKIP("one CPU");
    IN_MEMORY_AND_HART();
    const Files files(in_hart, true);
    Machine m(play_ball, 2'000, {.vcpus = 2, .aia = true});
    REQUIRE(m.vcpu(1).reset(m.at(play_ball), 2'000));
    RunsOn other(1, m.vcpu(1));
    auto b = percpu().bind(m.vcpu());
    const auto h = run_to_report(b);
    CHECK(h.args[0] == 0);
    CHECK(other.wait() == Exit::index_of<exit::Hypercall>());
}

TEST_CASE("while a vCPU is bound its page is the hart's file, so a message to it is no exit; unbound, nothing is mapped there", "[aia][stage2]") {
    if (!has_aia() || !has_files()) SKIP("no guest interrupt files");
    const Files files(true);
    Machine m(play_ball, 1, {.vcpus = 2, .aia = true});
    const auto mapped = [&] { return m.stage2.walk(imsic_base); };
    CHECK_FALSE(mapped());
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(mapped());
        CHECK(mapped()->address.value == runtime::guest_interrupt_file(1).page);
        CHECK(mapped()->permissions == Permissions{true, true, false});
        CHECK_FALSE(m.stage2.walk(imsic_base + 0x1000));  // the other one's
    }
    CHECK_FALSE(mapped());
}

TEST_CASE("no message is lost while its vCPU moves between harts, and none comes twice", "[aia][smp]") {
    if (!have_cpu(1)) SKIP("one CPU");
    IN_MEMORY_AND_HART();
    const Files files(in_hart, true);
    constexpr auto notes = ram_base + 0x2'0000;
    Machine m(take_all, notes.value, {.vcpus = 2, .aia = true});
    { auto b = percpu().bind(m.vcpu()); REQUIRE(b.run(runtime::now() + runtime::frequency() / 200)); }  // it is ready to take them
    // Another vCPU stores them from CPU 1, while this one is bound and unbound on CPU 0, and on CPU 2 where there is one.
    REQUIRE(m.vcpu(1).reset(m.at(send_all)));
    RunsOn sender(1, m.vcpu(1));
    const bool third = have_cpu(2);
    std::size_t end = Exit::reasons;
    for (unsigned round = 0; end != Exit::index_of<exit::Hypercall>() && round < 20'000; ++round) {
        const auto slice = runtime::now() + runtime::frequency() / 20'000;
        if (third && round % 2 != 0) {
            end = RunsOn(2, m.vcpu(), slice).wait();
            continue;
        }
        auto b = percpu().bind(m.vcpu());
        const auto e = run_on(b, slice);
        REQUIRE(e);
        end = e->index();
    }
    CHECK(end == Exit::index_of<exit::Hypercall>());
    CHECK(sender.wait() == Exit::index_of<exit::Hypercall>());
    for (std::uint32_t id = 2; id < 256; ++id) {
        INFO("identity " << id);
        REQUIRE(*m.host(notes + id) == 1);
    }
}

TEST_CASE("everything of an interrupt file moves along with its vCPU, and none of it stays for another VM", "[aia][canary]") {
    IN_MEMORY_AND_HART();
    const Files files(in_hart, have_cpu(1));
    Machine m(keep_file, 0, {.aia = true});
    for (unsigned i = 0; i < 4; ++i) {
        {
            auto b = percpu().bind(m.vcpu());
            const auto h = run_to_report(b);
            CHECK(h.args[0] == 100);
            CHECK(h.args[1] == 1);
            CHECK(h.args[2] == 0x1234);
            CHECK(h.args[3] == 0x77);
            CHECK(h.args[4] == 0x82);  // siselect is the guest's, whatever the host has selected meanwhile
            REQUIRE(b.complete());
        }
        if (have_cpu(1)) {
            REQUIRE(RunsOn(1, m.vcpu()).wait() == Exit::index_of<exit::Hypercall>());
            auto answer = [&]() noexcept { static_cast<void>(percpu().bind(m.vcpu()).complete()); };
            OnCpu(1, answer).wait();
        }
        if (i == 0) {
            Machine another(look_for_leftovers, 0, {.aia = true});
            auto b = percpu().bind(another.vcpu());
            const auto h = run_to_report(b);
            for (unsigned r = 0; r < 3; ++r) CHECK(h.args[r] == 0);
        }
    }
}

TEST_CASE("a message wakes a vCPU that sleeps unbound; one that comes just before keeps it awake", "[aia][mailbox]") {
    IN_MEMORY_AND_HART();
    const Files files(in_hart);
    for (const bool before : {false, true}) {
        Machine m(sleep_until_message, 0, {.aia = true});
        {
            auto b = percpu().bind(m.vcpu());
            const auto e = b.run();
            REQUIRE(e);
            REQUIRE(e->is<exit::Halt>());
            REQUIRE(b.complete());
            if (before) riscv64::deliver_msi(&m.vm.core(), 0, 77);
        }
        const auto blocked = m.vcpu().block();
        REQUIRE(blocked);
        CHECK(*blocked == !before);
        const auto woken = wakes();
        if (!before) {
            riscv64::deliver_msi(&m.vm.core(), 0, 77);
            CHECK(wakes() == woken + 1);
            REQUIRE(m.vcpu().unblock());
        }
        auto b = percpu().bind(m.vcpu());
        CHECK(run_to_report(b).args[0] == (77 << 16 | 77));
    }
}

TEST_CASE("a VM with an IMSIC is refused by a hart without AIA", "[misuse]") {
    if (has_aia()) SKIP("it has it");
    Machine m(spin, 0, {.aia = true});
    CHECK(percpu().bind(m.vcpu()).error().code == Code::unsupported);
}
