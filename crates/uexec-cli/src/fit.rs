//! Text that is fitted to the columns of a terminal. Prints nothing.

use unicode_width::UnicodeWidthChar;

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
pub(crate) fn cut(line: String, width: usize) -> String {
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
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
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
