//! Rules of the options, programs for i386, and what inner trees inherit.

use std::fs;

use crate::common::place::{Place, uexec};
use crate::common::skip;
use crate::{VIA, command, compile, interpreter, output, possible, run};

const RULE: &str = ":shown:E::shown::/bin/cat:";

#[test]
fn rules_of_the_options_count_for_everybody() {
    if !possible("rules") {
        return;
    }
    let place = Place::new();
    let file = place.script("a.shown", "it works\n");
    let file = file.to_str().unwrap();
    let line = format!("{file}; env {file}; (exec {file}) | cat");
    for flags in ["", "P", "O", "F", "OCF"] {
        let rule = format!("{RULE}{flags}");
        // The name of the rule's interpreter is an argument of it, and so is argv[0] with P.
        let expected = if flags == "P" { 6 } else { 3 };
        let said = output(&mut command(true, ["--binfmt", &rule, "sh", "-c", &line]));
        assert_eq!(said, "it works\n".repeat(expected), "{flags}");
        let said = output(&mut command(true, ["--binfmt", &rule, file]));
        assert_eq!(said, "it works\n".repeat(expected / 3), "{flags}");
    }
    let failed = run(&mut command(true, ["--binfmt", ":wrong", "true"]));
    assert_eq!(failed.status.code(), Some(125), "{failed:?}");
}

#[test]
fn inner_trees_inherit() {
    if !possible("inheriting") {
        return;
    }
    if VIA == "ptrace" && !crate::possible_via("binfmt", "inheriting from a tracer") {
        return;
    }
    let place = Place::new();
    let file = place.script("a.shown", "it works\n");
    let source = "#include <stdio.h>\nint main(void) { puts(\"found\"); }\n";
    let lost = compile(&place, "lost", source, &["-Wl,--dynamic-linker=/nowhere/ld.so"]);
    let Some(loader) = interpreter(&uexec_sibling(&place)) else { return };
    let pair = format!("/nowhere/ld.so={loader}");
    for flags in ["", "OF"] {
        let rule = format!("{RULE}{flags}");
        let line = format!("{}; {}", file.display(), lost.display());
        let outer = ["--interp", &pair, "--binfmt", &rule];
        let inner = [uexec().to_str().unwrap(), "run", "--tree", "--via", "binfmt"];
        let words = outer.iter().chain(&inner).copied().chain(["sh", "-c", &line]);
        assert_eq!(output(&mut command(true, words)), "it works\nfound\n", "{flags}");
    }
}

/// A program of this host's C compiler.
fn uexec_sibling(place: &Place) -> std::path::PathBuf {
    compile(place, "usual", "int main(void) { return 0; }\n", &[])
}

#[test]
fn programs_for_i386() {
    if !possible("i386 programs") {
        return;
    }
    let place = Place::new();
    let source = "#include <stdio.h>\nint main(int c, char **v) { puts(v[c - 1]); return c; }\n";
    let file = place.file("small.c", source, 0o644);
    let built = |name: &str, flags: &[&str]| {
        let program = place.join(name);
        let mut cc = std::process::Command::new("cc");
        let done = run(cc.args(["-m32", "-o"]).arg(&program).arg(&file).args(flags));
        done.status.success().then_some(program)
    };
    let Some(fixed) = built("fixed", &["-static"]) else {
        return skip("i386 programs", "the C compiler makes none");
    };
    if run(&mut command(false, [&fixed])).status.code() != Some(1) {
        return skip("i386 programs", "the kernel runs none");
    }
    let Some(linked) = built("linked", &[]) else {
        return skip("dynamic i386 programs", "the C compiler makes none");
    };
    let old = interpreter(&linked).unwrap();
    let new = place.file("ld-of-the-tree", fs::read(&old).unwrap(), 0o755);
    let pair = format!("{old}={}", new.display());
    for options in [vec![], vec!["--interp", &pair]] {
        for program in [&fixed, &linked] {
            let line = format!("{} x y", program.display());
            let words = options.iter().copied().chain(["sh", "-c", &line]);
            let done = run(&mut command(true, words));
            assert_eq!((&done.stdout[..], done.status.code()), (&b"y\n"[..], Some(3)), "{done:?}");
        }
    }
    // It has the loader that the tree was told.
    let maps = "#include <stdio.h>\nint main(void) { FILE *f = fopen(\"/proc/self/maps\", \"r\");\n\
                int c; while ((c = getc(f)) >= 0) putchar(c); }\n";
    place.file("small.c", maps, 0o644);
    let maps = built("maps", &[]).unwrap();
    let words = ["--interp", &pair, "sh", "-c", maps.to_str().unwrap()];
    assert!(output(&mut command(true, words)).contains("ld-of-the-tree"));
}
