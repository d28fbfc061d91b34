//! One process that becomes itself again and again, each time with other threads and another caller,
//! and sees that nothing accumulates: `uexec-host soak N`, N times.

use std::ffi::OsString;
use std::fs;

/// What could grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    descriptors: u64,
    mappings: u64,
    /// Virtual and resident size in KiB.
    size: u64,
    resident: u64,
    /// Children that nobody has waited for.
    children: u64,
    /// Blocked and pending signals.
    signals: u64,
}

impl Seen {
    pub(crate) fn now() -> Seen {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.unwrap_or("").trim().trim_end_matches(" kB").to_owned()
        };
        let number = |name| line(name).parse().unwrap_or(0);
        let mask = |name| u64::from_str_radix(&line(name), 16).unwrap_or(u64::MAX);
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        Seen {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64),
            mappings: maps.lines().count() as u64,
            size: number("VmSize:"),
            resident: number("VmRSS:"),
            children: children.split_whitespace().count() as u64,
            signals: mask("SigBlk:") | mask("SigPnd:") | mask("ShdPnd:"),
        }
    }

    /// Randomised addresses make neighbours of different mappings, and a stack is longer or shorter.
    pub(crate) fn is_as(self, first: Seen) -> bool {
        self.descriptors == first.descriptors
            && self.mappings.abs_diff(first.mappings) <= 2
            && self.size.abs_diff(first.size) <= 256
            && self.resident.abs_diff(first.resident) <= 512
            && (self.children, self.signals) == (0, 0)
    }

    fn words(self) -> [u64; 6] {
        [self.descriptors, self.mappings, self.size, self.resident, self.children, self.signals]
    }

    fn from_words(text: &str) -> Option<Seen> {
        let words: Vec<u64> = text.split('/').map_while(|w| w.parse().ok()).collect();
        let [descriptors, mappings, size, resident, children, signals] = *words.as_slice() else {
            return None;
        };
        Some(Seen { descriptors, mappings, size, resident, children, signals })
    }
}

/// What is done next.
pub(crate) enum Next {
    /// Become this, from a process with this caller and these siblings.
    Again(Vec<OsString>, &'static str, &'static str),
    /// All is done: how it went.
    Done(Result<String, String>),
}

/// `words` are what this program was started with: `soak LEFT [FIRST [DONE]]`.
pub(crate) fn next(words: &[&str]) -> Next {
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
    let (left, done) = (number(1), number(3));
    let now = Seen::now();
    // The kernel's own start is not counted.
    let first = words.get(2).and_then(|w| Seen::from_words(w)).filter(|_| done > 0);
    if let Some(first) = first
        && !now.is_as(first)
    {
        return Next::Done(Err(format!("after {done}: {now:?}, not {first:?}")));
    }
    if left == 0 {
        return Next::Done(Ok(format!("{} execs: {now:?}", done + 1)));
    }
    let first = first.unwrap_or(now).words().map(|w| w.to_string()).join("/");
    let done = if words.len() > 2 { done + 1 } else { 0 };
    let program = std::env::args_os().next().unwrap_or_default();
    let args = [program, "soak".into(), (left - 1).to_string().into(), first.into()];
    let args = args.into_iter().chain([done.to_string().into()]).collect();
    let caller = if done % 2 == 0 { "leader" } else { "other" };
    Next::Again(args, caller, siblings(done))
}

/// Threads that block a signal behind the C library's back take 25 ms to be sure of, a hundred times
/// what the others do: seldom.
fn siblings(done: u64) -> &'static str {
    match done % 100 {
        41 => "raw",
        82 => "pause,raw,busy",
        n => ["pause", "busy", "read,libc", "pause,read", "-"][(n % 5) as usize],
    }
}
