//! A program for i386, by hand.

/// A hand-made i386 program that stops itself, and then dies by an instruction that is none; with
/// an argument it just ends.
pub(crate) fn program() -> Vec<u8> {
    let code = [
        0x83, 0x3c, 0x24, 0x02, // cmp dword [esp], 2
        0x74, 0x18, // je the end
        0xb8, 20, 0, 0, 0, 0xcd, 0x80, // getpid
        0x89, 0xc3, // mov ebx, eax
        0xb9, 19, 0, 0, 0, // mov ecx, SIGSTOP
        0xb8, 37, 0, 0, 0, 0xcd, 0x80, // kill
        0x0f, 0x0b, // ud2
        0x90, // nop
        0x31, 0xdb, // xor ebx, ebx
        0xb8, 1, 0, 0, 0, 0xcd, 0x80, // exit
    ];
    let base: u32 = 0x0804_8000;
    let mut f = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    f.extend([2, 0, 3, 0]);
    for word in [1, base + 84, 52, 0, 0] {
        f.extend(u32::to_le_bytes(word));
    }
    f.extend([52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0]);
    let len = 84 + code.len() as u32;
    for word in [1, 0, base, base, len, len, 5, 4096] {
        f.extend(u32::to_le_bytes(word));
    }
    f.extend(code);
    f
}
