//! A picture of a dead process's address space. Asks nobody: everything is in what is told of its
//! core.

use std::path::Path;

use super::canvas::{Canvas, Face, MARGIN, WIDTH};
use super::layout::tint;
use super::{put, size, svg};
use crate::core::model::{Mapping, Told};

/// Most mappings that are drawn one by one.
const DRAWN: usize = 400;

/// Writes the pictures asked for; `-` is standard output.
pub(crate) fn write(
    told: &Told,
    svg_to: Option<&Path>,
    html_to: Option<&Path>,
) -> std::io::Result<()> {
    let title = format!("{}: its address space, drawn by uexec", told.headline());
    let mut canvas = Canvas::default();
    if svg_to.is_some() || html_to.is_some() {
        draw(&mut canvas, told);
    }
    if let Some(path) = svg_to {
        put(path, &svg::document(&canvas, &title))?;
    }
    if let Some(path) = html_to {
        put(path, &super::html::plain(&svg::document(&canvas, &title), &title))?;
    }
    Ok(())
}

fn draw(c: &mut Canvas, told: &Told) {
    let headline = svg::visible(&told.headline());
    c.text(MARGIN, 44.0, Face::TITLE, Face::TITLE.fit(&headline, WIDTH - 2.0 * MARGIN));
    let mut y = 58.0;
    let story = told.fault.as_ref().map_or("", |f| &f.story);
    for line in Face::TEXT.wrap(&svg::visible(story), WIDTH - 2.0 * MARGIN) {
        y += 18.0;
        c.text(MARGIN, y, Face::TEXT, line);
    }
    let note = "Low addresses first. The filled part of a bar is in the core.";
    y = c.heading(y + 18.0, "Address space", note);
    let fault = told.fault.as_ref().and_then(|f| f.address.as_ref());
    let fault = fault.and_then(|a| u64::from_str_radix(a.trim_start_matches("0x"), 16).ok());
    let mut marked = false;
    for (i, m) in told.mappings.iter().take(DRAWN).enumerate() {
        if let Some(addr) = fault.filter(|a| !marked && *a < m.range.1) {
            marked = true;
            if addr < m.range.0 {
                y = mark(c, y, addr);
                mapping(c, y, i, m, None);
            } else {
                mapping(c, y, i, m, Some(addr));
            }
        } else {
            mapping(c, y, i, m, None);
        }
        y += 24.0;
    }
    if let Some(addr) = fault.filter(|_| !marked) {
        y = mark(c, y, addr);
    }
    if told.mappings.len() > DRAWN {
        let more = told.mappings.len() - DRAWN;
        c.text(MARGIN, y + 16.0, Face::DIM, format!("and {more} more mappings"));
    }
}

/// The address of the fault, where nothing is.
fn mark(c: &mut Canvas, y: f64, addr: u64) -> f64 {
    c.part("fault", format!("the fault: {addr:#x}"), |c| {
        c.chip(MARGIN, y, "bad", &format!("{addr:#x} the fault: nothing is mapped here"));
    });
    y + 26.0
}

fn mapping(c: &mut Canvas, y: f64, i: usize, m: &Mapping, fault: Option<u64>) {
    let title = format!("{}-{} {} {}", m.start, m.end, m.perms, svg::visible(&m.name));
    c.part(&format!("map-{i}"), title, |c| {
        let size = m.range.1.saturating_sub(m.range.0);
        c.text(MARGIN, y + 15.0, Face::MONO, m.start.clone());
        c.text(MARGIN + 160.0, y + 15.0, Face::MONO, m.perms.clone());
        c.right(MARGIN + 280.0, y + 15.0, Face::MONO, &size::human(size));
        // The logarithm, so that a page and a gigabyte can be seen on one sheet.
        let pages = (size / 4096).max(1) as f64;
        let width = (24.0 + pages.log2() * 12.0).min(320.0);
        let x = MARGIN + 296.0;
        c.rect([x, y + 2.0, width, 17.0], 3.0, "room");
        let share = if size == 0 { 0.0 } else { (m.present as f64 / size as f64).min(1.0) };
        if share > 0.0 {
            c.rect(
                [x, y + 2.0, (width * share).max(2.0), 17.0],
                3.0,
                format!("box {}", tint(&m.perms)),
            );
        }
        let x = x + 332.0;
        let x = match fault {
            Some(addr) => c.chip(x, y, "bad", &format!("{addr:#x} the fault")) + 10.0,
            None => x,
        };
        let room = WIDTH - MARGIN - x;
        c.text(x, y + 15.0, Face::MONO, Face::MONO.fit(&svg::visible(&m.name), room));
    });
}
