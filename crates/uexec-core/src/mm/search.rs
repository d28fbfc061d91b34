//! The kernel's search for free room (STK-35, ELF-48). Maps nothing.

use super::Mm;
use crate::abi::PMD_SIZE;

impl Mm {
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
        let end = self.search_end;
        (at <= end && end - at >= size).then_some(at)
    }

    /// ELF-48: a large file mapping goes to a 2 MiB boundary of its file offset.
    pub(super) fn search_huge(&self, hint: u64, size: u64, offset: u64) -> Option<u64> {
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
}
