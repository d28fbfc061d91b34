//! The area that argument and environment strings are copied into, and its limits
//! (PIPE-14 to PIPE-27, STK-2, STK-3). Never knows an address: it counts from its own top.

use alloc::vec::Vec;
use core::ffi::CStr;

use crate::abi::{
    ARG_CEILING, ARG_MAX, MAX_ARG_STRINGS, MAX_ARG_STRLEN, PAGE, RLIM_INFINITY, page_up,
};
use crate::error::{Reason, Refusal, Stage};
use crate::world::Limits;

/// Strings growing downwards from the top of the first stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgArea {
    /// Memory below the 8-byte hole; the strings end at its end. What lies before `p` is either
    /// untouched (zero) or left over from a dropped argument (STK-3).
    bytes: Vec<u8>,
    /// Where the lowest string starts.
    p: usize,
    /// Bytes the strings may take, the pointers' share already taken off (PIPE-22).
    limit: u64,
    limits: Limits,
    /// Most bytes the strings ever took: the stack has pages down to there.
    high_water: u64,
}

/// Bytes between the strings and the end of the stack (STK-1).
pub(crate) const HOLE: u64 = 8;

/// Strings one after the other, each with its NUL, which only the last can lack.
pub(crate) fn with_nuls(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let len = CStr::from_bytes_until_nul(bytes).map_or(bytes.len(), |s| s.count_bytes() + 1);
        let (first, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some(first).filter(|s| !s.is_empty())
    })
}

impl ArgArea {
    /// Counts both arrays and takes their pointers off the limit.
    ///
    /// # Errors
    /// `E2BIG`: too many strings (PIPE-14), or no room left beside the pointers (PIPE-15).
    pub fn new(argc: usize, envc: usize, limits: Limits) -> Result<ArgArea, Refusal> {
        for (what, count) in [("argument", argc as u64), ("environment", envc as u64)] {
            if count >= MAX_ARG_STRINGS {
                return Err(Refusal::new(Stage::Args, Reason::TooManyStrings { what, count }));
            }
        }
        let total = ARG_CEILING.min(limits.stack / 4).max(ARG_MAX);
        let pointers = 8 * ((argc.max(1) as u64) + envc as u64);
        if total <= pointers {
            let reason = Reason::ArgsTooLong { need: 0, limit: total, pointers };
            return Err(Refusal::new(Stage::Args, reason));
        }
        Ok(ArgArea { bytes: Vec::new(), p: 0, limit: total - pointers, limits, high_water: 0 })
    }

    /// An area that holds nothing and has no room.
    #[must_use]
    pub fn empty() -> ArgArea {
        let limits = Limits { stack: 0, data: 0, address_space: 0 };
        ArgArea { bytes: Vec::new(), p: 0, limit: 0, limits, high_water: 0 }
    }

    /// Bytes of the `count` lowest strings, NULs included.
    #[must_use]
    pub fn lowest_len(&self, count: u64) -> u64 {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        with_nuls(self.strings()).take(count).map(|s| s.len() as u64).sum()
    }

    /// Makes room for so many bytes at once, so that pushing them does not move the rest.
    pub fn reserve(&mut self, len: usize) {
        if self.p < len {
            let more = len - self.p;
            let old = self.bytes.len();
            self.bytes.resize(old + more, 0);
            self.bytes.copy_within(0..old, more);
            if let Some(fresh) = self.bytes.get_mut(..more) {
                fresh.fill(0);
            }
            self.p += more;
        }
    }

    /// Pushes a string and its NUL below the others. `what` and `index` name it in errors.
    ///
    /// # Errors
    /// `E2BIG`: PIPE-23 and PIPE-24. `EINVAL`: a NUL inside, which no C caller can pass.
    pub fn push(&mut self, s: &[u8], what: &'static str, index: usize) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal::new(Stage::Args, reason));
        if s.contains(&0) {
            return refuse(Reason::NulInString { what, index });
        }
        let len = s.len() as u64 + 1;
        if len > MAX_ARG_STRLEN {
            return refuse(Reason::StringTooLong { what, index, len: len - 1 });
        }
        let need = self.len() + len;
        if need > self.limit {
            let pointers = self.total_limit() - self.limit;
            let limit = self.total_limit();
            return refuse(Reason::ArgsTooLong { need, limit, pointers });
        }
        let stack = page_up(need + HOLE);
        for (which, limit) in
            [("RLIMIT_STACK", self.limits.stack), ("RLIMIT_AS", self.limits.address_space)]
        {
            // The first page is there before anything is counted.
            if limit != RLIM_INFINITY && stack > limit && stack > PAGE {
                return refuse(Reason::StackTooSmall { need: stack, limit, which });
            }
        }
        let room = s.len() + 1;
        if self.p < room {
            self.reserve(room.max(1024));
        }
        self.p -= room;
        if let Some(to) = self.bytes.get_mut(self.p..self.p + room)
            && let Some((nul, text)) = to.split_last_mut()
        {
            text.copy_from_slice(s);
            *nul = 0;
        }
        self.high_water = self.high_water.max(self.len());
        Ok(())
    }

    /// Whether so many more bytes certainly fit, by every limit.
    #[must_use]
    pub fn has_room(&self, more: u64) -> bool {
        let need = self.len() + more;
        let stack = page_up(need + HOLE);
        need <= self.limit && stack <= self.limits.stack && stack <= self.limits.address_space
    }

    fn total_limit(&self) -> u64 {
        ARG_CEILING.min(self.limits.stack / 4).max(ARG_MAX)
    }

    /// Drops the lowest string; its bytes stay where they are until something overwrites them.
    pub fn drop_lowest(&mut self) {
        let lowest = with_nuls(self.strings()).next().map_or(0, <[u8]>::len);
        self.p += lowest;
    }

    /// Bytes that all strings take, NULs included.
    #[must_use]
    pub fn len(&self) -> u64 {
        (self.bytes.len() - self.p) as u64
    }

    /// Most bytes that all strings ever took: dropped ones leave their pages behind.
    #[must_use]
    pub const fn high_water(&self) -> u64 {
        self.high_water
    }

    /// Whether there is no string at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings, lowest first, each with its NUL.
    #[must_use]
    pub fn strings(&self) -> &[u8] {
        self.bytes.get(self.p..).unwrap_or_default()
    }

    /// What was left below the strings by dropped arguments, without leading zeros.
    #[must_use]
    pub fn leftover(&self) -> &[u8] {
        let below = self.bytes.get(..self.p).unwrap_or_default();
        let start = below.iter().position(|b| *b != 0).unwrap_or(below.len());
        below.get(start..).unwrap_or_default()
    }

    /// Leftover and strings in one piece, and the leftover's length in bytes.
    #[must_use]
    pub fn into_image(self) -> (Vec<u8>, u64) {
        let left = self.leftover().len();
        let mut bytes = self.bytes;
        bytes.drain(..self.p - left);
        (bytes, left as u64)
    }
}
