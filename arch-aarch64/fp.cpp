// Floating-point and vector state between this CPU's registers and the vCPU's memory. A vCPU with SVE has both its Z registers, in the
// memory that it was created with, and their low 128 bits, in the context: what changes the one changes the other.
module axvcpu.aarch64;
import std;

namespace axvcpu::aarch64 {

void set_vector(Vcpu& v, unsigned n, std::uint64_t low, std::uint64_t high) noexcept {
    v.context.raw<"V">(n) = low;
    v.context.raw<"V">(n, true) = high;
    if (v.vector_length == 0) return;
    auto* z = v.vector_state.data() + n * v.vector_length;
    __builtin_memset(z, 0, v.vector_length);
    __builtin_memcpy(z, &v.context.raw<"V">(n), 16);
}

/// Z0-Z31, and P0-P15 and FFR of an eighth of that each.
auto sve_state_bytes(std::uint32_t length) noexcept -> std::uint32_t { return 32 * length + 17 * length / 8; }

}  // namespace axvcpu::aarch64
