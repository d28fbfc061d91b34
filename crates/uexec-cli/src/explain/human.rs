//! The explanation as a person reads it: the verdict first, then what leads to it.

use std::fmt::Write as _;

use anstyle::Style;

use super::model::{Explanation, MapLine};
use super::{Explained, bindings};
use crate::style::{GOOD, LABEL, ODD};
use crate::{libraries, report};

const HEAD: Style = Style::new().bold();

/// The text, with colours.
pub(crate) fn text(explained: &mut Explained, verbose: bool) -> String {
    let e = Explanation::new(explained);
    let mut out = String::new();
    match explained.error() {
        None if e.missing.is_empty() => {
            let _ = writeln!(out, "{}: {GOOD}starts{GOOD:#}", e.program);
        }
        None => {
            let _ = writeln!(out, "{}: {ODD}starts, but its loader will stop{ODD:#}", e.program);
            for m in &e.missing {
                let _ = writeln!(out, "  {LABEL}missing{LABEL:#} {m}, needed by {}", m.needed_by);
            }
            let hint = e.missing.first().map_or("", libraries::hint);
            let _ = writeln!(out, "  {LABEL}hint{LABEL:#}    {hint}");
        }
        Some(error) => {
            let text = report::text(&explained.program, &error, &mut explained.host);
            out.push_str(text.strip_prefix("uexec: ").unwrap_or(&text));
        }
    }
    chain(&mut out, &e);
    if let Some(other) = &e.laid_out_as {
        let _ = writeln!(out, "\n{HEAD}as laid out by {}{HEAD:#}", other.by);
        let _ = writeln!(out, "  {LABEL}source{LABEL:#}  {}", other.source);
        if !other.approximate.is_empty() {
            let _ = writeln!(out, "  {LABEL}approximate{LABEL:#} {}", other.approximate);
        }
        let _ = writeln!(out, "  {LABEL}start{LABEL:#}   {}", other.entry);
    }
    if let Some(c) = &e.creds {
        let same = c.uid == c.euid && c.gid == c.egid;
        let ids = match same {
            true => format!("user {}, group {}", c.uid, c.gid),
            false => format!("user {} as {}, group {} as {}", c.uid, c.euid, c.gid, c.egid),
        };
        let secure = if c.secureexec { "; AT_SECURE is set" } else { "" };
        let _ = writeln!(out, "  {LABEL}runs as{LABEL:#} {ids}{secure}");
    }
    if let (Some(r), Some(s)) = (&e.registers, &e.stack) {
        let (ip, sp) = match e.image.as_ref().map(|i| (i.machine, i.class)) {
            Some(("i386", _)) => ("eip", "esp"),
            Some(("x86_64", _)) => ("rip", "rsp"),
            _ => ("pc", "sp"),
        };
        let _ = writeln!(
            out,
            "  {LABEL}entry{LABEL:#}   {ip} {}, {sp} {}: {} arguments, {} environment strings",
            r.rip, r.rsp, s.argc, s.envc
        );
    }
    layout(&mut out, &e.maps);
    if !e.libraries.is_empty() {
        let _ = writeln!(out, "\n{HEAD}libraries{HEAD:#}");
        for l in &e.libraries {
            let path = l.path.as_deref().unwrap_or("not found");
            let _ = writeln!(out, "  {} => {path}", l.name);
        }
    }
    if !e.bindings.is_empty() {
        let _ =
            writeln!(out, "\n{HEAD}bindings{HEAD:#}\n{}", bindings::text(&e.bindings).trim_end());
    }
    if verbose {
        auxv(&mut out, &e);
    }
    if verbose {
        let _ = writeln!(out, "\n{HEAD}story{HEAD:#}");
        for told in &e.story {
            let _ = writeln!(
                out,
                "  {LABEL}{:<13}{LABEL:#} {} {LABEL}{}{LABEL:#}",
                told.stage, told.what, told.spec
            );
        }
    }
    out
}

/// Who names whom as interpreter.
fn chain(out: &mut String, e: &Explanation) {
    for (i, link) in e.chain.iter().enumerate() {
        let label = if i == 0 { "chain" } else { "" };
        let format = match link.format.as_str() {
            "" => "unknown",
            known => known,
        };
        let arrow = if i == 0 { "" } else { "→ " };
        let _ = writeln!(
            out,
            "  {LABEL}{label:<7}{LABEL:#} {arrow}{} {LABEL}({format}){LABEL:#}",
            link.path
        );
    }
    if let Some(image) = &e.image
        && let Some(interp) = &image.interp
    {
        let _ = writeln!(out, "  {:<7} → {interp} {LABEL}(loader){LABEL:#}", "");
    }
}

fn layout(out: &mut String, maps: &[MapLine]) {
    if maps.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{HEAD}address space{HEAD:#}");
    for m in maps {
        let size = human_size(m.end.0 - m.start.0);
        let _ = writeln!(
            out,
            "  {:012x}-{:012x} {} {size:>7}  {}",
            m.start.0, m.end.0, m.perms, m.path
        );
    }
}

fn human_size(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} K", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{:.1} M", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} G", bytes as f64 / f64::from(1 << 30)),
    }
}

fn auxv(out: &mut String, e: &Explanation) {
    if !e.auxv.is_empty() {
        let _ = writeln!(out, "\n{HEAD}auxiliary vector{HEAD:#}");
    }
    for a in &e.auxv {
        let _ = writeln!(out, "  {:<20} {}", a.name, a.value);
    }
}
