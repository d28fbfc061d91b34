//! Which memory there is to be copied, a run at a time. Pages that were never touched are passed
//! over, and so are those that are the kernel's page of zeros. Reads no memory.

use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::{AsFd, OwnedFd};
use uexec_core::abi::PAGE;
use uexec_core::coredump::{CorePlan, Process};

use crate::ffi::dump::{Region, Wanted, scan};
use crate::procfs::pread_all;

/// Most bytes of a run: fits the processor's caches.
pub(super) const CHUNK: u64 = 512 << 10;
/// Pages asked about at a time where the kernel cannot scan.
const ASKED: u64 = 32 << 10;
/// Regions asked for at a time.
const REGIONS: usize = 512;

/// Memory that belongs into the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) addr: u64,
    pub(super) len: u64,
    /// Where in the file.
    pub(super) offset: u64,
}

/// Goes through a plan once, from low to high offsets.
pub(super) struct Runs<'a> {
    process: &'a Process,
    plan: &'a CorePlan,
    pagemap: Option<OwnedFd>,
    /// Whether the kernel scans (`PAGEMAP_SCAN`, 6.7).
    scans: bool,
    regions: Vec<Region>,
    /// The segment, and up to where its pages are known.
    segment: usize,
    known: u64,
    /// Pages of it that are there, last first.
    found: Vec<(u64, u64)>,
}

impl<'a> Runs<'a> {
    /// `pagemap` is that of the process (`proc_pid_pagemap(5)`).
    pub(super) fn new(
        process: &'a Process,
        plan: &'a CorePlan,
        pagemap: Option<OwnedFd>,
    ) -> Runs<'a> {
        let known = plan.segments.first().map_or(0, |s| s.start);
        let regions = vec![Region::default(); REGIONS];
        Runs { process, plan, pagemap, scans: true, regions, segment: 0, known, found: Vec::new() }
    }

    /// Looks at the next pages of the segment, from `from` on.
    fn look(&mut self, from: u64, end: u64) {
        let Some(segment) = self.plan.segments.get(self.segment) else { return };
        let vma = self.process.vmas.get(segment.vma);
        let anonymous = vma.is_some_and(|v| v.file.is_none() && !v.special);
        let Some(pagemap) = self.pagemap.as_ref().filter(|_| anonymous) else {
            self.found.push((from, end));
            self.known = end;
            return;
        };
        if self.scans {
            if let Ok((count, walked)) =
                scan(pagemap.as_fd(), from, end, Wanted::Kept, &mut self.regions)
                && walked > from
            {
                let regions = self.regions.get(..count).unwrap_or_default();
                self.found.extend(regions.iter().rev().map(|r| (r.start, r.end)));
                self.known = walked;
                return;
            }
            self.scans = false;
        }
        let end = end.min(from.saturating_add(ASKED * PAGE));
        self.found = read_pagemap(pagemap, from, end);
        self.known = end;
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        loop {
            let segment = self.plan.segments.get(self.segment)?;
            if let Some((from, to)) = self.found.pop() {
                let len = (to - from).min(CHUNK);
                if from + len < to {
                    self.found.push((from + len, to));
                }
                let offset = segment.offset + (from - segment.start);
                return Some(Run { addr: from, len, offset });
            }
            let end = segment.start + segment.file_len;
            if self.known < end {
                self.look(self.known, end);
                continue;
            }
            self.segment += 1;
            self.known = self.plan.segments.get(self.segment)?.start;
        }
    }
}

/// Which parts of anonymous memory have pages, in memory or in swap, last first.
fn read_pagemap(pagemap: &OwnedFd, from: u64, to: u64) -> Vec<(u64, u64)> {
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    let pages = (to - from) / PAGE;
    let mut words = vec![0u8; pages as usize * 8];
    if pread_all(pagemap, &mut words, from / PAGE * 8) != words.len() {
        return vec![(from, to)];
    }
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (page, word) in (0..pages).rev().zip(words.rchunks_exact(8)) {
        let word = word.try_into().map_or(u64::MAX, u64::from_ne_bytes);
        if word & PRESENT_OR_SWAPPED == 0 {
            continue;
        }
        let start = from + page * PAGE;
        match runs.last_mut() {
            Some(last) if last.0 == start + PAGE => last.0 = start,
            _ => runs.push((start, start + PAGE)),
        }
    }
    runs
}
