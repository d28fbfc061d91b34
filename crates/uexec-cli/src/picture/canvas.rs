//! Shapes on a sheet: what both forms of the picture are made of. Knows nothing of an exec.

use std::fmt::Write as _;

/// Width of every sheet.
pub(crate) const WIDTH: f64 = 1200.0;
/// Left and right margin.
pub(crate) const MARGIN: f64 = 24.0;

/// A typeface: its class, its size, and the width of its characters in parts of the size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Face {
    pub(crate) class: &'static str,
    pub(crate) size: f64,
    em: f64,
    /// Not of fixed width: capitals and broad letters take more.
    sans: bool,
}

impl Face {
    pub(crate) const TITLE: Face = Face { class: "t1", size: 26.0, em: 0.62, sans: true };
    pub(crate) const HEAD: Face = Face { class: "t2", size: 17.0, em: 0.62, sans: true };
    pub(crate) const TEXT: Face = Face { class: "t3", size: 13.0, em: 0.6, sans: true };
    pub(crate) const LARGE: Face = Face { class: "t4", size: 16.0, em: 0.6, sans: true };
    pub(crate) const DIM: Face = Face { class: "t3 dim", size: 13.0, em: 0.6, sans: true };
    pub(crate) const MONO: Face = Face { class: "m1", size: 12.0, em: 0.61, sans: false };
    pub(crate) const BOLD: Face = Face { class: "m1 b", size: 12.0, em: 0.61, sans: false };
    pub(crate) const SMALL: Face = Face { class: "m2", size: 11.0, em: 0.61, sans: false };
    pub(crate) const NOTE: Face = Face { class: "m2 dim", size: 11.0, em: 0.61, sans: false };
    pub(crate) const BYTES: Face = Face { class: "m3", size: 14.0, em: 0.61, sans: false };

    /// Room that a text takes at most.
    pub(crate) fn width(self, text: &str) -> f64 {
        text.chars().map(|c| self.cells(c)).sum::<f64>() * self.size * self.em
    }

    /// The text, shortened in its middle to fit.
    pub(crate) fn fit(self, text: &str, room: f64) -> String {
        if self.width(text) <= room {
            return text.to_owned();
        }
        let chars: Vec<char> = text.chars().collect();
        let unit = self.size * self.em;
        let half = (room / unit - 1.0) / 2.0;
        let take = |iter: &mut dyn Iterator<Item = &char>| {
            let mut used = 0.0;
            let mut out: Vec<char> = Vec::new();
            for c in iter {
                used += self.cells(*c);
                if used > half {
                    break;
                }
                out.push(*c);
            }
            out
        };
        let head = take(&mut chars.iter());
        let mut tail = take(&mut chars.iter().rev());
        tail.reverse();
        head.into_iter().chain(['…']).chain(tail).collect()
    }

    /// How many ordinary characters this one is as wide as.
    fn cells(self, c: char) -> f64 {
        match c {
            'm' | 'w' | 'M' | 'W' | '@' | '%' if self.sans => 1.6,
            'A'..='Z' | '_' | '#' if self.sans => 1.25,
            c => cells(c),
        }
    }

    /// The text in lines that fit, broken at spaces where there are some.
    pub(crate) fn wrap(self, text: &str, room: f64) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let word = self.fit(word, room);
            let Some(line) = lines.last_mut() else { break };
            let joined = if line.is_empty() { word.clone() } else { format!("{line} {word}") };
            if self.width(&joined) <= room {
                *line = joined;
            } else {
                lines.push(word);
            }
        }
        lines
    }
}

/// Columns of a character in a typeface of fixed width.
fn cells(c: char) -> f64 {
    match c as u32 {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2.0,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f000.. => 2.4,
        0x2200..=0x2bff => 1.6,
        0x80.. => 1.2,
        _ => 1.0,
    }
}

/// One thing to draw.
pub(crate) enum Shape {
    Rect {
        x: f64,
        y: f64,
        w: f64,
        h: f64,
        r: f64,
        class: String,
    },
    Text {
        x: f64,
        y: f64,
        face: Face,
        class: &'static str,
        text: String,
    },
    /// A path; `ends` are the parts it joins.
    Path {
        d: String,
        class: String,
        ends: Option<(String, String)>,
    },
    /// What follows, up to [`Shape::Close`], is one part with a name and a title.
    Open {
        id: String,
        title: String,
    },
    Close,
}

/// A sheet that grows downwards.
#[derive(Default)]
pub(crate) struct Canvas {
    pub(crate) shapes: Vec<Shape>,
    pub(crate) bottom: f64,
}

impl Canvas {
    pub(crate) fn rect(&mut self, [x, y, w, h]: [f64; 4], r: f64, class: impl Into<String>) {
        self.shapes.push(Shape::Rect { x, y, w, h, r, class: class.into() });
        self.bottom = self.bottom.max(y + h);
    }

    /// Text whose baseline starts at a point.
    pub(crate) fn text(&mut self, x: f64, y: f64, face: Face, text: impl Into<String>) {
        self.styled(x, y, face, "", text);
    }

    pub(crate) fn styled(
        &mut self,
        x: f64,
        y: f64,
        face: Face,
        class: &'static str,
        text: impl Into<String>,
    ) {
        self.shapes.push(Shape::Text { x, y, face, class, text: text.into() });
        self.bottom = self.bottom.max(y + 4.0);
    }

    /// Text that ends at a point: placed by its start, so that its room is known.
    pub(crate) fn right(&mut self, x: f64, y: f64, face: Face, text: &str) {
        self.shapes.push(Shape::Text { x, y, face, class: "end", text: text.to_owned() });
    }

    /// A rounded label; returns its right edge.
    pub(crate) fn chip(&mut self, x: f64, y: f64, class: &str, text: &str) -> f64 {
        let w = Face::SMALL.width(text) + 14.0;
        self.rect([x, y, w, 20.0], 10.0, format!("chip {class}"));
        self.text(x + 7.0, y + 14.0, Face::SMALL, text);
        x + w
    }

    pub(crate) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], class: &str) {
        let d = format!("M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}");
        self.shapes.push(Shape::Path { d, class: class.into(), ends: None });
    }

    /// A band between two vertical edges.
    pub(crate) fn band(
        &mut self,
        [x1, a1, b1]: [f64; 3],
        [x2, a2, b2]: [f64; 3],
        class: String,
        ends: (&str, &str),
    ) {
        let mid = (x1 + x2) / 2.0;
        let mut d = format!("M{x1:.1} {a1:.1}C{mid:.1} {a1:.1} {mid:.1} {a2:.1} {x2:.1} {a2:.1}");
        let _ = write!(d, "L{x2:.1} {b2:.1}C{mid:.1} {b2:.1} {mid:.1} {b1:.1} {x1:.1} {b1:.1}Z");
        let ends = Some((ends.0.to_owned(), ends.1.to_owned()));
        self.shapes.push(Shape::Path { d, class, ends });
    }

    /// An arrow from one point to another on its right.
    pub(crate) fn arrow(&mut self, from: [f64; 2], to: [f64; 2], class: &str, ends: (&str, &str)) {
        let ([x1, y1], [x2, y2]) = (from, to);
        let mid = (x1 + x2) / 2.0;
        let tip = x2 - 5.0;
        let d = format!(
            "M{x1:.1} {y1:.1}C{mid:.1} {y1:.1} {mid:.1} {y2:.1} {tip:.1} {y2:.1}\
             M{tip:.1} {:.1}L{x2:.1} {y2:.1}L{tip:.1} {:.1}",
            y2 - 3.5,
            y2 + 3.5
        );
        let ends = Some((ends.0.to_owned(), ends.1.to_owned()));
        self.shapes.push(Shape::Path { d, class: class.into(), ends });
    }

    /// Draws one part of the exec.
    pub(crate) fn part(&mut self, id: &str, title: String, draw: impl FnOnce(&mut Canvas)) {
        self.shapes.push(Shape::Open { id: id.to_owned(), title });
        draw(self);
        self.shapes.push(Shape::Close);
    }

    /// A heading of a section with an explaining line; returns where its contents start.
    pub(crate) fn heading(&mut self, y: f64, text: &str, note: &str) -> f64 {
        self.text(MARGIN, y + 18.0, Face::HEAD, text);
        self.text(MARGIN, y + 38.0, Face::DIM, note);
        y + 54.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_keeps_both_ends() {
        let short = Face::MONO.fit("/a/very/long/path/to/a/file.so", 100.0);
        assert!(Face::MONO.width(&short) <= 100.0 + 2.0 * Face::MONO.width("m"));
        assert!(short.starts_with("/a/") && short.ends_with(".so") && short.contains('…'));
        assert_eq!(Face::MONO.fit("short", 100.0), "short");
    }

    #[test]
    fn wrapping_loses_no_word() {
        let lines = Face::TEXT.wrap("one two three four five", 60.0);
        assert_eq!(lines.join(" "), "one two three four five");
        assert!(lines.iter().all(|l| Face::TEXT.width(l) <= 60.0));
    }
}
