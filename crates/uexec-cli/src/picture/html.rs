//! The picture as a page to click through: the same shapes, and what is said of each part as data.
//! One file that loads nothing; its policy forbids it to.

use serde::Serialize;

use super::canvas::Canvas;
use super::details::{self, Item};
use super::scene::Scene;
use super::stack::Fold;
use super::svg::{DEFS, STYLE, escape, section};
use super::{layout, panels, stack};
use crate::explain::model::Explanation;

const PAGE_STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// What the script works on.
#[derive(Serialize)]
struct Data<'a> {
    explanation: &'a Explanation,
    items: std::collections::BTreeMap<String, Item>,
}

/// The page.
pub(crate) fn page(scene: &Scene) -> String {
    let e = &scene.e;
    let verdict = match &e.error {
        None => "starts".to_owned(),
        Some(f) => format!("does not start ({})", f.errno),
    };
    let title = escape(&format!("{} {verdict}", e.program));
    let drawn = |draw: &dyn Fn(&mut Canvas)| {
        let mut canvas = Canvas::default();
        draw(&mut canvas);
        canvas
    };
    let mut body = section(&drawn(&|c| panels::head(c, scene, 0.0)), "Verdict and stages");
    let mut add = |name: &str, class: &str, canvas: &Canvas| {
        body.push_str(&format!(
            "<section class=\"{class}\">\n{}</section>\n",
            section(canvas, name)
        ));
    };
    if e.error.is_some() {
        add("What is wrong", "", &drawn(&|c| panels::fault(c, scene, 4.0)));
    }
    if !scene.maps.is_empty() {
        add("Files and address space", "", &drawn(&|c| layout::draw(c, scene, 0.0)));
        let whole = |fold| drawn(&|c| stack::draw(c, scene, fold, 0.0));
        let folds = hidden(scene) > 0;
        add("First stack", if folds { "short" } else { "" }, &whole(Fold::SHORT));
        if folds {
            add("First stack, whole", "long", &whole(Fold::LONG));
        }
        add("Randomisation", "", &drawn(&|c| panels::ranges(c, scene, 0.0)));
    }
    if !e.story.is_empty() {
        add("Story", "", &drawn(&|c| panels::story(c, scene, 0.0)));
    }
    let unfold = match hidden(scene) {
        0 => String::new(),
        n => format!(
            "<button id=\"unfold\" type=\"button\" aria-pressed=\"false\" \
             data-more=\"Show {n} folded strings\" data-less=\"Fold long lists\">\
             Show {n} folded strings</button>"
        ),
    };
    let data = json(&Data { explanation: e, items: details::items(scene) });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n\
         <svg width=\"0\" height=\"0\" class=\"defs\" aria-hidden=\"true\">{DEFS}</svg>\n\
         <header>\n<h1>{title}</h1>\n<search>\n<label for=\"find\">Find</label>\n\
         <input id=\"find\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"name, address, path, text   ( / )\">\n</search>\n{unfold}\n</header>\n\
         <main>\n<div id=\"picture\">\n{body}</div>\n\
         <aside aria-live=\"polite\" aria-label=\"Details\">\n<h2 id=\"name\">Details</h2>\n\
         <div id=\"said\"><p>Choose a segment, a mapping, a word of the stack, a string or a \
         decision: what belongs to it lights up.</p>\n<p><kbd>Tab</kbd> moves, <kbd>Enter</kbd> \
         chooses, <kbd>Esc</kbd> lets go, <kbd>/</kbd> finds.</p></div>\n</aside>\n</main>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// A page that only shows a sheet.
pub(crate) fn plain(sheet: &str, title: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\nbody {{ margin: 0 }}\n\
         svg {{ width: 100%; height: auto }}\n</style>\n</head>\n<body>\n{sheet}</body>\n</html>\n"
    )
}

/// Strings that the short form of the stack folds.
fn hidden(scene: &Scene) -> usize {
    let s = scene.e.stack.as_ref();
    let count = |n: u64| Fold::SHORT.hidden(usize::try_from(n).unwrap_or(usize::MAX));
    s.map_or(0, |s| count(s.argc) + count(s.envc))
}

/// Data that may stand inside a script element: nothing in it can end the element or start a
/// comment.
fn json(data: &impl Serialize) -> String {
    let text = serde_json::to_string(data).unwrap_or_else(|_| "{}".into());
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
