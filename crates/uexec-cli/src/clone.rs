//! `--clone FLAGS`: what such a process creation would give the child, or the rule that refuses
//! it. Only shows what the core decides.

use std::fmt::Write as _;
use std::io::Write as _;

use anstyle::Style;
use serde_json::{Value, json};
use uexec_core::clone::{
    CloneArgs, CloneError, ClonePlan, Entry, Gets, Inherit, Item, Memory, Request, decide,
};
use uexec_linux::clone_facts;

use crate::style::{BAD, GOOD, LABEL, ODD};

/// Explains the flags in `text` on standard output: 0 where the call would succeed, 1 where it
/// would fail, 125 where the text cannot be read.
pub(crate) fn explain(text: &str, as_json: bool) -> u8 {
    let asked: Request = match text.parse() {
        Ok(asked) => asked,
        Err(error) => {
            anstream::eprintln!(
                "uexec: {BAD}{error}{BAD:#}\n  {LABEL}hint{LABEL:#}   write e.g. \
                 'CLONE_VM|CLONE_FS|SIGCHLD', 0x1200011, vfork or pthread_create"
            );
            return crate::OWN_FAILURE;
        }
    };
    let decided = decide(&asked.args(), CloneArgs::SIZE, &clone_facts());
    let shown = if as_json {
        format!("{}\n", to_json(&asked, &decided))
    } else {
        match &decided {
            Ok(plan) => permitted(&asked, plan),
            Err(error) => refused(&asked, error),
        }
    };
    // A reader that has gone away changes nothing about the answer.
    let _ = anstream::stdout().write_all(shown.as_bytes());
    decided.is_err().into()
}

/// The call as it was understood, e.g. `clone3(CLONE_VM|CLONE_FS, SIGCHLD)`.
fn call(asked: &Request) -> String {
    let name = asked.entry.as_str();
    if matches!(asked.entry, Entry::Fork | Entry::Vfork) {
        return format!("{name}()");
    }
    let mut words = flag_names(asked);
    if words.is_empty() {
        words.push("0".into());
    }
    let signal = if asked.exit_signal == 0 { "0".into() } else { asked.exit_signal_name() };
    format!("{name}({}, {signal})", words.join("|"))
}

fn flag_names(asked: &Request) -> Vec<String> {
    let mut names: Vec<String> = asked.flags.iter_names().map(|(n, _)| n.to_owned()).collect();
    let rest = asked.flags.bits() & !uexec_core::clone::CloneFlags::all().bits();
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

fn refused(asked: &Request, error: &CloneError) -> String {
    let mut out = format!("{}: {BAD}{}{BAD:#}\n", call(asked), error.errno());
    let _ = writeln!(out, "  {LABEL}why{LABEL:#}    {}", error.why());
    let _ = writeln!(out, "  {LABEL}hint{LABEL:#}   {}", error.hint());
    if !error.spec().is_empty() {
        let _ = writeln!(out, "  {LABEL}fact{LABEL:#}   {}", error.spec());
    }
    out
}

fn permitted(asked: &Request, plan: &ClonePlan) -> String {
    let mut out = format!("{}: {GOOD}succeeds{GOOD:#}", call(asked));
    out.push_str(if plan.parent_waits {
        "; the caller waits until the child has executed a program or ended (FORK-51)\n"
    } else {
        "\n"
    });
    for warning in &plan.warnings {
        let _ = writeln!(out, "  {ODD}note{ODD:#}   {warning}");
    }
    let _ = writeln!(out, "\n  {LABEL}{:<34} {:<8} because of{LABEL:#}", "item", "child's");
    for row in &plan.child {
        let style = style(row.gets);
        let _ = write!(out, "  {:<34} {style}{:<8}{style:#}", short(row.item), row.gets.as_str());
        let because = because(row);
        if !because.is_empty() {
            let _ = write!(out, " {because}");
        }
        out.push('\n');
    }
    if !plan.writes.is_empty() {
        let _ = writeln!(out, "\n  {LABEL}the kernel stores{LABEL:#}");
    }
    for write in &plan.writes {
        let whose = match write.memory {
            Memory::Parent => "in the caller's memory",
            Memory::Child => "in the child's memory",
        };
        let _ = writeln!(out, "  {} {whose} {LABEL}{}{LABEL:#}", write.what, write.flag.name());
    }
    let event = plan.event.map_or("nothing (CLONE_UNTRACED)", |e| e.as_str());
    let _ = writeln!(out, "\n  {LABEL}a tracer is told{LABEL:#} {event}");
    out
}

/// The one item whose name is longer than a column should be.
fn short(item: Item) -> &'static str {
    match item {
        Item::Attributes => "name, scheduling, seccomp, …",
        other => other.as_str(),
    }
}

fn because(row: &Inherit) -> String {
    match (row.flag.name(), row.note) {
        ("", "") => String::new(),
        ("", note) => format!("{LABEL}{note}{LABEL:#}"),
        (flag, "") => flag.to_owned(),
        (flag, note) => format!("{flag} {LABEL}{note}{LABEL:#}"),
    }
}

const fn style(gets: Gets) -> Style {
    match gets {
        Gets::Shared => ODD,
        Gets::New | Gets::Given => GOOD,
        Gets::Copied => Style::new(),
        Gets::Cleared => LABEL,
    }
}

fn to_json(asked: &Request, decided: &Result<ClonePlan, CloneError>) -> Value {
    let mut out = json!({
        "call": asked.entry.as_str(),
        "flags": flag_names(asked),
        "exit_signal": asked.exit_signal,
        "outcome": if decided.is_ok() { "ok" } else { "error" },
        "error": null,
        "child": [],
        "parent_waits": false,
    });
    match decided {
        Err(error) => {
            out["error"] = json!({
                "errno": error.errno().name(),
                "number": error.errno().0,
                "why": error.why(),
                "hint": error.hint(),
                "spec": error.spec(),
            });
        }
        Ok(plan) => {
            out["child"] = plan.child.iter().map(row_json).collect();
            out["child_exit_signal"] = plan.exit_signal.into();
            out["parent_waits"] = plan.parent_waits.into();
            out["plain_wait"] = plan.plain_wait.into();
            out["ptrace_event"] = plan.event.map(|e| e.as_str()).into();
            let write = |w: &uexec_core::clone::Write| {
                let memory = if w.memory == Memory::Parent { "parent" } else { "child" };
                json!({ "flag": w.flag.name(), "memory": memory, "what": w.what })
            };
            out["writes"] = plan.writes.iter().map(write).collect();
            out["warnings"] = json!(plan.warnings);
        }
    }
    out
}

fn row_json(row: &Inherit) -> Value {
    let flag = Some(row.flag.name()).filter(|name| !name.is_empty());
    json!({
        "item": row.item.as_str(),
        "gets": row.gets.as_str(),
        "flag": flag,
        "spec": row.spec,
        "note": row.note,
    })
}

#[cfg(test)]
mod tests {
    use uexec_core::clone::CloneFacts;

    use super::*;

    fn shown(text: &str) -> String {
        let asked: Request = text.parse().expect("a request");
        let decided = decide(&asked.args(), CloneArgs::SIZE, &CloneFacts::default());
        let text = match &decided {
            Ok(plan) => permitted(&asked, plan),
            Err(error) => refused(&asked, error),
        };
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn verdict_comes_first() {
        assert!(shown("vfork").starts_with("vfork(): succeeds; the caller waits"));
        let text = shown("thread|vm");
        assert_eq!(
            text,
            "clone3(CLONE_VM|CLONE_THREAD, 0): Invalid argument (EINVAL)\n  \
             why    CLONE_THREAD needs CLONE_SIGHAND\n  \
             hint   add it: a thread has CLONE_THREAD, CLONE_SIGHAND and CLONE_VM\n  \
             fact   FORK-22\n"
        );
    }

    #[test]
    fn json_has_every_item() {
        let asked: Request = "pthread_create".parse().expect("a request");
        let decided = decide(&asked.args(), CloneArgs::SIZE, &CloneFacts::default());
        let value = to_json(&asked, &decided);
        assert_eq!(value["outcome"], "ok");
        assert_eq!(value["child"].as_array().map(Vec::len), Some(Item::ALL.len()));
        assert_eq!(value["child"][0]["flag"], "CLONE_VM");
        assert_eq!(value["parent_waits"], false);
    }
}
