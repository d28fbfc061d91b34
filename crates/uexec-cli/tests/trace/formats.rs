//! The formats besides JSON lines and the page.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::common::place::{Place, uexec};
use super::common::terminal::typed;
use super::traced;

pub(crate) const SCRIPT: &str =
    "/bin/true; (exit 3); nosuch; sh -c '/bin/true </dev/null; :'; true";

#[test]
fn a_tree_with_levels_and_failures() {
    let place = Place::new();
    let tree = |options: &[&str]| {
        let mut command = Command::new(uexec());
        command.arg("trace").args(options).arg("-o").arg(place.join("out"));
        assert!(command.args(["/bin/sh", "-c", SCRIPT]).status().unwrap().success());
        fs::read_to_string(place.join("out")).unwrap()
    };
    let all = tree(&[]);
    assert!(!all.contains('\x1b'), "{all}");
    for part in ["/bin/sh -c", " │ /bin/true  ", "└ exit 3", "no directory in PATH has it"] {
        let single = part == "no directory in PATH has it";
        // A shell may look into its PATH itself.
        assert!(all.contains(part) || single, "{part}: {all}");
    }
    assert!(all.contains("│ │ /bin/true"), "{all}");
    let shallow = tree(&["--depth", "1"]);
    assert!(!shallow.contains("│ │ "), "{shallow}");
    assert!(shallow.contains("+ 1 below"), "{shallow}");
    let failed = tree(&["--failed"]);
    assert!(failed.contains("└ exit 3") && !failed.contains("└ 0"), "{failed}");
    assert!(!failed.contains("/bin/true  "), "{failed}");
}

#[test]
fn perfetto_has_a_slice_for_every_program() {
    let place = Place::new();
    assert!(traced(&place, "perfetto", &["sh", "-c", SCRIPT]).status().unwrap().success());
    let events: Vec<Value> = serde_json::from_slice(&fs::read(place.join("out")).unwrap()).unwrap();
    let slices: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(slices.iter().filter(|s| s["name"] == "true").count(), 2, "{slices:#?}");
    assert!(slices.iter().all(|s| s["dur"].as_f64() >= Some(0.0) && s["tid"].is_u64()));
    // Slices of one lane do not overlap.
    for a in &slices {
        for b in
            slices.iter().filter(|b| b["tid"] == a["tid"] && b["ts"].as_f64() > a["ts"].as_f64())
        {
            let end = a["ts"].as_f64().unwrap() + a["dur"].as_f64().unwrap();
            assert!(b["ts"].as_f64().unwrap() >= end - 1e-3, "{a:#} {b:#}");
        }
    }
}

#[test]
fn a_terminal_shows_all_of_a_reason() {
    let place = Place::new();
    place.script("bad", "#!/nonexist\n");
    let mut command = Command::new(uexec());
    // The window changes while the trace runs.
    let script = format!("stty cols 60; ./bad; /bin/true {}; true", "日本".repeat(30));
    command.args(["trace", "sh", "-c", &script]).current_dir(&place.path);
    let seen = typed(command, &[]);
    let lines: Vec<&str> = seen.lines().filter(|line| line.contains("\x1b[")).collect();
    let plain = |line: &str| anstream::adapter::strip_str(line).to_string();
    let columns = |line: &str| -> usize {
        plain(line).chars().map(|c| 1 + usize::from(c > '\u{3000}')).sum()
    };
    // The command, and stty's beginning and end.
    let (before, rest) = lines.split_at(3);
    assert!(rest.iter().all(|line| columns(line) <= 60), "{seen}");
    assert!(plain(rest.iter().find(|l| l.contains("日")).unwrap()).ends_with('…'), "{seen}");
    assert!(columns(before[0]) > 60, "{seen}");
    let words: Vec<String> =
        rest.iter().map(|line| plain(line).chars().skip(22).collect()).collect();
    let words = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let hint = "hint install it, or correct the path after #!; #!/usr/bin/env NAME searches PATH";
    assert!(words.contains(hint), "{words}");
}

#[test]
fn a_file_name_says_its_format_and_options_that_do_nothing_are_refused() {
    let place = Place::new();
    let trace = |words: &[&str]| {
        let mut command = Command::new(uexec());
        let output = command.arg("trace").args(words).current_dir(&place.path).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, begins) in [("t.html", "<!doctype"), ("t.jsonl", "{\"event\""), ("t", "   0.0")] {
        assert_eq!(trace(&["-o", name, "true"]), (Some(0), String::new()));
        assert!(fs::read_to_string(place.join(name)).unwrap().starts_with(begins), "{name}");
    }
    let (status, said) = trace(&["-o", "t.json", "true"]);
    assert!(status == Some(125) && said.contains("--format perfetto"), "{said}");
    assert!(!place.join("t.json").exists());
    for option in ["--failed", "--depth=1"] {
        let (status, said) = trace(&[option, "-o", "t.html", "true"]);
        let name = option.trim_end_matches("=1");
        assert_eq!((status, said), (Some(125), format!("uexec: {name} is for --format tree\n")));
    }
    // What cannot be executed is said once.
    let (status, said) = trace(&["./nosuch"]);
    assert_eq!((status, said.matches("ENOENT").count()), (Some(127), 2), "{said}");
    assert_eq!(said.matches("hint").count(), 1, "{said}");
    let (_, said) = trace(&["-o", "t", "./nosuch"]);
    assert_eq!(said.matches("hint").count(), 1, "{said}");
}

#[test]
fn the_last_line_sums_up() {
    let place = Place::new();
    place.script("bad", "#!/nonexist\n");
    for (script, end) in [
        (":", "1 process, 1 program, nothing failed"),
        ("(exit 3); ./bad; /bin/true; :", "4 processes, 2 programs, 2 with failures"),
        ("exec ./bad", "1 process, 1 program, 1 with a failure"),
    ] {
        traced(&place, "tree", &["sh", "-c", script]).status().unwrap();
        let tree = fs::read_to_string(place.join("out")).unwrap();
        assert!(tree.lines().last().unwrap().ends_with(end), "{script}: {tree}");
    }
}
