//! Why an exec fails: every condition made for real, asked of the kernel and of `uexec run` in
//! the same test, and the message a person reads.

#[path = "../common/mod.rs"]
mod common;

mod creds;
mod death;
mod docs;
mod elf;
mod limits;
mod misc;
mod order;
mod path;
mod script;

use common::ask::{Ask, End};

/// Asks kernel and command; both must end as the table of errors says, and the message is kept.
#[track_caller]
fn row(name: &str, ask: &Ask, expected: End) {
    // Rules that packages have left on this host, and the kernel does not know.
    let ask = &ask.clone().option("--binfmt").option("none");
    let kernel = ask.kernel();
    let ours = ask.uexec();
    assert_eq!(kernel.end, expected, "{name}: not the situation that was meant: {kernel:?}");
    assert_eq!(ours.end, kernel.end, "{name}: uexec and kernel disagree: {ours:?}");
    assert_eq!(ours.stdout, kernel.stdout, "{name}: output");
    message(name, &ours.stderr);
    explained(name, ask, expected, &ours.stderr);
}

/// `uexec explain` says the same before it happens.
#[track_caller]
fn explained(name: &str, ask: &Ask, expected: End, message: &str) {
    let (text, json) = ask.explain();
    let text_out = String::from_utf8_lossy(&text.stdout);
    assert_eq!(text.end, End::Exit(1), "{name}: {text:?}");
    let message = message.strip_prefix("uexec: ").unwrap_or(message);
    assert!(text_out.starts_with(message), "{name}: {text_out}\nafter\n{message}");
    assert_eq!(json["outcome"], "error", "{name}");
    let said = match json["error"]["signal"].as_str() {
        Some("SIGSEGV") => common::ask::DEATH,
        _ => End::Errno(uexec_core::Errno(json["error"]["number"].as_u64().unwrap_or(0) as u16)),
    };
    assert_eq!(said, expected, "{name}: {json}");
}

/// Keeps the message, which must have its parts in their order.
#[track_caller]
fn message(name: &str, stderr: &str) {
    let mut at = 0;
    for part in ["uexec: ", "\n  stage  ", "\n  why    ", "\n  hint   "] {
        at = stderr[at..]
            .find(part)
            .map_or_else(|| panic!("{name}: no {part:?} in {stderr}"), |i| at + i);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, stderr));
}

fn errno(errno: uexec_core::Errno) -> End {
    End::Errno(errno)
}
