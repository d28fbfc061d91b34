//! Tells what was found, to people or as JSON. Decides nothing.

use std::io::{self, IsTerminal, Write};

use super::finding::{Health, Outcome};
use crate::fit::wrap;
use crate::style::{BAD, GOOD, LABEL, ODD};

/// Writes all of it to standard output.
pub(super) fn tell(health: &Health, json: bool) -> io::Result<()> {
    if json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, health)?;
        return writeln!(out);
    }
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal());
    let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width >= 40);
    let mut out = anstream::stdout().lock();
    let mut put = |indent: usize, text: String| {
        let lines = wrap(&text, width.unwrap_or(usize::MAX), indent);
        let (first, rest) = lines.split_first().map_or(("", &[][..]), |(f, r)| (f.as_str(), r));
        writeln!(out, "{first}")?;
        rest.iter().try_for_each(|line| writeln!(out, "{:indent$}{line}", ""))
    };
    let Health { kernel, machine, uid, findings, will } = health;
    put(0, format!("Linux {kernel} on {machine}, as user {uid}"))?;
    put(0, format!("\n{LABEL}This host{LABEL:#}"))?;
    for f in findings {
        let (style, word) = match f.outcome {
            Outcome::Yes => (GOOD, "yes"),
            Outcome::No => (BAD, "no"),
            Outcome::Note => (ODD, "note"),
        };
        let seen = if f.seen.is_empty() { String::new() } else { format!(": {}", f.seen) };
        put(7, format!("  {style}{word:<4}{style:#} {}{seen}", f.what))?;
        if !f.remedy.is_empty() {
            put(14, format!("       {LABEL}remedy{LABEL:#} {}", f.remedy))?;
        }
    }
    put(0, format!("\n{LABEL}What uexec will do{LABEL:#}"))?;
    for w in will {
        let style = if w.way.is_some() { GOOD } else { BAD };
        put(10, format!("  {style}{:<7}{style:#} {}", w.what, w.how))?;
        for but in w.but {
            put(14, format!("          {LABEL}but{LABEL:#} {but}"))?;
        }
    }
    out.flush()
}
