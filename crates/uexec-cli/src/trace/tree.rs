//! The trace as lines for a person, as things happen. Only writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;

use super::Teller;
use super::lines::{Lines, Place};
use super::pages::Pages;
use super::record::{Environment, Exec, Exit, Failed, Record, Spawn, Stdio};
use super::text::{Text, command, word};
use crate::explain::words::variable;
use crate::signal;
use crate::style::{BAD, GOOD, LABEL, ODD};

/// A living process.
struct Node {
    pid: i32,
    parent: Option<u32>,
    depth: u32,
    /// When it began to be what it is, and what that is.
    since: f64,
    what: String,
    /// The program's name alone; in brackets that of a parent whose copy it is.
    name: String,
    notes: Vec<String>,
    cwd: Option<Text>,
    stdio: Stdio,
    shown: bool,
    executed: bool,
    /// An exec of it has failed.
    failed: bool,
    /// How it was made, with what is unusual about it.
    how: String,
    /// Processes below it that are not shown.
    hidden: u32,
}

pub(super) struct Tree {
    lines: Lines,
    failed_only: bool,
    depth: Option<u32>,
    nodes: BTreeMap<u32, Node>,
    /// Whose line is the last one.
    last: Option<u32>,
    /// Processes that have not ended well, or of which an exec has failed.
    failures: u32,
}

impl Tree {
    pub(super) fn new(out: File, failed_only: bool, depth: Option<u32>) -> Tree {
        Tree {
            lines: Lines::new(out),
            failed_only,
            depth,
            nodes: BTreeMap::new(),
            last: None,
            failures: 0,
        }
    }

    fn too_deep(&self, depth: u32) -> bool {
        self.depth.is_some_and(|max| depth > max)
    }

    /// Shows the process and those it stands below, where that has not been done yet.
    fn show(&mut self, id: u32) -> io::Result<()> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if std::mem::replace(&mut node.shown, true) {
            return Ok(());
        }
        let (t, pid, depth, parent) = (node.since, node.pid, node.depth, node.parent);
        let notes = match node.notes.is_empty() {
            true => String::new(),
            false => format!("  {LABEL}{}{LABEL:#}", node.notes.join(" · ")),
        };
        let text = format!("{}{notes}", node.what);
        if let Some(parent) = parent {
            self.show(parent)?;
        }
        if self.too_deep(depth) {
            return Ok(());
        }
        self.last = Some(id);
        self.lines.line(Place { t, pid, depth }, &text)
    }

    fn spawn(&mut self, r: &Spawn) {
        let parent = self.nodes.get(&r.parent);
        let depth = parent.map_or(0, |p| p.depth + 1);
        let name = parent.map_or_else(String::new, |p| copy_of(&p.name));
        let cwd = parent.and_then(|p| p.cwd.clone());
        let stdio = parent.map_or_else(Stdio::default, |p| p.stdio.clone());
        let mut how = r.how.to_owned();
        for flag in r.flags.iter().filter(|flag| flag.starts_with("CLONE_NEW")) {
            let _ = write!(how, " {flag}");
        }
        // The count of what is not shown goes to the last one that is.
        let mut above = Some(r.parent);
        while let Some(node) = above.and_then(|id| self.nodes.get_mut(&id)) {
            if self.depth.is_some_and(|max| depth > max && node.depth == max) {
                node.hidden += 1;
                break;
            }
            above = node.parent;
        }
        let node = Node {
            pid: r.who.pid,
            parent: Some(r.parent),
            depth,
            since: r.who.t,
            what: name.clone(),
            name,
            notes: vec![how.clone()],
            cwd,
            stdio,
            shown: false,
            executed: false,
            failed: false,
            how,
            hidden: 0,
        };
        self.nodes.insert(r.who.id, node);
    }

    fn exec(&mut self, r: &Exec) -> io::Result<()> {
        let node = self.nodes.entry(r.who.id).or_insert_with(|| Node {
            pid: r.who.pid,
            parent: None,
            depth: 0,
            since: 0.0,
            what: String::new(),
            name: String::new(),
            notes: Vec::new(),
            cwd: r.cwd.clone(),
            stdio: r.stdio.clone(),
            shown: false,
            executed: true,
            failed: false,
            how: String::new(),
            hidden: 0,
        });
        let mut notes = Vec::new();
        if !node.executed {
            notes.push(made(&node.how, copied(r.pages, r.faults_since_fork), r.parent_waited_us));
        } else if !node.what.is_empty() {
            notes.push("in its place".into());
        }
        if let Some(file) = r.other_file() {
            notes.push(format!("runs {}", word(file)));
        }
        if let [interpreters @ .., _] = r.chain.as_slice() {
            notes.push(format!("read by {}", command(interpreters)));
        }
        notes.extend(r.withheld.map(|what| format!("without its {what}")));
        notes.extend(env(&r.env));
        // Without those that lead from process to process, as in any pipeline.
        for ((how, to), (_, before)) in r.stdio.named().into_iter().zip(node.stdio.named()) {
            let path = to.as_ref().filter(|path| path.0.starts_with(b"/"));
            if let Some(path) = path.filter(|_| to != before && !node.what.is_empty()) {
                notes.push(format!("{how}{}", word(path)));
            }
        }
        if r.cwd != node.cwd {
            notes.push(format!("in {}", r.cwd.as_ref().map_or_else(|| "?".into(), word)));
        }
        if !r.searched.is_empty() {
            notes.push(format!("place {} in PATH", r.searched.len() + 1));
        }
        notes.retain(|note| !note.is_empty());
        node.since = r.who.t;
        node.what = command(&r.argv);
        node.name = word(&r.name().base());
        node.notes = notes;
        node.cwd.clone_from(&r.cwd);
        node.stdio.clone_from(&r.stdio);
        node.executed = true;
        node.shown = false;
        if self.failed_only { Ok(()) } else { self.show(r.who.id) }
    }

    fn failed(&mut self, r: &Failed) -> io::Result<()> {
        if let Some(node) = self.nodes.get_mut(&r.who.id) {
            node.failed = true;
        }
        self.show(r.who.id)?;
        let depth = self.nodes.get(&r.who.id).map_or(0, |node| node.depth) + 1;
        if self.too_deep(depth - 1) {
            return Ok(());
        }
        let place = Place { t: r.who.t, pid: r.who.pid, depth };
        let errno = uexec_core::Errno(r.number);
        let name = word(r.name());
        self.lines.whole(place, &format!("{BAD}✗{BAD:#} {name}: {BAD}{errno}{BAD:#}"), 2)?;
        self.last = Some(r.who.id);
        let lines = &mut self.lines;
        let row = |lines: &mut Lines, label: &str, what: &str| {
            lines.whole(place, &format!("  {LABEL}{label:<5}{LABEL:#} {what}"), 8)
        };
        if !r.searched.is_empty() {
            let places: Vec<String> = r.searched.iter().map(Text::to_string).collect();
            // Where lines may break.
            row(lines, "in", &places.join(" : "))?;
        }
        let Some(because) = &r.because else {
            return row(lines, "why", "not known: uexec would have started it");
        };
        if !because.agrees {
            return row(
                lines,
                "why",
                &format!("not known: uexec expected {}, {}", because.errno, because.why),
            );
        }
        row(lines, "why", &because.text())?;
        for line in because.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
            lines.line(place, line)?;
        }
        if because.hint.is_empty() { Ok(()) } else { row(lines, "hint", &because.hint) }
    }

    fn exit(&mut self, r: &Exit) -> io::Result<()> {
        if !self.failed_only || r.is_failure() {
            self.show(r.who.id)?;
        }
        let node = self.nodes.remove(&r.who.id);
        let failed = r.is_failure() || node.as_ref().is_some_and(|node| node.failed);
        self.failures += u32::from(failed);
        let Some(node) = node else { return Ok(()) };
        if self.too_deep(node.depth) || (self.failed_only && !r.is_failure()) {
            return Ok(());
        }
        let mut text = match (r.status, r.signal) {
            (Some(0), _) => format!("{LABEL}└ 0"),
            (Some(status), _) => format!("{LABEL}└{LABEL:#} {BAD}exit {status}{BAD:#}{LABEL}"),
            (_, signal) => {
                let core = if r.core { ", core dumped" } else { "" };
                let name = signal::name(signal.unwrap_or(0));
                format!("{LABEL}└{LABEL:#} {BAD}killed by {name}{core}{BAD:#}{LABEL}")
            }
        };
        if self.last != Some(r.who.id) {
            let _ = write!(text, "  {}", node.name);
        }
        let _ = write!(text, "  {}, cpu {}", time(r.lived), time(r.cpu));
        if let Some(kib) = r.max_rss_kib {
            let _ = write!(text, ", {:.1} MiB", kib as f64 / 1024.0);
        }
        if r.threads > 0 {
            let _ = write!(text, ", {} threads", r.threads + 1);
        }
        if !node.executed && r.faults_since_fork.is_some() {
            let _ = write!(text, ", {}", made("", copied(r.pages, r.faults_since_fork), None));
        }
        let _ = write!(text, "{LABEL:#}");
        if node.hidden > 0 {
            let _ = write!(text, "  {ODD}+ {} below{ODD:#}", node.hidden);
        }
        self.last = Some(r.who.id);
        self.lines.line(Place { t: r.who.t, pid: r.who.pid, depth: node.depth }, &text)
    }
}

impl Teller for Tree {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Start(_) => Ok(()),
            Record::End(r) => {
                let count = |n: u32, one: &str, more: &str| match n {
                    1 => format!("1 {one}"),
                    n => format!("{n} {more}"),
                };
                let (style, failures) = match self.failures {
                    0 => (GOOD, "nothing failed".to_owned()),
                    n => (BAD, count(n, "with a failure", "with failures")),
                };
                let processes = count(r.processes, "process", "processes");
                let execs = count(r.execs, "program", "programs");
                let text = format!("{processes}, {execs}, {style}{failures}{style:#}");
                self.lines.end(r.t, &text)
            }
            Record::Spawn(r) => {
                self.spawn(r);
                Ok(())
            }
            Record::Exec(r) => self.exec(r),
            Record::Failed(r) => self.failed(r),
            Record::Exit(r) => self.exit(r),
        }
    }

    fn pause(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A process that is, so far, the same as its parent.
fn copy_of(name: &str) -> String {
    if name.starts_with('(') { name.to_owned() } else { format!("({name})") }
}

/// Seconds as a person reads them.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.2} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// What copy-on-write has copied: as counted, or at most.
pub(super) fn copied(pages: Option<Pages>, faults: Option<u64>) -> Option<String> {
    match pages {
        Some(Pages { given, copied: Some(copied) }) => {
            Some(format!("{copied} of {given} pages copied"))
        }
        _ => faults.map(|faults| format!("≤ {faults} pages copied")),
    }
}

/// How a process was made, and what that has cost.
fn made(how: &str, copied: Option<String>, waited_us: Option<u64>) -> String {
    let mut text = how.to_owned();
    if let Some(copied) = copied {
        let separator = if text.is_empty() { "" } else { ", " };
        text = text + separator + &copied;
    }
    if let Some(us) = waited_us {
        let _ = write!(text, ", parent waited {}", time(us as f64 / 1e6));
    }
    text
}

/// The names of what has changed in the environment.
fn env(env: &Environment) -> Option<String> {
    const SHOWN: usize = 4;
    let name = |pair: &Text| Text(variable(&pair.0).to_vec());
    let mut words: Vec<String> = env.set.iter().map(|pair| format!("+{}", name(pair))).collect();
    words.extend(env.unset.iter().map(|name| format!("-{name}")));
    let more = words.len().saturating_sub(SHOWN);
    words.truncate(SHOWN);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| words.join(" "))
}
