//! The address space being laid out: mappings, the search for free room, and what each request
//! would be answered by `mmap(2)`. Never touches memory, only numbers.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::{LOWEST_HINT, PAGE, PMD_SIZE, STACK_GUARD_GAP, page_down, page_up};
use crate::error::Reason;
use crate::world::{FileId, Limits};

bitflags::bitflags! {
    /// Permissions of a mapping: the bits of `PROT_*` (`mmap(2)`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Prot: u32 {
        /// Readable.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXEC = 4;
    }
}

/// What is behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Zero pages.
    Anon,
    /// A private mapping of a file.
    File {
        /// Which.
        file: FileId,
        /// Where in it the mapping starts, in bytes.
        offset: u64,
    },
    /// Part of the vdso block, by its name.
    Special(Cow<'static, str>),
}

/// One mapping, as a line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Permissions.
    pub prot: Prot,
    /// Contents.
    pub backing: Backing,
    /// Whether it grows down when touched below: the stack.
    pub grows_down: bool,
}

impl Vma {
    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no bytes; never true of a mapping in an [`Mm`].
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    fn continues(&self, next: &Vma) -> bool {
        self.end == next.start
            && self.prot == next.prot
            && self.grows_down == next.grows_down
            && match (&self.backing, &next.backing) {
                (Backing::Anon, Backing::Anon) => true,
                (Backing::File { file: f, offset: o }, Backing::File { file: g, offset: p }) => {
                    f == g && o.wrapping_add(self.len()) == *p
                }
                _ => false,
            }
    }
}

/// Where a mapping is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Exactly here, replacing what is there: `MAP_FIXED`.
    Fixed(u64),
    /// Exactly here, failing if something is there: `MAP_FIXED_NOREPLACE`.
    FixedNoReplace(u64),
    /// Wherever the kernel's search ends; near the hint if that is not 0 and free.
    Free(u64),
}

/// An address space: its mappings in order, and where new ones go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mm {
    vmas: Vec<Vma>,
    /// End of user addresses.
    pub task_size: u64,
    /// Where the search for free room starts.
    pub mmap_base: u64,
    /// Search upwards from `mmap_base` instead of downwards.
    pub bottom_up: bool,
    /// `vm.mmap_min_addr`, or 0 for a caller with `CAP_SYS_RAWIO`.
    pub min_addr: u64,
    limits: Limits,
}

impl Mm {
    /// An empty address space.
    #[must_use]
    pub fn new(
        task_size: u64,
        mmap_base: u64,
        bottom_up: bool,
        min_addr: u64,
        limits: Limits,
    ) -> Mm {
        Mm { vmas: Vec::with_capacity(16), task_size, mmap_base, bottom_up, min_addr, limits }
    }

    /// The mappings in address order.
    #[must_use]
    pub fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    /// Index of the first mapping that ends above `addr`.
    fn first_above(&self, addr: u64) -> usize {
        self.vmas.partition_point(|v| v.end <= addr)
    }

    /// The mappings that touch `[start, end)`.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        self.vmas.iter().skip(self.first_above(start)).take_while(move |v| v.start < end)
    }

    /// The mapping that holds `addr`.
    #[must_use]
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.vmas.get(self.first_above(addr)).filter(|v| v.start <= addr)
    }

    /// Answers as `mmap(2)` would for a private mapping of `len` bytes, and makes it.
    ///
    /// # Errors
    /// [`Reason::NoAddressSpace`] `ENOMEM`, [`Reason::BelowMmapMin`] `EPERM`,
    /// [`Reason::Collision`] `EEXIST`, [`Reason::Rlimit`] `ENOMEM`.
    pub fn map(
        &mut self,
        place: Place,
        len: u64,
        prot: Prot,
        backing: Backing,
    ) -> Result<u64, Reason> {
        let start = self.admit(place, len, prot, &backing, false)?;
        self.insert(Vma { start, end: start + page_up(len), prot, backing, grows_down: false });
        Ok(start)
    }

    /// Where `len` bytes would go and whether they may, without mapping them. `huge` asks for the
    /// 2 MiB alignment of ELF-48 when the search is free.
    ///
    /// # Errors
    /// As [`Mm::map`].
    pub fn admit(
        &self,
        place: Place,
        len: u64,
        prot: Prot,
        backing: &Backing,
        huge: bool,
    ) -> Result<u64, Reason> {
        let size = page_up(len);
        let asked = match place {
            Place::Fixed(a) | Place::FixedNoReplace(a) | Place::Free(a) => a,
        };
        if size == 0 || size > self.task_size {
            return Err(Reason::NoAddressSpace { addr: asked, len });
        }
        let start = match place {
            Place::Fixed(a) | Place::FixedNoReplace(a) => {
                if a > self.task_size - size {
                    return Err(Reason::NoAddressSpace { addr: a, len });
                }
                a
            }
            Place::Free(hint) => {
                let offset = match backing {
                    Backing::File { offset, .. } => *offset,
                    _ => 0,
                };
                let found = match huge {
                    true => self.search_huge(size, offset),
                    false => None,
                };
                found
                    .or_else(|| self.at_hint(hint, size))
                    .or_else(|| self.search(size))
                    .ok_or(Reason::NoAddressSpace { addr: hint, len })?
            }
        };
        if start < self.min_addr {
            return Err(Reason::BelowMmapMin { addr: start, min: self.min_addr });
        }
        if matches!(place, Place::FixedNoReplace(_))
            && let Some(v) = self.overlapping(start, start + size).next()
        {
            return Err(Reason::Collision { start: v.start, end: v.end });
        }
        let replaced = match place {
            Place::Fixed(_) => self.mapped_in(start, start + size, |_| true),
            _ => 0,
        };
        let all = self.mapped_in(0, u64::MAX, |_| true) - replaced + size;
        if all > self.limits.address_space {
            let limit = self.limits.address_space;
            return Err(Reason::Rlimit { which: "RLIMIT_AS", need: all, limit });
        }
        if prot.contains(Prot::WRITE) {
            let gone = match place {
                Place::Fixed(_) => self.mapped_in(start, start + size, Vma::is_data),
                _ => 0,
            };
            let data = self.mapped_in(0, u64::MAX, Vma::is_data) - gone + size;
            if data > self.limits.data {
                let limit = self.limits.data;
                return Err(Reason::Rlimit { which: "RLIMIT_DATA", need: data, limit });
            }
        }
        Ok(start)
    }

    fn mapped_in(&self, start: u64, end: u64, count: impl Fn(&Vma) -> bool) -> u64 {
        self.overlapping(start, end)
            .filter(|v| count(v))
            .map(|v| v.end.min(end) - v.start.max(start))
            .sum()
    }

    /// Room at the hint, if it is free there.
    fn at_hint(&self, hint: u64, size: u64) -> Option<u64> {
        let hint = match page_down(hint) {
            0 => 0,
            low => low.max(LOWEST_HINT).max(page_up(self.min_addr)),
        };
        let free = hint != 0
            && hint <= self.task_size - size
            && self
                .vmas
                .get(self.first_above(hint))
                .is_none_or(|v| hint + size <= v.start_with_gap());
        free.then_some(hint)
    }

    /// The kernel's search for `size` bytes (STK-35).
    fn search(&self, size: u64) -> Option<u64> {
        if self.bottom_up {
            return self.search_up(self.mmap_base, size);
        }
        self.search_down(size).or_else(|| self.search_up(page_up(self.task_size / 3), size))
    }

    fn search_down(&self, size: u64) -> Option<u64> {
        let low = PAGE.max(self.min_addr);
        let mut top = self.mmap_base;
        for v in self.vmas.iter().rev() {
            if v.start >= self.mmap_base {
                top = top.min(v.start_with_gap());
                continue;
            }
            let floor = v.end.max(low);
            if top >= floor && top - floor >= size {
                return Some(top - size);
            }
            top = top.min(v.start_with_gap());
        }
        (top >= low && top - low >= size).then(|| top - size)
    }

    fn search_up(&self, base: u64, size: u64) -> Option<u64> {
        let mut at = base;
        for v in self.vmas.iter().skip(self.first_above(base)) {
            if v.start_with_gap() >= at && v.start_with_gap() - at >= size {
                return Some(at);
            }
            at = at.max(v.end);
        }
        (at <= self.task_size && self.task_size - at >= size).then_some(at)
    }

    /// ELF-48: a large file mapping goes to a 2 MiB boundary of its file offset.
    fn search_huge(&self, size: u64, offset: u64) -> Option<u64> {
        let aligned = offset.checked_next_multiple_of(PMD_SIZE)?;
        if offset.checked_add(size)?.checked_sub(aligned)? < PMD_SIZE {
            return None;
        }
        let r = self.search(size.checked_add(PMD_SIZE)?)?;
        let d = offset.wrapping_sub(r) % PMD_SIZE;
        Some(if d == 0 && !self.bottom_up { r + PMD_SIZE } else { r + d })
    }

    /// Puts a mapping in, in place of whatever was there.
    pub fn insert(&mut self, vma: Vma) {
        if vma.start >= vma.end {
            return;
        }
        self.unmap(vma.start, vma.end);
        let mut at = self.vmas.partition_point(|v| v.end <= vma.start);
        self.vmas.insert(at, vma);
        // Merge with what continues it on either side.
        if let Some([a, b]) = self.vmas.get(at..at + 2)
            && a.continues(b)
        {
            self.merge(at);
        }
        if at > 0 {
            at -= 1;
            if let Some([a, b]) = self.vmas.get(at..at + 2)
                && a.continues(b)
            {
                self.merge(at);
            }
        }
    }

    fn merge(&mut self, at: usize) {
        let end = self.vmas.remove(at + 1).end;
        if let Some(v) = self.vmas.get_mut(at) {
            v.end = end;
        }
    }

    /// Removes everything in `[start, end)`, cutting mappings at the borders.
    pub fn unmap(&mut self, start: u64, end: u64) {
        let from = self.first_above(start);
        let count = self.vmas.iter().skip(from).take_while(|v| v.start < end).count();
        if count == 0 {
            return;
        }
        let mut rest: Vec<Vma> = Vec::new();
        for v in self.vmas.drain(from..from + count) {
            if v.start < start {
                rest.push(Vma { end: start, ..v.clone() });
            }
            if v.end > end {
                let mut tail = Vma { start: end, ..v };
                if let Backing::File { offset, .. } = &mut tail.backing {
                    *offset = offset.wrapping_add(end - v.start);
                }
                rest.push(tail);
            }
        }
        self.vmas.splice(from..from, rest);
    }
}

impl Vma {
    fn start_with_gap(&self) -> u64 {
        if self.grows_down { self.start.saturating_sub(STACK_GUARD_GAP) } else { self.start }
    }

    /// Counts towards `RLIMIT_DATA`: private, writable, not the stack.
    fn is_data(&self) -> bool {
        self.prot.contains(Prot::WRITE) && !self.grows_down
    }
}
