// A guest that needs no hypervisor: what it finds of its machine goes to the console, line by line, and must be the same on QEMU's own
// machine and in a VM of ours. Nothing here depends on how fast the machine is.
#pragma once

namespace transcript {

using word = unsigned long;

void put_byte(char c);   // to the UART of QEMU's `virt`

inline void put(const char* text) { while (*text != 0) put_byte(*text++); }
inline void put(word value) {
    put("0x");
    int shift = 60;
    while (shift > 0 && value >> shift == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) put_byte("0123456789abcdef"[value >> shift & 15]);
}
template <class... T>
void line(const char* what, T... values) {
    put(what);
    ((put(" "), put(values)), ...);
    put("\n");
}

/// The last exception or interrupt: written by the vectors, which go on behind the instruction.
struct Taken { word count, cause, address; };
inline volatile Taken taken{};

/// What one instruction, or a wait, brought.
template <class F>
void expect(const char* what, F f) {
    const word before = taken.count;
    f();
    line(what, word{taken.count - before}, word{taken.cause}, word{taken.address});
}

}  // namespace transcript
