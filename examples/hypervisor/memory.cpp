// A pool of host RAM: regions from the front, pages from the front or from what was given back.
#include "hypervisor.hpp"

namespace hypervisor {

namespace {
constinit runtime::Spinlock lock;
constinit std::uint64_t next = 0, end = 0, free_pages = 0;
}  // namespace

void add_memory(std::uint64_t start, std::uint64_t to) noexcept {
    next = start;
    end = to;
}

auto take_region(std::uint64_t size, std::uint64_t alignment) noexcept -> HostPhysAddr {
    const runtime::Guard guard(lock);
    const auto at = (next + alignment - 1) & ~(alignment - 1);
    if (at > end || size > end - at) return {};
    next = at + size;
    return {at};
}

auto take_page() noexcept -> HostPhysAddr {
    lock.lock();
    const auto page = free_pages;
    if (page != 0) free_pages = *static_cast<std::uint64_t*>(Host::phys_to_virt({page}));
    lock.unlock();
    const auto taken = page != 0 ? HostPhysAddr{page} : take_region(4096, 4096);
    if (taken.value != 0) std::memset(Host::phys_to_virt(taken), 0, 4096);
    return taken;
}

void give_page(HostPhysAddr page) noexcept {
    const runtime::Guard guard(lock);
    *static_cast<std::uint64_t*>(Host::phys_to_virt(page)) = free_pages;
    free_pages = page.value;
}

}  // namespace hypervisor
