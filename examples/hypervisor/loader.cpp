// Puts a guest image into a VM's memory: Linux Image, ELF or flat; and the device tree beside it.
#include "hypervisor.hpp"

namespace hypervisor {

namespace {

constexpr std::uint64_t tree_size = 0x1'0000;

template <class T>
auto read_at(const Blob& b, std::uint64_t offset) noexcept -> T {
    T v{};
    if (b.size >= sizeof(T) && offset <= b.size - sizeof(T)) std::memcpy(&v, b.data() + offset, sizeof(T));
    return v;
}

/// Documentation/arch/arm64/booting.rst and riscv/boot-image-header.rst: the header of an Image.
struct ImageHeader {
    std::uint32_t code[2];
    std::uint64_t text_offset, image_size, flags, reserved[3];
    std::uint32_t magic, pe_offset;
};

struct ElfHeader {
    std::uint8_t ident[16];
    std::uint16_t type, machine;
    std::uint32_t version;
    std::uint64_t entry, phoff, shoff;
    std::uint32_t flags;
    std::uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct ProgramHeader {
    std::uint32_t type, flags;
    std::uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

}  // namespace

/// Copies into the VM's memory at a guest-physical address. False: it does not fit.
auto Guest::place(GuestPhysAddr at, const unsigned char* from, std::uint64_t size) noexcept -> bool {
    const auto offset = at.value - ram_base.value;
    if (offset > ram_[0].size || size > ram_[0].size - offset) return false;
    std::memcpy(Host::phys_to_virt(memory_ + offset), from, size);
    return true;
}

/// Sets the entry point and gives where the image lies; nothing when it does not fit.
auto Guest::load_image() noexcept -> std::optional<Extent> {
    const auto& kernel = options_.kernel;
    if (options_.flat) {
        entry_ = {*options_.flat};
        if (!place(entry_, kernel.data(), kernel.size)) return std::nullopt;
        return Extent{entry_.value, entry_.value + kernel.size};
    }
    if (const auto h = read_at<ImageHeader>(kernel, 0); h.magic == image_magic) {
        entry_ = ram_base + image_offset + h.text_offset;
        if (!place(entry_, kernel.data(), kernel.size)) return std::nullopt;
        return Extent{entry_.value, entry_.value + std::max(kernel.size, h.image_size)};
    }
    const auto elf = read_at<ElfHeader>(kernel, 0);
    if (std::memcmp(elf.ident, "\177ELF\2\1", 6) != 0) return std::nullopt;
    Extent all{~std::uint64_t{0}, 0};
    for (unsigned i = 0; i < elf.phnum; ++i) {
        const auto p = read_at<ProgramHeader>(kernel, elf.phoff + i * std::uint64_t{elf.phentsize});
        if (p.type != 1 || p.memsz == 0) continue;  // PT_LOAD
        if (p.offset > kernel.size || p.filesz > kernel.size - p.offset) return std::nullopt;
        if (!place({p.paddr}, kernel.data() + p.offset, p.filesz)) return std::nullopt;
        if (p.memsz > ram_base.value + ram_[0].size - p.paddr) return std::nullopt;
        all = {std::min(all.start, p.paddr), std::max(all.end, p.paddr + p.memsz)};
    }
    entry_ = {elf.entry};
    return all;
}

auto Guest::load() noexcept -> bool {
    const auto image = load_image();
    const auto refuse = [&](std::string_view why) {
        say({"hypervisor: the image cannot be loaded: ", why, "\n"});
        return false;
    };
    constexpr auto unfit = "it does not fit into the VM's memory, or its format is unknown";
    if (!image) return refuse(unfit);
    // The device tree goes to the start of memory where that is free, else to the end; the initrd right behind the image. `ax` has
    // looked at the files' sizes in the same way.
    const auto top = ram_base.value + ram_[0].size;
    const bool first = image->start >= ram_base.value + tree_size;
    const auto limit = first ? top : (top - tree_size) & ~std::uint64_t{0xFFF};
    tree_ = first ? ram_base : GuestPhysAddr{limit};
    if (image->end > limit) return refuse(unfit);
    const auto initrd = (image->end + 0x1F'FFFF) & ~std::uint64_t{0x1F'FFFF};
    if (options_.initrd.size != 0 && (initrd + options_.initrd.size > limit || !place({initrd}, options_.initrd.data(), options_.initrd.size)))
        return refuse("the initrd does not fit");
    if (options_.device_tree.size != 0) {
        if (options_.device_tree.size > (first ? image->start - ram_base.value : tree_size) || !place(tree_, options_.device_tree.data(), options_.device_tree.size))
            return refuse("the device tree does not fit");
    } else if (!write_device_tree(initrd, initrd + options_.initrd.size)) {
        return refuse("its device tree could not be written");
    }
    for (unsigned v = 0; v < vcpus(); ++v) {
        const auto config = vcpu_config(v);
        if (!config) return refuse("the machine has too little memory");
        auto made = Vcpu<Host>::create(slots_[v], vm_, *config);
        if (!made) return refuse(made.error().what);
        threads_[v].guest = this;
        threads_[v].vcpu = &*made;
    }
    return true;
}

}  // namespace hypervisor
