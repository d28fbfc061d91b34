//! `uexec binfmt check`: which rules of files are wrong, with the bytes at fault; and what would only
//! be noticed later.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use uexec_core::binfmt::misc::{BadRule, Flags, Misc, Rule};
use uexec_core::story::Shown;
use uexec_core::world::{At, Role, World};
use uexec_linux::Host;

use super::Failed;
use super::source::{self, Line};
use crate::args::binfmt::Check;
use crate::report;
use crate::style::{BAD, GOOD, LABEL, ODD};

/// One rule, as JSON.
#[derive(Serialize)]
struct Told<'a> {
    file: &'a str,
    line: usize,
    name: String,
    text: String,
    outcome: &'static str,
    error: Option<Wrong>,
    /// What is odd about it.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Wrong {
    errno: &'static str,
    number: u16,
    /// Of the line, in bytes from 1.
    column: usize,
    len: usize,
    why: String,
    hint: &'static str,
    spec: &'static str,
}

/// Checks; returns the exit status.
pub(super) fn check(args: &Check) -> Result<u8, Failed> {
    let mut host = Host::new();
    let (mut rules, mut wrong, mut noted) = (0, 0, 0);
    let mut out = anstream::stdout().lock();
    for path in &args.files {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let mut misc = Misc::default();
        for line in source::in_file(path).map_err(named)? {
            rules += 1;
            let mut notes = Vec::new();
            if misc.write_entry(line.name(), b"-1").is_ok() {
                notes.push("it takes the place of an earlier rule of its name".to_owned());
            }
            let result = misc.register(&line.text, &mut host).map(|entry| entry.rule.clone());
            if let Ok(rule) = &result {
                notes.extend(odd(rule, &mut host));
            }
            (wrong, noted) = (wrong + usize::from(result.is_err()), noted + notes.len());
            if args.json {
                serde_json::to_writer(&mut out, &told(&line, result.err(), notes))
                    .map_err(io::Error::from)?;
                writeln!(out)?;
                continue;
            }
            if let Err(bad) = &result {
                write!(out, "{}", text(&line, bad))?;
            }
            for note in notes {
                let name = Shown(line.name()).to_string();
                writeln!(out, "{}: {ODD}rule {name}: {note}{ODD:#}", line.place())?;
            }
        }
    }
    if !args.json {
        let style = if wrong == 0 { GOOD } else { BAD };
        writeln!(out, "{style}{rules} rules, {wrong} wrong{style:#}, {noted} notes")?;
    }
    Ok(u8::from(wrong > 0))
}

/// What is no error when a rule is registered, but when a program is run.
fn odd(rule: &Rule, host: &mut Host) -> Option<String> {
    if rule.flags.contains(Flags::FIX_BINARY) {
        return None;
    }
    let shown = Shown(&rule.interpreter);
    if !rule.interpreter.starts_with(b"/") {
        return Some(format!("its interpreter {shown} is looked for in the working directory"));
    }
    let Ok(file) = host.open(At::Cwd, &rule.interpreter, true) else {
        return Some(format!("its interpreter {shown} cannot be opened"));
    };
    let refused = host.check_exec(file, Role::Program).is_err();
    refused.then(|| format!("its interpreter {shown} may not be executed"))
}

fn told<'a>(line: &'a Line, bad: Option<BadRule>, notes: Vec<String>) -> Told<'a> {
    Told {
        file: &line.file,
        line: line.line,
        name: Shown(line.name()).to_string(),
        text: Shown(&line.text).to_string(),
        outcome: if bad.is_some() { "error" } else { "ok" },
        error: bad.map(|bad| Wrong {
            errno: bad.fault.errno().name(),
            number: bad.fault.errno().0,
            column: line.indent + bad.at + 1,
            len: bad.len,
            why: why(&bad),
            hint: bad.fault.hint(),
            spec: bad.fault.spec(),
        }),
        notes,
    }
}

fn why(bad: &BadRule) -> String {
    bad.fault.why().into_owned()
}

/// A wrong rule as a person reads it: errno, cause with the bytes at fault, remedy.
pub(super) fn text(line: &Line, bad: &BadRule) -> String {
    let mut out = String::new();
    let column = line.indent + bad.at + 1;
    let _ = writeln!(out, "{}:{column}: {BAD}{}{BAD:#}", line.place(), bad.fault.errno());
    let mut row = |label: &str, what: &str| {
        let _ = writeln!(out, "  {LABEL}{label:<6}{LABEL:#} {what}");
    };
    row("stage", "binfmt_misc");
    row("why", &why(bad));
    out.push_str(&report::rule_excerpt(&line.text, line.line, bad.at, bad.len));
    let hint = bad.fault.hint();
    let _ = writeln!(out, "  {LABEL}hint{LABEL:#}   {hint}");
    out
}
