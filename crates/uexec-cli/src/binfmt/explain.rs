//! `uexec binfmt explain`: which rule takes a program, and why the others do not.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;
use uexec_core::abi::BINPRM_BUF_SIZE;
use uexec_core::binfmt::misc::{Entry, Test, extension};
use uexec_core::error::FileKind;
use uexec_core::story::Shown;
use uexec_core::world::{At, World};
use uexec_core::{ALL_FORMATS, Exec, Privileges, plan};
use uexec_linux::Host;

use super::Failed;
use super::list::{All, all};
use crate::args::binfmt::Explain;
use crate::style::{BAD, GOOD, LABEL, ODD};

/// The answer.
#[derive(Serialize)]
struct Answer {
    program: String,
    /// The rule that takes it.
    taken_by: Option<String>,
    /// What it is run with.
    interpreter: Option<String>,
    /// In one sentence.
    why: String,
    rules: Vec<Judged>,
}

/// One rule and what it says of the program.
#[derive(Serialize)]
struct Judged {
    name: String,
    from: String,
    takes: bool,
    matches: bool,
    why: String,
    /// It fails at its first byte, or has nothing to do with the name.
    #[serde(skip)]
    far: bool,
}

/// Explains; returns the exit status.
pub(super) fn explain(args: &Explain) -> Result<u8, Failed> {
    let all = all(&args.rules)?;
    let name = args.program.as_bytes();
    let head = head(name)?;
    let answer = answer(&all, name, &head);
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &answer).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        tell(&mut out, &answer, args.verbose)?;
    }
    Ok(u8::from(answer.taken_by.is_none()))
}

/// The first bytes of a regular file.
fn head(path: &[u8]) -> io::Result<[u8; BINPRM_BUF_SIZE]> {
    let mut head = [0; BINPRM_BUF_SIZE];
    let named = |e: uexec_core::Errno| io::Error::other(format!("{}: {e}", Shown(path)));
    let mut host = Host::new();
    let file = host.open(At::Cwd, path, true).map_err(named)?;
    if host.stat(file).map_err(named)?.kind != FileKind::Regular {
        return Err(io::Error::other(format!("{}: not a regular file", Shown(path))));
    }
    let mut done = 0;
    while done < head.len() {
        match host.read_at(file, done as u64, &mut head[done..]).map_err(named)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(head)
}

fn answer(all: &All, name: &[u8], head: &[u8; BINPRM_BUF_SIZE]) -> Answer {
    let matches = |e: &Entry| e.enabled && e.rule.test.matches(name, head);
    let first = all.rules.iter().take(all.first).position(|o| matches(&o.entry));
    // Who else knows it is asked of the formats themselves.
    let format = first.is_none().then(|| format_of(name)).flatten();
    let late = || all.rules.iter().skip(all.first).position(|o| matches(&o.entry));
    let taker = match (first, &format) {
        (Some(at), _) => Some(at),
        (None, None) if !all.switched_off => late().map(|at| at + all.first),
        _ => None,
    };
    let why = match (taker.and_then(|at| all.rules.get(at)), &format) {
        (Some(origin), _) => {
            let rule = &origin.entry.rule;
            format!(
                "the rule {} ({}) runs it with {}",
                Shown(&rule.name),
                origin.from,
                Shown(&rule.interpreter)
            )
        }
        (None, Some(format)) => {
            format!("the format {format} knows it; rules of the host are asked after that")
        }
        (None, None) if all.switched_off => "binfmt_misc is switched off".into(),
        (None, None) => format!("none of {} rules takes it", all.rules.len()),
    };
    let judge = |(i, origin): (usize, &super::table::Origin)| {
        let entry = &origin.entry;
        let matches = matches(entry);
        let (why, far) = match (taker, matches) {
            (Some(t), true) if t == i => ("takes it".into(), false),
            (Some(_), true) => ("would take it, but is asked later".into(), false),
            (None, true) => ("would take it, but is not asked".into(), false),
            (_, false) => why_not(entry, name, head),
        };
        Judged {
            name: Shown(&entry.rule.name).to_string(),
            from: origin.from.clone(),
            takes: taker == Some(i),
            matches,
            why,
            far,
        }
    };
    let taken = taker.and_then(|at| all.rules.get(at)).map(|o| &o.entry.rule);
    Answer {
        program: Shown(name).to_string(),
        taken_by: taken.map(|rule| Shown(&rule.name).to_string()),
        interpreter: taken.map(|rule| Shown(&rule.interpreter).to_string()),
        why,
        rules: all.rules.iter().enumerate().map(judge).collect(),
    }
}

/// The format of uexec's own that knows a file, whether or not it could be run.
fn format_of(name: &[u8]) -> Option<String> {
    let exec = Exec { privileges: Privileges::AsKernel, untold: true, ..Exec::new(name) };
    let chain = match plan(exec, &mut Host::new(), &ALL_FORMATS) {
        Ok(plan) => plan.chain,
        Err(error) if error.errno() != uexec_core::Errno::ENOEXEC => error.chain.clone(),
        Err(error) => error.chain.iter().filter(|l| !l.format.is_empty()).cloned().collect(),
    };
    chain.first().map(|l| l.format.to_string()).filter(|f| !f.is_empty())
}

/// Why a rule does not take it, and whether it is far from that.
fn why_not(entry: &Entry, name: &[u8], head: &[u8; BINPRM_BUF_SIZE]) -> (String, bool) {
    if !entry.enabled && entry.rule.test.matches(name, head) {
        return ("would take it, but is disabled".into(), false);
    }
    match &entry.rule.test {
        Test::Extension(wanted) => {
            let found = extension(name).filter(|e| !e.contains(&b'/'));
            let found =
                found.map_or("has no extension".to_owned(), |e| format!("ends in .{}", Shown(e)));
            (format!("the name {found}, not .{}", Shown(wanted)), true)
        }
        test @ Test::Magic { offset, .. } => match test.first_mismatch(head) {
            Some((at, found, wanted)) => {
                let what = match at {
                    4 => " (the class of an ELF file)",
                    5 => " (the byte order of an ELF file)",
                    18 | 19 => " (the machine of an ELF file)",
                    _ => "",
                };
                let what = if head.starts_with(b"\x7fELF") { what } else { "" };
                (format!("byte {at} is {found:02x}, not {wanted:02x}{what}"), at < offset + 4)
            }
            None => (String::new(), true),
        },
    }
}

fn tell(out: &mut dyn Write, answer: &Answer, verbose: bool) -> io::Result<()> {
    let style = if answer.taken_by.is_some() { GOOD } else { BAD };
    writeln!(out, "{}: {style}{}{style:#}", answer.program, answer.why)?;
    let mut hidden = 0;
    for rule in &answer.rules {
        if rule.far && !verbose {
            hidden += 1;
            continue;
        }
        let style = if rule.takes { GOOD } else { ODD };
        let Judged { name, from, why, .. } = rule;
        writeln!(out, "  {style}{name}{style:#} {why} {LABEL}{from}{LABEL:#}")?;
    }
    if hidden > 0 {
        let word = if hidden == answer.rules.len() { "" } else { "other " };
        writeln!(out, "  {LABEL}{hidden} {word}rules are for other files (-v tells){LABEL:#}")?;
    }
    Ok(())
}
