// What picolibc and Catch2 need of the machine under them: command line, output, clock, the end. One CPU calls the library.
#include <catch2/catch_session.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
import runtime;

extern "C" {

void __libc_init_array();
[[gnu::section(".heap"), gnu::used]] alignas(4096) unsigned char board_heap[48 << 20];

ssize_t write(int, const void* p, size_t n) {
    for (size_t i = 0; i < n; ++i) runtime::put_guest_byte(static_cast<const unsigned char*>(p)[i]);
    return static_cast<ssize_t>(n);
}
ssize_t read(int, void*, size_t) { return 0; }
int open(const char*, int, ...) { errno = ENOENT; return -1; }
int close(int) { return 0; }
off_t lseek(int, off_t, int) { errno = ESPIPE; return -1; }
int fstat(int, struct stat* s) { s->st_mode = S_IFCHR; return 0; }
int unlink(const char*) { errno = ENOENT; return -1; }
int isatty(int) { return 0; }
pid_t getpid() { return 1; }
int kill(pid_t, int signal) { _exit(128 + signal); }
int getentropy(void* p, size_t n) { std::memset(p, 0x5A, n); return 0; }
int gettimeofday(struct timeval*, void*) { return -1; }
int clock_gettime(clockid_t, struct timespec* t) {
    const auto ticks = runtime::now(), hz = runtime::frequency();
    *t = {static_cast<time_t>(ticks / hz), static_cast<long>(ticks % hz * 1'000'000'000 / hz)};
    return 0;
}
[[noreturn]] void _exit(int status) { runtime::exit(status); }

}

/// runtime_primary's main: splits the machine's command line at spaces (%20 stands for a space in a word) and runs Catch2.
int main() {
    static char text[4096];
    static char* argv[64];
    static char name[] = "suite";
    __libc_init_array();
    const auto line = runtime::arguments();
    const auto too_long = [] {
        runtime::print("the command line is too long for the image\n");
        _exit(95);
    };
    if (line.size() >= sizeof text) too_long();
    std::memcpy(text, line.data(), line.size());
    int argc = 0;
    argv[argc++] = name;
    for (char* word = std::strtok(text, " "); word != nullptr; word = std::strtok(nullptr, " ")) {
        if (argc == 63) too_long();
        char* out = word;
        for (const char* in = word; *in != 0; ++in, ++out) {
            if (in[0] == '%' && in[1] == '2' && in[2] == '0') { *out = ' '; in += 2; } else *out = *in;
        }
        *out = 0;
        if (std::strcmp(word, "vhe=on") == 0) {
            if (!runtime::set_host_extensions(true)) _exit(96);
        } else if (word[0] == '-' || std::strchr(word, '=') == nullptr || std::strchr(word, ' ') != nullptr) {
            // NAME=N is for the tests themselves: harness::wanted(). An option or a case's name may have a '=' too.
            argv[argc++] = word;
        }
    }
    std::exit(Catch::Session().run(argc, argv));
}
