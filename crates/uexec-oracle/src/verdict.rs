//! What comes of an exec, as the kernel shows it or as uexec predicts it, and how two of them
//! differ. Judges nothing but equality.

use std::fmt::{self, Write as _};

use uexec_core::Errno;

use crate::snapshot::{Map, MmStat, Snapshot};
use crate::trace::Outcome;

/// `AT_RANDOM` of `getauxval(3)`.
const AT_RANDOM: u64 = 25;
/// Its bytes.
const RANDOM_LEN: usize = 16;
const ADDR_NO_RANDOMIZE: u64 = 0x4_0000;

/// A program at its first instruction: what both sides can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The lines of `/proc/PID/maps`.
    pub maps: Vec<Map>,
    /// The auxiliary vector, `AT_NULL` included.
    pub auxv: Vec<(u64, u64)>,
    /// Where it starts.
    pub rip: u64,
    /// Its stack pointer.
    pub rsp: u64,
    /// The published layout.
    pub mm: MmStat,
    /// The stack, from `rsp` to the end of the mapping that holds it.
    pub stack: Vec<u8>,
    /// The task's name; `None` where it is not told.
    pub comm: Option<String>,
    /// Addresses are randomised in spite of everything: only their order can be compared.
    /// `None` where it is not told.
    pub randomized: Option<bool>,
}

/// What comes of an exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It starts.
    Starts(Box<Start>),
    /// `execve(2)` fails.
    Refused(Errno),
    /// The process dies by a signal after the point of no return.
    Dies(i32),
    /// Something else, which no exec of the kernel does.
    Other(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Starts(s) => {
                write!(f, "starts at {:#x}", s.rip)?;
                s.maps.iter().try_for_each(|m| write!(f, "\n      {m}"))
            }
            Verdict::Refused(errno) => write!(f, "{}", errno.name()),
            Verdict::Dies(signal) => write!(f, "dies by signal {signal}"),
            Verdict::Other(what) => f.write_str(what),
        }
    }
}

impl Verdict {
    /// What the kernel did.
    ///
    /// # Errors
    /// Those of looking at the stopped program.
    pub fn of_kernel(outcome: &Outcome) -> std::io::Result<Verdict> {
        Ok(match outcome {
            Outcome::Started(stopped) => Verdict::Starts(Box::new(stopped.snapshot()?.into())),
            Outcome::Refused(errno) => Verdict::Refused(*errno),
            Outcome::Died(signal) => Verdict::Dies(*signal),
            Outcome::Gave(status) => Verdict::Other(format!("gave {status}")),
        })
    }

    /// How the prediction differs from this, a line each.
    #[must_use]
    pub fn differences(&self, predicted: &Verdict) -> Vec<String> {
        match (self, predicted) {
            (Verdict::Starts(kernel), Verdict::Starts(uexec)) => kernel.differences(uexec),
            (a, b) if a == b => Vec::new(),
            (a, b) => vec![format!("verdict:\n    kernel {a}\n    uexec  {b}")],
        }
    }
}

impl From<Snapshot> for Start {
    fn from(s: Snapshot) -> Start {
        Start {
            rip: s.registers.rip,
            rsp: s.registers.rsp,
            randomized: Some(s.personality & ADDR_NO_RANDOMIZE == 0),
            maps: s.maps,
            auxv: s.auxv,
            mm: s.mm,
            stack: s.stack,
            comm: Some(s.comm),
        }
    }
}

impl Start {
    fn differences(&self, got: &Start) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |what: &str, same: bool, a: &dyn fmt::Debug, b: &dyn fmt::Debug| {
            if !same {
                found.push(format!("{what}:\n    kernel {a:x?}\n    uexec  {b:x?}"));
            }
        };
        if let (Some(a), Some(b)) = (&self.comm, &got.comm) {
            check("comm", a == b, a, b);
        }
        if let (Some(a), Some(b)) = (self.randomized, got.randomized) {
            check("randomized", a == b, &a, &b);
        }
        if self.randomized == Some(true) {
            let (a, b) = (self.shape(), got.shape());
            check("shape", a == b, &a, &b);
            return found;
        }
        check("rip", self.rip == got.rip, &self.rip, &got.rip);
        check("rsp", self.rsp == got.rsp, &self.rsp, &got.rsp);
        check("auxv", self.auxv == got.auxv, &self.auxv, &got.auxv);
        check("mm", self.mm == got.mm, &self.mm, &got.mm);
        // A segment may lie in the stack's place, and end before it or be past its file's end.
        let (a, mut b) = (self.masked_stack(), got.masked_stack());
        if !self.maps.iter().any(|m| m.path == "[stack]" && m.start <= self.rsp && self.rsp < m.end)
            || a.len() as u64 + self.rsp < got.stack.len() as u64 + got.rsp
        {
            b.truncate(a.len());
        }
        if a != b {
            let first = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
            let about = |s: &[u8]| {
                let from = first.saturating_sub(8).min(s.len());
                let part = &s[from..(first + 24).min(s.len())];
                format!("{} bytes, from rsp + {from:#x}: {part:02x?}", s.len())
            };
            found.push(format!("stack:\n    kernel {}\n    uexec  {}", about(&a), about(&b)));
        }
        if self.maps != got.maps {
            let mut text = "maps (- kernel, + uexec):".to_owned();
            for m in self.maps.iter().filter(|m| !got.maps.contains(m)) {
                let _ = write!(text, "\n    - {m}");
            }
            for m in got.maps.iter().filter(|m| !self.maps.contains(m)) {
                let _ = write!(text, "\n    + {m}");
            }
            found.push(text);
        }
        found
    }

    fn masked_stack(&self) -> Vec<u8> {
        let mut bytes = self.stack.clone();
        let random = self.auxv.iter().find(|p| p.0 == AT_RANDOM).map(|p| p.1);
        if let Some(at) = random.and_then(|a| usize::try_from(a.checked_sub(self.rsp)?).ok())
            && let Some(random) = bytes.get_mut(at..at.saturating_add(RANDOM_LEN))
        {
            random.fill(0);
        }
        bytes
    }

    /// What randomisation leaves: names, permissions and offsets of the mappings, and the sizes of
    /// those of files; types of the auxiliary vector and the values that are no addresses.
    fn shape(&self) -> impl fmt::Debug + PartialEq + use<> {
        let map = |m: &Map| {
            let size = if m.path.starts_with('/') { m.end - m.start } else { 0 };
            format!("{size:x} {} {:x} {}", m.perms, m.offset, m.path)
        };
        // AT_PHDR, AT_BASE, AT_ENTRY, AT_RANDOM, AT_EXECFN, AT_PLATFORM, AT_SYSINFO,
        // AT_SYSINFO_EHDR.
        let address = |kind: u64| [3, 7, 9, 25, 31, 15, 32, 33].contains(&kind);
        let aux = |&(kind, value): &(u64, u64)| (kind, if address(kind) { 0 } else { value });
        let mut maps: Vec<String> = self.maps.iter().map(map).collect();
        // The break may fall on a program's bss or not.
        maps.retain(|m| !m.ends_with("[heap]"));
        (maps, self.auxv.iter().map(aux).collect::<Vec<_>>(), self.rip % 4096)
    }
}
