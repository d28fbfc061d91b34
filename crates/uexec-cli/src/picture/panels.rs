//! The rest of the sheet: verdict and chain, the stages, the fault, ASLR, the story.

use super::canvas::{Canvas, Face, MARGIN, WIDTH};
use super::scene::Scene;
use super::size::human;
use crate::explain::fault::Fault;

/// Stages in the order in which an exec gets there; the cliff lies before `stack`.
pub(crate) const STAGES: [&str; 12] = [
    "path",
    "open",
    "args",
    "search",
    "binfmt_script",
    "script.interp",
    "binfmt_elf",
    "elf.interp",
    "creds",
    "stack",
    "map",
    "map.interp",
];
/// The first stage after the point of no return.
const CLIFF: &str = "stack";

const INNER: f64 = WIDTH - 2.0 * MARGIN;

/// The program, the verdict, who it runs as, and the chain of interpreters.
pub(crate) fn head(canvas: &mut Canvas, scene: &Scene, y: f64) {
    let e = &scene.e;
    let verdict = match &e.error {
        None => "starts".to_owned(),
        Some(f) => match f.signal {
            None => f.errno.to_owned(),
            Some(signal) => format!("{}, killed by {signal}", f.errno),
        },
    };
    let class = if e.error.is_none() { "good" } else { "bad" };
    let mid = if e.error.is_none() { "good mid" } else { "bad mid" };
    let w = Face::LARGE.width(&verdict) + 28.0;
    let title = Face::TITLE.fit(&e.program, INNER - w - 20.0);
    canvas.text(MARGIN, y + 30.0, Face::TITLE, title);
    canvas.part("verdict", format!("verdict: {verdict}"), |c| {
        let x = WIDTH - MARGIN - w;
        c.rect([x, y + 6.0, w, 32.0], 16.0, format!("badge {class}"));
        c.styled(x + w / 2.0, y + 27.5, Face::LARGE, mid, verdict);
    });
    let mut line = format!("argv  {}", e.argv.join("  "));
    if let Some(c) = &e.creds {
        line = format!("user {}, group {}   {line}", c.euid, c.egid);
    }
    canvas.text(MARGIN, y + 54.0, Face::NOTE, Face::NOTE.fit(&line, INNER));
    let y = chain(canvas, scene, y + 72.0);
    stages(canvas, scene, y + 12.0);
}

/// Who names whom as interpreter.
fn chain(canvas: &mut Canvas, scene: &Scene, mut y: f64) -> f64 {
    let e = &scene.e;
    let loader = e.image.as_ref().and_then(|i| i.interp.as_deref());
    let links = e.chain.iter().map(|l| (l.path.as_str(), l.format.as_str()));
    let all: Vec<(&str, &str)> = links.chain(loader.map(|l| (l, "loader"))).collect();
    let mut x = MARGIN;
    for (i, (path, format)) in all.iter().enumerate() {
        let format = if format.is_empty() { "unknown" } else { format };
        let path = Face::BOLD.fit(path, 420.0);
        let w = Face::BOLD.width(&path) + Face::NOTE.width(format) + 34.0;
        let arrow = if i > 0 { 30.0 } else { 0.0 };
        if x + arrow + w > WIDTH - MARGIN && x > MARGIN {
            x = MARGIN;
            y += 38.0;
        }
        if i > 0 {
            canvas.arrow([x + 4.0, y + 15.0], [x + 26.0, y + 15.0], "arrow", ("", ""));
            x += arrow;
        }
        let id = if *format == *"loader" { "chain-loader".into() } else { format!("chain-{i}") };
        canvas.part(&id, format!("{path}, {format}"), |c| {
            c.rect([x, y, w, 30.0], 8.0, "card");
            c.text(x + 12.0, y + 19.0, Face::BOLD, path.as_str());
            c.text(x + 22.0 + Face::BOLD.width(&path), y + 19.0, Face::NOTE, format);
        });
        x += w;
    }
    if all.is_empty() { y } else { y + 30.0 }
}

/// How far the exec came.
fn stages(canvas: &mut Canvas, scene: &Scene, y: f64) {
    let failed = scene.e.error.as_ref().map(|f| f.stage);
    let limit = failed.and_then(|f| STAGES.iter().position(|s| *s == f));
    let mut x = MARGIN;
    for (i, stage) in STAGES.iter().enumerate() {
        if *stage == CLIFF {
            canvas.line([x + 3.0, y - 5.0, x + 3.0, y + 25.0], "cliff");
            canvas.text(x - 62.0, y + 38.0, Face::NOTE, "point of no return");
            x += 14.0;
        }
        // The first four are on every way; of the others, those that something was decided in.
        let told = scene.e.story.iter().any(|t| t.stage == *stage);
        let reached = limit.is_none_or(|l| i < l) && (told || i < 4);
        let class = match (failed == Some(*stage), reached) {
            (true, _) => "bad",
            (_, true) => "good",
            _ => "off",
        };
        canvas.part(&format!("stage-{stage}"), format!("stage {stage}"), |c| {
            x = c.chip(x, y, class, stage) + 8.0;
        });
    }
    canvas.bottom = canvas.bottom.max(y + 44.0);
}

/// Why it fails, with the bytes at fault.
pub(crate) fn fault(canvas: &mut Canvas, scene: &Scene, y: f64) {
    let Some(f) = &scene.e.error else { return };
    let start = canvas.shapes.len();
    let mut at = y + 30.0;
    let x = MARGIN + 20.0;
    for line in Face::LARGE.wrap(&f.why, INNER - 40.0) {
        canvas.text(x, at, Face::LARGE, line);
        at += 24.0;
    }
    let mut facts = format!("{} ({}) in stage {}", f.errno, f.number, f.stage);
    if !f.spec.is_empty() {
        facts.push_str(&format!(", {}", f.spec));
    }
    if let Some(file) = &f.file {
        facts.push_str(&format!("   file {file}"));
    }
    canvas.text(x, at, Face::NOTE, Face::NOTE.fit(&facts, INNER - 40.0));
    at += 20.0;
    if let Some(bytes) = &scene.fault {
        canvas.part("fault", "the bytes at fault".into(), |c| at = excerpt(c, bytes, x, at));
    }
    if !f.hint.is_empty() {
        at += 14.0;
        canvas.styled(x, at, Face::TEXT, "good", "hint");
        for line in Face::TEXT.wrap(&f.hint, INNER - 100.0) {
            canvas.text(x + 44.0, at, Face::TEXT, line);
            at += 20.0;
        }
    }
    let mut card = Canvas::default();
    card.rect([MARGIN, y, INNER, at - y + 4.0], 10.0, "card");
    card.rect([MARGIN, y, 5.0, at - y + 4.0], 2.5, "edge-bad");
    canvas.shapes.splice(start..start, card.shapes);
    canvas.bottom = canvas.bottom.max(at + 8.0);
}

/// A line of a script, or rows of bytes; one cell a byte, so that the mark stands where it should.
fn excerpt(c: &mut Canvas, f: &Fault, x: f64, y: f64) -> f64 {
    let per_row = if f.line { 110 } else { 16 };
    let step = if f.line { 8.6 } else { 28.0 };
    let left = x + if f.line { 34.0 } else { 104.0 };
    let rows = f.bytes.len().div_ceil(per_row).max(1);
    c.rect([x, y, INNER - 40.0, rows as f64 * 26.0 + 16.0], 6.0, "bytes");
    for row in 0..rows {
        let base = y + 26.0 + row as f64 * 26.0;
        let first = row * per_row;
        let label = if f.line { "1".to_owned() } else { format!("{:08x}", f.start + first as u64) };
        c.text(x + 12.0, base, Face::NOTE, label);
        let bytes = f.bytes.iter().skip(first).take(per_row);
        for (i, b) in bytes.map(Some).chain([None]).enumerate().take(per_row) {
            let offset = f.start + (first + i) as u64;
            let from_mark = offset.wrapping_sub(f.offset);
            let marked = from_mark < f.len_bytes.max(1);
            let at = left + i as f64 * step;
            // A mark may also stand just after the last byte: something is missing there.
            if marked && (from_mark == 0 || i == 0) && (b.is_some() || row + 1 == rows) {
                let left_in_row = (per_row - i).min((f.bytes.len() - first - i).max(1));
                let count = (f.len_bytes.max(1) - from_mark).min(left_in_row as u64);
                let pad = if f.line { 1.0 } else { 5.0 };
                let w = count as f64 * step + if f.line { 2.0 } else { -1.0 };
                c.rect([at - pad, base - 16.0, w, 22.0], 3.0, "mark");
            }
            let Some(b) = b else { continue };
            let text = if f.line { cell(*b) } else { format!("{b:02x}") };
            if text != " " {
                c.styled(at, base, Face::BYTES, if marked { "marked" } else { "" }, text);
            }
            if !f.line {
                c.text(left + 16.0 * step + 24.0 + i as f64 * 8.6, base, Face::BYTES, cell(*b));
            }
        }
    }
    y + rows as f64 * 26.0 + 26.0
}

fn cell(b: u8) -> String {
    match b {
        b' '..=b'~' => char::from(b).to_string(),
        b'\t' => "→".into(),
        b'\r' => "␍".into(),
        0 => "·".into(),
        _ => "▫".into(),
    }
}

/// How far each part may move.
pub(crate) fn ranges(canvas: &mut Canvas, scene: &Scene, y: f64) {
    if scene.ranges.is_empty() {
        return;
    }
    let note = "How far each may move from exec to exec; the mark is where it is this time.";
    let mut y = canvas.heading(y, "Randomisation", note);
    let (x, w) = (MARGIN + 360.0, INNER - 360.0 - 250.0);
    for r in &scene.ranges {
        let title = format!("{}: {} bits of randomness", r.what, r.bits());
        canvas.part(&format!("aslr-{}", r.id), title, |c| {
            c.rect([MARGIN, y, INNER, 46.0], 6.0, "row");
            c.text(MARGIN + 10.0, y + 19.0, Face::TEXT, Face::TEXT.fit(r.what, 335.0));
            c.text(MARGIN + 10.0, y + 36.0, Face::SMALL, format!("now {:#x}", r.now));
            let span = (r.high - r.low) as f64;
            let class = if span > 0.0 { "range" } else { "range off" };
            c.rect([x, y + 10.0, w, 8.0], 4.0, class);
            let share = if span > 0.0 { (r.now - r.low) as f64 / span } else { 0.5 };
            let at = x + share * w;
            c.rect([at - 2.5, y + 5.0, 5.0, 18.0], 2.5, "now");
            if span > 0.0 {
                c.text(x, y + 38.0, Face::NOTE, format!("{:x}", r.low));
                c.right(x + w, y + 38.0, Face::NOTE, &format!("{:x}", r.high));
            }
            let right = x + w + 24.0;
            let bits = match r.bits() {
                0 => "fixed".to_owned(),
                bits => format!("{bits} bits, {}", human(r.high - r.low + r.grain)),
            };
            c.text(right, y + 19.0, Face::BOLD, bits);
            let unit = if r.grain == 16 { "steps of 16 bytes" } else { "whole pages" };
            let unit = if r.bits() == 0 { "not random" } else { unit };
            c.text(right, y + 36.0, Face::NOTE, format!("{unit}, {}", r.spec));
        });
        y += 50.0;
    }
}

/// Every decision, in order.
pub(crate) fn story(canvas: &mut Canvas, scene: &Scene, y: f64) {
    if scene.e.story.is_empty() {
        return;
    }
    let mut y = canvas.heading(y, "The story", "Every decision, in the kernel's order.");
    for (i, told) in scene.e.story.iter().enumerate() {
        let lines = Face::TEXT.wrap(&told.what, INNER - 290.0);
        let h = 8.0 + 20.0 * lines.len() as f64;
        let title = format!("{}. {}: {}", i + 1, told.stage, told.what);
        let cliff = told.what.contains("point of no return");
        canvas.part(&format!("story-{i}"), title, |c| {
            c.rect([MARGIN, y, INNER, h], 6.0, "row");
            c.right(MARGIN + 28.0, y + 18.0, Face::NOTE, &(i + 1).to_string());
            c.text(MARGIN + 44.0, y + 18.0, Face::SMALL, told.stage);
            for (n, line) in lines.into_iter().enumerate() {
                c.text(MARGIN + 160.0, y + 18.0 + 20.0 * n as f64, Face::TEXT, line);
            }
            c.right(WIDTH - MARGIN - 10.0, y + 18.0, Face::NOTE, told.spec);
            if cliff {
                c.line([MARGIN, y + h + 1.0, WIDTH - MARGIN, y + h + 1.0], "cliff");
            }
        });
        y += h + if cliff { 5.0 } else { 2.0 };
    }
}
