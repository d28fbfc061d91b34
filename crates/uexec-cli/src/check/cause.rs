//! Why a program does not start, in one line of its own and as a cause it shares with others.

use std::borrow::Cow;

use uexec_core::error::{Refusal, Stage};
use uexec_core::story::Shown;
use uexec_core::{Errno, Reason};

use super::finding::{Finding, Outcome};
use crate::libraries::Missing;

/// A cause.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// For this program alone, without its name.
    pub(crate) line: String,
    /// What a number of such programs do, after "3": for one, and for more.
    pub(crate) one: String,
    /// See `one`.
    pub(crate) many: String,
    /// What to do about it; empty when there is nothing sensible to say.
    pub(crate) hint: Cow<'static, str>,
}

/// The cause of a finding; `None` if the program starts.
pub(crate) fn of(f: &Finding) -> Option<Cause> {
    if let Some(first) = f.missing.first() {
        return Some(libraries(first, &f.missing));
    }
    let r = f.refusal.as_deref()?;
    if f.outcome == Outcome::Foreign
        && let Some(ident) = f.ident
    {
        return Some(foreign(f, &ident.describe(), r));
    }
    if let Stage::ScriptInterp | Stage::ElfInterp = r.stage {
        return Some(interpreter(r));
    }
    let mut line = r.reason.why().into_owned();
    if r.stage.after_point_of_no_return() {
        line = format!("dies while it is mapped: {line}");
    } else if !r.file.is_empty() && r.file != f.path {
        line = format!("its interpreter {}: {line}", Shown(&r.file));
    }
    let short = short(&r.reason).unwrap_or_else(|| Cow::Owned(line.clone()));
    Some(Cause {
        one: format!("fails: {short}"),
        many: format!("fail: {short}"),
        hint: r.reason.hint().into(),
        line,
    })
}

/// The same for all programs with this reason, where the reason's own words are not.
fn short(reason: &Reason) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match reason {
        Reason::NoFormat { len: 0, .. } => "the file is empty",
        Reason::NoFormat { head, .. } if head.starts_with(b"\xef\xbb\xbf#!") => return None,
        Reason::NoFormat { .. } => "no format knows what the file begins with",
        Reason::NoExecBit { .. } => "no execute bit is set",
        Reason::NoPermission { .. } => "this user has no execute permission",
        Reason::PathTooLong { .. } => "the path is longer than 4095 bytes",
        Reason::ElfPhdrs { .. } => "the program headers are not inside the file",
        Reason::InterpOutside { .. } => "PT_INTERP is not inside the file",
        Reason::BssBeyondEof { .. } => "a segment is not inside the file",
        Reason::Collision { .. } => "an address is taken already",
        Reason::NoAddressSpace { .. } => "a segment does not fit into the address space",
        Reason::BelowMmapMin { .. } => "an address lies below vm.mmap_min_addr",
        Reason::OffsetIncongruent { .. }
        | Reason::OffsetNegative { .. }
        | Reason::FileszOverMemsz { .. }
        | Reason::BeyondTaskSize { .. } => "a program header is impossible",
        _ => return None,
    }))
}

fn foreign(f: &Finding, what: &str, r: &Refusal) -> Cause {
    let whose = match r.file.is_empty() || r.file == f.path {
        true => String::new(),
        false => format!("its interpreter {} is ", Shown(&r.file)),
    };
    let line = format!("{whose}for {what}");
    let Some((rule, with)) = &f.rule else {
        return Cause {
            one: format!("is for {what}"),
            many: format!("are for {what}"),
            hint: foreign_hint(what),
            line,
        };
    };
    let run = format!("run by {with} by the binfmt_misc rule {rule}");
    Cause {
        line: format!("{line}, {run}"),
        one: format!("is for {what}, {run}"),
        many: format!("are for {what}, {run}"),
        hint: "".into(),
    }
}

fn foreign_hint(what: &str) -> Cow<'static, str> {
    match what.starts_with("i386 ") {
        true => "let the kernel have IA32 emulation, or register qemu-i386 with binfmt_misc",
        false => "use a build for x86-64, or register qemu-user with binfmt_misc",
    }
    .into()
}

/// Something is wrong with the interpreter, not with the program.
fn interpreter(r: &Refusal) -> Cause {
    let errno = r.reason.errno();
    let name = Shown(&r.file);
    if matches!(r.reason, Reason::Walk { errno: Errno::ENOENT }) {
        return Cause {
            line: format!("its interpreter {name} is missing"),
            one: format!("lacks its interpreter {name}"),
            many: format!("lack their interpreter {name}"),
            hint: missing_interpreter(&r.file, r.stage),
        };
    }
    let why = r.reason.why();
    Cause {
        line: format!("its interpreter {name}: {why}"),
        one: format!("cannot use its interpreter {name}: {why} ({})", errno.name()),
        many: format!("cannot use their interpreter {name}: {why} ({})", errno.name()),
        hint: r.reason.hint().into(),
    }
}

fn missing_interpreter(path: &[u8], stage: Stage) -> Cow<'static, str> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    Cow::Borrowed(if path.ends_with(b"\r") {
        "the #! line ends with a carriage return: convert the file with dos2unix"
    } else if path.starts_with(b"/nix/store/") || path.starts_with(b"/gnu/store/") {
        "it was built for another system's store: patchelf --set-interpreter, or build it here"
    } else if name.starts_with(b"ld-musl-") {
        "built for musl, as on Alpine: install musl, or use a build for glibc"
    } else if name.starts_with(b"ld-linux") {
        "built for glibc: install it (gcompat on Alpine), or use a static build"
    } else if path.starts_with(b"/system/") {
        "built for Android"
    } else if stage == Stage::ElfInterp {
        "install this loader, or set another one with patchelf --set-interpreter"
    } else if !path.starts_with(b"/") {
        "the #! line needs an absolute path"
    } else {
        "install it, or name another one on the #! line"
    })
}

/// Libraries or versions are missing.
fn libraries(first: &Missing, all: &[Missing]) -> Cause {
    let list: Vec<String> = all.iter().map(|m| format!("{m} (for {})", m.needed_by)).collect();
    Cause {
        line: format!("starts, but its loader will stop: missing {}", list.join(", ")),
        one: format!("lacks {first}"),
        many: format!("lack {first}"),
        hint: crate::libraries::hint(first).into(),
    }
}
