//! Shapes as SVG, and the static sheet: no script, nothing loaded, light and dark.

use std::fmt::Write as _;

use super::canvas::{Canvas, MARGIN, Shape, WIDTH};
use super::scene::Scene;
use super::stack::Fold;
use super::{layout, panels, stack};

/// Colours and typefaces, of both forms.
pub(crate) const STYLE: &str = include_str!("svg.css");

/// The pattern of zeroes.
pub(crate) const DEFS: &str = "<defs><pattern id=\"zeroes\" width=\"6\" height=\"6\" \
    patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
    <path d=\"M0 0V6\" class=\"hatch\"/></pattern></defs>";

/// How parts are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// To be looked at: parts have an `id`.
    Still,
    /// To be clicked: parts are buttons with a `data-id`.
    Live,
}

/// The whole sheet.
pub(crate) fn sheet(scene: &Scene) -> String {
    let mut c = Canvas::default();
    panels::head(&mut c, scene, 16.0);
    let mut section = |draw: &dyn Fn(&mut Canvas, f64)| {
        let y = c.bottom + 26.0;
        draw(&mut c, y);
    };
    if scene.e.error.is_some() {
        section(&|c, y| panels::fault(c, scene, y));
    }
    if !scene.maps.is_empty() {
        section(&|c, y| layout::draw(c, scene, y));
        section(&|c, y| stack::draw(c, scene, Fold::SHORT, y));
        section(&|c, y| panels::ranges(c, scene, y));
    }
    section(&|c, y| panels::story(c, scene, y));
    let verdict = if scene.e.error.is_none() { "starts" } else { "does not start" };
    document(&c, &format!("{} {verdict}: its exec, drawn by uexec", scene.e.program))
}

/// A sheet as a file of its own.
pub(crate) fn document(c: &Canvas, title: &str) -> String {
    let height = c.bottom + MARGIN;
    let title = escape(title);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" class=\"sheet\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n{DEFS}\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" class=\"bg\"/>\n"
    );
    shapes(&mut out, &c.shapes, Form::Still);
    out.push_str("</svg>\n");
    out
}

/// One section, for a page.
pub(crate) fn section(canvas: &Canvas, label: &str) -> String {
    let height = canvas.bottom + 10.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" class=\"sheet\" role=\"group\" \
         aria-label=\"{}\">\n",
        escape(label)
    );
    shapes(&mut out, &canvas.shapes, Form::Live);
    out.push_str("</svg>\n");
    out
}

fn shapes(out: &mut String, shapes: &[Shape], form: Form) {
    for shape in shapes {
        let _ = match shape {
            Shape::Rect { x, y, w, h, r, class } => writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" \
                 rx=\"{r}\" class=\"{class}\"/>"
            ),
            Shape::Text { x, y, face, class, text } => {
                let gap = if class.is_empty() { "" } else { " " };
                let text = escape(text);
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{}{gap}{class}\">{text}</text>",
                    face.class
                )
            }
            Shape::Path { d, class, ends } => match ends {
                Some((a, b)) if form == Form::Live => {
                    let (a, b) = (escape(a), escape(b));
                    writeln!(
                        out,
                        "<path d=\"{d}\" class=\"{class}\" data-a=\"{a}\" data-b=\"{b}\"/>"
                    )
                }
                _ => writeln!(out, "<path d=\"{d}\" class=\"{class}\"/>"),
            },
            Shape::Open { id, title } => open(out, id, &escape(title), form),
            Shape::Close => writeln!(out, "</g>"),
        };
    }
}

fn open(out: &mut String, id: &str, title: &str, form: Form) -> std::fmt::Result {
    match form {
        Form::Still => writeln!(out, "<g id=\"{id}\" class=\"part\"><title>{title}</title>"),
        Form::Live => {
            // A tag stands for what it is the tag of.
            let id = id.strip_prefix("tag-").unwrap_or(id);
            writeln!(
                out,
                "<g data-id=\"{id}\" class=\"part\" tabindex=\"0\" role=\"button\" \
                 aria-pressed=\"false\" aria-label=\"{title}\"><title>{title}</title>"
            )
        }
    }
}

/// Text that is safe between tags and in quotes, in XML and in HTML. What XML cannot say, and what
/// would turn or hide the text around it, is spelled out.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_hostile(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Text for a script, which puts it on the page as text: nothing in it turns or hides the rest.
pub(crate) fn visible(text: &str) -> String {
    let spell = |c: char| match is_hostile(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(spell).collect()
}

/// Control characters, those XML forbids, and those that change the direction of text or have no
/// width.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{61c}')
}
