//! Where the first stack is drawn: the tables on the left, word by word, what they point to on the
//! right; long runs of arguments and environment strings are folded.

use std::collections::HashMap;

use super::canvas::{Canvas, Face, MARGIN, WIDTH};
use super::meaning;
use super::scene::Scene;
use super::size::human;
use crate::explain::words::{FirstStack, Part, PartKind, Word, WordKind};

const ROW: f64 = 24.0;
const WORD_W: f64 = 540.0;
const PART_X: f64 = 700.0;
const PART_W: f64 = WIDTH - MARGIN - PART_X;

/// How many of a run are drawn before it is folded.
#[derive(Clone, Copy)]
pub(crate) struct Fold {
    /// Longest run that is drawn whole.
    pub(crate) most: usize,
    /// Of a longer one: how many at its start; one more is drawn at its end.
    pub(crate) first: usize,
}

impl Fold {
    /// What fits a sheet.
    pub(crate) const SHORT: Fold = Fold { most: 8, first: 5 };
    /// For who wants to see all.
    pub(crate) const LONG: Fold = Fold { most: 2000, first: 1900 };

    /// Whether the item at `index` of a run of `len` is hidden.
    fn hides(self, index: usize, len: usize) -> bool {
        len > self.most && index >= self.first && index + 1 < len
    }

    /// How many of a run are hidden.
    pub(crate) fn hidden(self, len: usize) -> usize {
        if len > self.most { len - self.first - 1 } else { 0 }
    }
}

/// A row: something, or so many of something that are not drawn.
enum Row<T> {
    One(T),
    Folded(usize),
}

/// The rows of a list, runs of one kind folded.
fn rows<T, K: PartialEq>(all: &[T], fold: Fold, run: impl Fn(&T) -> Option<K>) -> Vec<Row<&T>> {
    let mut out = Vec::new();
    for chunk in all.chunk_by(|a, b| run(a).is_some() && run(a) == run(b)) {
        for (i, item) in chunk.iter().enumerate() {
            if !fold.hides(i, chunk.len()) {
                out.push(Row::One(item));
            } else if i == fold.first {
                out.push(Row::Folded(fold.hidden(chunk.len())));
            }
        }
    }
    out
}

/// Draws the stack from `rsp` to its end.
pub(crate) fn draw(canvas: &mut Canvas, scene: &Scene, fold: Fold, y: f64) {
    let Some(stack) = &scene.stack else { return };
    let rsp = stack.words.first().map_or(0, |w| w.addr);
    let end = stack.parts.last().map_or(rsp, |p| p.addr + p.len_bytes);
    let note = format!(
        "What the program finds at rsp: {} from {rsp:x} to {end:x}, lowest address first.",
        human(end - rsp)
    );
    let top = canvas.heading(y, "The first stack", &note);
    let parts = draw_parts(canvas, stack, fold, top);
    draw_words(canvas, scene, stack, fold, top, &parts);
}

fn draw_parts(
    canvas: &mut Canvas,
    stack: &FirstStack,
    fold: Fold,
    top: f64,
) -> HashMap<String, f64> {
    let kind = |p: &Part| match p.kind {
        PartKind::Argument | PartKind::Environment => Some(p.kind),
        _ => None,
    };
    let mut at = HashMap::new();
    let mut y = top;
    for row in rows(&stack.parts, fold, kind) {
        match row {
            Row::One(p) => {
                let title = format!("{} at {:x}: {}", p.name, p.addr, p.text);
                canvas.part(&p.id, title, |c| draw_part(c, p, y));
                at.insert(p.id.clone(), y + ROW / 2.0);
            }
            Row::Folded(n) => folded(canvas, PART_X, PART_W, y, n),
        }
        y += ROW;
    }
    at
}

fn draw_part(c: &mut Canvas, p: &Part, y: f64) {
    let class = match p.kind {
        PartKind::Room => "room",
        PartKind::Data => "k-data",
        PartKind::Argument => "k-arg",
        PartKind::Environment => "k-env",
    };
    c.rect([PART_X, y, PART_W, ROW - 2.0], 4.0, format!("box {class}"));
    let base = y + 15.0;
    c.text(PART_X + 8.0, base, Face::NOTE, format!("{:x}", p.addr));
    let x = PART_X + 100.0;
    let room = PART_W - 108.0;
    let (face, text) = match p.kind {
        PartKind::Room => {
            (Face::NOTE, format!("{} of {} ({})", human(p.len_bytes), p.text, p.name))
        }
        PartKind::Data if p.id == "random" => (Face::SMALL, p.text.clone()),
        PartKind::Data => (Face::SMALL, format!("\"{}\"  ({})", p.text, p.name)),
        _ => (Face::SMALL, format!("\"{}\"", p.text)),
    };
    c.text(x, base, face, face.fit(&text, room));
}

fn draw_words(
    canvas: &mut Canvas,
    scene: &Scene,
    stack: &FirstStack,
    fold: Fold,
    top: f64,
    parts: &HashMap<String, f64>,
) {
    let kind = |w: &Word| match w.kind {
        WordKind::Argv => Some("argv"),
        WordKind::Envp => Some("envp"),
        _ => None,
    };
    let mut y = top;
    for row in rows(&stack.words, fold, kind) {
        match row {
            Row::One(w) => {
                let target = scene.links.of(&w.id).find_map(|l| Some((l, *parts.get(l)?)));
                let title = format!("{} at {:x}: {:#x}", w.name, w.addr, w.value);
                let note = match target {
                    Some(_) => String::new(),
                    None => note(scene, w),
                };
                canvas.part(&w.id, title, |c| draw_word(c, w, y, &note));
                if let Some((part, to)) = target {
                    let from = [MARGIN + WORD_W + 2.0, y + ROW / 2.0 - 1.0];
                    let class = match w.kind {
                        WordKind::Argv => "arrow k-arg",
                        WordKind::Envp => "arrow k-env",
                        _ => "arrow k-data",
                    };
                    canvas.arrow(from, [PART_X - 2.0, to - 1.0], class, (&w.id, part));
                }
            }
            Row::Folded(n) => folded(canvas, MARGIN, WORD_W, y, n),
        }
        y += ROW;
    }
}

fn draw_word(c: &mut Canvas, w: &Word, y: f64, note: &str) {
    let class = match w.kind {
        WordKind::Argc | WordKind::Argv => "k-arg",
        WordKind::Envp => "k-env",
        WordKind::Null => "room",
        WordKind::Auxv(_) => "k-data",
    };
    c.rect([MARGIN, y, WORD_W, ROW - 2.0], 4.0, format!("box {class}"));
    let base = y + 15.0;
    c.text(MARGIN + 8.0, base, Face::NOTE, format!("{:x}", w.addr));
    c.text(MARGIN + 100.0, base, Face::SMALL, Face::SMALL.fit(&w.name, 144.0));
    let value = match w.kind {
        WordKind::Argc => w.value.to_string(),
        WordKind::Null => "0".into(),
        _ => format!("{:#x}", w.value),
    };
    c.text(MARGIN + 248.0, base, Face::SMALL, value);
    let x = MARGIN + 380.0;
    c.text(x, base, Face::NOTE, Face::NOTE.fit(note, WORD_W - 388.0));
}

/// What a word says that is not a pointer into the stack.
fn note(scene: &Scene, w: &Word) -> String {
    match w.kind {
        WordKind::Argc => "how many arguments".into(),
        WordKind::Null if w.id == "argv-end" => "end of argv".into(),
        WordKind::Null => "end of envp".into(),
        WordKind::Auxv(a_type) => match scene.map_at(w.value) {
            Some(m) if meaning::is_address(a_type) => format!("↑ {} {}", m.name(), m.perms),
            _ => meaning::value(a_type, w.value),
        },
        _ => String::new(),
    }
}

fn folded(canvas: &mut Canvas, x: f64, w: f64, y: f64, count: usize) {
    canvas.rect([x, y, w, ROW - 2.0], 4.0, "box folded");
    canvas.text(x + 100.0, y + 15.0, Face::NOTE, format!("… {count} more"));
}
