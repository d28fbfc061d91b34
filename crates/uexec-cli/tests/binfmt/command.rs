//! `uexec binfmt list`, `check` and `explain`, and `--binfmt` elsewhere.

use super::with;
use crate::common::ask::{End, finish};
use crate::common::elf::Elf;
use crate::common::place::Place;

fn json_lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

#[test]
fn check_says_which_line_is_wrong_and_where() {
    let p = Place::new();
    p.elf("i", &Elf::exit(0));
    let i = p.join("i").display().to_string();
    let text =
        format!("# rules\n:a:E::x::{i}:\n  :b:M::\\xzz::{i}:\n:c:E::y::/none:\n:d:E::z::/none:F\n");
    p.file("r.conf", text, 0o644);
    let seen = finish(&mut with(&p, ["binfmt", "check", "r.conf"]));
    assert_eq!(seen.end, End::Exit(1), "{}", seen.stderr);
    let said = String::from_utf8_lossy(&seen.stdout);
    let expected = "r.conf:3:9: Invalid argument (EINVAL)\n  stage  binfmt_misc\n  why    \\x in the \
        magic is not followed by two hexadecimal digits\n           3 | :b:M::\\xzz::";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("\n             |       ^^^^\n"), "{said}");
    assert!(said.contains("r.conf:4: rule c: its interpreter /none cannot be opened"), "{said}");
    assert!(said.contains("r.conf:5:10: No such file or directory (ENOENT)"), "{said}");
    assert!(said.ends_with("4 rules, 2 wrong, 1 notes\n"), "{said}");
    let seen = finish(&mut with(&p, ["binfmt", "check", "--json", "r.conf"]));
    let lines = json_lines(&seen.stdout);
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[0]["outcome"], &lines[0]["line"]), (&"ok".into(), &2.into()));
    let error = &lines[1]["error"];
    assert_eq!((&error["errno"], &error["column"]), (&"EINVAL".into(), &9.into()));
    let seen = finish(&mut with(&p, ["binfmt", "check", "none.conf"]));
    assert_eq!(seen.end, End::Exit(125));
}

#[test]
fn list_and_explain_tell_the_rules_in_their_order() {
    let p = Place::new();
    p.elf("i", &Elf::exit(0));
    p.script("x.tst", "TEST");
    let rules = "--binfmt,none,--binfmt,:old:E::tst::./i:,--binfmt,:new:M::TE::./i:P,--binfmt,:far:M::TX::./i:";
    let args = |words: &[&str], last: &[&str]| -> Vec<String> {
        words
            .iter()
            .copied()
            .chain(rules.split(','))
            .chain(last.iter().copied())
            .map(String::from)
            .collect()
    };
    let seen = finish(&mut with(&p, args(&["binfmt", "list", "--json"], &[])));
    let names: Vec<_> = json_lines(&seen.stdout).iter().map(|l| l["name"].clone()).collect();
    assert_eq!(names, ["far", "new", "old"]);
    let seen = finish(&mut with(&p, args(&["binfmt", "explain", "--json"], &["./x.tst"])));
    assert_eq!(seen.end, End::Exit(0), "{}", seen.stderr);
    let answer: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(answer["taken_by"], "new");
    assert_eq!(answer["rules"][0]["why"], "byte 1 is 45, not 58");
    assert_eq!(answer["rules"][2]["why"], "would take it, but is asked later");
    let seen = finish(&mut with(&p, args(&["binfmt", "explain"], &["./i"])));
    assert_eq!(seen.end, End::Exit(1), "{}", seen.stderr);
    let said = String::from_utf8_lossy(&seen.stdout);
    assert!(said.starts_with("./i: the format elf knows it"), "{said}");
}

#[test]
fn explain_and_check_take_rules_too() {
    let p = Place::new();
    p.elf("i", &Elf::exit(0));
    p.script("x.tst", "TEST");
    let rule = [":t:E::tst::./i:".to_owned()];
    let mut explain = with(&p, ["explain", "--json", "--binfmt", "none", "--binfmt", &rule[0]]);
    let seen = finish(explain.arg("./x.tst"));
    let said: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(said["chain"][0]["format"], "misc:t");
    assert_eq!(said["outcome"], "ok");
    let mut check =
        with(&p, ["check", "--binfmt", "none", "--binfmt", &rule[0], "--json", "x.tst"]);
    let seen = finish(&mut check);
    assert_eq!(seen.end, End::Exit(0), "{}", String::from_utf8_lossy(&seen.stdout));
    let mut none = with(&p, ["check", "--binfmt", "none", "x.tst"]);
    assert_eq!(finish(&mut none).end, End::Exit(1));
}
