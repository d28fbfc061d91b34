//! Maps a shared library as `uselib(2)` did, into this process. Never replaces anything: where
//! something is in the way the library is refused.

use alloc::vec::Vec;

use rustix::fd::AsRawFd;
use uexec_core::error::{Reason, Refusal, Stage};
use uexec_core::mm::{Backing, Prot};
use uexec_core::shlib::{Shlib, plan_shlib};
use uexec_core::{ALL_FORMATS, Errno, ExecError, Op};

use crate::arch::{nr, syscall6};
use crate::host::Host;

const MAP_PRIVATE: u64 = 2;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// Mappings made so far; unmapped when dropped.
struct Made(Vec<(u64, u64)>);

impl Drop for Made {
    fn drop(&mut self) {
        for (addr, len) in self.0.drain(..) {
            // SAFETY: mapped by `map`, and nobody has been told of it.
            let _ = unsafe { syscall6(nr::MUNMAP, [addr, len, 0, 0, 0, 0]) };
        }
    }
}

/// Maps the library `path`; it stays mapped. Returns what was decided: where it lies, and what it
/// was made from. Nothing of it is run.
///
/// # Errors
/// Those of [`plan_shlib`], and `EEXIST` where something lies in its place.
///
/// ```
/// // Libraries of today are not of this kind.
/// let error = uexec_linux::load_shlib(b"/proc/self/exe").unwrap_err();
/// assert!(error.to_string().contains("ENOEXEC") || error.to_string().contains("EACCES"), "{error}");
/// ```
pub fn load_shlib(path: &[u8]) -> Result<Shlib, ExecError> {
    let mut host = Host::new();
    let shlib = plan_shlib(path, &mut host, &ALL_FORMATS)?;
    let refuse = |reason| ExecError::from(Refusal::new(Stage::Map, reason).of(path));
    let mut made = Made(Vec::new());
    for op in &shlib.ops {
        match op {
            Op::Map { addr, len, prot, backing, .. } => {
                map(&mut host, *addr, *len, *prot, backing).map_err(|errno| match errno {
                    Errno::EEXIST => refuse(Reason::Collision { start: *addr, end: addr + len }),
                    errno => ExecError::host("mmap", errno),
                })?;
                made.0.push((*addr, *len));
            }
            // SAFETY: the plan only writes to what it has mapped writable just before, within
            // pages that the file reaches.
            Op::Zero { addr, len } => unsafe {
                core::ptr::write_bytes(*addr as *mut u8, 0, *len as usize);
            },
            // SAFETY: likewise.
            Op::Copy { addr, bytes } => unsafe {
                core::ptr::copy_nonoverlapping(bytes.as_ptr(), *addr as *mut u8, bytes.len());
            },
            _ => return Err(ExecError::host("mapping a library", Errno::ENOSYS)),
        }
    }
    made.0.clear();
    Ok(shlib)
}

/// Maps exactly there, if nothing is there.
fn map(host: &mut Host, addr: u64, len: u64, prot: Prot, from: &Backing) -> Result<(), Errno> {
    let mut flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
    let (fd, offset) = match from {
        Backing::File { file, offset } => (host.data_fd(*file)?.as_raw_fd() as u64, *offset),
        _ => {
            flags |= MAP_ANONYMOUS;
            (u64::MAX, 0)
        }
    };
    let args = [addr, len, prot.bits().into(), flags, fd, offset];
    // SAFETY: with MAP_FIXED_NOREPLACE nothing that exists is touched; kernels that do not know the
    // flag take the address as a hint, which is checked below.
    let got = unsafe { syscall6(nr::MMAP, args) };
    if (-4095..0).contains(&got) {
        return Err(Errno(-got as u16));
    }
    if got as u64 != addr {
        drop(Made(alloc::vec![(got as u64, len)]));
        return Err(Errno::EEXIST);
    }
    Ok(())
}
