// A vCPU's interrupt file in and out of the hart, and what others store to it. Source: RISC-V Advanced Interrupt Architecture, Incoming MSI
// Controller, and Interrupts for Virtual Machines.
//
// There are two steps and no third: into the hart (at bind), back into memory (at unbind). While the file is in memory its page is not
// mapped, so whoever stores to it traps and delivers to memory; a vCPU that moves takes both steps, one after the other.
module axvcpu.riscv64;
import std;
import axvcpu.hal;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.stage2;
import axvcpu.vm;

namespace axvcpu::riscv64 {

namespace {

/// Interrupts masked, as an interrupt handler may deliver, too.
class FileLock {
public:
    explicit FileLock(Vcpu& v) noexcept : v_(v), sie_(mask_interrupts()) { while (v_.file_locked.exchange(true, std::memory_order_acquire)) pause_hint(); }
    ~FileLock() {
        v_.file_locked.store(false, std::memory_order_release);
        restore_interrupts(sie_);
    }
    FileLock(const FileLock&) = delete;
    auto operator=(const FileLock&) -> FileLock& = delete;

private:
    Vcpu& v_;
    std::uint64_t sie_;
};

/// The registers of the hart's guest interrupt file 1, by their numbers; the guest's vsiselect is kept.
class HartFile {
public:
    HartFile() noexcept : vsiselect_(read<"vsiselect">()), hstatus_(read<"hstatus">()) {
        write<"hstatus">((hstatus_ & ~hstatus::vgein) | std::uint64_t{1} << 12);
    }
    ~HartFile() {
        write<"hstatus">(hstatus_);
        write<"vsiselect">(vsiselect_);
    }
    HartFile(const HartFile&) = delete;
    auto operator=(const HartFile&) -> HartFile& = delete;
    void set(std::uint32_t number, std::uint64_t value) noexcept {
        write<"vsiselect">(number);
        write<"vsireg">(value);
    }
    void add(std::uint32_t number, std::uint64_t bits) noexcept {
        write<"vsiselect">(number);
        set_bits<"vsireg">(bits);
    }
    auto take(std::uint32_t number) noexcept -> std::uint64_t {
        write<"vsiselect">(number);
        return exchange<"vsireg">(0);
    }

private:
    std::uint64_t vsiselect_, hstatus_;
};

auto page_of(const Vcpu& v) noexcept -> GuestPhysAddr { return v.machine().imsic.start + Stage2::page_size * v.id(); }

void deliver(Vcpu& v, std::uint32_t id) noexcept {
    {
        const FileLock lock(v);
        if (v.file_page != nullptr) {
            *v.file_page = id;
            fence_io();  // in the file before the lock is let go: whoever takes the file out finds it
            return;
        }
        v.file.deliver(id);
    }
    v.vm().notify(v.id(), Event::interrupt);
}

}  // namespace

void install_file(Vcpu& v) noexcept {
    auto& cpu = *v.percpu;
    if (cpu.guest_file == nullptr) return;
    using namespace file_register;
    HartFile hart;
    hart.set(eidelivery, 0);
    hart.set(eithreshold, 0);
    for (std::uint32_t w = 0; w < InterruptFile::words; ++w) {  // what stands there is another guest's
        hart.set(eip + 2 * w, 0);
        hart.set(eie + 2 * w, 0);
    }
    {
        const FileLock lock(v);
        v.file_page = cpu.guest_file;
        for (std::uint32_t w = 0; w < InterruptFile::words; ++w) {
            hart.add(eip + 2 * w, v.file.take_pending(w));  // added: one may have been stored there already
            hart.set(eie + 2 * w, v.file.enabled(w));
        }
        hart.set(eithreshold, v.file.threshold());
        hart.set(eidelivery, v.file.delivery());  // last: the guest is interrupted by what it has enabled
    }
    v.context.raw<"hstatus">() |= std::uint64_t{1} << 12;
    // Where there is no frame for a table the page stays unmapped, and who stores to it delivers here: slower, and right.
    v.file_mapped = v.machine().stage2->map(page_of(v), cpu.guest_file_page, Stage2::page_size, {.read = true, .write = true, .execute = false}, MemoryType::device).has_value();
}

void evict_file(Vcpu& v) noexcept {
    if (v.file_page == nullptr) return;
    using namespace file_register;
    fence_io();  // what this hart has stored to it is there
    // When this is over, no hart stores to the page any more.
    if (std::exchange(v.file_mapped, false)) static_cast<void>(v.machine().stage2->unmap(page_of(v), Stage2::page_size));
    {
        const FileLock lock(v);
        v.file_page = nullptr;
        HartFile hart;
        const auto delivery = hart.take(eidelivery), threshold = hart.take(eithreshold);
        v.file.put_back(delivery, threshold);
        for (std::uint32_t w = 0; w < InterruptFile::words; ++w) {
            const auto enabled = hart.take(eie + 2 * w);
            v.file.put_back(w, hart.take(eip + 2 * w), enabled);
        }
    }
    v.context.raw<"hstatus">() &= ~hstatus::vgein;
    // One that came after the guest had last looked: the vCPU must not sleep over it.
    constexpr std::uint64_t external_enabled = 1 << 9;
    if (v.file.signals() && ((read<"vsie">() & external_enabled) != 0 || v.wakes_by_any)) static_cast<void>(v.post(Event::interrupt));
}

void deliver_msi(void* vm, std::uint32_t vcpu, std::uint32_t id) noexcept {
    if (auto* v = static_cast<Vm*>(vm)->vcpu(vcpu)) deliver(static_cast<Vcpu&>(*v), id);
}

/// sireg or stopei, which trap while the file is in memory; and of sireg what the hart's own file does not have.
auto on_file_register(Vcpu& v, const CsrAccess& a, std::uint32_t insn) noexcept -> bool {
    const auto operand = a.immediate ? a.source : v.x(a.source);
    std::optional<std::uint64_t> old;
    if (a.csr == csr_of<"stopei">) {
        if (v.file_page == nullptr) old = v.file.stopei(a.writes);
    } else {
        const auto select = read<"vsiselect">();
        // With a file in the hart only reserved and absent registers come here: those of a file that nobody uses read alike.
        InterruptFile absent;
        old = (v.file_page == nullptr ? v.file : absent).sireg(select, a.op, a.writes && v.file_page == nullptr, operand);
    }
    if (!old) return inject(v, cause::illegal, insn), false;
    v.set_x(a.rd, *old);
    v.advance(4);
    refresh_interrupts(v);
    return false;
}

/// An IMSIC's page: a store to its first word is an MSI, to its second one with the bytes the other way round; loads read zero.
auto file_access(Vcpu& v, DeviceAccess& d) noexcept -> bool {
    auto& vm = v.machine();
    if (!vm.imsic.contains(d.addr)) return false;
    const auto offset = d.addr.value - vm.imsic.start.value;
    if (!d.write) d.value = 0;
    else if (const auto at = offset % Stage2::page_size; d.width == 4 && (at == 0 || at == 4)) {
        const auto id = static_cast<std::uint32_t>(d.value);
        deliver_msi(&vm, static_cast<std::uint32_t>(offset / Stage2::page_size), at == 0 ? id : __builtin_bswap32(id));
        if (vm.stage2->allowed(d.addr)) hfence_gvma();  // mapped meanwhile: this hart need only look again
    }
    return true;
}

}  // namespace axvcpu::riscv64
