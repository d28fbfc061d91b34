//! Copies the memory of a stopped process to where the plan says. Pages that were never touched are
//! not read, pages of zeros not written.

use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::OwnedFd;
use uexec_core::Errno;
use uexec_core::abi::PAGE;
use uexec_core::coredump::{CorePlan, Process, Segment};

use super::sink::Sink;
use super::{DumpError, Stopped};
use crate::ffi::dump;
use crate::procfs::{Text, open_read};

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of memory written; the rest of the file is holes.
    pub written: u64,
    /// Pages that could not be read and are holes, as in the kernel's cores.
    pub unreadable: u64,
}

const PAGE_LEN: usize = PAGE as usize;
/// Bytes copied at a time: fits the processor's caches.
const CHUNK: usize = 512 << 10;
/// Pages asked about at a time.
const ASKED: u64 = 32 << 10;

struct Copier<'a> {
    pid: i32,
    mem: Option<OwnedFd>,
    pagemap: Option<OwnedFd>,
    buf: Vec<u8>,
    sink: &'a mut dyn Sink,
    copied: Copied,
}

/// Writes a planned core.
pub(super) fn write(
    stopped: &Stopped,
    process: &Process,
    plan: &CorePlan,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, DumpError> {
    let pid = stopped.looked_at();
    let open =
        |what: &str| open_read(Text::new(format_args!("/proc/{pid}/{what}")).as_c_str()).ok();
    sink.write(0, &plan.head).map_err(DumpError::Write)?;
    let mut copier = Copier {
        pid,
        mem: open("mem"),
        pagemap: open("pagemap"),
        buf: vec![0; CHUNK],
        sink,
        copied: Copied::default(),
    };
    for s in &plan.segments {
        let anonymous = process.vmas.get(s.vma).is_some_and(|v| v.file.is_none() && !v.special);
        copier.segment(stopped, s, anonymous, progress)?;
    }
    if !plan.tail.is_empty() {
        copier.sink.write(plan.tail_offset, &plan.tail).map_err(DumpError::Write)?;
    }
    copier.sink.finish(plan.len()).map_err(DumpError::Write)?;
    if stopped.is_gone() {
        return Err(DumpError::Gone);
    }
    progress(plan.len());
    Ok(copier.copied)
}

impl Copier<'_> {
    fn segment(
        &mut self,
        stopped: &Stopped,
        s: &Segment,
        anonymous: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), DumpError> {
        let end = s.start + s.file_len;
        let mut at = s.start;
        while at < end {
            let stop = end.min(at.saturating_add(ASKED * PAGE));
            let runs = match anonymous {
                true => self.populated(at, stop),
                false => vec![(at, stop)],
            };
            for (from, to) in runs {
                let mut from = from;
                while from < to {
                    let len = (to - from).min(CHUNK as u64);
                    self.copy(from, len as usize, s.offset + (from - s.start))?;
                    from += len;
                    progress(s.offset + (from - s.start));
                }
            }
            if self.copied.unreadable > 0 && stopped.is_gone() {
                return Err(DumpError::Gone);
            }
            at = stop;
            progress(s.offset + (at - s.start));
        }
        Ok(())
    }

    /// Which parts of anonymous memory have pages, in memory or in swap (`proc_pid_pagemap(5)`).
    fn populated(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        let pages = (to - from) / PAGE;
        let mut words = vec![0u8; pages as usize * 8];
        let read = self.pagemap.as_ref().map(|fd| pread_all(fd, &mut words, from / PAGE * 8));
        if read != Some(words.len()) {
            return vec![(from, to)];
        }
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (word, page) in words.chunks_exact(8).zip(0u64..) {
            let word = word.try_into().map_or(u64::MAX, u64::from_ne_bytes);
            if word & PRESENT_OR_SWAPPED == 0 {
                continue;
            }
            let start = from + page * PAGE;
            match runs.last_mut() {
                Some(last) if last.1 == start => last.1 += PAGE,
                _ => runs.push((start, start + PAGE)),
            }
        }
        runs
    }

    /// Copies up to a chunk. What cannot be read stays a hole.
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

/// Reads at an offset until the buffer is full or nothing more comes.
pub(super) fn pread_all(fd: &OwnedFd, buf: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < buf.len() {
        let rest = buf.get_mut(done..).unwrap_or_default();
        match rustix::io::pread(fd, rest, offset + done as u64) {
            Ok(n @ 1..) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            _ => break,
        }
    }
    done
}
