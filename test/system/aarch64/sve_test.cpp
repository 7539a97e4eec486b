// SVE: Z0-Z31, P0-P15 and FFR, whose size the CPU says and whose memory is the user's.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include "../bare_host.hpp"

using namespace harness;

namespace {
/// Bytes of a Z register, from what the state of a vCPU takes: 32 of them, and 17 of an eighth.
auto vector_length() -> std::uint64_t { return capabilities().vector_state * 8ull / (32 * 8 + 17); }
}  // namespace

// Fills every byte of Z0 to Z31, the predicates and FFR from x0; then reports what it finds, for ever: sums over whole vectors, and
// fills them again.
GUEST(vectors_kept, "mov x9, #3 << 20\norr x9, x9, #3 << 16\nmsr CPACR_EL1, x9\nisb\nmov x9, #15\nmsr S3_0_C1_C2_0, x9\nisb\n"
    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\nadd w10, w0, #\\n\ndup z\\n\\().b, w10\n.endr\n"
    "ptrue p0.b\nwhilelo p1.b, xzr, x0\nptrue p15.h\nwrffr p1.b\n"
    "1: mov x1, #0\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
    "lsl x1, x1, #1\nuaddv d\\n, p0, z\\n\\().b\nfmov x10, d\\n\nadd x1, x1, x10\nadd w10, w0, #\\n\ndup z\\n\\().b, w10\n.endr\n"
    "cntp x2, p0, p1.b\ncntp x3, p0, p15.b\nrdvl x4, #1\nrdffr p2.b\ncntp x5, p0, p2.b\nmov x11, x0\n" REPORT "mov x0, x11\nb 1b\n");

TEST_CASE("SVE: every byte of Z, P and FFR belongs to the guest, through exits, another vCPU and the host's own work", "[canary][A13]") {
    const auto size = capabilities().vector_state;
    if (size == 0) SKIP("no SVE");
    const auto length = vector_length();
    CHECK(size == 32 * length + 17 * length / 8);
    Machine m(vectors_kept, 5, {.vcpus = 2, .vectors = true});
    REQUIRE(m.vcpu(1).reset(m.at(vectors_kept), 11));
    std::array<std::uint64_t, 2> first{};
    for (int round = 0; round < 6; ++round) {
        for (unsigned i = 0; i < 2; ++i) {
            if (round % 2 != 0 && have_cpu(1)) {  // its state goes along to another CPU, where its guest fills it anew and reports
                CHECK(RunsOn(1, m.vcpu(i)).wait() == Exit::index_of<exit::Hypercall>());
                REQUIRE(m.vcpu(i).get(id<"X">(1)).value_or(0) == first[i]);
            }
            auto b = percpu().bind(m.vcpu(i));
            REQUIRE(b);
            if (round % 2 != 0 && have_cpu(1)) REQUIRE(b.complete());
            for (int again = 0; again < 2; ++again) {
                const auto e = b.run();
                REQUIRE(e);
                REQUIRE(e->is<exit::Hypercall>());
                const auto h = *e->get<exit::Hypercall>();
                if (first[i] == 0) first[i] = h.args[0];
                CHECK(h.args[0] == first[i]);
                CHECK(h.args[1] == std::min<std::uint64_t>(5 + 6 * i, length));
                CHECK(h.args[2] == length / 2);
                CHECK(h.args[3] == length);
                CHECK(h.args[4] == std::min<std::uint64_t>(5 + 6 * i, length));
                std::vector<double> work(64, 0.5);
                REQUIRE(std::accumulate(work.begin(), work.end(), 0.0) == 32.0);
                REQUIRE(b.complete());
            }
        }
    }
    CHECK(first[0] != first[1]);
}

GUEST(vector_load_128, "mov x9, #3 << 20\norr x9, x9, #3 << 16\nmsr CPACR_EL1, x9\nisb\nmov x9, #15\nmsr S3_0_C1_C2_0, x9\nisb\nptrue p0.b\n"
    "index z3.b, #1, #0\nindex z4.b, #1, #0\nldr q3, [x0]\nuaddv d5, p0, z4.b\nfmov x1, d3\nmov x2, v3.d[1]\nuaddv d6, p0, z3.b\nfmov x3, d6\nfmov x4, d5\n" REPORT);

TEST_CASE("SVE: a load of 128 bits from a device clears the rest of its register, and no other register changes", "[mmio][A13]") {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    Machine m(vector_load_128, device_base.value, {.vectors = true});
    auto b = percpu().bind(m.vcpu());
    for (const std::uint64_t part : {1, 2}) {
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::MmioRead>());
        REQUIRE(b.complete(part));
    }
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    const auto h = *e->get<exit::Hypercall>();
    CHECK(h.args[0] == 1);
    CHECK(h.args[1] == 2);
    CHECK(h.args[2] == 3);                         // the whole of Z3: nothing above the 128 bits
    CHECK(h.args[3] == vector_length());    // Z4: a one in each byte
}

TEST_CASE("SVE: too little memory is an error; none hides the feature", "[misuse][A13]") {
    const auto size = capabilities().vector_state;
    if (size == 0) SKIP("no SVE");
    static std::array<std::byte, 64> little alignas(64);
    Machine m(spin);
    REQUIRE(m.vcpu().destroy());
    m.slots[0].entry = nullptr;
    CHECK(Vcpu<Host>::create(m.slots[0], m.vm, {.id = 0, .entry = ram_base, .vector_state = {little.data() + 1, 48}}).error().code == Code::misaligned);
    auto made = Vcpu<Host>::create(m.slots[0], m.vm, {.id = 0, .entry = ram_base, .vector_state = little});
    REQUIRE(made);
    auto refused = percpu().bind(*made);
    REQUIRE(!refused);
    CHECK(refused.error().code == Code::too_small);
    CHECK(refused.error().expected == size);
    CHECK(made->state() == State::free);
}

namespace {

/// Two vCPUs of a VM of this host's, the first `with` of them with SVE, whose guests fill all of it from 5 and 11.
template <class H>
struct TwoWithVectors {
    explicit TwoWithVectors(unsigned with, VmPolicy policy = {})
        : m(vectors_kept), vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram, .policy = policy}} {
        for (std::uint32_t i = 0; i < 2; ++i) {
            const std::span<std::byte> room = i < with ? std::span(state[i]).first(capabilities().vector_state) : std::span<std::byte>{};
            vcpu[i] = &*Vcpu<H>::create(slots[i], vm, {.id = i, .entry = m.at(vectors_kept), .arg = 5 + 6 * i, .vector_state = room});
        }
    }
    static inline std::array<std::array<std::byte, 16384>, 2> state alignas(64);
    Machine m;
    Slot slots[2];
    Vm<H> vm;
    Vcpu<H>* vcpu[2];
};

/// P0 to P15 and FFR of this CPU, and Z8.
[[gnu::noinline]] void read_predicates(std::byte* to, std::byte* z) noexcept {
    asm volatile(".arch_extension sve\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nstr p\\n, [%0, #\\n, mul vl]\n.endr\n"
                 "rdffr p0.b\nstr p0, [%0, #16, mul vl]\nstr z8, [%1]" ::"r"(to), "r"(z) : "memory");
}
/// Nothing of SVE traps at EL2 while this lives.
struct Open {
    Open() {
        allow();
        zcr = arch::read<"ZCR_EL2">();
        arch::write<"ZCR_EL2">(0xF);
        arch::isb();
    }
    ~Open() {
        allow();  // an unbinding has given back what was there before
        arch::write<"ZCR_EL2">(zcr);
        arch::write<"CPTR_EL2">(cptr);
        arch::isb();
    }
    void allow() const {
        const bool e2h = (arch::read<"HCR_EL2">() >> 34 & 1) != 0;
        arch::write<"CPTR_EL2">(e2h ? cptr | 3u << 20 | 3u << 16 : cptr & ~std::uint64_t{1 << 10 | 1 << 8});
        arch::isb();
    }
    std::uint64_t cptr = arch::read<"CPTR_EL2">(), zcr = 0;
};

}  // namespace

TEMPLATE_TEST_CASE("SVE: what one guest has left is gone when the next one, which has no SVE, is unbound", "[canary][bind][A13]", Host, BareHost) {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    static std::array<std::byte, 17 * 32> predicates;
    static std::array<std::byte, 256> z;
    predicates.fill(std::byte{0xFF});
    z.fill(std::byte{0xFF});
    const auto length = vector_length();
    Enabled<TestType> here;
    TwoWithVectors<TestType> two(1);
    bool ran = false, switched = false;
    {
        auto b = here.cpu.bind(*two.vcpu[0]);
        ran = b.run() && b.complete();
        switched = b.switch_to(*two.vcpu[1]).has_value();
    }
    {
        const Open open;
        read_predicates(predicates.data(), z.data());
    }
    CHECK(ran);
    CHECK(switched);
    const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
    CHECK(std::ranges::all_of(std::span(predicates).first(17 * length / 8), is_zero));
    CHECK(std::ranges::all_of(std::span(z).subspan(16, length - 16), is_zero));  // the rest of it is V8
}

TEST_CASE("SVE: at its first use, too, every byte belongs to the guest, and so does ZCR_EL1", "[canary][fp][A13]") {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    const auto length = vector_length();
    constexpr auto zcr = id<"ZCR_EL1">();
    std::uint64_t args[2][4][5]{}, zcr_seen[2][4]{}, traps = 0;
    bool right = true;
    {
        Enabled<BareHost> here;
        TwoWithVectors<BareHost> two(2, {.lazy_fp = true});
        asm volatile("" ::: CALLEE_SAVED_FP);
        for (unsigned round = 0; round < 4; ++round) {
            auto b = here.cpu.bind(*two.vcpu[0]);
            for (unsigned i = 0; i < 2; ++i) {
                if (i == 1) right = right && b.switch_to(*two.vcpu[1]);
                traps += fp_traps(two.vcpu[i]->core());
                if (round % 2 != 0) zcr_seen[i][round] = two.vcpu[i]->get(zcr).value_or(99);
                const auto e = b.run();
                right = right && e && e->is<exit::Hypercall>();
                if (!right) break;
                for (unsigned n = 0; n < 5; ++n) args[i][round][n] = e->get<exit::Hypercall>()->args[n];
                if (round % 2 == 0) zcr_seen[i][round] = two.vcpu[i]->get(zcr).value_or(99);
                right = right && b.complete();
            }
        }
    }
    CHECK(right);
    CHECK(traps == 8);
    for (unsigned i = 0; i < 2; ++i)
        for (unsigned round = 0; round < 4; ++round) {
            INFO("vCPU " << i << ", round " << round);
            CHECK(args[i][round][0] == args[i][0][0]);
            CHECK(args[i][round][1] == std::min<std::uint64_t>(5 + 6 * i, length));
            CHECK(args[i][round][2] == length / 2);
            CHECK(args[i][round][3] == length);
            CHECK(args[i][round][4] == std::min<std::uint64_t>(5 + 6 * i, length));
            CHECK(zcr_seen[i][round] == 15);
        }
    CHECK(args[0][0][0] != args[1][0][0]);
}

TEST_CASE("SVE: what V is given before the first bind is there, and so is what a snapshot holds", "[registers][A13]") {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    Enabled<Host> here;
    TwoWithVectors<Host> two(1);
    REQUIRE(two.vcpu[0]->set(id<"V">(7), 0x1234'5678'9ABC'DEF0));
    {
        auto b = here.cpu.bind(*two.vcpu[0]);
        REQUIRE(b);
        CHECK(two.vcpu[0]->get(id<"V">(7)).value_or(0) == 0x1234'5678'9ABC'DEF0);
    }
    CHECK(two.vcpu[0]->get(id<"V">(7)).value_or(0) == 0x1234'5678'9ABC'DEF0);
}

TEST_CASE("SVE: the host's ZCR_EL2 stays as it is while guests without SVE come and go", "[bind][A13]") {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    std::uint64_t after = 0;
    {
        const Open open;  // and back at the end
        arch::write<"ZCR_EL2">(1);
        Machine m(call_forever);
        { auto b = percpu().bind(m.vcpu()); }
        after = Open().zcr;
    }
    CHECK(after == 1);
}
