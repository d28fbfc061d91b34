//! Gives a thread the path of a file of the tracer's: in its own memory, behind the code of the
//! vdso, where the last page has nothing but zeros. No program uses them; an exec leaves them
//! behind with everything else.

use alloc::format;
use alloc::string::String;

use uexec_core::abi::at;
use uexec_core::world::World;

use crate::Host;
use crate::ffi::{self, tracer};
use crate::procfs;

/// Bytes kept for the path. The longest has 27 and its end.
const ROOM: usize = 32;
/// Bytes by which the vdso is known: its ELF header.
const HEAD: usize = 64;

/// A file of the tracer's, and where its path goes.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    path: String,
    /// From the beginning of the vdso's code.
    offset: u64,
    /// What that begins with.
    head: [u8; HEAD],
}

impl Behind {
    /// For a descriptor of this process. `None` where there is no such place, or no `/proc`.
    pub(super) fn new(fd: i32) -> Option<Behind> {
        let host = Host::new();
        let len = host.facts().vdso.last()?.len;
        let start = (host.vdso_start() + host.vdso_len()).checked_sub(len)?;
        let code = ffi::vdso_code(start, len)?;
        let free = code.iter().rev().take_while(|byte| **byte == 0).count();
        // Not next to the code.
        let offset = code.len().checked_sub(ROOM).filter(|_| free >= 2 * ROOM)?;
        // The number that this process has there.
        let pid = rustix::fs::readlink(c"/proc/self", alloc::vec::Vec::new()).ok()?;
        let path = format!("/proc/{}/fd/{fd}", pid.to_str().ok()?);
        let head = *code.first_chunk()?;
        (path.len() < ROOM).then_some(Behind { path, offset: offset as u64, head })
    }

    /// Writes it to a stopped thread's memory; its address there.
    pub(super) fn put(&self, tid: i32) -> Option<u64> {
        let vdso = vdso_of(tid)?;
        let addr = vdso + self.offset;
        // A program may have put something else there since.
        let (mut head, mut there) = ([0u8; HEAD], [0u8; ROOM]);
        let read = [(vdso, &mut head[..]), (addr, &mut there[..])];
        for (from, to) in read {
            (tracer::read_memory(tid, from, to) == to.len()).then_some(())?;
        }
        let free = there == [0; ROOM] || there.starts_with(self.path.as_bytes());
        (head == self.head && free).then_some(())?;
        let mut bytes = [0u8; ROOM];
        bytes.get_mut(..self.path.len())?.copy_from_slice(self.path.as_bytes());
        let whole = (self.path.len() / 8 + 1) * 8;
        tracer::write_memory(tid, addr, bytes.get(..whole)?).ok().map(|()| addr)
    }
}

/// Where the vdso's code begins in a process of 64 bits.
fn vdso_of(tid: i32) -> Option<u64> {
    let name = procfs::Text::new(format_args!("/proc/{tid}/auxv"));
    let bytes = procfs::read_file(name.as_c_str());
    let (words, _) = bytes.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let pair = pairs.iter().find(|pair| u64::from_le_bytes(pair[0]) == at::SYSINFO_EHDR)?;
    Some(u64::from_le_bytes(pair[1])).filter(|addr| *addr != 0)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use rustix::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_path_leads_to_the_file() {
        let null = procfs::open_read(c"/dev/null").unwrap();
        let Some(behind) = Behind::new(null.as_raw_fd()) else {
            std::eprintln!("skipped: this kernel's vdso has no room behind its code");
            return;
        };
        let [here, there] = ["/dev/null", &behind.path].map(|p| rustix::fs::stat(p).unwrap());
        assert_eq!((here.st_dev, here.st_ino), (there.st_dev, there.st_ino));
        assert_eq!(behind.offset % 8, 0);
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        assert!(vdso_of(pid).is_some_and(|addr| addr % 4096 == 0));
    }
}
