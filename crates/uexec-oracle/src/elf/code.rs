//! x86-64 machine code for hand-made programs: raw system calls, no C library, no assembler.

/// `write(2)`.
const WRITE: u32 = 1;
/// `pause(2)`.
const PAUSE: u32 = 34;
/// `exit_group(2)`.
const EXIT_GROUP: u32 = 231;

/// `mov rXX, imm64` for `rdi`, `rsi`, `rdx`, `r10`, `r8`, `r9`.
const MOV_ARG: [[u8; 2]; 6] =
    [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8], [0x49, 0xb9]];

/// A system call with constant arguments.
#[must_use]
pub fn call(nr: u32, args: &[u64]) -> Vec<u8> {
    let mut code = Vec::new();
    for (mov, arg) in MOV_ARG.iter().zip(args) {
        code.extend(mov);
        code.extend(arg.to_le_bytes());
    }
    code.push(0xb8); // mov eax, nr
    code.extend(nr.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code
}

/// The same, and its result stored at a constant address.
#[must_use]
pub fn call_store(nr: u32, args: &[u64], to: u64) -> Vec<u8> {
    let mut code = call(nr, args);
    code.extend([0x48, 0xa3]); // mov [imm64], rax
    code.extend(to.to_le_bytes());
    code
}

/// Ends with this status.
#[must_use]
pub fn exit(status: u8) -> Vec<u8> {
    call(EXIT_GROUP, &[status.into()])
}

/// Waits for ever.
#[must_use]
pub fn pause() -> Vec<u8> {
    again_and_again(call(PAUSE, &[]))
}

/// Short code, over and over.
pub(super) fn again_and_again(mut code: Vec<u8>) -> Vec<u8> {
    let back = code.len() as u8 + 2;
    code.extend([0xeb, back.wrapping_neg()]); // jmp to the start
    code
}

/// Writes a text to standard output, wherever it is loaded, and ends with status 0.
#[must_use]
pub fn say(text: &[u8]) -> Vec<u8> {
    let mut rest = vec![0xbf, 1, 0, 0, 0]; // mov edi, 1
    rest.push(0xba); // mov edx, length
    rest.extend((text.len() as u32).to_le_bytes());
    rest.push(0xb8); // mov eax, write
    rest.extend(WRITE.to_le_bytes());
    rest.extend([0x0f, 0x05]); // syscall
    rest.extend(exit(0));
    let mut code = vec![0x48, 0x8d, 0x35]; // lea rsi, [rip + rest]
    code.extend((rest.len() as u32).to_le_bytes());
    code.extend(rest);
    code.extend(text);
    code
}
