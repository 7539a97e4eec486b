// Calls of the SBI: what decode_call() says has to happen, done.
module axvcpu.riscv64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.mailbox;
import axvcpu.vm;

namespace axvcpu::riscv64 {

namespace {

/// a0 and a1, or a0 alone for a legacy call; behind the instruction. Back into the guest.
auto answer(Vcpu& v, const SbiCall& c, SbiError error, std::uint64_t value = 0) noexcept -> bool {
    v.set_x(10, c.legacy && error == SbiError::success ? value : reg(error));
    if (!c.legacy) v.set_x(11, value);
    v.advance(4);
    return false;
}

/// A call that is the host's to answer.
auto to_host(Vcpu& v) noexcept -> bool {
    const auto id = v.x(17);
    const bool legacy = id <= 0xF;
    v.pending.kind = legacy ? Pending::Kind::legacy_call : Pending::Kind::hypercall;
    v.call_number = id << 32 | (legacy ? 0 : static_cast<std::uint32_t>(v.x(16)));
    v.exit().set_call(false);
    return true;
}

/// A legacy call's hart mask stands in the guest's memory; a fault of reading it is the guest's (R11), but where stage 2 has no page of
/// RAM yet. Nothing: the mask is read; else what act() answers.
auto read_mask(Vcpu& v, SbiCall& c) noexcept -> std::optional<bool> {
    const auto at = c.mask;
    c.mask = 0;
    c.mask_base = ~std::uint64_t{0};
    if (at == 0) return std::nullopt;
    c.mask_base = 0;
    write<"hstatus">(v.context.get<"hstatus">());  // SPVP: an SBI call comes from VS-mode
    const VcpuCore::Reading reading(v);
    execute_fences(v);
    const auto trap = axvcpu_load_double(at, &c.mask);
    if (trap == 0) return std::nullopt;
    if (trap - 1 == cause::load_guest_page) {
        const auto kind = classify_htinst(read<"htinst">());
        const bool write = kind == TrapInstruction::page_table_write, on_walk = write || kind == TrapInstruction::page_table_read;
        const auto virt = read<"stval">();
        const GuestPhysAddr addr{read<"htval">() << 2 | (on_walk ? 0 : virt & 3)};
        if (v.vm().is_ram(addr)) return on_memory_fault(v, addr, virt, on_walk, write);
    }
    inject(v, trap - 1 == cause::load_page ? cause::load_page : cause::load_access, at);
    return false;
}

auto send_ipi(Vcpu& v, const SbiCall& c) noexcept -> SbiError {
    return for_each_hart(v, c.mask, c.mask_base, [](Vcpu& self, Vcpu& target, std::uint32_t) {
        if (&target == &self) return set_bits<"hvip">(interrupt_bits::vs_software);
        if (target.power() == Power::off) return;  // a stopped hart takes none; one that is to start does
        target.software_interrupt.store(true);
        self.vm().notify(target.id(), Event::interrupt);
    }, 0);
}

auto fence(Vcpu& v, const SbiCall& c) noexcept -> SbiError {
    const auto kinds = c.kind == SbiCall::Kind::fence_instruction ? Vcpu::instructions : Vcpu::guest_translations;
    const auto error = for_each_hart(v, c.mask, c.mask_base, [](Vcpu&, Vcpu&, std::uint32_t) {}, 0);
    if (error == SbiError::success) remote_fence(v, c.mask, c.mask_base, kinds);
    return error;
}

auto start(Vcpu& v, const SbiCall& c) noexcept -> bool {
    auto* target = v.vm().find(c.target);
    if (target == nullptr) return answer(v, c, SbiError::invalid_param);
    if (target->power() != Power::off) return answer(v, c, SbiError::already_available);
    if (c.address % 2 != 0 || !v.vm().is_ram({c.address})) return answer(v, c, SbiError::invalid_address);
    if (auto ok = target->request_power_on({c.address}, c.arg); !ok) return answer(v, c, SbiError::already_available);
    v.pending.kind = Pending::Kind::power_on;
    v.pending.target = target;
    v.exit() = exit::CpuUp{target->id(), {c.address}, c.arg};
    return true;
}

auto status(Vcpu& v, const SbiCall& c) noexcept -> bool {
    const auto* target = v.vm().find(c.target);
    if (target == nullptr) return answer(v, c, SbiError::invalid_param);
    const auto power = target->power();
    return answer(v, c, SbiError::success, power == Power::off ? 1 : power != Power::on ? 2 : static_cast<const Vcpu*>(target)->suspended.load() ? 4 : 0);
    // STARTED 0, STOPPED 1, START_PENDING 2, SUSPENDED 4
}

auto suspend(Vcpu& v, const SbiCall& c) noexcept -> bool {
    const bool power_down = c.value != 0;
    if (power_down && (c.address % 2 != 0 || !v.vm().is_ram({c.address}))) return answer(v, c, SbiError::invalid_address);
    auto& p = v.pending;
    if (interrupt_waits(v)) {  // what would wake it up is there already
        if (!power_down) return answer(v, c, SbiError::success);
        p.addr = {c.address};
        p.arg = c.arg;
        suspend_now(v);
        return false;
    }
    p.kind = Pending::Kind::suspend;
    p.power_down = power_down;
    p.addr = {c.address};
    p.arg = c.arg;
    v.suspended = true;
    v.set(Vcpu::resumes, true);
    v.exit() = exit::CpuSuspend{c.value, {power_down ? c.address : 0}, c.arg, power_down, false};
    return true;
}

/// At most a page at a time: the guest says how much more there is by calling again (R12), and each is looked up by itself (R13). One
/// that is not mapped, or not for this, leaves: the host maps it, and the call is made again.
auto console_buffer(Vcpu& v, const SbiCall& c) noexcept -> bool {
    const auto& console = v.machine().console;
    const bool out = c.kind == SbiCall::Kind::console_write;
    if (c.size == 0) return answer(v, c, SbiError::success, 0);
    if (c.address > ~c.size || !v.vm().is_ram({c.address}) || !v.vm().is_ram({c.address + c.size - 1})) return answer(v, c, SbiError::invalid_param);
    const auto count = std::min(c.size, 4096 - (c.address & 0xFFF));
    const VcpuCore::Reading reading(v);
    const auto mapping = v.machine().stage2->walk({c.address});
    if (!mapping || (out ? !mapping->permissions.read : !mapping->permissions.write)) {
        if (!on_memory_fault(v, {c.address}, 0, false, !out)) return false;
        v.pending.kind = Pending::Kind::buffer;
        return true;
    }
    auto* bytes = static_cast<unsigned char*>(v.hal->phys_to_virt(mapping->address));
    if (bytes == nullptr) return answer(v, c, SbiError::failed);
    std::uint64_t done = 0;
    for (; done < count; ++done) {
        if (out) {
            console.write(console.self, bytes[done]);
            continue;
        }
        const int byte = console.read != nullptr ? console.read(console.self) : -1;
        if (byte < 0) break;
        bytes[done] = static_cast<unsigned char>(byte);
    }
    return answer(v, c, SbiError::success, done);
}

[[gnu::noinline]] auto act(Vcpu& v, SbiCall c) noexcept -> bool {
    using Kind = SbiCall::Kind;
    const auto& console = v.machine().console;
    const bool power = c.kind == Kind::hart_start || c.kind == Kind::hart_stop || c.kind == Kind::hart_status || c.kind == Kind::hart_suspend || c.kind == Kind::reset;
    if (power && !v.vm().policy().power) return answer(v, c, SbiError::not_supported);
    if (c.mask_in_memory)
        if (const auto over = read_mask(v, c)) return *over;
    switch (c.kind) {
        case Kind::set_timer:
            set_guest_timer(v, c.value);
            return answer(v, c, SbiError::success);
        case Kind::send_ipi: return answer(v, c, send_ipi(v, c));
        case Kind::fence_instruction: case Kind::fence_translations: return answer(v, c, fence(v, c));
        case Kind::clear_ipi: {
            const bool sent = v.software_interrupt.exchange(false), shows = (read<"hvip">() & interrupt_bits::vs_software) != 0;
            clear_bits<"hvip">(interrupt_bits::vs_software);
            return answer(v, c, SbiError::success, sent || shows);
        }
        case Kind::hart_start: return start(v, c);
        case Kind::hart_stop:
            v.software_interrupt = false;  // what it was sent is not for what starts next
            v.power_down();  // from here on another vCPU may start this one again
            v.end();
            v.exit() = exit::CpuDown{};
            return true;
        case Kind::hart_status: return status(v, c);
        case Kind::hart_suspend: return suspend(v, c);
        case Kind::reset:
            v.end();
            if (c.value == 0) v.exit() = exit::SystemDown{};
            else v.exit() = exit::SystemReset{c.value - 1};
            return true;
        case Kind::console_write: case Kind::console_read: return console_buffer(v, c);
        case Kind::console_byte:
            console.write(console.self, static_cast<std::uint8_t>(c.value));
            return answer(v, c, SbiError::success);
        case Kind::console_get: {
            const int byte = console.read != nullptr ? console.read(console.self) : -1;
            return answer(v, c, SbiError::success, static_cast<std::uint64_t>(static_cast<std::int64_t>(byte)));
        }
        case Kind::answer: case Kind::unknown: break;
    }
    return answer(v, c, c.error, c.value);
}

[[gnu::noinline]] auto on_other_call(Vcpu& v) noexcept -> bool {
    const auto id = v.x(17);
    if (is_hypervisor_call(id) && v.vm().policy().hypercalls) return to_host(v);
    return act(v, decode_call({id, v.x(16), {v.x(10), v.x(11), v.x(12), v.x(13), v.x(14)}}, v.machine().sbi));
}

/// Whether a hart mask names this vCPU alone.
auto names_itself(const Vcpu& v, std::uint64_t mask, std::uint64_t base) noexcept -> bool {
    const auto bit = v.hardware_id() - base;
    return base <= v.hardware_id() && bit < 64 && mask == std::uint64_t{1} << bit;
}

}  // namespace

/// Two calls come so often that they do without an SbiCall: the timer that the hart has, and the software interrupt to oneself, which
/// needs neither the mailbox nor the controller.
auto on_call(Vcpu& v) noexcept -> bool {
    const auto id = v.x(17);
    if (v.x(16) != 0) return on_other_call(v);
    if (id == eid::time && v.has(Vcpu::has_sstc)) write<"vstimecmp">(v.x(10));
    else if (id == eid::ipi && names_itself(v, v.x(10), v.x(11))) set_bits<"hvip">(interrupt_bits::vs_software);
    else return on_other_call(v);
    v.set_x(10, reg(SbiError::success));
    v.set_x(11, 0);
    v.advance(4);
    return false;
}

auto on_call_by_policy(Vcpu& v) noexcept -> bool { return v.machine().sbi.exits.has(v.x(17)) ? to_host(v) : on_call(v); }

}  // namespace axvcpu::riscv64
