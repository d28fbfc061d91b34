//! The address space being laid out: mappings, the search for free room, and what each request
//! would be answered by `mmap(2)`. Never touches memory, only numbers.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::{PAGE, STACK_GUARD_GAP, TASK_SIZE_4LEVEL, page_down, page_up};
use crate::error::Reason;
use crate::world::{FileId, Limits};

mod search;

bitflags::bitflags! {
    /// Permissions of a mapping: the bits of `PROT_*` (`mmap(2)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    /// Where it ends.
    pub search_end: u64,
    /// Most bytes of memory that one request may promise (`vm.overcommit_memory`).
    pub commit_limit: u64,
    /// Most mappings there may be before another one (`vm.max_map_count`).
    pub max_map_count: u64,
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
            search_end: task_size.min(TASK_SIZE_4LEVEL),
            commit_limit: u64::MAX,
            max_map_count: u64::MAX,
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
    /// [`Reason::Collision`] `EEXIST`, [`Reason::Rlimit`], [`Reason::Overcommit`] and
    /// [`Reason::MapCount`] `ENOMEM`.
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
        if self.vmas.len() as u64 > self.max_map_count {
            return Err(Reason::MapCount { limit: self.max_map_count });
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
            // Only a file mapping takes off what it replaces, here, too.
            let promised = match backing {
                Backing::File { .. } => replaced(|v| v.prot.contains(Prot::WRITE)),
                _ => 0,
            };
            let (need, limit) = (size.saturating_sub(promised), self.commit_limit);
            if need > limit {
                return Err(Reason::Overcommit { need, limit });
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

    /// Puts a mapping in, in place of whatever was there.
    pub fn insert(&mut self, vma: Vma) {
        if vma.start >= vma.end {
            return;
        }
        self.unmap(vma.start, vma.end);
        let mut at = self.vmas.partition_point(|v| v.end <= vma.start);
        let bss = vma.backing == Backing::Anon && !vma.grows_down;
        self.vmas.insert(at, vma);
        // Merge with what continues it on either side; memory that is asked for as bss is
        // (`vm_brk_flags`, 6.18), only with what is before it.
        if !bss
            && let Some([a, b]) = self.vmas.get(at..at + 2)
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
