//! The story of a fault: what the address that killed a process was in, or next to. Reads a core's
//! data, no memory.

use alloc::format;
use alloc::string::String;

use super::read::{Core, Load};
use crate::abi::{PAGE, STACK_GUARD_GAP};
use crate::arch::Class;
use crate::mm::Prot;
use crate::story::Shown;

/// What happened at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An access through a null pointer, or to a field of what one points to.
    Null,
    /// The stack was at its end.
    StackOverflow,
    /// Nothing is mapped there.
    Unmapped,
    /// Something is mapped there, but not for this access.
    Protected,
    /// Behind the end of a mapped file.
    BeyondFile,
    /// Not an address at all, so that the processor did not tell which.
    NonCanonical,
}

impl Kind {
    /// As one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::StackOverflow => "stack-overflow",
            Kind::Unmapped => "unmapped",
            Kind::Protected => "protected",
            Kind::BeyondFile => "beyond-file",
            Kind::NonCanonical => "non-canonical",
        }
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub kind: Kind,
    /// The address, if the processor told it.
    pub addr: Option<u64>,
    /// Start of the mapping it is in.
    pub inside: Option<u64>,
    /// Start of the nearest mapping, and the distance in bytes; negative if the address is below.
    pub near: Option<(u64, i64)>,
    /// All of it in a sentence.
    pub story: String,
}

const SIGBUS: i32 = 7;
const SIGSEGV: i32 = 11;
/// `si_code` of faults at addresses the processor does not tell.
const SI_KERNEL: i32 = 128;

/// `si_signo` and `si_code` of a core's signal.
#[must_use]
pub fn signal(core: &Core) -> Option<(i32, i32)> {
    let info = core.siginfo?;
    let number = |at: usize| {
        let b = info.get(at..at + 4)?.try_into().ok()?;
        Some(if core.big_endian { i32::from_be_bytes(b) } else { i32::from_le_bytes(b) })
    };
    Some((number(0)?, number(8)?))
}

/// The address in a core's `siginfo_t`.
#[must_use]
pub fn address(core: &Core) -> Option<u64> {
    let (at, len) = if core.class == Class::Elf64 { (16, 8) } else { (12, 4) };
    let field = core.siginfo.as_ref()?.get(at..at + len)?;
    let add = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
    Some(match core.big_endian {
        true => field.iter().fold(0, add),
        false => field.iter().rev().fold(0, add),
    })
}

/// The stack pointer of the thread that died.
#[must_use]
pub fn stack_pointer(core: &Core) -> Option<u64> {
    let index = if core.class == Class::Elf64 { 19 } else { 15 };
    core.threads.first()?.regs.get(index).copied()
}

/// The fault a core tells of; `None` if the process did not die by one.
#[must_use]
pub fn of(core: &Core) -> Option<Fault> {
    let (number, code) = signal(core)?;
    // Sent by somebody, not by the processor.
    if !matches!(number, SIGSEGV | SIGBUS) || code <= 0 {
        return None;
    }
    if code == SI_KERNEL {
        let story = "an access through an address that is none (bits 48 to 63 do not follow \
                     bit 47), or an instruction that is not allowed: the processor does not tell \
                     where";
        return Some(Fault {
            kind: Kind::NonCanonical,
            addr: None,
            inside: None,
            near: None,
            story: story.into(),
        });
    }
    let addr = address(core)?;
    let end = |l: &Load| l.start.saturating_add(l.mem_len);
    let inside = core.loads.iter().find(|l| (l.start..end(l)).contains(&addr));
    let below = core.loads.iter().filter(|l| end(l) <= addr).max_by_key(|l| l.start);
    let above = core.loads.iter().filter(|l| l.start > addr).min_by_key(|l| l.start);
    let distance = |d: u64| i64::try_from(d).unwrap_or(i64::MAX);
    let near_below = below.map(|l| (l, distance((addr - end(l)).saturating_add(1))));
    let near_above = above.map(|l| (l, -distance(l.start - addr)));
    let near = match (near_below, near_above) {
        (Some(b), Some(a)) if b.1 <= -a.1 => Some(b),
        (b, a) => a.or(b),
    };
    let sp = stack_pointer(core);
    let at_stack = |l: &Load| {
        sp.is_some_and(|sp| {
            let top = end(l);
            // The pointer is in the stack, or has already left it by a page or a large frame.
            sp < top && sp.abs_diff(l.start) <= STACK_GUARD_GAP && sp.abs_diff(addr) < 2 * PAGE
        })
    };
    let guard = |l: &Load| l.prot.is_empty();
    let overflow = match inside {
        None => above.is_some_and(|l| {
            l.start - addr <= STACK_GUARD_GAP && l.prot.contains(Prot::WRITE) && at_stack(l)
        }),
        Some(l) if guard(l) => {
            let next = core.loads.iter().find(|n| n.start == end(l));
            next.is_some_and(|n| n.prot.contains(Prot::WRITE) && at_stack(n))
        }
        Some(_) => false,
    };
    let kind = match (inside, number) {
        _ if addr < 16 * PAGE && inside.is_none() => Kind::Null,
        _ if overflow => Kind::StackOverflow,
        (Some(_), SIGBUS) => Kind::BeyondFile,
        (Some(_), _) => Kind::Protected,
        (None, _) => Kind::Unmapped,
    };
    let story = tell(core, kind, addr, inside, near);
    Some(Fault {
        kind,
        addr: Some(addr),
        inside: inside.map(|l| l.start),
        near: near.map(|(l, d)| (l.start, d)),
        story,
    })
}

/// What a mapping is, as far as a core tells.
#[must_use]
pub fn name(core: &Core, load: &Load) -> String {
    if let Some(file) = core.files.iter().find(|f| (f.start..f.end).contains(&load.start)) {
        return format!("{}", Shown(&file.path));
    }
    let end = load.start.saturating_add(load.mem_len);
    let holds = |addr: u64| (load.start..end).contains(&addr);
    let auxv = |kind: u64| core.auxv.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
    let first_stack = auxv(25).or(auxv(31));
    match () {
        () if load.start == 0xffff_ffff_ff60_0000 => "[vsyscall]".into(),
        // AT_SYSINFO_EHDR
        () if auxv(33).is_some_and(holds) => "[vdso]".into(),
        // AT_RANDOM and AT_EXECFN lie at the end of the first stack.
        () if first_stack.is_some_and(holds) => "[stack]".into(),
        () => {
            let index = if core.class == Class::Elf64 { 19 } else { 15 };
            let at = |t: &&super::CoreThread| t.regs.get(index).is_some_and(|sp| holds(*sp));
            match core.threads.iter().find(at) {
                Some(t) => format!("stack of thread {}", t.tid),
                None => "anonymous memory".into(),
            }
        }
    }
}

fn tell(
    core: &Core,
    kind: Kind,
    addr: u64,
    inside: Option<&Load>,
    near: Option<(&Load, i64)>,
) -> String {
    let perms = |p: Prot| {
        let bit = |f: Prot, c: char| if p.contains(f) { c } else { '-' };
        format!("{}{}{}", bit(Prot::READ, 'r'), bit(Prot::WRITE, 'w'), bit(Prot::EXEC, 'x'))
    };
    let place = match (inside, near) {
        (Some(l), _) => {
            let into = addr - l.start;
            format!("{into} bytes into {} ({})", name(core, l), perms(l.prot))
        }
        (None, Some((l, d))) if d < 0 => format!("{} bytes below {}", -d, name(core, l)),
        (None, Some((l, d))) => format!("{} bytes behind the end of {}", d - 1, name(core, l)),
        (None, None) => "there is no memory at all".into(),
    };
    match kind {
        Kind::Null if addr == 0 => "an access through a null pointer".into(),
        Kind::Null => {
            format!("an access through a null pointer, {addr} bytes into what it should point to")
        }
        Kind::StackOverflow => {
            format!("the stack is full: {addr:#x} is {place}, next to the stack pointer")
        }
        Kind::Unmapped => format!("nothing is mapped at {addr:#x}: it is {place}"),
        Kind::Protected => format!("{addr:#x} does not allow this access: it is {place}"),
        Kind::BeyondFile => format!("{addr:#x} has no page behind it: it is {place}"),
        Kind::NonCanonical => String::new(),
    }
}
