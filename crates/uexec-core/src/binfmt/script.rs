//! `#!` scripts: every rule of SCR-1 to SCR-9. Reads only the first 256 bytes.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::{Binfmt, Rewrite, Verdict};
use crate::abi::BINPRM_BUF_SIZE;
use crate::bprm::Bprm;
use crate::error::{Reason, Refusal, Stage};
use crate::story::{Shown, tell};

/// The format of `#!` scripts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script;

/// What a `#!` line says, as ranges of the file's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter's name. May be empty: that opens the working directory (SCR-15).
    pub name: core::ops::Range<usize>,
    /// The one optional argument. May be empty text (SCR-18).
    pub arg: Option<core::ops::Range<usize>>,
}

/// Why a head is no `#!` line that could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoShebang {
    /// It does not begin with `#!`.
    NotAScript,
    /// Nothing but blanks before the end of the line.
    NoName,
    /// The name does not end within the head.
    Unterminated,
}

const fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Reads a `#!` line as the kernel does (SCR-1 to SCR-6).
///
/// # Errors
/// All of them are `ENOEXEC` to the kernel.
///
/// ```
/// use uexec_core::binfmt::script::parse;
/// let mut head = [0; 256];
/// head[..21].copy_from_slice(b"#! /bin/awk  -f  x  \n");
/// let line = parse(&head).unwrap();
/// assert_eq!(&head[line.name], b"/bin/awk");
/// assert_eq!(&head[line.arg.unwrap()], b"-f  x");
/// ```
pub fn parse(head: &[u8; BINPRM_BUF_SIZE]) -> Result<Shebang, NoShebang> {
    if !head.starts_with(b"#!") {
        return Err(NoShebang::NotAScript);
    }
    let last = BINPRM_BUF_SIZE - 1;
    let find = |from: usize, to: usize, what: fn(u8) -> bool| {
        let part = head.get(from..to).unwrap_or_default();
        part.iter().position(|b| what(*b)).map(|i| from + i)
    };
    let newline =
        find(0, head.len(), |b| b == b'\n' || b == 0).filter(|i| head.get(*i) == Some(&b'\n'));
    let mut end = match newline {
        Some(end) => end,
        None => {
            // No newline: the name at least must end inside the head (SCR-3).
            let first = find(2, head.len(), |b| !is_blank(b)).ok_or(NoShebang::NoName)?;
            find(first, head.len(), |b| is_blank(b) || b == 0).ok_or(NoShebang::Unterminated)?;
            last
        }
    };
    while end > 2 && head.get(end - 1).is_some_and(|b| is_blank(*b)) {
        end -= 1;
    }
    let name = find(2, end, |b| !is_blank(b)).ok_or(NoShebang::NoName)?;
    let until_nul = |from: usize, to: usize| find(from, to, |b| b == 0).unwrap_or(to);
    let Some(sep) = find(name, end, |b| is_blank(b) || b == 0) else {
        return Ok(Shebang { name: name..end, arg: None });
    };
    let arg = (head.get(sep) != Some(&0))
        .then(|| find(sep, end, |b| !is_blank(b)))
        .flatten()
        .map(|from| from..until_nul(from, end));
    Ok(Shebang { name: name..sep, arg })
}

impl Binfmt for Script {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("script")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let head = bprm.head;
        let line = match parse(&head) {
            Ok(line) => line,
            Err(NoShebang::NotAScript) => {
                let len = bprm.file.stat.size;
                let reason = Reason::NoFormat { head: head[..4].to_vec(), len };
                return Ok(Verdict::NotMine(Refusal::new(Stage::Script, reason)));
            }
            Err(why) => {
                let len = line_len(&head) as u64;
                let reason = match why {
                    NoShebang::Unterminated => Reason::ScriptNameUnterminated,
                    _ => Reason::ScriptNoInterpreter,
                };
                let span = if len > 2 { (2, len - 2) } else { (0, 2) };
                let r = Refusal::new(Stage::Script, reason).of(&bprm.interp).at(span.0, span.1);
                return Ok(Verdict::NotMine(r));
            }
        };
        let text = |r: core::ops::Range<usize>| head.get(r).unwrap_or_default().to_vec();
        let span = (line.name.start as u64, line.name.len().max(1) as u64);
        let (name, arg) = (text(line.name), line.arg.map(text));
        tell!(
            bprm.story,
            Stage::Script,
            "SCR-5",
            "the #! line of {} names {}{}{}",
            Shown(&bprm.interp),
            Shown(&name),
            if arg.is_some() { " with the argument " } else { "" },
            Shown(arg.as_deref().unwrap_or_default())
        );
        bprm.check_accessible(Stage::Script)?;
        let mut argv: Vec<Vec<u8>> = Vec::with_capacity(3);
        argv.push(name.clone());
        argv.extend(arg);
        argv.push(bprm.interp.clone());
        // The kernel copies these strings before it opens the interpreter: E2BIG comes first.
        bprm.check_room(true, &argv)?;
        let file = bprm.open_interp(&name, Stage::ScriptInterp).map_err(|mut r| {
            if r.span.is_none() {
                r.span = Some(crate::error::Span { offset: span.0, len: span.1 });
            }
            r
        })?;
        Ok(Verdict::Again(Rewrite { argv, ..Rewrite::new(&name, file, b"") }))
    }
}

/// Length of the first line in the head, without its newline or padding.
fn line_len(head: &[u8; BINPRM_BUF_SIZE]) -> usize {
    head.iter().position(|b| *b == b'\n' || *b == 0).unwrap_or(head.len())
}
