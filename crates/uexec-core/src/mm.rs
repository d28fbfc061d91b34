//! The address space being laid out: mappings, the search for free room, and what each request
//! would be answered by `mmap(2)`. Never touches memory, only numbers.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::{PAGE, PMD_SIZE, STACK_GUARD_GAP, TASK_SIZE_4LEVEL, page_down, page_up};
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
    /// Lowest address that may be mapped: `vm.mmap_min_addr`, or 0 with `CAP_SYS_RAWIO`.
    pub min_addr: u64,
    /// Lowest address that a search or a hint ends at, whoever asks.
    pub search_min: u64,
    /// Where the search upwards starts when none downwards has found room.
    pub legacy_base: u64,
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
        Mm {
            vmas: Vec::with_capacity(16),
            task_size,
            mmap_base: page_down(mmap_base.min(task_size)),
            bottom_up,
            min_addr,
            search_min: PAGE.max(page_up(min_addr)),
            legacy_base: page_up(task_size.min(TASK_SIZE_4LEVEL) / 3),
            limits,
        }
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
                // A low hint is raised, not refused.
                let hint = match page_down(hint) {
                    0 => 0,
                    low => low.max(self.search_min),
                };
                let found = if huge { self.search_huge(hint, size, offset) } else { None };
                found
                    .or_else(|| self.search(hint, size))
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
        let replaced = |count: fn(&Vma) -> bool| match place {
            Place::Fixed(_) => self.mapped_in(start, start + size, count),
            _ => 0,
        };
        let all = (self.mapped_in(0, u64::MAX, |_| true) - replaced(|_| true)).saturating_add(size);
        if all > self.limits.address_space {
            let limit = self.limits.address_space;
            return Err(Reason::Rlimit { which: "RLIMIT_AS", need: all, limit });
        }
        if prot.contains(Prot::WRITE) {
            // For a file the kernel takes off all that is replaced, data or not; bss is counted
            // after the old pages are gone (`__mmap_region`, `vm_brk_flags`, 6.18).
            let gone = match backing {
                Backing::File { .. } => replaced(|_| true),
                _ => replaced(Vma::is_data),
            };
            let data = self.mapped_in(0, u64::MAX, Vma::is_data).saturating_add(size);
            let data = data.saturating_sub(gone);
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
        let free = hint != 0
            && hint <= self.task_size - size
            && self
                .vmas
                .get(self.first_above(hint))
                .is_none_or(|v| hint + size <= v.start_with_gap());
        free.then_some(hint)
    }

    /// The kernel's search for `size` bytes: the hint, or STK-35.
    #[must_use]
    pub fn search(&self, hint: u64, size: u64) -> Option<u64> {
        if size > self.task_size {
            return None;
        }
        if let Some(at) = self.at_hint(hint, size) {
            return Some(at);
        }
        if self.bottom_up {
            return self.search_up(self.mmap_base, size);
        }
        self.search_down(size).or_else(|| self.search_up(self.legacy_base, size))
    }

    fn search_down(&self, size: u64) -> Option<u64> {
        let low = self.search_min;
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
        let mut at = base.max(self.search_min);
        for v in self.vmas.iter().skip(self.first_above(at)) {
            if v.start_with_gap() >= at && v.start_with_gap() - at >= size {
                return Some(at);
            }
            at = at.max(v.end);
        }
        // Addresses above 2^47 are only found by a hint up there (STK-35).
        let end = self.task_size.min(TASK_SIZE_4LEVEL);
        (at <= end && end - at >= size).then_some(at)
    }

    /// ELF-48: a large file mapping goes to a 2 MiB boundary of its file offset.
    fn search_huge(&self, hint: u64, size: u64, offset: u64) -> Option<u64> {
        let aligned = offset.checked_next_multiple_of(PMD_SIZE)?;
        if offset.checked_add(size)?.checked_sub(aligned)? < PMD_SIZE {
            return None;
        }
        let r = self.search(hint, size.checked_add(PMD_SIZE)?)?;
        if r == hint {
            return Some(r);
        }
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
