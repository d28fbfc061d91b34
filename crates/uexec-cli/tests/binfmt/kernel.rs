//! The same rule by both: by the kernel, in a user namespace that has a `binfmt_misc` of its own, and
//! by `uexec run` (MISC-24 to MISC-31, PIPE-35).

use std::process::Command;

use super::{by_rule, cc};
use crate::common::ask::{End, Seen, finish};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{kernel_since, skip};

/// Tells how it was started.
const TELL: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <unistd.h>
int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) printf("[%s] ", argv[i]);
    int fd = getauxval(AT_EXECFD) ? (int)getauxval(AT_EXECFD) : -1;
    printf("flags %lu fd %d %s", getauxval(AT_FLAGS), fd, (char *)getauxval(AT_EXECFN));
    if (fd >= 0) {
        char text[9] = "";
        long n = read(fd, text, 4);
        int get = fcntl(fd, F_GETFL);
        printf(" %ld %d %d %d", n, text[0], get & (O_ACCMODE | O_NONBLOCK), fcntl(fd, F_GETFD));
    }
    for (int i = 0; i < 20; i++) if (fcntl(i, F_GETFD) != -1) printf(" +%d", i);
    puts("");
    return 7;
}
"#;

/// Runs a program by rules in the kernel; `None`, said aloud, where they cannot be registered.
fn by_kernel(p: &Place, rules: &[String], program: &[&str]) -> Option<Seen> {
    const SCRIPT: &str = r#"mkdir -p misc && mount -t binfmt_misc none misc || exit 99
        while [ "$1" != -- ]; do printf %s "$1" > misc/register || exit 98; shift; done
        shift; exec "$@""#;
    if !kernel_since(6, 7) {
        skip("rules by the kernel", "a binfmt_misc of one's own needs Linux 6.7");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", SCRIPT, "sh"]).args(rules).arg("--").args(program);
    let seen = finish(command.current_dir(&p.path));
    if matches!(seen.end, End::Exit(99) | End::Errno(_)) || seen.stderr.starts_with("unshare:") {
        skip("rules by the kernel", seen.stderr.lines().next().unwrap_or("no unshare(1)"));
        return None;
    }
    Some(seen)
}

#[test]
fn misc_25_to_28_arguments_flags_and_descriptor() {
    let p = Place::new();
    let Some(()) = cc(&p, "cc", TELL, "tell", &["-static"]) else { return };
    p.script("file.tst", "TEST");
    let tell = p.join("tell");
    for flags in ["", "P", "O", "OP", "C", "F", "POCF"] {
        let rule = vec![format!(":t:E::tst::{}:{flags}", tell.display())];
        let program = ["./file.tst", "a", "", "b c"];
        let ours = finish(&mut by_rule(&p, &rule, &program));
        assert_eq!(ours.end, End::Exit(7), "{flags}: {}", ours.stderr);
        let Some(kernel) = by_kernel(&p, &rule, &program) else { return };
        let text = |seen: &Seen| String::from_utf8_lossy(&seen.stdout).into_owned();
        assert_eq!(text(&ours), text(&kernel), "{flags}");
    }
}

/// Interpreters that are scripts, taken by a rule themselves, missing, or no programs; with both
/// kinds of path and flags that go together.
#[test]
fn misc_28_to_30_odd_interpreters() {
    let p = Place::new();
    let Some(()) = cc(&p, "cc", TELL, "tell", &["-static"]) else { return };
    p.script("file.tst", "TEST");
    p.script("script", "#!./tell one two\n");
    p.script("twice", "#!./script x\n");
    p.script("taken.tst", "#!./tell hi\n");
    p.script("other.two", "2");
    p.file("plain", "", 0o644);
    p.script("via", "#!./file.tst a b\n");
    let two = format!(":two:E::two::{}:P", p.join("tell").display());
    let cases = [
        ("script", "P", 7),
        ("twice", "F", 7),
        ("taken.tst", "", 126),
        ("taken.tst", "PF", 126),
        ("other.two", "", 7),
        ("other.two", "PF", 7),
        ("none", "OC", 127),
        ("plain", "P", 126),
        (".", "", 126),
        ("tell", "PO", 7),
    ];
    for (interpreter, flags, status) in cases {
        for interpreter in [interpreter.to_owned(), p.join(interpreter).display().to_string()] {
            let rules = vec![two.clone(), format!(":t:E::tst::{interpreter}:{flags}")];
            for program in [&["./file.tst", "a", "", "b c"][..], &["./via", "z"]] {
                let ours = finish(&mut by_rule(&p, &rules, program));
                assert_eq!(ours.end, End::Exit(status), "{rules:?}: {}", ours.stderr);
                let Some(kernel) = by_kernel(&p, &rules, program) else { return };
                // The shell that makes the exec says 127 of a loop.
                let status = if ours.stderr.contains("(ELOOP)") { 127 } else { status };
                assert_eq!(kernel.end, End::Exit(status), "{rules:?}: {}", kernel.stderr);
                let said = String::from_utf8_lossy(&ours.stdout);
                assert_eq!(said, String::from_utf8_lossy(&kernel.stdout), "{rules:?} {program:?}");
            }
        }
    }
}

/// MISC-21: what stands behind the last dot of the whole path, and magic beyond the end of the file.
#[test]
fn misc_21_names_with_dots() {
    let p = Place::new();
    p.elf("tell", &Elf::exit(7));
    let tell = p.join("tell");
    std::fs::create_dir(p.join("d.tst")).unwrap();
    let names = ["b.tar.gz", "file.tst", "noext", "tst", "d.tst/f", ".tst", "a."];
    for name in names {
        p.script(name, "TEST");
    }
    let takes = [
        ("E::tar.gz:", &[][..]),
        ("E::gz:", &["b.tar.gz"]),
        ("E::tst:", &["file.tst", ".tst"]),
        ("M::TEXT:\\xff\\xff\\x00\\xff", &names),
        ("M:1:EST\\x00\\x00:", &names),
    ];
    for (test, taken) in takes {
        let rule = vec![format!(":t:{test}:{}:", tell.display())];
        for name in names {
            let program = [&*format!("./{name}")];
            let ours = finish(&mut by_rule(&p, &rule, &program));
            assert_eq!(ours.end == End::Exit(7), taken.contains(&name), "{rule:?} {name}");
            let Some(kernel) = by_kernel(&p, &rule, &program) else { return };
            assert_eq!(kernel.end == End::Exit(7), taken.contains(&name), "{rule:?} {name}");
        }
    }
}

#[test]
fn pipe_35_a_tree_of_depth_5_works_and_one_of_6_does_not() {
    let p = Place::new();
    p.elf("last", &Elf::exit(42));
    let rules = vec![
        format!(":one:E::one::{}:", p.join("s2").display()),
        format!(":two:E::two::{}:P", p.join("s3").display()),
    ];
    p.script("s0", "#!./s1\n");
    p.script("s1", "#!./m1.one\n");
    p.script("m1.one", "1");
    p.script("s2", "#!./m2.two\n");
    p.script("m2.two", "2");
    p.script("s3", "#!./last\n");
    let five = finish(&mut by_rule(&p, &rules, &["./s1"]));
    assert_eq!(five.end, End::Exit(42), "{}", five.stderr);
    let six = finish(&mut by_rule(&p, &rules, &["./s0"]));
    assert_eq!(six.end, End::Exit(126));
    assert!(six.stderr.contains("(ELOOP)"), "{}", six.stderr);
    if let Some(kernel) = by_kernel(&p, &rules, &["./s1"]) {
        assert_eq!(kernel.end, five.end, "{}", kernel.stderr);
    }
    if let Some(kernel) = by_kernel(&p, &rules, &["./s0"]) {
        let loops = ["Too many levels of symbolic links", "ELOOP"];
        assert!(loops.iter().any(|l| kernel.stderr.contains(l)), "{}", kernel.stderr);
    }
}

/// The list of decisions is the same whether a rule was written on the command line or in a file.
#[test]
fn misc_21_the_last_rule_is_tried_first() {
    let p = Place::new();
    p.elf("old", &Elf::exit(1));
    p.elf("new", &Elf::exit(2));
    p.script("x.tst", "TEST");
    let rule = |name: &str| format!(":{name}:E::tst::{}:", p.join(name).display());
    let rules = vec![rule("old"), rule("new")];
    assert_eq!(finish(&mut by_rule(&p, &rules, &["./x.tst"])).end, End::Exit(2));
    p.file("rules", format!("# two\n{}\n ; none\n\n  {}  \n", rules[0], rules[1]), 0o644);
    let file = vec!["rules".to_owned()];
    assert_eq!(finish(&mut by_rule(&p, &file, &["./x.tst"])).end, End::Exit(2));
    if let Some(kernel) = by_kernel(&p, &rules, &["./x.tst"]) {
        assert_eq!(kernel.end, End::Exit(2), "{}", kernel.stderr);
    }
}
