//! Pictures of an exec: files, address space and first stack of a program that starts; the bytes
//! at fault of one that does not. One static sheet (SVG) or one page to click through (HTML),
//! each a single file that loads nothing.

use std::io::Write;
use std::path::Path;

use uexec_core::Exec;

use crate::explain::Explained;

mod canvas;
pub(crate) mod core;
mod details;
mod html;
mod layout;
mod meaning;
mod panels;
mod scene;
mod size;
mod stack;
mod svg;

/// Writes the pictures asked for; `-` is standard output.
pub(crate) fn write(
    exec: &Exec,
    explained: &mut Explained,
    svg: Option<&Path>,
    html: Option<&Path>,
) -> std::io::Result<()> {
    let scene = scene::Scene::new(exec, explained);
    if let Some(path) = svg {
        put(path, &svg::sheet(&scene))?;
    }
    if let Some(path) = html {
        put(path, &html::page(&scene))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    if path.as_os_str() == "-" {
        return std::io::stdout().write_all(text.as_bytes());
    }
    std::fs::write(path, text).map_err(|error| {
        let name = path.display();
        std::io::Error::new(error.kind(), format!("{name}: {error}"))
    })
}
