//! Lines of a trace for a person, fitted to the terminal. Only writes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthChar;

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

/// Characters with the columns that each takes; those of a colour's sequence take none.
fn columns(text: &str) -> impl Iterator<Item = (char, usize)> {
    let mut sequence = false;
    text.chars().map(move |c| {
        let within = sequence || c == '\x1b';
        sequence = within && c != 'm';
        (c, if within { 0 } else { c.width().unwrap_or(0) })
    })
}

fn width_of(text: &str) -> usize {
    columns(text).map(|(_, width)| width).sum()
}

/// As much of a line as there is room for.
fn cut(line: String, width: usize) -> String {
    if width_of(&line) <= width {
        return line;
    }
    let mut used = 0;
    let mut out = String::new();
    let mut coloured = false;
    for (c, columns) in columns(&line) {
        used += columns;
        if used >= width {
            break;
        }
        coloured |= c == '\x1b';
        out.push(c);
    }
    out + if coloured { "…\x1b[0m" } else { "…" }
}

/// Text in lines of this width, all but the first one of `indent` columns less. Broken between
/// words, and within one that is too long.
fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut used, mut room) = (0, width);
    for word in text.split_inclusive(' ') {
        let needed = width_of(word.trim_end());
        if used + needed > room && used > 0 {
            lines.push(String::new());
            (used, room) = (0, width.saturating_sub(indent));
        }
        for (c, columns) in columns(word) {
            if used + columns > room {
                if c == ' ' {
                    continue;
                }
                lines.push(String::new());
                (used, room) = (0, width.saturating_sub(indent));
            }
            used += columns;
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_columns_and_keep_their_colours() {
        assert_eq!(cut("abcdef".into(), 6), "abcdef");
        assert_eq!(cut("abcdefg".into(), 6), "abcde…");
        // Two columns each.
        assert_eq!(cut("日本日本".into(), 6), "日本…");
        assert_eq!(cut("a\u{301}bcdefg".into(), 6), "a\u{301}bcde…");
        assert_eq!(cut("\x1b[2mabc\x1b[0mdefg".into(), 6), "\x1b[2mabc\x1b[0mde…\x1b[0m");
        assert_eq!(cut("\x1b[2mabc\x1b[0mdef".into(), 6), "\x1b[2mabc\x1b[0mdef");
    }

    #[test]
    fn text_is_wrapped_whole() {
        assert_eq!(wrap("one two", 7, 2), ["one two"]);
        assert_eq!(wrap("one two three", 7, 2), ["one two", "three"]);
        assert_eq!(wrap("one two three", 6, 2), ["one", "two", "thre", "e"]);
        assert_eq!(wrap("/a/long/path:x", 6, 2), ["/a/lon", "g/pa", "th:x"]);
        assert_eq!(wrap("日本日本", 5, 1), ["日本", "日本"]);
        assert_eq!(wrap("", 5, 1), [""]);
        assert_eq!(wrap("a b", usize::MAX, 1), ["a b"]);
    }
}
