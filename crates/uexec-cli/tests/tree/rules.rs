//! Rules of the options, programs for i386, and what inner trees inherit.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::place::{Place, uexec};
use crate::common::{root, skip};
use crate::{VIA, command, compile, interpreter, output, possible, run, unprivileged};

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
fn a_wish_that_cannot_be_met_is_an_error() {
    if !possible("what cannot be met") {
        return;
    }
    let place = Place::new();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.script("a.shown", "echo it is taken for a script\n");
    let usual = interpreter(std::path::Path::new("/bin/true")).unwrap();
    let instead = format!("{usual}=/nonexistent");
    for words in [
        &["--interp", &instead, "/bin/true"][..],
        &[
            "--binfmt",
            ":shown:E::shown::/nonexistent:",
            "sh",
            "-c",
            "\"$0\"",
            file.to_str().unwrap(),
        ],
    ] {
        let told = run(unprivileged(&mut command(true, words)));
        assert_eq!(told.status.code(), Some(127), "{words:?}: {told:?}");
        assert!(told.stdout.is_empty() && !told.stderr.is_empty(), "{words:?}: {told:?}");
    }
}

/// By its path in the rule, through links, and as the file that it is: MISC-25, MISC-31.
#[test]
fn interpreters_are_called_as_by_the_kernel() {
    if !possible("names of interpreters") {
        return;
    }
    if VIA != "binfmt" && !root() {
        return skip(
            "names of interpreters",
            "a tracer's loader cannot give them to who is not root",
        );
    }
    let place = Place::new();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    let tells = fs::canonicalize(compile(&place, "tells", include_str!("tells.c"), &[])).unwrap();
    let (link, above) = (place.join("link"), place.join("above"));
    std::os::unix::fs::symlink(&tells, &link).unwrap();
    std::os::unix::fs::symlink(&place.path, &above).unwrap();
    let file = place.script("a.shown", "");
    let line = format!("exec 3>&-; {} x; :", file.display());
    let len = file.as_os_str().len();
    for name in [tells.clone(), link, above.join("above/link")] {
        for flags in ["", "F", "O", "OCPF"] {
            let rule = format!(":shown:E::shown::{}:{flags}", name.display());
            let argv0 = format!(" {} <{:.20}>", name.as_os_str().len(), name.to_str().unwrap());
            let exe = format!(", is a.shown, {},{argv0} {len} <", tells.display());
            // Only who has the capability gets his name from a tracer.
            for tester in [true, VIA != "binfmt"] {
                let mut command = command(true, ["--binfmt", &rule, "sh", "-c", &line]);
                let said = output(if tester { &mut command } else { unprivileged(&mut command) });
                assert!(said.contains(&exe), "{said} not {exe}");
                let handed = said.contains("descriptors 0 1 2 3");
                assert_eq!(handed, flags.contains('O'), "{said}");
            }
        }
    }
}

/// The loader makes do with the one descriptor that the kernel has given it.
#[test]
fn one_free_descriptor_is_enough() {
    if !possible("few descriptors") {
        return;
    }
    let place = Place::new();
    let source = "int main(void) { return 7; }\n";
    let program = compile(&place, "few", source, &["-static"]);
    let line = format!("ulimit -n 4; {}; echo $?", program.display());
    let [ours, kernels] = [true, false].map(|tree| output(&mut command(tree, ["sh", "-c", &line])));
    assert_eq!((ours, kernels), ("7\n".into(), "7\n".into()));
}

#[test]
fn inner_trees_inherit() {
    if !possible("inheriting") {
        return;
    }
    if VIA != "binfmt" && !crate::possible_via("binfmt", "inheriting from a tracer") {
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
