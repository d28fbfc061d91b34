//! How many pages two processes still have in common, one of which was copied for the other. Only
//! looks.
//!
//! Nobody counts what copy-on-write copies. But of a page that both were given at the fork, and that
//! either has written to since, each has its own. With `CAP_SYS_ADMIN` it is seen where a page is
//! (`proc_pid_pagemap(5)`), and so whether it is the same. Without, it is seen whether a page is
//! mapped once only: that is so of one of the two at least, unless both have shared theirs again,
//! each with another child. Where 512 are mapped at once the kernel tells only of all together, but
//! whoever has them so has not written to them.

use alloc::vec::Vec;

use rustix::fd::{AsFd, OwnedFd};
use uexec_core::abi::PAGE;

use crate::ffi::dump::{Region, Wanted, scan};
use crate::procfs::{Text, open_read, pread_all};

/// Bit of an entry: the page is mapped nowhere else.
const MAPPED_ONCE: u64 = 1 << 56;

/// Anonymous pages that a new process has been given.
#[derive(Clone, Debug)]
pub struct Given {
    regions: Vec<Region>,
}

impl Given {
    /// Those of a process that was copied just now and has not run yet. `None` before Linux 6.7,
    /// or where its memory cannot be looked at.
    #[must_use]
    pub fn of(child: i32) -> Option<Given> {
        Some(Given { regions: regions(&pagemap(child)?, Wanted::Anonymous)? })
    }

    /// How many pages it was given.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.regions.iter().map(|region| (region.end - region.start) / PAGE).sum()
    }

    /// How many of them the two have no more in common, because one of them has written there and
    /// got a copy. What one of them has given back is not counted. `None` where one of them has no
    /// memory any more.
    #[must_use]
    pub fn copied(&self, creator: i32, child: i32) -> Option<u64> {
        let mut sides = [Side::of(creator)?, Side::of(child)?];
        let mut copied = 0;
        for region in &self.regions {
            let mut at = region.start;
            while at < region.end {
                let count = Side::MOST.min((region.end - at) / PAGE);
                let [one, other] = &mut sides;
                let (one, other) = (one.read(at, count)?, other.read(at, count)?);
                copied += one.zip(other).filter(|(a, b)| are_apart(*a, *b)).count() as u64;
                at += count * PAGE;
            }
        }
        Some(copied)
    }
}

/// The page map of one of the two.
struct Side {
    map: OwnedFd,
    /// Where pages are mapped 512 at a time: how often each is mapped by others is not seen there.
    huge: Vec<Region>,
    bytes: Vec<u8>,
}

impl Side {
    /// Pages that are read at once.
    const MOST: u64 = 8192;

    fn of(pid: i32) -> Option<Side> {
        let map = pagemap(pid)?;
        let huge = regions(&map, Wanted::Huge)?;
        Some(Side { map, huge, bytes: alloc::vec![0; Side::MOST as usize * 8] })
    }

    /// The entries of so many pages.
    fn read(&mut self, start: u64, count: u64) -> Option<impl Iterator<Item = u64>> {
        let bytes = self.bytes.get_mut(..count as usize * 8)?;
        if pread_all(&self.map, bytes, start / PAGE * 8) != bytes.len() {
            return None;
        }
        let next = self.huge.partition_point(|region| region.end <= start);
        let mut huge = self.huge.get(next..)?.iter().peekable();
        let pages = bytes.chunks_exact(8).enumerate();
        Some(pages.map(move |(i, bytes)| {
            let at = start + i as u64 * PAGE;
            while huge.next_if(|region| region.end <= at).is_some() {}
            let entry = bytes.try_into().map_or(0, u64::from_ne_bytes);
            match huge.peek().is_some_and(|region| region.start <= at) {
                true => entry & !MAPPED_ONCE,
                false => entry,
            }
        }))
    }
}

/// Where a process has such pages, from low to high addresses.
fn regions(map: &OwnedFd, wanted: Wanted) -> Option<Vec<Region>> {
    const END: u64 = (1 << 47) - PAGE;
    const ASKED: usize = 1024;
    /// Of a memory in so many pieces nothing is told.
    const MOST: usize = 1 << 18;
    let mut all = Vec::new();
    let mut some = alloc::vec![Region::default(); ASKED];
    let mut from = 0;
    while all.len() < MOST {
        let (count, walked) = scan(map.as_fd(), from, END, wanted, &mut some).ok()?;
        all.extend_from_slice(some.get(..count)?);
        match walked > from && count == ASKED {
            true => from = walked,
            false => return Some(all),
        }
    }
    None
}

fn pagemap(pid: i32) -> Option<OwnedFd> {
    open_read(Text::new(format_args!("/proc/{pid}/pagemap")).as_c_str()).ok()
}

/// Whether two entries of page maps, both of an address of which the pages were one, are of two
/// pages now.
const fn are_apart(one: u64, other: u64) -> bool {
    const PRESENT: u64 = 1 << 63;
    const FILE: u64 = 1 << 61;
    const FRAME: u64 = (1 << 55) - 1;
    if one & other & PRESENT == 0 || (one | other) & FILE != 0 {
        return false;
    }
    match (one & FRAME, other & FRAME) {
        (0, _) | (_, 0) => (one | other) & MAPPED_ONCE != 0,
        (one, other) => one != other,
    }
}
