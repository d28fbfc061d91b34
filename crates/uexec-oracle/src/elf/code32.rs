//! i386 machine code for hand-made programs: raw system calls, no C library, no assembler.

/// `write(2)`.
const WRITE: u32 = 4;
/// `pause(2)`.
const PAUSE: u32 = 29;
/// `exit_group(2)`.
const EXIT_GROUP: u32 = 252;

/// `mov r32, imm32` for `ebx`, `ecx`, `edx`, `esi`, `edi`, `ebp`.
const MOV_ARG: [u8; 6] = [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd];

/// A system call with constant arguments.
#[must_use]
pub fn call(nr: u32, args: &[u32]) -> Vec<u8> {
    let mut code = Vec::new();
    for (mov, arg) in MOV_ARG.iter().zip(args) {
        code.push(*mov);
        code.extend(arg.to_le_bytes());
    }
    code.push(0xb8); // mov eax, nr
    code.extend(nr.to_le_bytes());
    code.extend([0xcd, 0x80]); // int 0x80
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
    super::code::again_and_again(call(PAUSE, &[]))
}

/// Writes a text to standard output, wherever it is loaded, and ends with status 0.
#[must_use]
pub fn say(text: &[u8]) -> Vec<u8> {
    let mut rest = vec![0x59]; // pop ecx: the address after the call
    rest.extend([0x81, 0xc1]); // add ecx, distance of the text from there
    let tail = {
        let mut tail = vec![0xba]; // mov edx, length
        tail.extend((text.len() as u32).to_le_bytes());
        tail.extend([0xbb, 1, 0, 0, 0]); // mov ebx, 1
        tail.push(0xb8); // mov eax, write
        tail.extend(WRITE.to_le_bytes());
        tail.extend([0xcd, 0x80]); // int 0x80
        tail.extend(exit(0));
        tail
    };
    rest.extend((rest.len() as u32 + 4 + tail.len() as u32).to_le_bytes());
    rest.extend(tail);
    let mut code = vec![0xe8, 0, 0, 0, 0]; // call the next instruction
    code.extend(rest);
    code.extend(text);
    code
}
