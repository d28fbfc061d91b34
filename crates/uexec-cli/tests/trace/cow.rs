//! What copy-on-write copies is counted: a program forks and writes to so many pages.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::common::{self, place::Place};
use super::{of, records, traced};

/// Pages that the fork has given, and how many were copied; nothing where the kernel is too old.
fn pages(place: &Place, program: &Path, words: [&str; 4], nobody: bool) -> Option<[u64; 2]> {
    let program = program.to_str().unwrap();
    let mut command = traced(place, "json", &["--cow", program]);
    command.args(words);
    // The program's own stack is written to as well: it must lie the same each time.
    let fixed = || {
        // SAFETY: numbers only; counts from the next exec on.
        unsafe { libc::personality(0x004_0000) };
        Ok(())
    };
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(fixed) };
    if nobody {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    let records = records(place);
    let event = if words[2] == "exec" { "exec" } else { "exit" };
    let child = &of(&records, "spawn")[0]["id"];
    let told = of(&records, event).into_iter().find(|r| r["id"] == *child).unwrap();
    let pages = &told["pages"];
    if pages.is_null() {
        common::skip("pages that are copied", "Linux before 6.7");
        return None;
    }
    let faults = told["faults_since_fork"].as_u64().unwrap();
    let copied = pages["copied"].as_u64().unwrap_or_else(|| panic!("{told:#}"));
    // The child's own part is never more than its faults.
    let by_parent: u64 = words[1].parse().unwrap();
    assert!(copied <= faults + by_parent + 20, "{words:?}: {told:#}");
    Some([pages["given"].as_u64().unwrap(), copied])
}

#[test]
fn as_many_as_were_written_by_either_side() {
    let place = Place::new();
    let source = place.file("cow.c", include_str!("cow.c"), 0o644);
    let program = place.join("cow");
    let built = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    if common::root() {
        std::os::unix::fs::chown(&place.path, Some(65534), Some(65534)).unwrap();
    }
    // Whoever is root sees where pages are, others only how often each is mapped.
    for nobody in [true, false] {
        if nobody && !common::root() {
            continue;
        }
        let _ = std::fs::remove_file(place.join("out"));
        for end in ["exec", "exit"] {
            for size in ["small", "huge"] {
                let ask = |child: u32, parent: u32| {
                    let [child, parent] = [child, parent].map(|n| format!("{n:04}"));
                    pages(&place, &program, [&child, &parent, end, size], nobody)
                };
                let Some([given, none]) = ask(0, 0) else { return };
                // Half of the memory has pages of its own.
                assert!((1024..1024 + 300).contains(&given), "{given} {end} {size}");
                assert!(none < 60, "{none} {end} {size}");
                for (child, parent, both) in [
                    (1, 0, 1),
                    (1000, 0, 1000),
                    (0, 777, 777),
                    (300, 700, 700),
                    (1024, 1024, 1024),
                    // Pages of zeros that become pages are new, not copied.
                    (2048, 0, 1024),
                ] {
                    let [_, copied] = ask(child, parent).unwrap();
                    assert_eq!(copied - none, both, "{child} {parent} {end} {size} {nobody}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_forked_has_none() {
    let place = Place::new();
    let words = ["--cow", "sh", "-c", "(exec /bin/true); /bin/true; (exit 0); :"];
    assert!(traced(&place, "json", &words).status().unwrap().success());
    let records = records(&place);
    let first = of(&records, "exec")[0];
    assert!(first["pages"].is_null(), "{first:#}");
    for exec in of(&records, "exec").iter().skip(1) {
        let spawn = of(&records, "spawn").into_iter().find(|s| s["id"] == exec["id"]).unwrap();
        let forked = spawn["how"] == "fork";
        assert!(forked || exec["pages"].is_null(), "{exec:#}");
    }
    // And nobody is asked without the option.
    assert!(traced(&place, "json", &words[1..]).status().unwrap().success());
    assert!(super::records(&place).iter().all(|r| r["pages"].is_null()));
}
