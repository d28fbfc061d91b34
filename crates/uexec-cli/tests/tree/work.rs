//! Real work in a tree leaves what it leaves outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::place::Place;
use crate::common::skip;
use crate::{command, possible, run, same_loader};

/// Whether a program runs here; says so if not.
fn has(program: &str, argument: &str) -> bool {
    let there = Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success());
    if !there {
        skip(program, "not installed");
    }
    there
}

/// What a shell writes, and the files that it leaves, in a tree that serves everybody and outside.
fn same(what: &str, files: &[(&str, &str)], script: &str) {
    let pair = same_loader();
    let done = [true, false].map(|tree| {
        let place = Place::new();
        for (name, text) in files {
            place.file(name, text, 0o755);
        }
        let served = pair.iter().filter(|_| tree).flat_map(|pair| ["--interp", pair]);
        let mut command = command(tree, served.chain(["sh", "-e", "-c", script]));
        // What programs remember of themselves lies in `cache`.
        command.env("HOME", place.join("cache"));
        let output = run(command.current_dir(&place.path));
        assert!(output.status.success(), "{what}: {output:?}");
        let own = place.path.to_str().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).replace(own, "HERE");
        (said, left(&place.path, &place.path))
    });
    let [(ours, our_files), (kernels, kernels_files)] = done;
    assert_eq!(ours, kernels, "{what}");
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&our_files), names(&kernels_files), "{what}");
    let differ: Vec<_> =
        our_files.iter().filter(|(name, bytes)| kernels_files.get(*name) != Some(bytes)).collect();
    assert!(differ.is_empty(), "{what}: {:?}", differ.iter().map(|(n, _)| n).collect::<Vec<_>>());
}

/// Files with their contents, below a directory; what lies in `cache` differs by nature.
fn left(root: &Path, dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "cache" {
                found.extend(left(root, &path));
            }
        } else if let Ok(bytes) = fs::read(&path) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, bytes);
        }
    }
    found
}

#[test]
fn git_commands() {
    if !possible("git") || !has("git", "--version") {
        return;
    }
    let script = "export GIT_AUTHOR_DATE=2001-02-03T04:05:06Z GIT_COMMITTER_DATE=2001-02-03T04:05:06Z GIT_CONFIG_NOSYSTEM=1
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q -b main . ; git add a; git commit -qm one
        echo more >> a; git -c core.pager=cat diff; git commit -qam two; git log --format=%H
        git branch x HEAD~1; git checkout -q x; echo b > b; git add b; git commit -qm three
        git rebase -q main; git log --format='%h %s'; rm -rf .git";
    same("git", &[("a", "text\n")], script);
}

#[test]
fn a_configure_script() {
    if !possible("configure") {
        return;
    }
    let configure = "#!/bin/sh
        for h in stdio.h stdlib.h nosuch.h sys/wait.h; do
            echo \"#include <$h>\" > conftest.c
            if cc -c -o conftest.o conftest.c 2>/dev/null; then r=yes; else r=no; fi
            echo \"checking for $h... $r\"
            n=`echo $h | tr 'a-z./' 'A-Z__'`
            test $r = no || echo \"#define HAVE_$n 1\" >> config.h
        done
        echo 'int main(void) { return 7; }' > conftest.c
        cc -o conftest conftest.c && { ./conftest; echo \"runs: $?\"; }
        sed -e 's/@x@/done/' Makefile.in > Makefile; cat Makefile; rm -f conftest conftest.o
        expr 3 + 4; awk 'BEGIN { print 6 * 7 }'; date > /dev/null; uname -s | tr A-Z a-z\n";
    same("configure", &[("configure", configure), ("Makefile.in", "all:\n\t@x@\n")], "./configure");
}

#[test]
fn a_go_program() {
    if !possible("Go") || !has("go", "version") {
        return;
    }
    let source = "package main
        import (\"fmt\"; \"os\"; \"os/exec\"; \"syscall\"; \"sync\")
        func main() {
            if len(os.Args) > 1 { fmt.Println(os.Args[1:]); os.Exit(len(os.Args)) }
            var wait sync.WaitGroup
            for i := 0; i < 8; i++ {
                wait.Add(1)
                go func() { defer wait.Done(); exec.Command(\"/bin/true\").Run() }()
            }
            wait.Wait()
            out, err := exec.Command(\"/bin/sh\", \"-c\", \"echo hi; exit 3\").Output()
            fmt.Printf(\"%s %v\\n\", out, err)
            exe, _ := os.Executable()
            fmt.Println(exe)
            syscall.Exec(exe, []string{\"x\", \"a\"}, os.Environ())
        }\n";
    // Built outside: what is to be seen is how its runtime starts programs.
    let place = Place::new();
    place.file("main.go", source, 0o644);
    place.file("go.mod", "module x\n", 0o644);
    let mut go = Command::new("go");
    let built =
        run(go.args(["build", "-o", "prog"]).env("GOTOOLCHAIN", "local").current_dir(&place.path));
    if !built.status.success() {
        return skip("Go", "it builds nothing here");
    }
    let program = place.join("prog");
    same("Go", &[], &format!("{} || echo $?", program.display()));
}

#[test]
fn a_crate() {
    if !possible("a crate") {
        return;
    }
    let Some(cargo) = option_env!("CARGO") else { return skip("a crate", "no cargo") };
    let home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|h| h + "/.cargo"));
    let rustup =
        std::env::var("RUSTUP_HOME").or_else(|_| std::env::var("HOME").map(|h| h + "/.rustup"));
    let (Ok(home), Ok(rustup)) = (home, rustup) else { return skip("a crate", "no home") };
    let script = format!(
        "export CARGO_HOME={home} RUSTUP_HOME={rustup} CARGO_TARGET_DIR=cache
         unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
         {cargo} build -q --offline; ./cache/debug/tiny; rm -f Cargo.lock"
    );
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        ),
        ("build.rs", "fn main() { println!(\"cargo::rustc-env=ANSWER=42\"); }\n"),
        ("src/main.rs", "fn main() { println!(\"{}\", env!(\"ANSWER\")); }\n"),
    ];
    same("a crate", &files, &script);
}
