//! Flags as people write them: what `strace` prints, header names, numbers, names of calls.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use super::{CloneArgs, CloneFlags, Entry, SIGCHLD};

/// A call as written: flags and exit signal, but no addresses.
///
/// ```
/// use uexec_core::clone::{CloneFlags, Request};
/// let asked: Request = "vm|fs, SIGCHLD".parse().unwrap();
/// assert_eq!(asked.flags, CloneFlags::CLONE_VM | CloneFlags::CLONE_FS);
/// assert_eq!(asked.exit_signal, 17);
/// assert_eq!("0x1200011".parse::<Request>().unwrap().exit_signal, 17);
/// assert!("CLONE_WM".parse::<Request>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Request {
    /// Which call.
    pub entry: Entry,
    /// Its flags.
    pub flags: CloneFlags,
    /// The signal the child's end sends; 0 when none is named.
    pub exit_signal: u64,
    /// A stack is passed: `pthread_create` and `posix_spawn` do.
    pub has_stack: bool,
}

/// A word that is no flag, signal, number or call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Nothing was written.
    Empty,
    /// Not known.
    Unknown(String),
    /// A second, different exit signal.
    TwoSignals(u64, u64),
    /// A second, different call.
    TwoCalls(Entry, Entry),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Empty => f.write_str("no flags, signal or call is named"),
            ParseError::Unknown(word) => {
                write!(f, "{word:?} is no flag of clone(2), signal, number or call")
            }
            ParseError::TwoSignals(a, b) => write!(f, "two exit signals: {a} and {b}"),
            ParseError::TwoCalls(a, b) => write!(f, "two calls: {} and {}", a.as_str(), b.as_str()),
        }
    }
}

impl core::error::Error for ParseError {}

/// What glibc's `pthread_create` passes (`sysdeps/unix/sysv/linux`, glibc 2.34 and newer).
const PTHREAD: CloneFlags = CloneFlags::CLONE_VM
    .union(CloneFlags::CLONE_FS)
    .union(CloneFlags::CLONE_FILES)
    .union(CloneFlags::CLONE_SYSVSEM)
    .union(CloneFlags::CLONE_SIGHAND)
    .union(CloneFlags::CLONE_THREAD)
    .union(CloneFlags::CLONE_SETTLS)
    .union(CloneFlags::CLONE_PARENT_SETTID)
    .union(CloneFlags::CLONE_CHILD_CLEARTID);

/// What glibc's `posix_spawn` passes (2.38 and newer; before, without `CLONE_CLEAR_SIGHAND`).
const SPAWN: CloneFlags =
    CloneFlags::CLONE_VM.union(CloneFlags::CLONE_VFORK).union(CloneFlags::CLONE_CLEAR_SIGHAND);

/// The classic signals of x86-64 by number from 1 (`signal(7)`).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Name of a signal, e.g. `SIGCHLD`, or its number.
pub(super) fn signal_name(number: u64) -> String {
    let index = number.checked_sub(1).and_then(|n| usize::try_from(n).ok());
    match index.and_then(|n| SIGNALS.get(n)) {
        Some(name) => alloc::format!("SIG{name}"),
        None => number.to_string(),
    }
}

impl Request {
    /// The arguments such a call would have. Addresses that were not written down are taken to be
    /// fine: different, mapped, and a stack for a child that needs one.
    #[must_use]
    pub fn args(&self) -> CloneArgs {
        let vfork = self.flags.contains(CloneFlags::CLONE_VFORK);
        let shares = self.flags.contains(CloneFlags::CLONE_VM) && !vfork;
        let own = !matches!(self.entry, Entry::Fork | Entry::Vfork);
        let stack = if own && (self.has_stack || shares) { 0x10_0000 } else { 0 };
        let common = CloneArgs {
            entry: self.entry,
            flags: self.flags,
            exit_signal: self.exit_signal,
            stack,
            parent_tid: 0x20_0000,
            child_tid: 0x20_0008,
            tls: 0x20_0010,
            pidfd: 0x20_0000,
            ..CloneArgs::default()
        };
        match self.entry {
            Entry::Clone3 => CloneArgs {
                pidfd: 0x20_0018,
                stack_size: if stack == 0 { 0 } else { 0x1_0000 },
                ..common
            },
            _ => common,
        }
    }

    /// Name of the exit signal, e.g. `SIGCHLD`, or its number.
    #[must_use]
    pub fn exit_signal_name(&self) -> String {
        signal_name(self.exit_signal)
    }

    fn signal(&mut self, number: u64) -> Result<(), ParseError> {
        if self.exit_signal != 0 && self.exit_signal != number {
            return Err(ParseError::TwoSignals(self.exit_signal, number));
        }
        self.exit_signal = number;
        Ok(())
    }
}

impl FromStr for Request {
    type Err = ParseError;

    /// Words between `|`, `,`, `+` or blanks, in any case: flags with or without `CLONE_`, signals
    /// with `SIG`, `fork`, `vfork`, `clone`, `clone3`, `pthread_create`, `posix_spawn`, and
    /// numbers. `vfork` alone is the call; beside other words it is the flag. A number is read as `clone(2)` does: its low byte is the exit signal, and the
    /// call is `clone(2)`, unless it has bits only `clone3(2)` knows.
    fn from_str(text: &str) -> Result<Request, ParseError> {
        let mut asked = Request::default();
        let mut call: Option<Entry> = None;
        let mut number = None;
        let words = text.split(|c: char| matches!(c, '|' | ',' | '+') || c.is_whitespace());
        let mut seen = false;
        for word in words.filter(|w| !w.is_empty()) {
            seen = true;
            let lower = word.to_ascii_lowercase();
            let (entry, flags, signal) = match lower.as_str() {
                "fork" => (Some(Entry::Fork), CloneFlags::empty(), SIGCHLD),
                "vfork" if text.trim().len() == word.len() => {
                    (Some(Entry::Vfork), CloneArgs::vfork().flags, SIGCHLD)
                }
                "clone" => (Some(Entry::Clone), CloneFlags::empty(), 0),
                "clone3" => (Some(Entry::Clone3), CloneFlags::empty(), 0),
                "pthread_create" => (Some(Entry::Clone3), PTHREAD, 0),
                "posix_spawn" => (Some(Entry::Clone3), SPAWN, SIGCHLD),
                _ => {
                    if let Some(value) = parse_number(&lower) {
                        asked.flags |= CloneFlags::from_bits_retain(value & !0xff);
                        if value & 0xff != 0 {
                            asked.signal(value & 0xff)?;
                        }
                        number = Some(value);
                    } else if let Some(value) = parse_signal(&lower) {
                        asked.signal(value)?;
                    } else {
                        asked.flags |= parse_flag(&lower)
                            .ok_or_else(|| ParseError::Unknown(word.to_string()))?;
                    }
                    continue;
                }
            };
            if let (Some(a), Some(b)) = (call, entry)
                && a != b
            {
                return Err(ParseError::TwoCalls(a, b));
            }
            call = call.or(entry);
            asked.flags |= flags;
            asked.has_stack |= matches!(lower.as_str(), "pthread_create" | "posix_spawn");
            if signal != 0 {
                asked.signal(signal as u64)?;
            }
        }
        if !seen {
            return Err(ParseError::Empty);
        }
        asked.entry = call.unwrap_or(match number {
            Some(value) if value >> 32 == 0 => Entry::Clone,
            _ => Entry::Clone3,
        });
        // With flags of its own, it is no longer the plain call.
        if asked.entry == Entry::Fork && asked.flags != CloneFlags::empty() {
            asked.entry = Entry::Clone;
        }
        if asked.entry == Entry::Vfork && asked.flags != CloneArgs::vfork().flags {
            asked.entry = Entry::Clone;
        }
        if asked.entry == Entry::Clone {
            asked.flags = CloneFlags::from_bits_retain(asked.flags.bits() & 0xffff_ff00);
        }
        Ok(asked)
    }
}

fn parse_number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn parse_signal(word: &str) -> Option<u64> {
    let name = word.strip_prefix("sig")?;
    let index = SIGNALS.iter().position(|s| s.eq_ignore_ascii_case(name))?;
    Some(index as u64 + 1)
}

fn parse_flag(word: &str) -> Option<CloneFlags> {
    let name = word.strip_prefix("clone_").unwrap_or(word);
    CloneFlags::all()
        .iter_names()
        .find(|(full, _)| full.strip_prefix("CLONE_").is_some_and(|n| n.eq_ignore_ascii_case(name)))
        .map(|(_, flag)| flag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::{CloneFacts, CloneFlags as F, decide};
    use super::*;

    #[test]
    fn texts() {
        let parse = |text: &str| text.parse::<Request>();
        for text in [
            "CLONE_VM|CLONE_FS",
            "vm,fs",
            "VM + fs",
            " Clone_Vm\tCLONE_FS ",
            "clone3|0x300",
            "clone3|768",
        ] {
            assert_eq!(parse(text).unwrap().flags, F::CLONE_VM | F::CLONE_FS, "{text}");
            assert_eq!(parse(text).unwrap().entry, Entry::Clone3, "{text}");
        }
        let old = parse("0x3d0f00").unwrap();
        assert_eq!((old.entry, old.flags), (Entry::Clone, parse("pthread_create").unwrap().flags));
        assert_eq!(parse("17").unwrap().exit_signal, 17);
        assert_eq!(parse("0x100000000").unwrap().flags, F::CLONE_CLEAR_SIGHAND);
        assert_eq!(parse("fork").unwrap().args().entry, Entry::Fork);
        assert_eq!(
            parse("vfork").unwrap().args(),
            CloneArgs {
                parent_tid: 0x20_0000,
                pidfd: 0x20_0000,
                child_tid: 0x20_0008,
                tls: 0x20_0010,
                ..CloneArgs::vfork()
            }
        );
        assert_eq!(parse("vfork|vm").unwrap().entry, Entry::Clone3);
        assert_eq!(parse("fork|newuser").unwrap().entry, Entry::Clone);
        assert_eq!(parse("io|sigio").unwrap().exit_signal, 29);
        assert!(
            decide(
                &parse("pthread_create").unwrap().args(),
                CloneArgs::SIZE,
                &CloneFacts::default()
            )
            .is_ok()
        );
        assert!(
            decide(&parse("posix_spawn").unwrap().args(), CloneArgs::SIZE, &CloneFacts::default())
                .unwrap()
                .parent_waits
        );
        assert_eq!(parse(" | "), Err(ParseError::Empty));
        assert_eq!(parse("fork|SIGUSR1"), Err(ParseError::TwoSignals(17, 10)));
        assert_eq!(parse("clone|clone3"), Err(ParseError::TwoCalls(Entry::Clone, Entry::Clone3)));
        assert!(matches!(parse("CLONE_WM"), Err(ParseError::Unknown(_))));
        assert_eq!(parse("SIGCHLD").unwrap().exit_signal_name(), "SIGCHLD");
    }
}
