//! What was found out about one program: as data, and as the JSON object of the contract,
//! `docs/check.schema.json`.

use serde::Serialize;
use uexec_core::error::Refusal;
use uexec_core::story::Shown;

use super::elf::Ident;
use crate::libraries::Missing;

/// How it stands with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It starts.
    Ok,
    /// It does not.
    Error,
    /// It is a shared library, not a program.
    Library,
    /// It is for another processor.
    Foreign,
    /// Too little of it can be read to decide.
    Unreadable,
}

/// One decided program.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Its name.
    pub(crate) path: Vec<u8>,
    /// The verdict.
    pub(crate) outcome: Outcome,
    /// `elf`, `script`; empty if nobody knows it.
    pub(crate) format: String,
    /// What its `#!` line or its `PT_INTERP` names.
    pub(crate) interp: Option<Vec<u8>>,
    /// The machine of what is executed in the end.
    pub(crate) ident: Option<Ident>,
    /// Why the exec fails.
    pub(crate) refusal: Option<Box<Refusal>>,
    /// The rule of `binfmt_misc` that runs it, and what it runs it with.
    pub(crate) rule: Option<(String, String)>,
    /// What its loader will not find.
    pub(crate) missing: Vec<Missing>,
}

impl Finding {
    /// A finding with nothing but its verdict.
    pub(crate) fn new(path: Vec<u8>, outcome: Outcome) -> Finding {
        Finding {
            path,
            outcome,
            format: String::new(),
            interp: None,
            ident: None,
            refusal: None,
            rule: None,
            missing: Vec::new(),
        }
    }

    /// Whether this stands against "every program starts".
    pub(crate) const fn is_bad(&self) -> bool {
        match self.outcome {
            Outcome::Ok | Outcome::Library => false,
            Outcome::Foreign => self.rule.is_none(),
            Outcome::Error | Outcome::Unreadable => true,
        }
    }
}

/// A line of `check --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    path: Show<'a>,
    outcome: Outcome,
    format: &'a str,
    interp: Option<Show<'a>>,
    machine: Option<String>,
    class: Option<u8>,
    big_endian: Option<bool>,
    error: Option<Failure<'a>>,
    binfmt_misc: Option<Rule<'a>>,
    missing: &'a [Missing],
}

/// The rule that runs a program.
#[derive(Debug, Serialize)]
struct Rule<'a> {
    rule: &'a str,
    interpreter: &'a str,
}

/// Why a program does not start. Without an errno when it is its loader that will stop.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    errno: Option<&'static str>,
    number: Option<u16>,
    stage: &'static str,
    why: String,
    hint: String,
    spec: &'static str,
    /// The file at fault.
    file: Option<Show<'a>>,
    /// The signal it dies by, after the point of no return.
    signal: Option<&'static str>,
}

/// Bytes written as text, unprintable ones escaped.
#[derive(Clone, Copy)]
struct Show<'a>(&'a [u8]);

impl std::fmt::Debug for Show<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&Shown(self.0), f)
    }
}

impl Serialize for Show<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Shown(self.0))
    }
}

impl<'a> Line<'a> {
    /// The line of a finding.
    pub(crate) fn new(f: &'a Finding) -> Line<'a> {
        Line {
            path: Show(&f.path),
            outcome: f.outcome,
            format: &f.format,
            interp: f.interp.as_deref().map(Show),
            machine: f.ident.map(Ident::machine),
            class: f.ident.map(|i| i.class),
            big_endian: f.ident.map(|i| i.big_endian),
            error: failure(f),
            binfmt_misc: f.rule.as_ref().map(|(rule, interpreter)| Rule { rule, interpreter }),
            missing: &f.missing,
        }
    }
}

fn failure(f: &Finding) -> Option<Failure<'_>> {
    let cause = super::cause::of(f)?;
    let hint = cause.hint.into_owned();
    let Some(r) = &f.refusal else {
        return Some(Failure {
            errno: None,
            number: None,
            stage: "libraries",
            why: cause.line,
            hint,
            spec: "",
            file: None,
            signal: None,
        });
    };
    let errno = r.reason.errno();
    Some(Failure {
        errno: Some(errno.name()),
        number: Some(errno.0),
        stage: r.stage.as_str(),
        why: cause.line,
        hint,
        spec: r.reason.spec(),
        file: (!r.file.is_empty()).then_some(Show(&r.file)),
        signal: r.stage.after_point_of_no_return().then_some("SIGSEGV"),
    })
}
