// Floating-point and vector state between this CPU's registers and the vCPU's memory. A vCPU with SVE has both its Z registers, in the
// memory that it was created with, and their low 128 bits, in the context: what changes the one changes the other.
module axvcpu.aarch64;
import std;

namespace axvcpu::aarch64 {

void set_vector(Vcpu& v, unsigned n, std::uint64_t low, std::uint64_t high) noexcept {
    v.context.raw<"V">(n) = low;
    v.context.raw<"V">(n, true) = high;
    if (v.vector_length == 0) return;  // settle_vectors() does it
    auto* z = v.vector_state.data() + n * v.vector_length;
    __builtin_memset(z, 0, v.vector_length);
    __builtin_memcpy(z, &v.context.raw<"V">(n), 16);
}

void load_fp_at_first_use(Vcpu& v) noexcept {
    const bool sve = v.has(Vcpu::has_sve);
    write<"CPTR_EL2">(cptr(v.has(Vcpu::host_extensions), true, sve));
    isb();
    if (sve) {
        write<"ZCR_EL2">(0xF);
        write_el1<"ZCR_EL1">(v.has(Vcpu::host_extensions), v.context.get<"ZCR_EL1">());
        isb();
    }
    v.set(Vcpu::fp_used, true);
    load_fp(v);
}

void put_fp_out(Vcpu& v) noexcept {
    if (!v.has(Vcpu::fp_used)) return;
    save_fp(v);
    if (v.has(Vcpu::has_sve)) {
        v.context.set<"ZCR_EL1">(read_el1<"ZCR_EL1">(v.has(Vcpu::host_extensions)));
        write<"ZCR_EL2">(v.percpu->host_zcr);
    }
    write<"CPTR_EL2">(v.el2.cptr);
    isb();
    v.set(Vcpu::fp_used, false);
}

void fp_to_memory(Vcpu& v) noexcept {
    put_fp_out(v);
    if (!v.has(Vcpu::fp_apart)) save_fp(v);
}
void fp_from_memory(Vcpu& v) noexcept {
    if (!v.has(Vcpu::fp_apart)) load_fp(v);
}

void settle_vectors(Vcpu& v, std::uint32_t length) noexcept {
    if (v.vector_length != 0) return;
    v.vector_length = length;
    for (unsigned n = 0; n < 32; ++n) __builtin_memcpy(v.vector_state.data() + n * length, &v.context.raw<"V">(n), 16);
}

/// Z0-Z31, and P0-P15 and FFR of an eighth of that each.
auto sve_state_bytes(std::uint32_t length) noexcept -> std::uint32_t { return 32 * length + 17 * length / 8; }

}  // namespace axvcpu::aarch64
