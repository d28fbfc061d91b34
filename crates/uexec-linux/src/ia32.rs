//! What this host knows of i386 programs: whether it runs them, where their mappings go, what
//! their vdso is. A child finds out, as asking may kill.

use alloc::vec::Vec;

use uexec_core::abi::PAGE;
use uexec_core::world::{Ia32, VdsoPart};

use crate::ffi;
use crate::gadget::{Exit32, find_exit32};

/// Most bytes of code that a vdso is taken to have.
const CODE_MAX: usize = 16 << 12;

/// What is known, and what the way into such a program needs.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The core's part.
    pub(crate) ia32: Ia32,
    /// The vdso's last instructions; `None` when it has none that are understood.
    pub(crate) exit: Option<Exit32>,
}

/// What the child leaves in shared memory.
#[repr(C)]
pub(crate) struct Answer {
    /// How far it got: one of the steps below.
    pub(crate) step: u64,
    /// Where one page went by an i386 `mmap`.
    pub(crate) page: u64,
    /// Bytes of the vdso's code.
    pub(crate) code_len: u64,
    /// The code.
    pub(crate) code: [u8; CODE_MAX],
}

/// The child runs.
pub(crate) const STARTED: u64 = 1;
/// The kernel has answered an i386 system call.
pub(crate) const CALLED: u64 = 2;
/// The i386 vdso has been read.
pub(crate) const READ: u64 = 3;

/// Asks. `parts` is this process's own vdso block, which starts at `start`.
///
/// # Errors
/// Why the kernel does not run i386 programs.
pub(crate) fn ask(parts: &[VdsoPart], start: u64) -> Result<Known, &'static str> {
    let len: u64 = parts.iter().map(|p| p.len).sum();
    let code = parts.last().map_or(0, |p| p.len);
    let (answer, signal) = ffi::ia32::ask_ia32(start, len, len - code)
        .ok_or("whether it runs them could not be asked")?;
    match (answer.step, signal) {
        (0 | STARTED, 31) => {
            return Err("this process's seccomp filter forbids their system calls");
        }
        (0 | STARTED, _) => {
            return Err(
                "this kernel has no IA32 emulation (CONFIG_IA32_EMULATION, ia32_emulation=0)",
            );
        }
        _ => {}
    }
    let mut known = Known {
        ia32: Ia32 {
            vdso: parts.to_vec(),
            sysinfo: 0,
            mmap_base: (answer.page > 0).then_some(answer.page + PAGE),
        },
        exit: None,
    };
    if answer.step == READ
        && let Some(code) = answer.code.get(..answer.code_len as usize)
        && let Some(part) = known.ia32.vdso.last_mut()
    {
        part.len = answer.code_len;
        known.ia32.sysinfo = entry(code);
        known.exit = find_exit32(code);
    }
    if crate::procfs::read_number(c"/proc/sys/abi/vsyscall32") == Some(0) {
        known.ia32.vdso = Vec::new();
    }
    Ok(known)
}

/// `e_entry` of the vdso, which is the way into the kernel.
fn entry(code: &[u8]) -> u64 {
    let bytes = code.get(24..28).and_then(|b| b.first_chunk());
    bytes.map_or(0, |b| u32::from_le_bytes(*b).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_twice_gives_the_same() {
        let facts = crate::facts::gather(&crate::facts::auxv(), None);
        let one = ask(&facts.facts.vdso, facts.vdso_start);
        let two = ask(&facts.facts.vdso, facts.vdso_start);
        match (one, two) {
            (Ok(a), Ok(b)) => {
                assert_eq!(a.ia32, b.ia32);
                assert!(a.exit.is_some() || a.ia32.vdso.is_empty());
            }
            (Err(a), Err(b)) => assert_eq!(a, b),
            other => panic!("{other:?}"),
        }
    }
}
