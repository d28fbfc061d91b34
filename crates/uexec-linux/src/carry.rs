//! Carries a plan out in the current process: [`prepare`] does everything that can fail and can
//! be undone, [`Prepared::commit`] never returns.

use alloc::vec::Vec;

use rustix::fd::AsRawFd;
use uexec_core::abi::PAGE;
use uexec_core::arch::Class;
use uexec_core::{Errno, ExecError, Plan};

use crate::Difference;
use crate::arch::{enter, nr, syscall6, trampoline};
use crate::host::Host;
use crate::lower::{CODE_LEN, Lowered, Room, lower, room};
use crate::process::Caller;
use crate::threads::Ending;

const PROT_RW: u64 = 3;
const PROT_RX: u64 = 5;
const PROT_RWX: u64 = 7;
const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_PRIVATE_ANONYMOUS: u64 = 0x22;
const MAP_POPULATE: u64 = 0x8000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// A plan with everything it needs in place. Dropping it undoes all of that.
#[derive(Debug)]
pub struct Prepared {
    /// Where the code is.
    pub(crate) code: u64,
    pub(crate) list: u64,
    /// The memory of both, where it was made for this.
    #[allow(dead_code, reason = "unmapped when dropped")]
    pub(crate) region: Option<Region>,
    pub(crate) differences: Vec<Difference>,
    /// Keeps the files open that the list maps.
    pub(crate) host: Host,
}

/// Memory of ours, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
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
    /// Maps fresh zero pages exactly there; `Err(EEXIST)` if something is there. All of them are
    /// going to be written, so they are asked for at once.
    ///
    /// Writable and executable in one: making the code executable afterwards costs a flush of
    /// translations on all processors, more than the rest together, and is refused by the same
    /// policies. Nothing but this exec runs between now and the region's end.
    ///
    /// Where memory must not be both (`PR_SET_MDWE(2const)`, security modules), the code is mapped
    /// from a file in memory.
    pub(crate) fn new(addr: u64, len: u64, code: &[u8]) -> Result<Region, Errno> {
        if code.len() as u64 > CODE_LEN || CODE_LEN > len {
            return Err(Errno::ENOMEM);
        }
        match Region::map(addr, len, PROT_RWX) {
            Ok(region) => {
                let to = region.addr as *mut u8;
                // SAFETY: the code page is mapped, writable, ours alone, and large enough by the
                // check.
                unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), to, code.len()) };
                Ok(region)
            }
            Err(Errno::EACCES | Errno::EPERM) => {
                let region = Region::map(addr, len, PROT_RW)?;
                // SAFETY: the region's own first page, in which nothing is yet.
                unsafe { map_code(region.addr, code) }.map(|()| region)
            }
            Err(errno) => Err(errno),
        }
    }

    fn map(addr: u64, len: u64, prot: u64) -> Result<Region, Errno> {
        let flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
        // SAFETY: with MAP_FIXED_NOREPLACE nothing that exists is touched. Kernels that do not
        // know the flag take the address as a hint, which is checked below.
        let got = unsafe { syscall6(nr::MMAP, [addr, len, prot, flags, u64::MAX, 0]) };
        if (-4095..0).contains(&got) {
            return Err(Errno(-got as u16));
        }
        let region = Region { addr: got as u64, len };
        if region.addr == addr { Ok(region) } else { Err(Errno::EEXIST) }
    }

    /// The bytes behind the code page.
    fn data(&mut self) -> &mut [u8] {
        let start = (self.addr + CODE_LEN) as *mut u8;
        // SAFETY: mapped readable and writable, ours alone, and borrowed as long as `self`.
        unsafe { core::slice::from_raw_parts_mut(start, (self.len - CODE_LEN) as usize) }
    }
}

/// Maps the code from a file in memory over the page at this address.
///
/// # Safety
/// Nobody may use that page.
unsafe fn map_code(addr: u64, code: &[u8]) -> Result<(), Errno> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let fd = memfd_create(c"uexec", MemfdFlags::CLOEXEC).map_err(crate::ffi::errno)?;
    if rustix::io::write(&fd, code).map_err(crate::ffi::errno)? != code.len() {
        return Err(Errno::ENOSPC);
    }
    let (flags, fd) = (MAP_PRIVATE | MAP_FIXED, fd.as_raw_fd() as u64);
    // SAFETY: replaces that page, which is the caller's promise.
    let got = unsafe { syscall6(nr::MMAP, [addr, CODE_LEN, PROT_RX, flags, fd, 0]) };
    if (-4095..0).contains(&got) { Err(Errno(-got as u16)) } else { Ok(()) }
}

/// Copies the code to a page that is there, and makes that executable; where memory that was once
/// written to must not be, the code is mapped instead. With one thread nobody else's translations
/// are to be flushed, and this costs less than a page of its own.
///
/// # Safety
/// The page must be mapped and writable, and nobody may use it.
pub(crate) unsafe fn settle_code(addr: u64, code: &[u8]) -> Result<(), Errno> {
    if code.len() as u64 > CODE_LEN {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: mapped, writable and long enough, by the caller's promise and the check.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), addr as *mut u8, code.len()) };
    // SAFETY: nobody uses that page.
    match unsafe { syscall6(nr::MPROTECT, [addr, CODE_LEN, PROT_RX, 0, 0, 0]) } {
        0 => Ok(()),
        // SAFETY: the same.
        _ => unsafe { map_code(addr, code) },
    }
}

/// Distance of the addresses at which the region is tried, far from where programs and libraries
/// go.
const STEP: u64 = 0x0200_0000_0000;

/// The same for i386 programs: their last call to unmap it reaches up to 4 GiB.
const LOW_STEP: u64 = 0x0300_0000;

fn places(step: u64) -> impl Iterator<Item = u64> {
    (1..64u64).map(move |i| i * step + 0x0123_5000)
}

/// Prepares a plan: opens what is to be mapped, builds the list of operations and puts it where
/// neither caller nor program is. The caller can still go on as if nothing had been.
///
/// # Errors
/// `ENOEXEC`-like reasons do not occur any more; only resources can be short (`ENOMEM`,
/// `EMFILE`), or the plan dies ([`Plan::death`]) and is refused with that reason.
pub fn prepare(plan: &Plan, mut host: Host, caller: &Caller) -> Result<Prepared, ExecError> {
    refuse_dead(plan)?;
    let len = CODE_LEN + room(plan, &host, caller);
    let step = if plan.image.arch.class == Class::Elf32 { LOW_STEP } else { STEP };
    for base in places(step) {
        let end = base + len + host.vdso_len() + PAGE;
        if is_taken(plan, base, end) {
            continue;
        }
        let mut region = match Region::new(base, len, trampoline()) {
            Ok(region) => region,
            Err(Errno::EEXIST) => continue,
            Err(errno) => return Err(ExecError::host("mmap", errno)),
        };
        let memory = region.data();
        let room = Room { start: base, len, memory, stack: None, plan_stays: false };
        let Lowered { list, differences } = lower(plan, &mut host, caller, room)?;
        return Ok(Prepared { code: base, list, region: Some(region), differences, host });
    }
    Err(ExecError::host("finding room for the list of operations", Errno::ENOMEM))
}

/// A plan that would not survive its point of no return is not carried out.
pub(crate) fn refuse_dead(plan: &Plan) -> Result<(), ExecError> {
    match &plan.death {
        Some(death) => Err(ExecError::new(death.clone(), plan.chain.clone(), plan.story.clone())),
        None => Ok(()),
    }
}

/// Whether the plan has something between these addresses.
pub(crate) fn is_taken(plan: &Plan, start: u64, end: u64) -> bool {
    plan.vmas.iter().any(|v| v.start < end && start < v.end)
}

impl Prepared {
    /// What will not be as after a kernel exec.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// What is needed to end this process with this plan; signals of the mask `defaults` get their
    /// default action.
    pub(crate) fn ending(&self, defaults: u64) -> Ending {
        let keep = self.host.descriptors().collect();
        Ending::new(self.code, self.list, keep, self.host.rseq_len(), defaults)
    }

    /// Replaces this process by the program. This is the point of no return: what fails from here
    /// on ends the process by `SIGSEGV`.
    ///
    /// # Safety
    /// The process must have no other thread, and must not share its memory with another process
    /// (as a `vfork(2)` child does): all memory is unmapped. Destructors do not run.
    pub unsafe fn commit(self) -> ! {
        let (code, list) = (self.code, self.list);
        core::mem::forget(self);
        // SAFETY: `fill` has put the trampoline and a list that ends there; the caller gives the
        // process away.
        unsafe { enter(code, list) }
    }
}
