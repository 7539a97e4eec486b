// What picolibc and Catch2 need of Linux when an image runs in QEMU's user mode: system calls, by their numbers on AArch64 and RISC-V
// (include/uapi/asm-generic/unistd.h).
#include <catch2/catch_session.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace {
auto system_call(long number, long a, long b = 0, long c = 0) -> long {
#if defined(__aarch64__)
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
    register long a7 asm("a7") = number;
    register long a0 asm("a0") = a;
    register long a1 asm("a1") = b;
    register long a2 asm("a2") = c;
    asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
#endif
}
}  // namespace

extern "C" {

void __libc_init_array();
[[gnu::section(".heap"), gnu::used]] alignas(4096) unsigned char board_heap[48 << 20];

ssize_t write(int fd, const void* p, size_t n) { return system_call(64, fd, reinterpret_cast<long>(p), static_cast<long>(n)); }
ssize_t read(int, void*, size_t) { return 0; }
int open(const char*, int, ...) { errno = ENOENT; return -1; }
int close(int) { return 0; }
off_t lseek(int, off_t, int) { errno = ESPIPE; return -1; }
int fstat(int, struct stat* s) { s->st_mode = S_IFCHR; return 0; }
int unlink(const char*) { errno = ENOENT; return -1; }
int isatty(int) { return 0; }
pid_t getpid() { return 1; }
[[noreturn]] void _exit(int status) { for (;;) system_call(94, status); }
int kill(pid_t, int signal) { _exit(128 + signal); }
int getentropy(void* p, size_t n) { std::memset(p, 0x5A, n); return 0; }
int gettimeofday(struct timeval*, void*) { return -1; }
int clock_gettime(clockid_t id, struct timespec* t) { return static_cast<int>(system_call(113, id, reinterpret_cast<long>(t))); }

/// The stack as Linux leaves it: argc, argv.
[[noreturn, gnu::used]] void user_main(long* stack) {
    __libc_init_array();
    std::exit(Catch::Session().run(static_cast<int>(stack[0]), reinterpret_cast<char**>(stack + 1)));
}

}

#if defined(__aarch64__)
asm(".section .text.start,\"ax\"\n.globl _start\n_start: mov x0, sp\nbl user_main\n");
#else
asm(".section .text.start,\"ax\"\n.globl _start\n_start: mv a0, sp\ncall user_main\n");
#endif
