//! The trace as lines for a person, as things happen. Only writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};

use super::Teller;
use super::pages::Pages;
use super::record::{Environment, Exec, Exit, Failed, Record, Spawn};
use crate::style::{BAD, LABEL, ODD};

/// A living process.
struct Node {
    pid: i32,
    parent: Option<u32>,
    depth: u32,
    /// When it began to be what it is, and what that is.
    since: f64,
    what: String,
    notes: Vec<String>,
    cwd: Option<String>,
    shown: bool,
    executed: bool,
    /// How it was made, with what is unusual about it.
    how: String,
    /// Processes below it that are not shown.
    hidden: u32,
}

pub(super) struct Tree {
    out: File,
    colours: bool,
    /// Columns of the terminal.
    width: Option<usize>,
    failed_only: bool,
    depth: Option<u32>,
    nodes: BTreeMap<u32, Node>,
}

impl Tree {
    pub(super) fn new(out: File, failed_only: bool, depth: Option<u32>) -> Tree {
        let colours = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
        let size = rustix::termios::tcgetwinsize(&out);
        let width = size.ok().map(|s| usize::from(s.ws_col)).filter(|w| *w >= 40);
        let width = width.filter(|_| out.is_terminal());
        Tree { out, colours, width, failed_only, depth, nodes: BTreeMap::new() }
    }

    /// One line, written at once, as the command writes to the same place.
    fn line(&mut self, t: f64, pid: i32, depth: u32, text: &str) -> io::Result<()> {
        let guides = "│ ".repeat(depth as usize);
        let line = format!("{LABEL}{t:>9.4} {pid:>7} {guides}{LABEL:#}{text}");
        let plain = anstream::adapter::strip_str(&line).to_string();
        let cut = self.width.filter(|width| plain.chars().count() > *width);
        let line = match cut {
            // Cut without colours: sequences have no width.
            Some(width) => plain.chars().take(width - 1).chain(['…']).collect(),
            None if self.colours => line,
            None => plain,
        };
        self.out.write_all((line + "\n").as_bytes())
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
        self.line(t, pid, depth, &text)
    }

    fn spawn(&mut self, r: &Spawn) {
        let parent = self.nodes.get(&r.parent);
        let depth = parent.map_or(0, |p| p.depth + 1);
        let what = parent.map_or_else(String::new, |p| copy_of(&p.what));
        let cwd = parent.and_then(|p| p.cwd.clone());
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
            what,
            notes: vec![how.clone()],
            cwd,
            shown: false,
            executed: false,
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
            notes: Vec::new(),
            cwd: r.cwd.clone(),
            shown: false,
            executed: true,
            how: String::new(),
            hidden: 0,
        });
        let mut notes = Vec::new();
        if !node.executed {
            notes.push(made(&node.how, copied(r.pages, r.faults_since_fork), r.parent_waited_us));
        } else if !node.what.is_empty() {
            notes.push("in its place".into());
        }
        if let [interpreters @ .., _] = r.chain.as_slice() {
            notes.push(format!("read by {}", command(interpreters)));
        }
        notes.extend(env(&r.env));
        if r.cwd != node.cwd {
            notes.push(format!("in {}", r.cwd.as_deref().unwrap_or("?")));
        }
        if !r.searched.is_empty() {
            notes.push(format!("place {} in PATH", r.searched.len() + 1));
        }
        notes.retain(|note| !note.is_empty());
        node.since = r.who.t;
        node.what = command(&r.argv);
        node.notes = notes;
        node.cwd.clone_from(&r.cwd);
        node.executed = true;
        node.shown = false;
        if self.failed_only { Ok(()) } else { self.show(r.who.id) }
    }

    fn failed(&mut self, r: &Failed) -> io::Result<()> {
        self.show(r.who.id)?;
        let depth = self.nodes.get(&r.who.id).map_or(0, |node| node.depth) + 1;
        if self.too_deep(depth - 1) {
            return Ok(());
        }
        let (t, pid) = (r.who.t, r.who.pid);
        let errno = uexec_core::Errno(r.number);
        let argv = if r.searched.is_empty() { &r.path } else { r.argv.first().unwrap_or(&r.path) };
        self.line(t, pid, depth, &format!("{BAD}✗{BAD:#} {argv}: {BAD}{errno}{BAD:#}"))?;
        let mut row = |label: &str, what: &str| {
            self.line(t, pid, depth, &format!("  {LABEL}{label:<5}{LABEL:#} {what}"))
        };
        if !r.searched.is_empty() {
            row("in", &r.searched.join(":"))?;
        }
        let Some(because) = &r.because else {
            return row("why", "not known: uexec would have started it");
        };
        if !because.agrees {
            return row(
                "why",
                &format!("not known: uexec expected {}, {}", because.errno, because.why),
            );
        }
        match &because.file {
            Some(file) if *file != r.path => row("why", &format!("{file}: {}", because.why))?,
            _ => row("why", &because.why)?,
        }
        if because.hint.is_empty() { Ok(()) } else { row("hint", &because.hint) }
    }

    fn exit(&mut self, r: &Exit) -> io::Result<()> {
        if !self.failed_only || r.is_failure() {
            self.show(r.who.id)?;
        }
        let Some(node) = self.nodes.remove(&r.who.id) else { return Ok(()) };
        if self.too_deep(node.depth) || (self.failed_only && !r.is_failure()) {
            return Ok(());
        }
        let mut text = match (r.status, r.signal) {
            (Some(0), _) => format!("{LABEL}└ 0"),
            (Some(status), _) => format!("{LABEL}└{LABEL:#} {BAD}exit {status}{BAD:#}{LABEL}"),
            (_, signal) => {
                let core = if r.core { ", core dumped" } else { "" };
                let name = signal_name(signal.unwrap_or(0));
                format!("{LABEL}└{LABEL:#} {BAD}killed by {name}{core}{BAD:#}{LABEL}")
            }
        };
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
        self.line(r.who.t, r.who.pid, node.depth, &text)
    }
}

impl Teller for Tree {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Start(_) | Record::End(_) => Ok(()),
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
fn copy_of(what: &str) -> String {
    let program = what.split(' ').next().unwrap_or_default();
    if program.starts_with('(') { what.to_owned() } else { format!("({program})") }
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
    let name = |pair: &String| pair.split('=').next().unwrap_or_default().to_owned();
    let mut words: Vec<String> = env.set.iter().map(|pair| format!("+{}", name(pair))).collect();
    words.extend(env.unset.iter().map(|name| format!("-{name}")));
    let more = words.len().saturating_sub(SHOWN);
    words.truncate(SHOWN);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// Arguments as they would be typed.
pub(super) fn command(argv: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "+,-./:=@_%^~".contains(c);
    let word = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The name of a signal (`signal(7)`, x86).
pub(super) fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(signal - 1).ok().and_then(|i| NAMES.get(i));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}
