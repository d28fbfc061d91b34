//! Lines of a trace for a person, fitted to the terminal. Only writes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use crate::fit::{cut, wrap};
use crate::style::LABEL;

/// Columns that a line's head takes: time, process.
const HEAD: usize = 18;
/// Columns that are always left for text, however deep it stands.
const LEAST: usize = 24;
/// More levels are not drawn even where there is no end to a line.
const DEEPEST: usize = 40;

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
        let width = self.width();
        let mut line = head(place, width).0 + text;
        if let Some(width) = width {
            line = cut(line, width);
        }
        self.put(&line)
    }

    /// The last line, which is of no process.
    pub(super) fn end(&mut self, t: f64, text: &str) -> io::Result<()> {
        self.put(&format!("{LABEL}{t:>9.4} {:>7} {LABEL:#}{text}", ""))
    }

    /// As many lines as it takes; those after the first are indented by as much.
    pub(super) fn whole(&mut self, place: Place, text: &str, indent: usize) -> io::Result<()> {
        let width = self.width();
        let (head, columns) = head(place, width);
        let width = width.map_or(usize::MAX, |width| width.saturating_sub(columns).max(LEAST));
        for (n, part) in wrap(text, width, indent).iter().enumerate() {
            let indent = if n > 0 { indent } else { 0 };
            self.put(&format!("{head}{:indent$}{part}", ""))?;
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

/// What a line begins with, and how many columns that takes. Levels deeper than there is room for
/// are a number.
fn head(Place { t, pid, depth }: Place, width: Option<usize>) -> (String, usize) {
    let most = width.map_or(DEEPEST, |width| width.saturating_sub(LEAST + HEAD + 8) / 2);
    let depth = depth as usize;
    let (levels, more) = match depth.checked_sub(most.clamp(1, DEEPEST)) {
        None | Some(0) => (depth, String::new()),
        Some(more) => (depth - more, format!("+{more} ")),
    };
    let guides = "│ ".repeat(levels);
    let columns = HEAD + 2 * levels + more.len();
    (format!("{LABEL}{t:>9.4} {pid:>7} {guides}{more}{LABEL:#}"), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_levels_leave_room_for_text() {
        let at = |depth, width| {
            let (text, columns) = head(Place { t: 1.0, pid: 7, depth }, width);
            let text = anstream::adapter::strip_str(&text).to_string();
            assert_eq!(text.chars().count(), columns);
            text[18..].to_owned()
        };
        assert_eq!(at(2, Some(80)), "│ │ ");
        assert_eq!(at(100, Some(60)), "│ │ │ │ │ +95 ");
        assert_eq!(at(41, None), "│ ".repeat(40) + "+1 ");
        assert_eq!(at(3, Some(42)), "│ +2 ");
    }
}
