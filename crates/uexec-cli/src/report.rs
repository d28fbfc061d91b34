//! Errors as a person reads them: errno, stage, cause with the bytes at fault, remedy.

use std::fmt::Write as _;

use uexec_core::Errno;
use uexec_core::error::{Failed, FileKind, Span, Stage};
use uexec_core::story::Shown;
use uexec_core::world::{At, World};

use crate::style::{BAD, LABEL, ODD};

/// Prints a failed exec of `name` to standard error.
pub(crate) fn print(name: &[u8], failed: &Failed, world: &mut dyn World) {
    put(format_args!("{}", text(name, failed, world)));
}

/// Prints one line to standard error.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    put(format_args!("uexec: {what}\n"));
}

/// A message that cannot be written is lost: `eprintln!` would end the process for that.
fn put(what: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(&mut anstream::stderr(), what);
}

/// The bytes at fault, and the file they are in: that of a script when its interpreter fails.
pub(crate) fn bytes_at_fault(failed: &Failed) -> Option<(&[u8], Span)> {
    let r = &failed.refusal;
    let script = failed.chain.last().filter(|_| r.stage == Stage::ScriptInterp);
    Some((script.map_or(&r.file, |link| &link.path), r.span?))
}

/// The message, with colours. The bytes at fault are read through the world that failed.
pub(crate) fn text(name: &[u8], failed: &Failed, world: &mut dyn World) -> String {
    let r = &failed.refusal;
    let mut out = String::new();
    let errno = r.reason.errno();
    let _ = write!(out, "uexec: {}: {BAD}{errno}{BAD:#}", Shown(name));
    if r.stage.after_point_of_no_return() {
        out.push_str(", killed by SIGSEGV");
    }
    out.push('\n');
    let mut row = |label: &str, what: &str| {
        let _ = writeln!(out, "  {LABEL}{label:<6}{LABEL:#} {what}");
    };
    row("stage", r.stage.as_str());
    if !r.file.is_empty() && r.file != name {
        let interp = matches!(
            r.stage,
            Stage::MiscInterp | Stage::ScriptInterp | Stage::ElfInterp | Stage::MapInterp
        );
        row(if interp { "interp" } else { "file" }, &Shown(&r.file).to_string());
    }
    row("why", &r.why());
    out.push_str(&excerpt(failed, world).unwrap_or_default());
    let hint = r.hint();
    if !hint.is_empty() {
        let _ = writeln!(out, "  {LABEL}hint{LABEL:#}   {hint}");
    }
    out
}

/// The bytes at fault with a marker under them: a line of text for scripts, else a hex dump.
pub(crate) fn excerpt(failed: &Failed, world: &mut dyn World) -> Option<String> {
    let (file, span) = bytes_at_fault(failed)?;
    let id = world.open(At::Cwd, file, true).ok()?;
    if world.stat(id).ok()?.kind != FileKind::Regular {
        return None;
    }
    if matches!(failed.refusal.stage, Stage::Script | Stage::ScriptInterp) {
        let mut head = [0; 256];
        let n = world.read_at(id, 0, &mut head).ok()?;
        return Some(line_excerpt(head.get(..n)?, span));
    }
    let from = span.offset & !15;
    let mut row = [0; 16];
    let n = world.read_at(id, from, &mut row).ok()?;
    (n > 0).then(|| hex_excerpt(&row[..n.min(16)], from, span))
}

fn line_excerpt(head: &[u8], span: Span) -> String {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    marked(line, 1, span.offset as usize, span.len as usize)
}

/// A rule of `binfmt_misc` with a marker under the bytes at fault.
pub(crate) fn rule_excerpt(rule: &[u8], line: usize, at: usize, len: usize) -> String {
    // Of a long rule, what is around them.
    let from = if at > 80 { at - 60 } else { 0 };
    marked(rule.get(from..).unwrap_or_default(), line, at - from, len)
}

/// A line with its number, and a marker under some of its bytes.
fn marked(line: &[u8], number: usize, at: usize, len: usize) -> String {
    // One cell a byte, so that the marker stands under the right ones.
    let cell = |b: &u8| match b {
        b' '..=b'~' => char::from(*b).to_string(),
        b'\t' => "→".into(),
        b'\n' => "␊".into(),
        b'\r' => "␍".into(),
        0 => "␀".into(),
        _ => "·".into(),
    };
    let shown: String = line.iter().take(100).map(cell).collect();
    let before = " ".repeat(at.min(100));
    let marks = "^".repeat(len.clamp(1, 100));
    format!(
        "        {LABEL}{number:>4} |{LABEL:#} {shown}\n             {LABEL}|{LABEL:#} {before}{ODD}{marks}{ODD:#}\n"
    )
}

fn hex_excerpt(row: &[u8], from: u64, span: Span) -> String {
    let mut hex = String::new();
    for b in row {
        let _ = write!(hex, " {b:02x}");
    }
    let first = (span.offset - from) as usize;
    let count = (span.len as usize).clamp(1, 16 - first);
    let before = "   ".repeat(first);
    let marks = "^^ ".repeat(count);
    let marks = marks.trim_end();
    format!(
        "         {LABEL}{from:08x} |{LABEL:#}{hex}\n                  {LABEL}|{LABEL:#} {before}{ODD}{marks}{ODD:#}\n"
    )
}

/// An error of a system call as a person reads it.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error().and_then(|n| u16::try_from(n).ok()) {
        Some(errno) => Errno(errno).to_string(),
        None => error.to_string(),
    }
}

/// Who traces this process or answers for it, if somebody does: nobody else then can.
pub(crate) fn tracer(error: Errno) -> Option<String> {
    if error == Errno::EBUSY {
        return Some("its execs are answered by another tree, or by a container's owner".into());
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let pid = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim();
    if pid == "0" {
        return None;
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({}) traces it already, and only one can", name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_stand_under_their_bytes() {
        let plain = |s: String| anstream::adapter::strip_str(&s).to_string();
        let text = plain(line_excerpt(b"#!   \nx", Span { offset: 2, len: 3 }));
        assert_eq!(text, "           1 | #!   \n             |   ^^^\n");
        let text = plain(hex_excerpt(&[0x7f, 0x45], 0x10, Span { offset: 0x11, len: 1 }));
        assert_eq!(text, "         00000010 | 7f 45\n                  |    ^^\n");
    }
}
