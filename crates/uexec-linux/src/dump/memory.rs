//! Copies the memory of a stopped process to where the plan says, by two threads where the order does
//! not matter. Pages of zeros are not written.

#[cfg(feature = "std")]
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::OwnedFd;
use uexec_core::Errno;
use uexec_core::abi::PAGE;
use uexec_core::coredump::{CorePlan, Process};

use super::runs::{CHUNK, Run, Runs};
use super::sink::Sink;
use super::{DumpError, Stopped};
use crate::ffi::dump;
use crate::procfs::{Text, open_read, pread_all};

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of memory written; the rest of the file is holes.
    pub written: u64,
    /// Pages that could not be read and are holes, as in the kernel's cores.
    pub unreadable: u64,
}

const PAGE_LEN: usize = PAGE as usize;
/// From so many bytes on a second thread is worth its while.
#[cfg(feature = "std")]
const WORTH_TWO: u64 = 4 << 20;

/// Writes a planned core.
pub(super) fn write(
    stopped: &Stopped,
    process: &Process,
    plan: &CorePlan,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, DumpError> {
    let pid = stopped.looked_at();
    sink.write(0, &plan.head).map_err(DumpError::Write)?;
    let pagemap = open_read(Text::new(format_args!("/proc/{pid}/pagemap")).as_c_str()).ok();
    let runs = Runs::new(process, plan, pagemap);
    #[cfg(feature = "std")]
    let copied = match sink.another().filter(|_| plan.len() >= WORTH_TWO) {
        Some(other) => by_two(pid, runs, sink, other, progress)?,
        None => Copier::new(pid, sink).copy_all(runs, progress)?,
    };
    #[cfg(not(feature = "std"))]
    let copied = Copier::new(pid, sink).copy_all(runs, progress)?;
    if !plan.tail.is_empty() {
        sink.write(plan.tail_offset, &plan.tail).map_err(DumpError::Write)?;
    }
    sink.finish(plan.len()).map_err(DumpError::Write)?;
    if stopped.is_gone() {
        return Err(DumpError::Gone);
    }
    progress(plan.len());
    Ok(copied)
}

/// Copies all runs, half of them on another thread: one reads while the other writes.
#[cfg(feature = "std")]
fn by_two(
    pid: i32,
    runs: Runs<'_>,
    sink: &mut dyn Sink,
    mut other: Box<dyn Sink + Send>,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, DumpError> {
    use std::sync::{Mutex, PoisonError};

    let runs = Mutex::new(Some(runs));
    // After an error there are no more runs for anybody.
    let stop = || *runs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let next = || runs.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.next();
    std::thread::scope(|scope| {
        let work = || {
            let mut copier = Copier::new(pid, &mut *other);
            copier.copy_all(core::iter::from_fn(next), &mut |_| {}).inspect_err(|_| stop())
        };
        // Where there can be no other thread, this one does it all.
        let helper = std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let mut copier = Copier::new(pid, sink);
        let mine = copier.copy_all(core::iter::from_fn(next), progress).inspect_err(|_| stop());
        let theirs = helper.map_or(Ok(Copied::default()), |h| {
            h.join().unwrap_or(Err(DumpError::Write(Errno::ENOMEM)))
        });
        let (mine, theirs) = (mine?, theirs?);
        Ok(Copied {
            written: mine.written + theirs.written,
            unreadable: mine.unreadable + theirs.unreadable,
        })
    })
}

struct Copier<'a> {
    pid: i32,
    mem: Option<OwnedFd>,
    buf: Vec<u8>,
    sink: &'a mut dyn Sink,
    copied: Copied,
}

impl<'a> Copier<'a> {
    fn new(pid: i32, sink: &'a mut dyn Sink) -> Copier<'a> {
        let mem = open_read(Text::new(format_args!("/proc/{pid}/mem")).as_c_str()).ok();
        Copier { pid, mem, buf: vec![0; CHUNK as usize], sink, copied: Copied::default() }
    }

    fn copy_all(
        &mut self,
        runs: impl Iterator<Item = Run>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Copied, DumpError> {
        for run in runs {
            let before = self.copied.unreadable;
            self.copy(run.addr, run.len as usize, run.offset)?;
            if self.copied.unreadable > before && super::stop::is_dead(self.pid) {
                return Err(DumpError::Gone);
            }
            progress(run.offset + run.len);
        }
        Ok(self.copied)
    }

    /// Copies a run. What cannot be read stays a hole.
    fn copy(&mut self, addr: u64, len: usize, offset: u64) -> Result<(), DumpError> {
        let mut done = 0;
        while done < len {
            let part = self.buf.get_mut(done..len).unwrap_or_default();
            let got = dump::read_memory(self.pid, addr + done as u64, part).unwrap_or(0);
            if got > 0 {
                done += got;
                continue;
            }
            // A page that its owner may not read, or that is none: one by one, by another way.
            let page = self.buf.get_mut(done..len.min(done + PAGE_LEN)).unwrap_or_default();
            let want = page.len();
            let got = self.mem.as_ref().map_or(0, |fd| pread_all(fd, page, addr + done as u64));
            if got < want {
                page.fill(0);
                self.copied.unreadable += 1;
            }
            done += want;
        }
        self.put(len, offset).map_err(DumpError::Write)
    }

    /// Writes what is not zero of the buffer.
    fn put(&mut self, len: usize, offset: u64) -> Result<(), Errno> {
        let data = self.buf.get(..len).unwrap_or_default();
        let mut run: Option<usize> = None;
        let mut at = 0;
        for page in data.chunks(PAGE_LEN) {
            match (is_zero(page), run) {
                (true, Some(start)) => {
                    self.sink
                        .write(offset + start as u64, data.get(start..at).unwrap_or_default())?;
                    self.copied.written += (at - start) as u64;
                    run = None;
                }
                (false, None) => run = Some(at),
                _ => {}
            }
            at += page.len();
        }
        if let Some(start) = run {
            self.sink.write(offset + start as u64, data.get(start..).unwrap_or_default())?;
            self.copied.written += (len - start) as u64;
        }
        Ok(())
    }
}

/// Whether a page holds zeros only. Most that do not show it in their first bytes.
fn is_zero(page: &[u8]) -> bool {
    static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];
    ZEROS.get(..page.len()) == Some(page)
}
