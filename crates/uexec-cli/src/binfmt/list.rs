//! `uexec binfmt list`: the rules of this host in the order in which they are tried.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use uexec_core::binfmt::misc::{Entry, Misc, Test};
use uexec_core::story::Shown;

use super::table::{self, Origin};
use super::{Failed, source};
use crate::args::binfmt::{List, Rules};
use crate::style::{LABEL, ODD};

/// All rules, first tried first, and how many of them are asked before any format.
pub(super) struct All {
    pub(super) rules: Vec<Origin>,
    /// The rules of the options; the others are asked when nobody knows a file.
    pub(super) first: usize,
    /// The administrator has switched `binfmt_misc` off.
    pub(super) switched_off: bool,
}

/// Reads everything.
pub(super) fn all(args: &Rules) -> Result<All, Failed> {
    let mut given: Vec<Origin> = Vec::new();
    let mut misc = Misc::default();
    table::add_given(&mut misc, &args.binfmt, None)?;
    let lines = table::lines(&args.binfmt)?;
    for entry in misc.entries() {
        let from = lines.iter().rfind(|l| l.name() == entry.rule.name).map(source::Line::place);
        given.push(Origin { entry: entry.clone(), from: from.unwrap_or_default() });
    }
    let first = given.len();
    let mut switched_off = false;
    if table::uses_host(&args.binfmt) {
        let kernel = table::of_kernel(Path::new(table::KERNEL));
        let mut others = table::of_folders();
        if let Some((entries, enabled)) = kernel {
            switched_off = !enabled;
            for entry in entries {
                others.retain(|o| o.entry.rule.name != entry.rule.name);
                others.push(Origin { entry, from: "the kernel".into() });
            }
        }
        given.extend(others.into_iter().rev());
    }
    Ok(All { rules: given, first, switched_off })
}

#[derive(Serialize)]
struct Told {
    name: String,
    enabled: bool,
    #[serde(rename = "type")]
    kind: &'static str,
    extension: Option<String>,
    offset: Option<usize>,
    magic: Option<String>,
    mask: Option<String>,
    interpreter: String,
    flags: String,
    from: String,
    /// The text that registers it.
    rule: Option<String>,
}

/// Lists; returns the exit status.
pub(super) fn list(args: &List) -> Result<u8, Failed> {
    let all = all(&args.rules)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        for origin in &all.rules {
            serde_json::to_writer(&mut out, &told(origin)).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        return Ok(0);
    }
    if all.switched_off {
        writeln!(out, "{ODD}binfmt_misc is switched off: only rules of --binfmt are used{ODD:#}")?;
    }
    let width = all.rules.iter().map(|o| name(&o.entry).chars().count()).max().unwrap_or(0);
    for (i, origin) in all.rules.iter().enumerate() {
        if i == all.first {
            writeln!(out, "{LABEL}when nobody else knows a file:{LABEL:#}")?;
        }
        let entry = &origin.entry;
        let name = name(entry);
        let flags: String = entry.rule.flags.letters().collect();
        let off = if entry.enabled { "" } else { " (disabled)" };
        writeln!(
            out,
            "{name:<width$}  {} → {} {LABEL}{flags}{LABEL:#}{ODD}{off}{ODD:#}  {LABEL}{}{LABEL:#}",
            describe(&entry.rule.test),
            Shown(&entry.rule.interpreter),
            origin.from
        )?;
    }
    if all.rules.is_empty() {
        writeln!(out, "no rules")?;
    }
    Ok(0)
}

fn name(entry: &Entry) -> String {
    Shown(&entry.rule.name).to_string()
}

/// What a rule takes, for people.
fn describe(test: &Test) -> String {
    match test {
        Test::Extension(e) => format!("*.{}", Shown(e)),
        Test::Magic { offset, magic, mask } => {
            let at = if *offset == 0 { String::new() } else { format!("{offset}: ") };
            // ELF headers tell most by their machine.
            if let Some(machine) = machine(*offset, magic) {
                return format!("ELF for {machine}");
            }
            let masked = if mask.is_some() { " (masked)" } else { "" };
            let shown: Vec<u8> = magic.iter().take(16).copied().collect();
            let more = if magic.len() > 16 { "…" } else { "" };
            format!("{at}{}{more}{masked}", shown.escape_ascii())
        }
    }
}

/// The machine that a rule for ELF files names.
fn machine(offset: usize, magic: &[u8]) -> Option<String> {
    if offset != 0 || !magic.starts_with(b"\x7fELF") || magic.len() < 20 {
        return None;
    }
    let pair: [u8; 2] = magic.get(18..20)?.try_into().ok()?;
    let big = magic.get(5) == Some(&2);
    let number = if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
    let bits = if magic.get(4) == Some(&1) { 32 } else { 64 };
    let end = if big { "big-endian" } else { "little-endian" };
    Some(format!("{} ({bits}-bit {end})", uexec_core::machine_name(number)))
}

fn told(origin: &Origin) -> Told {
    let rule = &origin.entry.rule;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (extension, offset, magic, mask) = match &rule.test {
        Test::Extension(e) => (Some(Shown(e).to_string()), None, None, None),
        Test::Magic { offset, magic, mask } => {
            (None, Some(*offset), Some(hex(magic)), mask.as_deref().map(hex))
        }
    };
    Told {
        name: name(&origin.entry),
        enabled: origin.entry.enabled,
        kind: if extension.is_some() { "E" } else { "M" },
        extension,
        offset,
        magic,
        mask,
        interpreter: Shown(&rule.interpreter).to_string(),
        flags: rule.flags.letters().collect(),
        from: origin.from.clone(),
        rule: rule.register_text().map(|t| Shown(&t).to_string()),
    }
}
