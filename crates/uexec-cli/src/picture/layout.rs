//! Where the files and the address space are drawn: segments on the left, mappings on the right,
//! lowest address first, bands between what becomes what.

use std::collections::HashMap;

use super::canvas::{Canvas, Face, MARGIN, WIDTH};
use super::scene::{FileCard, MapBox, Scene, SegmentBox};
use super::size::human;

const FILE_X: f64 = MARGIN;
const FILE_W: f64 = 356.0;
const MAP_X: f64 = 540.0;
const MAP_W: f64 = 360.0;
const TAG_X: f64 = MAP_X + MAP_W + 14.0;
const GAP_H: f64 = 30.0;

/// Top and bottom of something drawn.
type Extent = (f64, f64);

/// Draws both sides and what joins them.
pub(crate) fn draw(canvas: &mut Canvas, scene: &Scene, y: f64) {
    let note = "Segments of the files become mappings. Lowest address first, as in \
                /proc/PID/maps; not to scale. Hatched: zeroes.";
    let top = canvas.heading(y, "Files → address space", note);
    let mut maps = Canvas::default();
    let map_at = draw_maps(&mut maps, scene, top);
    let mut files = Canvas::default();
    let segment_at = draw_files(&mut files, scene, top, &map_at);
    // Bands lie below the boxes.
    for j in &scene.joints {
        let Some(m) = scene.maps.iter().find(|m| m.id == j.map) else { continue };
        let key = (j.segment.as_str(), j.zero);
        let (Some(from), Some(to)) = (segment_at.get(&key), map_at.get(m.id.as_str())) else {
            continue;
        };
        let part = |addr: u64| {
            let share = (addr - m.start) as f64 / (m.end - m.start) as f64;
            to.0 + share * (to.1 - to.0)
        };
        let kind = if j.zero { "zero-band" } else { tint(&m.perms) };
        canvas.band(
            [FILE_X + FILE_W, from.0, from.1],
            [MAP_X, part(j.from), part(j.to)],
            format!("band {kind}"),
            (&j.segment, &j.map),
        );
    }
    let bottom = maps.bottom.max(files.bottom);
    canvas.shapes.append(&mut files.shapes);
    canvas.shapes.append(&mut maps.shapes);
    canvas.bottom = canvas.bottom.max(bottom);
    legend(canvas, bottom + 14.0);
}

/// Class of a mapping's or segment's colour, by what may be done with it.
pub(crate) fn tint(perms: &str) -> &'static str {
    match (perms.contains('w'), perms.contains('x'), perms.contains('r')) {
        (true, true, _) => "p-wx",
        (true, ..) => "p-w",
        (_, true, _) => "p-x",
        (_, _, true) => "p-r",
        _ => "p-n",
    }
}

/// A mapping's height grows with its size, slowly.
fn map_height(m: &MapBox) -> f64 {
    let pages = ((m.end - m.start) >> 12).max(1);
    let size = 44.0 + (3.0 * f64::from(pages.ilog2())).min(30.0);
    let tags = 8.0 + 24.0 * m.tags.len() as f64;
    size.max(tags) + if m.cleared.is_empty() { 0.0 } else { 20.0 }
}

fn draw_maps<'s>(canvas: &mut Canvas, scene: &'s Scene, top: f64) -> HashMap<&'s str, Extent> {
    let mut at = HashMap::new();
    let mut y = top;
    let mut before = 0;
    for m in &scene.maps {
        if m.start > before {
            // The kernel's half of all addresses lies above; vsyscall is in it.
            let kernel = m.start >> 63 == 1;
            let size = human(m.start - before);
            let text = if kernel { "the kernel's half".into() } else { format!("{size} free") };
            gap(canvas, y, &text);
            y += GAP_H;
        }
        before = m.end;
        let h = map_height(m);
        canvas.part(&m.id, format!("{} {} {:x}-{:x}", m.name(), m.perms, m.start, m.end), |c| {
            draw_map(c, m, y, h);
        });
        for (i, (id, label, addr)) in m.tags.iter().enumerate() {
            let y = y + 4.0 + 24.0 * i as f64;
            // The one on the stack and those of the registers are parts only here.
            canvas.part(&format!("tag-{id}"), format!("{label} points to {addr:#x}"), |c| {
                c.line([MAP_X + MAP_W, y + 10.0, TAG_X, y + 10.0], "lead");
                c.chip(TAG_X, y, "tag", &format!("{label}  {addr:x}"));
            });
        }
        at.insert(m.id.as_str(), (y, y + h));
        y += h + 2.0;
    }
    at
}

fn draw_map(c: &mut Canvas, m: &MapBox, y: f64, h: f64) {
    c.rect([MAP_X, y, MAP_W, h], 5.0, format!("box {}", tint(&m.perms)));
    let size = human(m.end - m.start);
    let anon = m.path.is_empty();
    if anon {
        c.rect([MAP_X, y, MAP_W, h], 5.0, "zero");
    }
    let room = MAP_W - 30.0 - Face::MONO.width(&m.perms) - 70.0;
    c.text(MAP_X + 12.0, y + 18.0, Face::BOLD, Face::BOLD.fit(m.name(), room));
    c.right(MAP_X + MAP_W - 66.0, y + 18.0, Face::MONO, &m.perms);
    c.right(MAP_X + MAP_W - 10.0, y + 18.0, Face::MONO, &size);
    c.text(MAP_X + 12.0, y + 35.0, Face::SMALL, format!("{:x} – {:x}", m.start, m.end));
    if !anon && !m.path.starts_with('[') {
        c.right(MAP_X + MAP_W - 10.0, y + 35.0, Face::NOTE, &format!("@ {:#x}", m.offset));
    }
    if let Some((addr, len)) = m.cleared.first() {
        let x = MAP_X + 1.0;
        c.rect([x, y + h - 21.0, MAP_W - 2.0, 20.0], 4.0, "zero");
        let text = format!("cleared: {} from {addr:x} to the page's end", human(*len));
        c.text(MAP_X + 12.0, y + h - 7.0, Face::SMALL, text);
    }
}

fn gap(canvas: &mut Canvas, y: f64, text: &str) {
    let mid = y + GAP_H / 2.0 - 1.0;
    let half = Face::NOTE.width(text) / 2.0 + 8.0;
    let middle = MAP_X + MAP_W / 2.0;
    canvas.line([MAP_X + 6.0, mid, middle - half, mid], "fold");
    canvas.line([middle + half, mid, MAP_X + MAP_W - 6.0, mid], "fold");
    canvas.text(middle - half + 8.0, mid + 4.0, Face::NOTE, text);
}

/// Segments by name, and whether it is their file or their zero part.
type SegmentsAt<'s> = HashMap<(&'s str, bool), Extent>;

fn draw_files<'s>(
    canvas: &mut Canvas,
    scene: &'s Scene,
    top: f64,
    map_at: &HashMap<&str, Extent>,
) -> SegmentsAt<'s> {
    let mut at = HashMap::new();
    let mut free = top;
    for file in &scene.files {
        // As near as can be to where its first segment goes.
        let first = file.segments.first().map(|s| s.id.as_str());
        let goal = scene.joints.iter().find(|j| Some(j.segment.as_str()) == first);
        let goal = goal.and_then(|j| map_at.get(j.map.as_str())).map_or(free, |e| e.0 - 42.0);
        let mut y = goal.max(free);
        let start = canvas.shapes.len();
        let from = y;
        y += 42.0;
        for s in &file.segments {
            y = draw_segment(canvas, s, y, &mut at) + 4.0;
        }
        canvas.bottom = canvas.bottom.max(y + 4.0);
        let mut card = Canvas::default();
        card.part(file.id, format!("{} {}", file.role, file.path), |c| card_of(c, file, from, y));
        canvas.shapes.splice(start..start, card.shapes);
        free = y + 24.0;
    }
    at
}

fn card_of(c: &mut Canvas, file: &FileCard, y: f64, bottom: f64) {
    c.rect([FILE_X, y, FILE_W, bottom - y + 4.0], 8.0, "card");
    let room = FILE_W - 24.0;
    c.text(FILE_X + 12.0, y + 17.0, Face::BOLD, Face::BOLD.fit(&file.path, room));
    let bias = match file.bias {
        0 => "at the addresses in its headers".to_owned(),
        bias => format!("moved by {bias:#x}"),
    };
    c.text(FILE_X + 12.0, y + 33.0, Face::NOTE, format!("{}, {bias}", file.role));
}

fn draw_segment<'s>(
    canvas: &mut Canvas,
    s: &'s SegmentBox,
    y: f64,
    at: &mut SegmentsAt<'s>,
) -> f64 {
    let (x, w) = (FILE_X + 8.0, FILE_W - 8.0);
    let bss = s.memsz.saturating_sub(s.filesz);
    let file_h = if s.filesz > 0 { 42.0 } else { 0.0 };
    let zero_h = if bss > 0 || s.filesz == 0 { 22.0 } else { 0.0 };
    let title = format!("PT_LOAD segment {} {}", s.id, s.flags);
    canvas.part(&s.id, title, |c| {
        c.rect([x, y, w, file_h + zero_h], 5.0, format!("box {}", tint(&s.flags)));
        if file_h > 0.0 {
            c.text(x + 12.0, y + 17.0, Face::MONO, format!("PT_LOAD  {}", s.flags));
            c.right(x + w - 10.0, y + 17.0, Face::MONO, &human(s.filesz));
            let place = format!("file {:#x} → address {:#x}", s.offset, s.vaddr);
            c.text(x + 12.0, y + 34.0, Face::SMALL, Face::SMALL.fit(&place, w - 24.0));
        }
        if zero_h > 0.0 {
            c.rect([x + 1.0, y + file_h, w - 2.0, zero_h - 1.0], 4.0, "zero");
            let text = format!("+ {} of zeroes (bss)", human(bss));
            c.text(x + 12.0, y + file_h + 15.0, Face::SMALL, text);
        }
    });
    at.insert((s.id.as_str(), false), (y, y + if file_h > 0.0 { file_h } else { zero_h }));
    at.insert((s.id.as_str(), true), (y + file_h, y + file_h + zero_h.max(2.0)));
    y + file_h + zero_h
}

/// What the colours mean.
fn legend(canvas: &mut Canvas, y: f64) {
    let mut x = MARGIN;
    let all = [
        ("p-r", "read only"),
        ("p-x", "code"),
        ("p-w", "writable"),
        ("p-wx", "writable code"),
        ("p-n", "no access"),
    ];
    for (class, text) in all {
        canvas.rect([x, y, 16.0, 12.0], 3.0, format!("box {class}"));
        canvas.text(x + 22.0, y + 10.0, Face::NOTE, text);
        x += 44.0 + Face::NOTE.width(text);
    }
    canvas.rect([x, y, 16.0, 12.0], 3.0, "box p-w");
    canvas.rect([x, y, 16.0, 12.0], 3.0, "zero");
    canvas.text(x + 22.0, y + 10.0, Face::NOTE, "zeroes");
    debug_assert!(x < WIDTH);
}
