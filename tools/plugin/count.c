// A QEMU TCG plugin (plugin API 4, QEMU 9.1 or later) that counts executed instructions, one by one: all of them, and those
// between two marker instructions. Declares what it uses of QEMU's interface: no QEMU headers are needed.
//
// Markers do nothing and nobody else has them, id below 32: aarch64 `movz xzr, #(0xa400 | id), lsl #48` starts, `0xa500 | id` ends;
// riscv64 `slti x0, x0, 0x400 | id` starts, `0x500 | id` ends.
// Arguments from=ADDRESS,to=ADDRESS: instructions at these virtual addresses are also counted apart, and reported as "range N", and how
// many distinct words were among them as "distinct N".
// At the end it prints "total N", and for each id that ran "id COUNT MEDIAN MINIMUM MAXIMUM" to the plugin log.
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct { struct qemu_plugin_scoreboard *score; size_t offset; } qemu_plugin_u64;
enum { INLINE_ADD_U64 = 0, CB_NO_REGS = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int op, qemu_plugin_u64, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int flags, void *);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64, unsigned);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64);
void qemu_plugin_outs(const char *);

EXPORT int qemu_plugin_version = 4;

enum { IDS = 32, SAMPLES = 4096 };
static qemu_plugin_u64 executed, in_range;
static uint64_t range_from, range_to;
static _Atomic uint8_t *seen;  // a bit for each word that was executed in the range
static _Atomic uint64_t distinct;
static uint64_t started[IDS];
static uint32_t samples[IDS][SAMPLES];
static unsigned count[IDS];

static void on_marker(unsigned vcpu, void *data) {
    const unsigned marker = (unsigned)(uintptr_t)data, id = marker & 31;
    const uint64_t now = qemu_plugin_u64_get(executed, vcpu);
    if ((marker & 0x100) == 0) {
        started[id] = now;
    } else if (started[id] != 0) {
        if (count[id] < SAMPLES) samples[id][count[id]++] = (uint32_t)(now - started[id]);
        started[id] = 0;
    }
}

static void on_range(unsigned vcpu, void *data) {
    const uint32_t word = (uint32_t)(uintptr_t)data;
    const uint8_t bit = (uint8_t)(1u << (word & 7));
    (void)vcpu;
    if ((atomic_load_explicit(&seen[word >> 3], memory_order_relaxed) & bit) == 0 && (atomic_fetch_or(&seen[word >> 3], bit) & bit) == 0) ++distinct;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;
        qemu_plugin_insn_data(insn, &word, sizeof word);
        const uint32_t imm = (word & 0xFFFFF) == 0x02013 ? word >> 20 : (word & 0xFFE0001Fu) == 0xD2E0001Fu ? word >> 5 & 0xFFFF : 0;
        qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD_U64, executed, 1);
        const uint64_t at = qemu_plugin_insn_vaddr(insn);
        if (at >= range_from && at < range_to) {
            qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD_U64, in_range, 1);
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_range, CB_NO_REGS, (void *)(uintptr_t)word);
        }
        if ((imm & 0xFEE0) == 0xA400 || (imm & 0xEE0) == 0x400)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, CB_NO_REGS, (void *)(uintptr_t)(imm & 0x1FF));
    }
}

static int order(const void *a, const void *b) { return (*(const uint32_t *)a > *(const uint32_t *)b) - (*(const uint32_t *)a < *(const uint32_t *)b); }

static void at_exit(qemu_plugin_id_t id, void *data) {
    char line[128];
    (void)id, (void)data;
    snprintf(line, sizeof line, "total %" PRIu64 "\n", qemu_plugin_u64_sum(executed));
    qemu_plugin_outs(line);
    if (range_to != 0) {
        snprintf(line, sizeof line, "range %" PRIu64 "\n", qemu_plugin_u64_sum(in_range));
        qemu_plugin_outs(line);
        snprintf(line, sizeof line, "distinct %" PRIu64 "\n", (uint64_t)distinct);
        qemu_plugin_outs(line);
    }
    for (unsigned i = 0; i < IDS; ++i) {
        if (count[i] == 0) continue;
        qsort(samples[i], count[i], sizeof samples[i][0], order);
        snprintf(line, sizeof line, "id %u %u %u %u %u\n", i, count[i], samples[i][count[i] / 2], samples[i][0], samples[i][count[i] - 1]);
        qemu_plugin_outs(line);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "from=", 5) == 0) range_from = strtoull(argv[i] + 5, NULL, 0);
        else if (strncmp(argv[i], "to=", 3) == 0) range_to = strtoull(argv[i] + 3, NULL, 0);
        else return -1;
    }
    if (range_to != 0 && (seen = calloc(1, (size_t)1 << 29)) == NULL) return -1;  // touched pages alone take memory
    in_range.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    in_range.offset = 0;
    executed.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    executed.offset = 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
