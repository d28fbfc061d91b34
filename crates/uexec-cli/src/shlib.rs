//! `explain --shlib FILE`: what `uselib(2)` would have mapped, or why not. Only shows what the core
//! decides.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::json;
use uexec_core::mm::{Backing, Prot};
use uexec_core::shlib::{Shlib, plan_shlib};
use uexec_core::story::Shown;
use uexec_core::{ALL_FORMATS, ExecError, Op};
use uexec_linux::Host;

use crate::report;
use crate::style::{GOOD, LABEL};

/// Explains on standard output: 0 where it can be mapped, 1 where it cannot.
pub(crate) fn explain(path: &[u8], as_json: bool) -> u8 {
    let mut host = Host::new();
    let decided = plan_shlib(path, &mut host, &ALL_FORMATS);
    let failed = decided.is_err();
    let shown = match (decided, as_json) {
        (Ok(lib), false) => text(path, &lib),
        (Ok(lib), true) => format!("{}\n", to_json(path, &lib)),
        (Err(refusal), as_json) => {
            let error = ExecError::from(refusal);
            let why = error.refusal.why().into_owned();
            match as_json {
                true => {
                    let errno = error.errno().name();
                    let shown = Shown(path).to_string();
                    format!(
                        "{}\n",
                        json!({"shlib": shown, "outcome": "error", "errno": errno, "why": why})
                    )
                }
                false => {
                    let text = report::text(path, &error, &mut host);
                    text.strip_prefix("uexec: ").unwrap_or(&text).to_owned()
                }
            }
        }
    };
    let _ = anstream::stdout().write_all(shown.as_bytes());
    failed.into()
}

fn maps(lib: &Shlib) -> impl Iterator<Item = (u64, u64, String, bool)> {
    lib.ops.iter().filter_map(|op| match op {
        Op::Map { addr, len, prot, backing, .. } => {
            let letters = [(Prot::READ, 'r'), (Prot::WRITE, 'w'), (Prot::EXEC, 'x')];
            let perms = letters.map(|(bit, c)| if prot.contains(bit) { c } else { '-' });
            let file = matches!(backing, Backing::File { .. });
            Some((*addr, addr + len, perms.iter().collect(), file))
        }
        _ => None,
    })
}

fn text(path: &[u8], lib: &Shlib) -> String {
    let shown = Shown(path);
    let mut out = format!("{shown}: {GOOD}can be mapped{GOOD:#} as uselib(2) did\n");
    let _ = writeln!(out, "  {LABEL}format{LABEL:#} {}", lib.format);
    for (start, end, perms, file) in maps(lib) {
        let name = if file { shown.to_string() } else { String::new() };
        let _ = writeln!(out, "  {start:012x}-{end:012x} {perms}p  {name}");
    }
    out
}

fn to_json(path: &[u8], lib: &Shlib) -> serde_json::Value {
    let maps: Vec<_> = maps(lib)
        .map(|(start, end, perms, file)| {
            json!({"start": format!("{start:#x}"), "end": format!("{end:#x}"), "perms": perms, "file": file})
        })
        .collect();
    json!({"shlib": Shown(path).to_string(), "outcome": "ok", "format": lib.format, "maps": maps})
}
