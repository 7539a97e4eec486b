// The few C functions that compilers and libfdt call. Integer code only.
module;
#include <stddef.h>
#include <stdint.h>
module runtime;

extern "C" {

void runtime_copy_blocks(void* to, const void* from, size_t blocks) noexcept;

void* memcpy(void* __restrict to, const void* __restrict from, size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    auto* s = static_cast<const unsigned char*>(from);
    if (n >= 64) {
        runtime_copy_blocks(d, s, n / 64);
        d += n / 64 * 64;
        s += n / 64 * 64;
        n %= 64;
    }
    for (; n >= 8; n -= 8, d += 8, s += 8) {
        uint64_t v;
        __builtin_memcpy_inline(&v, s, 8);
        __builtin_memcpy_inline(d, &v, 8);
    }
    for (; n != 0; --n) *d++ = *s++;
    return to;
}

void* memmove(void* to, const void* from, size_t n) {
    auto* d = static_cast<volatile unsigned char*>(to);
    auto* s = static_cast<const volatile unsigned char*>(from);
    if (d <= s) for (size_t i = 0; i < n; ++i) d[i] = s[i];
    else for (size_t i = n; i-- != 0;) d[i] = s[i];
    return to;
}

void* memset(void* to, int value, size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    const uint64_t pattern = 0x0101'0101'0101'0101u * static_cast<unsigned char>(value);
    for (; n >= 16; n -= 16, d += 16) {
        __builtin_memcpy_inline(d, &pattern, 8);
        __builtin_memcpy_inline(d + 8, &pattern, 8);
    }
    for (auto* v = static_cast<volatile unsigned char*>(d); n != 0; --n) *v++ = static_cast<unsigned char>(value);
    return to;
}

int memcmp(const void* a, const void* b, size_t n) {
    auto* x = static_cast<const unsigned char*>(a);
    auto* y = static_cast<const unsigned char*>(b);
    for (size_t i = 0; i < n; ++i) if (x[i] != y[i]) return x[i] - y[i];
    return 0;
}

void* memchr(const void* p, int c, size_t n) {
    auto* s = static_cast<const unsigned char*>(p);
    for (size_t i = 0; i < n; ++i) if (s[i] == static_cast<unsigned char>(c)) return const_cast<unsigned char*>(s + i);
    return nullptr;
}

size_t strnlen(const char* s, size_t most) {
    size_t n = 0;
    while (n < most && s[n] != 0) ++n;
    return n;
}
size_t strlen(const char* s) { return strnlen(s, SIZE_MAX); }

char* strrchr(const char* s, int c) {
    const char* found = nullptr;
    for (;; ++s) {
        if (*s == static_cast<char>(c)) found = s;
        if (*s == 0) return const_cast<char*>(found);
    }
}

int strcmp(const char* a, const char* b) {
    while (*a != 0 && *a == *b) ++a, ++b;
    return static_cast<unsigned char>(*a) - static_cast<unsigned char>(*b);
}

}
