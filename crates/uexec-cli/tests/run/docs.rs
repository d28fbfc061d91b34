//! Help, manual page and completions.

use std::process::Command;

use crate::common::ask::{End, finish};
use crate::common::place::{Place, uexec};
use crate::common::skip;
use crate::output;

const OPTIONS: [&str; 9] = [
    "--argv0",
    "--env",
    "--clear-env",
    "--no-aslr",
    "--seed",
    "--interp",
    "--userns",
    "--no-privileges",
    "--verbose",
];

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(uexec());
    command.args(args);
    command
}

#[test]
fn help_fits_and_has_everything() {
    for columns in ["80", "100"] {
        for flag in ["--help", "-h"] {
            let help = output(command(&["run", flag]).env("COLUMNS", columns));
            let widest = help.lines().map(str::len).max().unwrap();
            assert!(widest <= columns.parse().unwrap(), "{widest} columns:\n{help}");
            for option in OPTIONS {
                assert!(help.contains(option), "{option} is missing:\n{help}");
            }
        }
    }
    let help = output(command(&["run", "--help"]).env("COLUMNS", "80"));
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("help", help);
    });
    assert!(output(&mut command(&["--help"])).contains("run"));
    assert!(output(&mut command(&["--version"])).starts_with("uexec "));
    let nothing = finish(&mut command(&[]));
    assert_eq!(nothing.end, End::Exit(125));
    assert!(nothing.stderr.contains("Usage"), "{}", nothing.stderr);
}

#[test]
fn manual_pages() {
    let p = Place::new();
    assert!(output(&mut command(&["man"])).contains(".TH uexec 1"));
    output(command(&["man", "pages/deep"]).current_dir(&p.path));
    let page = p.join("pages/deep/uexec-run.1");
    let source = std::fs::read_to_string(&page).unwrap().replace("\\-", "-");
    for option in OPTIONS {
        assert!(source.contains(option), "{option} is missing");
    }
    let mut man = Command::new("man");
    man.args(["-l", "--warnings=all"]).arg(&page).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    let seen = finish(&mut man);
    if seen.end != End::Exit(0) {
        return skip("rendering the manual page", "no man(1) that renders");
    }
    if seen.stdout.is_empty() || !seen.stderr.is_empty() {
        return skip("rendering the manual page", &format!("man(1) says {:?}", seen.stderr));
    }
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(text.contains("EXIT") || text.contains("Exit status"), "{text}");
    assert!(text.contains("--no-privileges"), "{text}");
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(&mut command(&["completions", shell]));
        for option in OPTIONS {
            let name = if shell == "fish" { &option[2..] } else { option };
            assert!(script.contains(name), "{option} is missing for {shell}");
        }
    }
    let script = output(&mut command(&["completions", "bash"]));
    let seen = finish(Command::new("bash").args(["-n", "-c", &script]));
    match seen.end {
        End::Exit(0) => {}
        End::Errno(_) => skip("parsing the completions", "no bash"),
        other => panic!("{other:?}: {}", seen.stderr),
    }
}
