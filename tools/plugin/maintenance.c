// A QEMU TCG plugin (plugin API 4, QEMU 9.2 or later) that logs the TLB maintenance between two marker instructions, in the order in
// which it is executed: one log for all CPUs, and a line is written before its instruction has an effect. The markers are those of
// count.c; tools/maintenance.py compares what is logged with what ought to be. Declares what it uses of QEMU's interface: no QEMU
// headers are needed.
//
// aarch64: TLBI, IC IALLU, DSB, ISB, MSR VTTBR_EL2, ERET. riscv64: HFENCE, SFENCE.VMA, FENCE.I, FENCE iorw, writes to hgatp and vsatp, SRET.
// Arguments from=ADDRESS,to=ADDRESS: stores there are logged, too (stage-2 tables).
// Lines: "CPU PC WORD" in hexadecimal, a marker's as well; "CPU store ADDRESS VALUE".
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct { int type; union { uint64_t u64; struct { uint64_t low, high; } u128; } data; } qemu_plugin_mem_value;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CB_NO_REGS = 0, MEM_W = 2 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *), int flags, int rw, void *);
qemu_plugin_mem_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t);
void qemu_plugin_outs(const char *);

EXPORT int qemu_plugin_version = 4;

struct pattern { uint32_t mask, value; };
static const struct pattern aarch64[] = {
    {0xFFF8E000, 0xD5088000},  // TLBI, CRn 8 and 9
    {0xFFFFFBFF, 0xD508711F},  // IC IALLU, IALLUIS
    {0xFFFFF0FF, 0xD503309F},  // DSB
    {0xFFFFF0FF, 0xD50330DF},  // ISB
    {0xFFFFFFE0, 0xD51C2100},  // MSR VTTBR_EL2
    {0xFFFFFFFF, 0xD69F03E0},  // ERET
    {0, 0},
};
static const struct pattern riscv64[] = {
    {0xFE007FFF, 0x22000073},  // HFENCE.VVMA
    {0xFE007FFF, 0x62000073},  // HFENCE.GVMA
    {0xFE007FFF, 0x12000073},  // SFENCE.VMA
    {0xFFFFFFFF, 0x0000100F},  // FENCE.I
    {0xFFFFFFFF, 0x0FF0000F},  // FENCE iorw, iorw
    {0xFFF0707F, 0x68001073},  // CSRRW hgatp
    {0xFFF0707F, 0x28001073},  // CSRRW vsatp
    {0xFFFFFFFF, 0x10200073},  // SRET
    {0, 0},
};
static const struct pattern *wanted;
static uint64_t range_from, range_to;
static atomic_int open_sections;

static void line(const char *format, unsigned vcpu, uint64_t a, uint64_t b) {
    char text[80];
    snprintf(text, sizeof text, format, vcpu, a, b);
    qemu_plugin_outs(text);
}

struct place { uint64_t pc; uint32_t word; int opens; };  // never freed: there are few

static void on_instruction(unsigned vcpu, void *data) {
    const struct place *p = data;
    if (p->opens > 0) atomic_fetch_add(&open_sections, 1);
    if (atomic_load(&open_sections) > 0) line("%u %" PRIx64 " %" PRIx64 "\n", vcpu, p->pc, p->word);
    if (p->opens < 0) atomic_fetch_sub(&open_sections, 1);
}

static void on_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t at, void *data) {
    (void)data;
    if (at >= range_from && at < range_to && atomic_load_explicit(&open_sections, memory_order_relaxed) > 0)
        line("%u store %" PRIx64 " %" PRIx64 "\n", vcpu, at, qemu_plugin_mem_get_value(info).data.u64);
}

/// 1: a marker that starts, -1: one that ends, 0: none.
static int marker(uint32_t word) {
    const uint32_t id = wanted == riscv64 ? ((word & 0xFFFFF) == 0x02013 ? word >> 20 : 0) : (word & 0xFFE0001F) == 0xD2E0001F ? word >> 5 & 0xFFFF : 0;
    const uint32_t kind = wanted == riscv64 ? id & 0xFE0 : (id & 0xF000) == 0xA000 ? id & 0xFE0 : 0;
    return kind == 0x400 ? 1 : kind == 0x500 ? -1 : 0;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        if (range_to != 0) qemu_plugin_register_vcpu_mem_cb(insn, on_store, CB_NO_REGS, MEM_W, NULL);
        uint32_t word = 0;
        qemu_plugin_insn_data(insn, &word, sizeof word);
        const int opens = marker(word);
        const struct pattern *p = wanted;
        while (p->mask != 0 && (word & p->mask) != p->value) ++p;
        if (opens == 0 && p->mask == 0) continue;
        struct place *at = malloc(sizeof *at);
        if (at == NULL) abort();
        *at = (struct place){qemu_plugin_insn_vaddr(insn), word, opens};
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_instruction, CB_NO_REGS, at);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    const char *target = *(const char *const *)info;  // the first of qemu_info_t
    wanted = strcmp(target, "riscv64") == 0 ? riscv64 : strcmp(target, "aarch64") == 0 ? aarch64 : NULL;
    if (wanted == NULL) return -1;
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "from=", 5) == 0) range_from = strtoull(argv[i] + 5, NULL, 0);
        else if (strncmp(argv[i], "to=", 3) == 0) range_to = strtoull(argv[i] + 3, NULL, 0);
        else return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
