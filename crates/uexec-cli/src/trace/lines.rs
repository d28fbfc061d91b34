//! Lines of a trace for a person, fitted to the terminal. Only writes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use crate::fit::{cut, wrap};
use crate::style::LABEL;

/// Columns that a line's head takes: time, process.
const HEAD: usize = 18;
/// Columns that are always left for text, however deep it stands.
const LEAST: usize = 24;

/// Where lines go.
pub(super) struct Lines {
    out: File,
    colours: bool,
    terminal: bool,
}

/// Where a line stands: when, who, how deep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) t: f64,
    pub(super) pid: i32,
    pub(super) depth: u32,
}

impl Lines {
    pub(super) fn new(out: File) -> Lines {
        let colours = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
        let terminal = out.is_terminal();
        Lines { out, colours, terminal }
    }

    /// Columns of the terminal now: its window may have changed.
    fn width(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(&self.out).ok().filter(|_| self.terminal)?;
        Some(usize::from(size.ws_col)).filter(|width| *width >= HEAD + LEAST)
    }

    /// One line; what has no room is left out.
    pub(super) fn line(&mut self, place: Place, text: &str) -> io::Result<()> {
        let mut line = head(place) + text;
        if let Some(width) = self.width() {
            line = cut(line, width);
        }
        self.put(&line)
    }

    /// As many lines as it takes; those after the first are indented by as much.
    pub(super) fn whole(&mut self, place: Place, text: &str, indent: usize) -> io::Result<()> {
        let room = |width: usize| width.saturating_sub(HEAD + 2 * place.depth as usize).max(LEAST);
        let width = self.width().map_or(usize::MAX, room);
        for (n, part) in wrap(text, width, indent).iter().enumerate() {
            let indent = if n > 0 { indent } else { 0 };
            self.put(&format!("{}{:indent$}{part}", head(place), ""))?;
        }
        Ok(())
    }

    /// Written at once, as the command writes to the same place.
    fn put(&mut self, line: &str) -> io::Result<()> {
        let mut line = match self.colours {
            true => line.to_owned(),
            false => anstream::adapter::strip_str(line).to_string(),
        };
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }
}

fn head(Place { t, pid, depth }: Place) -> String {
    let guides = "│ ".repeat(depth as usize);
    format!("{LABEL}{t:>9.4} {pid:>7} {guides}{LABEL:#}")
}
