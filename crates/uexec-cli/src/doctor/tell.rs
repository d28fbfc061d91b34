//! Tells what was found, to people or as JSON. Decides nothing.

use std::io::{self, Write};

use super::finding::{Health, Outcome};
use crate::style::{BAD, GOOD, LABEL, ODD};

/// Writes all of it to standard output.
pub(super) fn tell(health: &Health, json: bool) -> io::Result<()> {
    if json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, health)?;
        return writeln!(out);
    }
    let mut out = anstream::stdout().lock();
    let Health { kernel, machine, uid, findings, will } = health;
    writeln!(out, "Linux {kernel} on {machine}, as user {uid}\n\n{LABEL}This host{LABEL:#}")?;
    for f in findings {
        let (style, word) = match f.outcome {
            Outcome::Yes => (GOOD, "yes"),
            Outcome::No => (BAD, "no"),
            Outcome::Note => (ODD, "note"),
        };
        let seen = if f.seen.is_empty() { String::new() } else { format!(": {}", f.seen) };
        writeln!(out, "  {style}{word:<4}{style:#} {}{seen}", f.what)?;
        if !f.remedy.is_empty() {
            writeln!(out, "       {LABEL}remedy{LABEL:#} {}", f.remedy)?;
        }
    }
    writeln!(out, "\n{LABEL}What uexec will do{LABEL:#}")?;
    for w in will {
        let style = if w.way.is_some() { GOOD } else { BAD };
        writeln!(out, "  {style}{:<7}{style:#} {}", w.what, w.how)?;
    }
    out.flush()
}
