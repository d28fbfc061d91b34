//! What every process on this machine finds the same, asked once and handed on to those that are
//! started often: asking it again would be most of what a [loader](crate::spawn) does. Only looks.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use uexec_core::world::{Sysctl, VdsoPart, World};

use crate::gadget::Exit;
use crate::host::Host;
use crate::maps::{OwnMaps, part};

/// Facts of the running kernel that do not differ from process to process: its version, the parts of
/// its vdso and the way out through it, and two settings that are hardly ever changed
/// (`vm.mmap_min_addr`, `vm.mmap_rnd_bits`; who changes them has to make this anew).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub(crate) kernel: (u16, u16),
    /// The parts of the vdso block, low to high.
    pub(crate) vdso: Vec<VdsoPart>,
    pub(crate) exit: Option<Exit>,
    pub(crate) mmap_min_addr: u64,
    pub(crate) mmap_rnd_bits: u64,
}

/// Words before the parts of the vdso.
const FIXED: usize = 8;

impl Known {
    /// As this host knows it; `None` where processes without a vdso are started.
    #[must_use]
    pub fn of(host: &mut Host) -> Option<Known> {
        let known = Known {
            kernel: host.facts().kernel,
            vdso: host.facts().vdso.clone(),
            exit: host.exit(),
            mmap_min_addr: host.sysctl(Sysctl::MmapMinAddr),
            mmap_rnd_bits: host.sysctl(Sysctl::MmapRndBits),
        };
        known.vdso.last().is_some_and(|code| code.name == "[vdso]").then_some(known)
    }

    /// As bytes, to be handed on to another process on the same machine.
    ///
    /// ```
    /// use uexec_linux::{Host, Known};
    /// let known = Known::of(&mut Host::new()).unwrap();
    /// assert_eq!(Known::decode(&known.encode()), Some(known));
    /// assert_eq!(Known::decode(b"?"), None);
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let exit = self
            .exit
            .map_or([u64::MAX; 3], |e| [e.offset as u64, e.skip, e.rbp.unwrap_or(u64::MAX)]);
        let [offset, skip, rbp] = exit;
        let zeroed = self.exit.map_or(0, |e| e.zeroed.into());
        let (major, minor) = (self.kernel.0.into(), self.kernel.1.into());
        let fixed =
            [major, minor, offset, skip, rbp, zeroed, self.mmap_min_addr, self.mmap_rnd_bits];
        let lens = self.vdso.iter().map(|part| part.len);
        let mut bytes: Vec<u8> = fixed.into_iter().chain(lens).flat_map(u64::to_le_bytes).collect();
        // Their names, each with its end.
        bytes.extend(self.vdso.iter().flat_map(|part| part.name.bytes().chain([0])));
        bytes
    }

    /// Reads it; `None` when it cannot be that.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Known> {
        let word = |i: usize| Some(u64::from_le_bytes(*bytes.get(i * 8..)?.first_chunk()?));
        let parts = bytes.iter().filter(|b| **b == b'[').count();
        let names = bytes.get((FIXED + parts) * 8..)?;
        let vdso = names.split_inclusive(|b| *b == 0).enumerate().map(|(i, name)| {
            let name = core::str::from_utf8(name.strip_suffix(&[0])?).ok()?;
            Some(part(name.to_owned(), word(FIXED + i)?))
        });
        let vdso: Vec<VdsoPart> = vdso.collect::<Option<_>>()?;
        if vdso.len() != parts {
            return None;
        }
        let exit = (word(2)? != u64::MAX).then_some(Exit {
            offset: word(2)? as usize,
            skip: word(3)?,
            rbp: word(4).filter(|add| *add != u64::MAX),
            zeroed: word(5)? as u32,
        });
        Some(Known {
            kernel: (word(0)? as u16, word(1)? as u16),
            vdso,
            exit,
            mmap_min_addr: word(6)?,
            mmap_rnd_bits: word(7)?,
        })
    }

    /// Where the block lies whose code is at `vdso`, and where mappings end, in a process that has
    /// none yet but what the kernel has made for a static program, whose stack is at `stack`: the
    /// vdso was then the first thing that the kernel looked for room for.
    pub(crate) fn maps(&self, vdso: u64, stack: u64) -> Option<OwnMaps> {
        let code = self.vdso.last()?.len;
        let all: u64 = self.vdso.iter().map(|part| part.len).sum();
        let end = vdso.checked_add(code).filter(|end| *end <= stack && vdso > 0)?;
        let vdso_start = end.checked_sub(all)?;
        Some(OwnMaps { parts: self.vdso.clone(), vdso_start, mmap_base: Some(end) })
    }
}
