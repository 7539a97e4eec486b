// The GICv3 virtual CPU interface: list registers between the attached model and the guest. Sources: IHI 0069, the ICH_ registers.
module axvcpu.aarch64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {

constexpr std::uint32_t virtual_timer = 27;  // its PPI, as DEN 0094 (BSA) assigns it

/// ICH_LR<n>_EL2.
struct ListRegister {
    static constexpr std::uint64_t pending = std::uint64_t{1} << 62, active = std::uint64_t{1} << 63, hardware = std::uint64_t{1} << 61,
                                   group1 = std::uint64_t{1} << 60, eoi = std::uint64_t{1} << 41;
    std::uint64_t value;
    auto id() const noexcept -> std::uint32_t { return static_cast<std::uint32_t>(value); }
    auto priority() const noexcept -> std::uint8_t { return static_cast<std::uint8_t>(value >> 48); }
    auto is(std::uint64_t bits) const noexcept -> bool { return (value & bits) != 0; }
};

constexpr std::uint64_t hcr_en = ich_hcr_en, hcr_underflow = 1 << 1, hcr_none_pending = 1 << 3;

/// This CPU's part of the distributor: makes the timer's physical interrupt active (it is not signalled any more) or inactive.
void set_timer_active(const Vcpu& v, bool active) noexcept {
    auto* rd = static_cast<volatile std::uint8_t*>(v.hal->local_interrupt_controller());
    constexpr std::size_t sgi_base = 0x1'0000, isactiver0 = 0x300, icactiver0 = 0x380;
    *reinterpret_cast<volatile std::uint32_t*>(rd + sgi_base + (active ? isactiver0 : icactiver0)) = 1u << virtual_timer;
    dsb();
}

auto timer_fires(const Vcpu& v) noexcept -> bool { return (read_el1<"CNTV_CTL_EL0">(v.percpu->e2h) & 7) == 5; }  // ISTATUS, ENABLE, not IMASK

/// A list register whose interrupt is not in the guest's hands any more, or must change.
void sync_one(Vcpu& v, unsigned n, const InterruptControllerTable& c) noexcept {
    const ListRegister lr{read_list_register(n)};
    const auto drop = [&](bool still_pending) {
        // An empty one that asked for a notice goes on asking; any other empty one may stay as it is.
        if (lr.is(ListRegister::pending | ListRegister::active | ListRegister::eoi)) write_list_register(n, 0);
        v.lr_used &= ~(1u << n);
        c.retire(c.self, v.id(), v.lr[n], still_pending, false);
    };
    if (!lr.is(ListRegister::pending | ListRegister::active)) {
        if (lr.is(ListRegister::hardware)) {
            v.set(Vcpu::timer_linked, false);  // the guest's deactivation went through to the physical interrupt
            c.line(c.self, v.id(), virtual_timer, false);
        }
        return drop(false);
    }
    const Held is{lr.is(ListRegister::pending), lr.is(ListRegister::active)}, has_to_be = c.sync(c.self, v.id(), lr.id(), is);
    if (has_to_be == is) return;
    if (!has_to_be.pending && !has_to_be.active) {
        if (lr.is(ListRegister::hardware) && is.active) {  // the guest has taken it away by ICACTIVER: the physical interrupt goes with it
            v.set(Vcpu::timer_linked, false);
            set_timer_active(v, false);
            c.line(c.self, v.id(), virtual_timer, false);
        }
        return drop(is.pending);
    }
    if (lr.is(ListRegister::hardware)) return;  // the timer's line says how it goes on
    write_list_register(n, (lr.value & ~(ListRegister::pending | ListRegister::active)) | (has_to_be.pending ? ListRegister::pending : 0) |
                               (has_to_be.active ? ListRegister::active : 0));
}

void put(Vcpu& v, unsigned n, const Interrupt& i) noexcept {
    std::uint64_t value = i.id | std::uint64_t{i.priority} << 48 | ListRegister::pending | (i.group != 0 ? ListRegister::group1 : 0);
    if (i.id == virtual_timer && v.has(Vcpu::timer_linked)) value |= ListRegister::hardware | std::uint64_t{virtual_timer} << 32;
    else if (i.level || i.tell_end) value |= ListRegister::eoi;  // the line may be high still: look again when the guest has ended it
    v.lr[n] = i.id;
    v.lr_used |= 1u << n;
    write_list_register(n, value);
}

/// Gives the place of the least urgent pending interrupt to a more urgent one. False: there is none less urgent.
auto displace(Vcpu& v, const Interrupt& next, const InterruptControllerTable& c) noexcept -> bool {
    int worst = -1;
    std::uint8_t priority = next.priority;
    for (unsigned n = 0; n < v.percpu->list_registers; ++n) {
        const ListRegister lr{read_list_register(n)};
        if (!lr.is(ListRegister::active) && lr.priority() > priority) {
            worst = static_cast<int>(n);
            priority = lr.priority();
        }
    }
    if (worst < 0) return false;
    const auto n = static_cast<unsigned>(worst);
    write_list_register(n, 0);
    v.lr_used &= ~(1u << n);
    c.retire(c.self, v.id(), v.lr[n], true, false);
    return true;
}

/// The list register that this interrupt was last put into and that is still its own; -1: none.
auto place_of(const Vcpu& v, std::uint32_t id) noexcept -> int {
    for (auto used = v.lr_used; used != 0; used &= used - 1)
        if (const auto n = std::countr_zero(used); v.lr[static_cast<unsigned>(n)] == id) return n;
    return -1;
}

}  // namespace

// An interrupt that the guest has ended stays "in the CPU's hands" until the list registers are looked at again. One that comes again
// before that is made pending where it was: nothing has to go back to the model and forth.
auto repeat_sgi(Vcpu& v, std::uint32_t id) noexcept -> bool {
    const auto n = place_of(v, id);
    const auto& c = v.vm().controller();
    if (n < 0 || !c.sync(c.self, v.id(), id, {.pending = true}).pending) return false;  // it may have been disabled meanwhile
    const auto value = read_list_register(static_cast<unsigned>(n));
    write_list_register(static_cast<unsigned>(n), value | ListRegister::pending);
    return true;
}

namespace {
/// The same for the guest's timer: its physical interrupt becomes active once more. False: the long way.
auto repeat_timer(Vcpu& v) noexcept -> bool {
    const auto n = place_of(v, virtual_timer);
    const auto& c = v.vm().controller();
    if (n < 0 || !c.sync(c.self, v.id(), virtual_timer, {.pending = true}).pending) return false;
    const ListRegister lr{read_list_register(static_cast<unsigned>(n))};
    if (!lr.is(ListRegister::hardware) || lr.is(ListRegister::pending | ListRegister::active)) return false;
    set_timer_active(v, true);
    write_list_register(static_cast<unsigned>(n), lr.value | ListRegister::pending);
    return true;
}
}  // namespace

void refresh_interrupts(Vcpu& v) noexcept {
    const auto& c = v.vm().controller();
    if (!c || v.machine().passthrough_interrupts) return;
    const auto count = v.percpu->list_registers;
    bool timer_listed = false;
    for (auto used = v.lr_used; used != 0; used &= used - 1) {
        const auto n = static_cast<unsigned>(std::countr_zero(used));
        sync_one(v, n, c);
        timer_listed |= (v.lr_used >> n & 1) != 0 && v.lr[n] == virtual_timer;
    }
    if (v.has(Vcpu::timer_linked) && !timer_listed && !timer_fires(v)) {  // the guest stopped its timer before it took the interrupt
        v.set(Vcpu::timer_linked, false);
        c.line(c.self, v.id(), virtual_timer, false);
        set_timer_active(v, false);
    }
    Interrupt next;
    bool overflow = false;
    const auto all = (1u << count) - 1;
    for (;;) {
        if (v.lr_used == all) {
            overflow = c.peek(c.self, v.id(), next);
            if (!overflow || !displace(v, next, c)) break;
        }
        if (!c.take(c.self, v.id(), next)) break;
        put(v, static_cast<unsigned>(std::countr_zero(~v.lr_used)), next);
    }
    v.set(Vcpu::list_registers, v.lr_used != 0);
    if (overflow == v.lr_overflow && !overflow) return;
    bool any_pending = false;
    for (unsigned n = 0; n < count; ++n) any_pending |= ListRegister{read_list_register(n)}.is(ListRegister::pending);
    v.lr_overflow = overflow;
    write<"ICH_HCR_EL2">(hcr_en | (overflow ? (any_pending ? hcr_none_pending : hcr_underflow) : 0));
}

auto on_interrupt(Vcpu& v, Exit& out) noexcept -> bool {
    const auto& c = v.vm().controller();
    bool ours = false;
    if (v.has(Vcpu::timer_linked) && !v.has(Vcpu::deadline_armed) && timer_fires(v) && repeat_timer(v)) return false;
    // Without a controller its timer's interrupt has nowhere to go. Masked, it does not keep the guest from running.
    if (!c && !v.machine().passthrough_timer && timer_fires(v)) {
        write_el1<"CNTV_CTL_EL0">(v.percpu->e2h, 3);
        return false;
    }
    if (c && v.hal->local_interrupt_controller != nullptr && !v.machine().passthrough_timer && timer_fires(v)) {
        if (v.has(Vcpu::timer_linked)) refresh_interrupts(v);  // the guest may have ended the last one: nobody has told us
        if (!v.has(Vcpu::timer_linked)) {
            set_timer_active(v, true);
            v.set(Vcpu::timer_linked, true);
            c.line(c.self, v.id(), virtual_timer, true);
            ours = true;
        }
    }
    if (c && v.lr_used != 0 && read<"ICH_MISR_EL2">() != 0) ours = true;
    if (v.has(Vcpu::deadline_armed)) {
        const auto now = read<"CNTPCT_EL0">();
        if (now >= v.run_deadline) {
            v.run_deadline = no_deadline;
            if (ours) refresh_interrupts(v);
            return out = exit::TimerExpired{}, true;
        }
        if (v.physical_armed && now >= physical_timer_deadline(v)) {  // once: arm_deadline raises the line and waits no longer
            arm_deadline(v);
            ours = true;
        }
    }
    if (ours) {
        refresh_interrupts(v);
        return false;
    }
    if (v.hal->handle_host_irq != nullptr) {
        // The handler may unmask: no timer of the guest's or of run()'s is live then, and the vectors are the host's for certain.
        const auto deadline = v.run_deadline;
        const bool armed = v.has(Vcpu::deadline_armed);
        disarm_deadline(v);
        pause_guest_timer(v, v.work);
        isb();
        v.pending.kind = Pending::Kind::host_irq;
        v.hal->handle_host_irq();
        v.pending.kind = Pending::Kind::none;
        static_cast<void>(mask_interrupts());
        v.run_deadline = deadline;
        if (armed) arm_deadline(v);
        resume_guest_timer(v);
        return false;
    }
    out = exit::ExternalInterrupt{};
    return true;
}

auto interrupt_waits(Vcpu& v) noexcept -> bool {
    if (!v.mailbox().empty()) return true;
    const auto& c = v.vm().controller();
    if (!c) return false;
    if (v.lr_used != 0 && read<"ICH_MISR_EL2">() != 0) refresh_interrupts(v);  // a level that has been ended may be high still
    Interrupt next;
    if (c.peek(c.self, v.id(), next)) return true;
    for (auto used = v.lr_used; used != 0; used &= used - 1)
        if (ListRegister{read_list_register(static_cast<unsigned>(std::countr_zero(used)))}.is(ListRegister::pending)) return true;
    return false;
}

void drop_interrupts(Vcpu& v) noexcept {
    if (const auto& c = v.vm().controller(); c) {
        for (auto used = v.lr_used; used != 0; used &= used - 1) {
            const auto n = static_cast<unsigned>(std::countr_zero(used));
            c.retire(c.self, v.id(), v.lr[n], ListRegister{v.saved_lr[n]}.is(ListRegister::pending), false);
        }
        // Taken away is not ended: of that nobody is told.
        if (std::uint32_t id = 0; c.ended != nullptr) while (c.ended(c.self, v.id(), id)) {}
        v.mailbox().drop(Event::ended);
        if (v.has(Vcpu::timer_linked)) c.line(c.self, v.id(), virtual_timer, false);
        if (v.physical_line) c.line(c.self, v.id(), 30, false);
        // What is pending there has to be taken again. Nothing is posted for nothing: it would keep a suspended vCPU from sleeping.
        if (Interrupt next; v.lr_used != 0 && c.peek(c.self, v.id(), next)) static_cast<void>(v.post(Event::interrupt));
    }
    v.lr_used = 0;
    v.work &= ~static_cast<std::uint32_t>(Vcpu::list_registers | Vcpu::timer_linked);
    v.lr_overflow = v.physical_line = false;
}

/// The active priorities beyond 32 levels, where the CPU has more.
void move_more_priorities(Vcpu& v, bool to_cpu) noexcept {
    const auto move = [&]<reg::Name N>(std::uint64_t& value) { to_cpu ? write<N>(value) : void(value = read<N>()); };
    move.operator()<"ICH_AP0R1_EL2">(v.ap0[1]);
    move.operator()<"ICH_AP1R1_EL2">(v.ap1[1]);
    if (v.percpu->priority_words == 2) return;
    move.operator()<"ICH_AP0R2_EL2">(v.ap0[2]);
    move.operator()<"ICH_AP1R2_EL2">(v.ap1[2]);
    move.operator()<"ICH_AP0R3_EL2">(v.ap0[3]);
    move.operator()<"ICH_AP1R3_EL2">(v.ap1[3]);
}

void clear_more_priorities(const PerCpu& cpu) noexcept {
    write<"ICH_AP0R1_EL2">(0);
    write<"ICH_AP1R1_EL2">(0);
    if (cpu.priority_words == 2) return;
    write<"ICH_AP0R2_EL2">(0);
    write<"ICH_AP1R2_EL2">(0);
    write<"ICH_AP0R3_EL2">(0);
    write<"ICH_AP1R3_EL2">(0);
}

/// What the last CPU left. The list registers of this one are empty.
void load_list_registers(Vcpu& v) noexcept {
    for (auto used = v.lr_used; used != 0; used &= used - 1) {
        const auto n = static_cast<unsigned>(std::countr_zero(used));
        write_list_register(n, v.saved_lr[n]);
    }
    v.lr_overflow = false;
    isb();
    refresh_interrupts(v);  // also finds out whether the guest had ended its timer's interrupt before it left its last CPU
    if (v.has(Vcpu::timer_linked)) set_timer_active(v, true);
}

void save_list_registers(Vcpu& v) noexcept {
    for (auto used = v.lr_used; used != 0; used &= used - 1) {
        const auto n = static_cast<unsigned>(std::countr_zero(used));
        v.saved_lr[n] = read_list_register(n);
        write_list_register(n, 0);
    }
    if (v.has(Vcpu::timer_linked)) set_timer_active(v, false);  // the next vCPU here has a timer of its own
}

}  // namespace axvcpu::aarch64
