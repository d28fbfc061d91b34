//! Carries a plan out in the current process: [`prepare`] does everything that can fail and can
//! be undone, [`Prepared::commit`] never returns.

use alloc::vec::Vec;

use uexec_core::abi::PAGE;
use uexec_core::{Errno, ExecError, Plan};

use crate::arch::{enter, nr, syscall6, trampoline};
use crate::host::Host;
use crate::lower::{CODE_LEN, Difference, Lowered, lower};
use crate::process::Caller;

const PROT_RW: u64 = 3;
const PROT_RX: u64 = 5;
const MPROTECT: u64 = 10;
const MAP_PRIVATE_ANONYMOUS_NOREPLACE: u64 = 0x10_0022;

/// A plan with everything it needs in place. Dropping it undoes all of that.
#[derive(Debug)]
pub struct Prepared {
    region: Region,
    list: u64,
    differences: Vec<Difference>,
    /// Keeps the files open that the list maps.
    _host: Host,
}

/// Memory of ours, unmapped when dropped.
#[derive(Debug)]
struct Region {
    addr: u64,
    len: u64,
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this range was mapped by `Region::new` and nothing points into it.
        let _ = unsafe { syscall6(nr::MUNMAP, [self.addr, self.len, 0, 0, 0, 0]) };
    }
}

impl Region {
    /// Maps fresh zero pages exactly there; `Err(EEXIST)` if something is there.
    fn new(addr: u64, len: u64) -> Result<Region, Errno> {
        let flags = MAP_PRIVATE_ANONYMOUS_NOREPLACE;
        // SAFETY: with MAP_FIXED_NOREPLACE nothing that exists is touched. Kernels that do not
        // know the flag take the address as a hint, which is checked below.
        let got = unsafe { syscall6(nr::MMAP, [addr, len, PROT_RW, flags, u64::MAX, 0]) };
        if (-4095..0).contains(&got) {
            return Err(Errno(-got as u16));
        }
        let region = Region { addr: got as u64, len };
        if region.addr == addr { Ok(region) } else { Err(Errno::EEXIST) }
    }

    /// Fills the region: code first, then data. Makes the code executable and no longer writable.
    fn fill(&self, code: &[u8], data: &[u8]) -> Result<(), Errno> {
        if code.len() as u64 > CODE_LEN || CODE_LEN + data.len() as u64 > self.len {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: the code page is mapped, writable, ours alone, and large enough by the check.
        unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), self.addr as *mut u8, code.len()) };
        let to = (self.addr + CODE_LEN) as *mut u8;
        // SAFETY: the rest of the region likewise.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
        // SAFETY: changes the protection of the code page only, which holds no Rust object.
        let ret = unsafe { syscall6(MPROTECT, [self.addr, CODE_LEN, PROT_RX, 0, 0, 0]) };
        if ret < 0 { Err(Errno(-ret as u16)) } else { Ok(()) }
    }
}

/// Addresses at which the region is tried, far from where programs and libraries go.
fn places() -> impl Iterator<Item = u64> {
    (1..64u64).map(|i| i * 0x0200_0000_0000 + 0x1234_5000)
}

/// Prepares a plan: opens what is to be mapped, builds the list of operations and puts it where
/// neither caller nor program is. The caller can still go on as if nothing had been.
///
/// # Errors
/// `ENOEXEC`-like reasons do not occur any more; only resources can be short (`ENOMEM`,
/// `EMFILE`), or the plan dies ([`Plan::death`]) and is refused with that reason.
pub fn prepare(plan: &Plan, mut host: Host, caller: &Caller) -> Result<Prepared, ExecError> {
    if let Some(death) = &plan.death {
        return Err(ExecError::new(death.clone(), plan.chain.clone(), plan.story.clone()));
    }
    for base in places() {
        let Lowered { data, list, len, differences } = lower(plan, &mut host, caller, base)?;
        let end = base + len + PAGE;
        if plan.vmas.iter().any(|v| v.start < end && base < v.end) {
            continue;
        }
        let region = match Region::new(base, len) {
            Ok(region) => region,
            Err(Errno::EEXIST) => continue,
            Err(errno) => return Err(ExecError::host("mmap", errno)),
        };
        region.fill(trampoline(), &data).map_err(|e| ExecError::host("mprotect", e))?;
        return Ok(Prepared { region, list, differences, _host: host });
    }
    Err(ExecError::host("finding room for the list of operations", Errno::ENOMEM))
}

impl Prepared {
    /// What will not be as after a kernel exec.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Replaces this process by the program. This is the point of no return: what fails from here
    /// on ends the process by `SIGSEGV`.
    ///
    /// # Safety
    /// The process must have no other thread, and must not share its memory with another process
    /// (as a `vfork(2)` child does): all memory is unmapped. Destructors do not run.
    pub unsafe fn commit(self) -> ! {
        let (code, list) = (self.region.addr, self.list);
        core::mem::forget(self);
        // SAFETY: `fill` has put the trampoline and a list that ends there; the caller gives the
        // process away.
        unsafe { enter(code, list) }
    }
}
