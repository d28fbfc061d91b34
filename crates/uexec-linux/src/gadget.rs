//! Finds the last instructions: `syscall; …; ret` inside the vdso, which stay mapped when
//! everything of ours is gone. Decodes bytes; never runs them.

/// A sequence that makes a system call and returns, with what happens in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Offset of the `syscall` instruction.
    pub(crate) offset: usize,
    /// Bytes of stack that are skipped before the return address.
    pub(crate) skip: u64,
    /// `rbp` must hold the stack pointer at the call: there is a `leave`, or `rsp` is computed
    /// from it. The value to be added to that stack pointer.
    pub(crate) rbp: Option<u64>,
    /// How many of `rdi`, `rsi`, `rcx`, `r11`, which the last system call leaves filled, are
    /// zeroed on the way.
    pub(crate) zeroed: u32,
}

/// The last instructions in the vdso of i386 programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit32 {
    /// Offset of an `int 0x80` that is followed by pops and a `ret`.
    pub(crate) call: u64,
    /// Words popped before the return address.
    pub(crate) pops: usize,
    /// Offset of the call of `rt_sigreturn`.
    pub(crate) sigreturn: u64,
}

/// Finds them. Both belong to the ABI: `__kernel_vsyscall` and `__kernel_rt_sigreturn`.
pub(crate) fn find_exit32(code: &[u8]) -> Option<Exit32> {
    let sigreturn = code.windows(7).position(|w| *w == [0xb8, 0xad, 0, 0, 0, 0xcd, 0x80])?;
    let calls = code.windows(2).enumerate().filter(|(_, w)| *w == [0xcd, 0x80]);
    let (call, pops) = calls.filter_map(|(at, _)| Some((at, pops(code.get(at + 2..)?)?))).next()?;
    Some(Exit32 { call: call as u64, pops, sigreturn: sigreturn as u64 })
}

/// How many registers other than `eax` and `esp` are popped before the `ret`.
fn pops(code: &[u8]) -> Option<usize> {
    let count = code.iter().take_while(|b| matches!(b, 0x59..=0x5b | 0x5d..=0x5f)).count();
    (code.get(count) == Some(&0xc3)).then_some(count)
}

/// The best sequence in `code`: the one that leaves the fewest registers filled, then the one
/// that needs the least stack.
pub(crate) fn find_exit(code: &[u8]) -> Option<Exit> {
    syscalls(code)
        .filter_map(|offset| decode(code, offset))
        .max_by_key(|e| (e.zeroed, e.rbp.is_none(), core::cmp::Reverse(e.skip)))
}

/// Where a `syscall` instruction may be. Byte by byte, looking through a vdso would take longer than
/// all the rest of loading a program; words without a 0x05 are passed over.
fn syscalls(code: &[u8]) -> impl Iterator<Item = usize> {
    const WORD: usize = 8;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let has_five = |word: &[u8]| match word.first_chunk::<WORD>() {
        Some(bytes) => {
            let zero_where_five = u64::from_le_bytes(*bytes) ^ (5 * ONES);
            zero_where_five.wrapping_sub(ONES) & !zero_where_five & (0x80 * ONES) != 0
        }
        None => true,
    };
    let words = code.chunks(WORD).enumerate().filter(move |(_, word)| has_five(word));
    words
        .flat_map(|(i, word)| i * WORD..i * WORD + word.len())
        .filter(|at| code.get(at.wrapping_sub(1)..=*at) == Some(&[0x0f, 0x05]))
        .map(|at| at - 1)
}

/// Follows the instructions after the `syscall` at `offset` until `ret`; only those that merely
/// move the stack pointer, restore registers from the stack or zero registers are let pass.
fn decode(code: &[u8], offset: usize) -> Option<Exit> {
    let mut exit = Exit { offset, skip: 0, rbp: None, zeroed: 0 };
    let mut seen = [false; 16];
    let mut at = offset + 2;
    for _ in 0..40 {
        let rest = code.get(at..)?;
        at += match rest {
            [0xc3, ..] => {
                exit.zeroed = [1, 6, 7, 11].iter().filter(|r| seen[**r]).count() as u32;
                return Some(exit);
            }
            // pop rbp ends a frame that `leave` or `lea` came from
            [0x58, ..] => return None, // pop rax: would have to hold 0; none is built that way
            [0x59..=0x5f, ..] => {
                exit.skip += 8;
                1
            }
            [0x41, 0x58..=0x5f, ..] => {
                exit.skip += 8;
                2
            }
            // leave: rsp = rbp, pop rbp
            [0xc9, ..] if exit.skip == 0 && exit.rbp.is_none() => {
                exit.rbp = Some(0);
                exit.skip = 8;
                1
            }
            // lea rsp, [rbp - disp8]
            [0x48, 0x8d, 0x65, disp, ..]
                if exit.skip == 0 && exit.rbp.is_none() && *disp >= 0x80 =>
            {
                exit.rbp = Some(u64::from(disp.wrapping_neg()));
                4
            }
            // add rsp, imm8
            [0x48, 0x83, 0xc4, imm, ..] if *imm < 0x80 => {
                exit.skip += u64::from(*imm);
                4
            }
            // xor r32, r32
            [0x31 | 0x33, modrm, ..] if same_register(*modrm) && *modrm & 7 != 0 => {
                seen[usize::from(*modrm & 7)] = true;
                2
            }
            // xor r8d…r15d
            [0x45, 0x31 | 0x33, modrm, ..] if same_register(*modrm) => {
                seen[8 + usize::from(*modrm & 7)] = true;
                3
            }
            _ => return None,
        };
    }
    None
}

/// Register to register, both the same, and not `rsp`.
const fn same_register(modrm: u8) -> bool {
    modrm >> 6 == 3 && (modrm >> 3 & 7) == (modrm & 7) && (modrm & 7) != 4
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn prefers_the_sequence_that_zeroes_most() {
        // syscall; ret — then syscall; xor ecx,ecx; xor edi,edi; ret
        let code = [0x0f, 5, 0xc3, 0x90, 0x0f, 5, 0x31, 0xc9, 0x31, 0xff, 0xc3];
        let exit = find_exit(&code).unwrap();
        assert_eq!((exit.offset, exit.zeroed, exit.skip), (4, 2, 0));
    }

    #[test]
    fn counts_the_stack_that_pops_take() {
        let code = [0x0f, 5, 0x48, 0x83, 0xc4, 0x30, 0x5b, 0x41, 0x5c, 0x5d, 0xc3];
        assert_eq!(find_exit(&code).unwrap().skip, 0x30 + 24);
    }

    #[test]
    fn knows_frames_made_from_rbp() {
        let leave = [0x0f, 5, 0xc9, 0xc3];
        let exit = find_exit(&leave).unwrap();
        assert_eq!((exit.rbp, exit.skip), (Some(0), 8));
        let lea = [0x0f, 5, 0x48, 0x8d, 0x65, 0xf0, 0x5b, 0x41, 0x5e, 0x5d, 0xc3];
        let exit = find_exit(&lea).unwrap();
        assert_eq!((exit.rbp, exit.skip), (Some(16), 24));
    }

    #[test]
    fn finds_the_way_into_an_i386_program() {
        let enter = [0x0f, 5, 0xcd, 0x80, 0x5d, 0x5a, 0x59, 0xc3];
        let back = [0x58, 0xb8, 0x77, 0, 0, 0, 0xcd, 0x80, 0xb8, 0xad, 0, 0, 0, 0xcd, 0x80];
        let code = [&enter[..], &back[..]].concat();
        assert_eq!(find_exit32(&code), Some(Exit32 { call: 2, pops: 3, sigreturn: 16 }));
        assert_eq!(find_exit32(&enter), None);
        assert_eq!(find_exit32(&back), None);
    }

    #[test]
    fn finds_every_syscall() {
        for len in 0..40 {
            let mut code = vec![0x0f; len];
            for at in 1..len {
                code[at] = 5;
                assert_eq!(syscalls(&code).collect::<Vec<_>>(), [at - 1], "{len}");
                code[at] = 0x0f;
            }
        }
        assert_eq!(syscalls(&[5, 5, 0x0f, 5, 0x0f, 5, 5]).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn passes_over_what_it_does_not_know() {
        assert_eq!(find_exit(&[0x0f, 5, 0x48, 0x89, 0xd8, 0xc3]), None);
        assert_eq!(find_exit(&[0x0f, 5, 0x31]), None);
        assert_eq!(find_exit(&[]), None);
    }
}
