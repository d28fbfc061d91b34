//! Every option of `uexec run`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use crate::common::ask::{Ask, End, finish};
use crate::common::elf::Elf;
use crate::common::place::{Place, uexec};
use crate::common::{root, skip};
use crate::{output, run, text};

/// A program that writes its arguments.
fn echo() -> Place {
    let place = Place::new();
    place.elf("echo", &Elf::echo());
    place
}

/// What it writes when run like this.
#[track_caller]
fn argv(p: &Place, args: &[&str]) -> String {
    let seen = finish(&mut run(p, args));
    assert_eq!(seen.end, End::Exit(42), "{}", seen.stderr);
    seen.stdout.escape_ascii().to_string()
}

#[test]
fn arguments_are_handed_on_untouched() {
    let p = echo();
    assert_eq!(argv(&p, &["./echo"]), r"./echo\x00");
    assert_eq!(argv(&p, &["./echo", "", "a b", ""]), r"./echo\x00\x00a b\x00\x00");
    assert_eq!(argv(&p, &["./echo", "-v", "--help", "-i"]), r"./echo\x00-v\x00--help\x00-i\x00");
    assert_eq!(argv(&p, &["./echo", "--seed"]), r"./echo\x00--seed\x00");
    assert_eq!(argv(&p, &["--", "./echo", "x"]), r"./echo\x00x\x00");
    assert_eq!(argv(&p, &["./echo", "--", "x"]), r"./echo\x00--\x00x\x00");
    assert_eq!(argv(&p, &["./echo", "x", "--", "y"]), r"./echo\x00x\x00--\x00y\x00");
    assert_eq!(argv(&p, &["--", "./echo", "--", "--"]), r"./echo\x00--\x00--\x00");
    assert_eq!(argv(&p, &["--no-aslr", "./echo", "-"]), r"./echo\x00-\x00");
    let bytes = [OsString::from("./echo"), OsString::from_vec(b"\xff\xfe=\x01".to_vec())];
    let seen = finish(&mut run(&p, &bytes));
    assert_eq!(seen.stdout, b"./echo\0\xff\xfe=\x01\0");
}

#[test]
fn argv0() {
    let p = echo();
    assert_eq!(argv(&p, &["--argv0", "name", "./echo", "a"]), r"name\x00a\x00");
    assert_eq!(argv(&p, &["--argv0", "", "./echo", "a"]), r"\x00a\x00");
    assert_eq!(argv(&p, &["--argv0=-sh", "./echo"]), r"-sh\x00");
    // A script's interpreter never sees it (SCR-8).
    p.script("script", "#!./echo\n");
    assert_eq!(argv(&p, &["--argv0", "name", "./script"]), r"./echo\x00./script\x00");
}

#[test]
fn environment() {
    let p = Place::new();
    let env = |options: &[&str]| {
        let mut command = run(&p, options);
        command.arg("/usr/bin/env").env_clear().env("A", "1").env("AB", "2").env("C", "3");
        output(&mut command)
    };
    assert_eq!(env(&[]), "A=1\nAB=2\nC=3");
    // In place, added, twice.
    assert_eq!(env(&["-e", "AB=x=y", "--env", "D="]), "A=1\nAB=x=y\nC=3\nD=");
    assert_eq!(env(&["-e", "D=1", "-e", "A=2", "-e", "D=2"]), "A=2\nAB=2\nC=3\nD=2");
    assert_eq!(env(&["-i", "-e", "Z=1", "-e", "A=2"]), "Z=1\nA=2");
    assert_eq!(env(&["--clear-env"]), "");
    for wrong in ["A", "", "=x"] {
        let seen = finish(run(&p, ["-e", wrong, "true"]).env_clear());
        assert_eq!(seen.end, End::Exit(125));
        assert!(seen.stderr.contains("NAME=VALUE"), "{}", seen.stderr);
    }
}

/// What a caller hands on need be no proper environment: it stays as it is.
#[test]
fn strange_environments_stay() {
    let p = Place::new();
    let ask = Ask::new(&p.path, "/usr/bin/env");
    let ask = ask.env(&[b"A=1", b"A=2", b"NOTHING", b"=", b"\xff=\xfe"]);
    let kernel = ask.kernel();
    // The command is started by execve(2) itself: std would tidy the environment up.
    let mut through = ask.clone();
    through.path = crate::common::place::uexec().as_os_str().as_encoded_bytes().to_vec();
    through.argv = [&b"uexec"[..], b"run", b"/usr/bin/env"].map(Vec::from).to_vec();
    assert_eq!(
        through.kernel().stdout.escape_ascii().to_string(),
        kernel.stdout.escape_ascii().to_string()
    );
}

const MAPS: [&str; 2] = ["cat", "/proc/self/maps"];

/// Of a list of mappings those that exec itself makes; the rest is mapped by the program, where
/// the kernel has put uexec's own.
fn placed(all: &str) -> Vec<String> {
    let names = ["/cat", "/ld-", "[vvar]", "[vdso]", "[stack]"];
    let mine = |l: &&str| names.iter().any(|n| l.contains(n));
    all.lines().filter(mine).map(str::to_owned).collect()
}

#[test]
fn no_aslr_is_as_setarch() {
    let p = Place::new();
    let ask = Ask::new(&p.path, "/usr/bin/cat").args(&[b"/proc/self/maps"]);
    let ask = ask.env(&[b"LC_ALL=C"]);
    let kernel = ask.clone().no_aslr().kernel();
    let ours = ask.option("--no-aslr").uexec();
    assert_eq!(placed(&text(&ours)), placed(&text(&kernel)), "{}", ours.stderr);
    assert!(text(&ours).contains("[stack]"));
}

#[test]
fn seeds() {
    let p = Place::new();
    let maps = |n: &str| placed(&output(run(&p, ["--seed", n]).args(MAPS)));
    let persona = output(run(&p, ["--seed", "1", "cat", "/proc/self/personality"]).env_clear());
    assert_eq!(maps("7"), maps("7"));
    assert_ne!(maps("7"), maps("8"));
    assert_eq!(maps("18446744073709551615"), maps("18446744073709551615"));
    assert_eq!(persona, output(Command::new("cat").arg("/proc/self/personality")), "left behind");
    for options in [["--seed", "x"], ["--seed", "-1"], ["--seed=1", "--no-aslr"]] {
        assert_eq!(finish(run(&p, options).arg("true")).end, End::Exit(125), "{options:?}");
    }
}

#[test]
fn interp() {
    let p = Place::new();
    p.elf("prog", &Elf::exit(42).with_interp("./missing"));
    p.elf("ld", &Elf::exit(43).at(0));
    assert_eq!(finish(&mut run(&p, ["./prog"])).end, End::Exit(127));
    assert_eq!(finish(&mut run(&p, ["--interp", "./ld", "./prog"])).end, End::Exit(43));
    assert_eq!(finish(&mut run(&p, ["--interp", "./none", "./prog"])).end, End::Exit(127));
    // A program without one needs none.
    p.elf("static", &Elf::exit(44));
    assert_eq!(finish(&mut run(&p, ["--interp", "./ld", "./static"])).end, End::Exit(44));
}

#[test]
fn userns() {
    let p = Place::new();
    let ids = "id -u; id -g; readlink /proc/$$/exe";
    let plain = Ask::new(&p.path, "/bin/sh").args(&[b"-c", ids.as_bytes()]);
    let plain = plain.env(&[b"PATH=/bin:/usr/bin"]);
    for ask in [plain.clone(), plain.nobody()] {
        let ours = ask.clone().option("--userns").uexec();
        if ours.stderr.contains("no own user namespace") {
            assert_eq!(ours.end, End::Exit(125));
            return skip("--userns", ours.stderr.trim_end());
        }
        assert_eq!(text(&ours), text(&ask.kernel()), "{}", ours.stderr);
    }
}

#[test]
fn verbose() {
    let p = echo();
    let ask = Ask::new(&p.path, "./echo").nobody().option("-v");
    let ours = ask.clone().uexec();
    let exe = "uexec: not as under the kernel: /proc/self/exe still names uexec";
    assert!(ours.stderr.starts_with(exe), "{}", ours.stderr);
    if root() {
        let seen = finish(&mut run(&p, ["-v", "./echo"]));
        assert_eq!(seen.stderr, "", "root can do everything");
    }
    let story = ask.option("-v").uexec();
    for stage in ["open", "args", "search", "binfmt_elf", "creds", "stack", "map"] {
        assert!(
            story.stderr.contains(&format!("\nuexec: {stage:<13} "))
                || story.stderr.starts_with(&format!("uexec: {stage:<13} ")),
            "{stage}: {}",
            story.stderr
        );
    }
}

#[test]
fn exit_status() {
    let p = Place::new();
    for (script, end) in [
        ("exit 0", End::Exit(0)),
        ("exit 7", End::Exit(7)),
        ("exit 255", End::Exit(255)),
        ("kill -9 $$", End::Signal(9)),
        ("kill -15 $$", End::Signal(15)),
        ("kill -13 $$", End::Signal(13)),
    ] {
        assert_eq!(finish(&mut run(&p, ["sh", "-c", script])).end, end, "{script}");
    }
    for (args, status) in
        [(&["./none"][..], 127), (&["/"][..], 126), (&[][..], 125), (&["--none", "true"][..], 125)]
    {
        assert_eq!(finish(&mut run(&p, args)).end, End::Exit(status), "{args:?}");
    }
}

/// A full disk or a closed pipe under the messages is no reason to panic.
#[test]
fn messages_go_nowhere() {
    let p = Place::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = run(&p, ["-vv", "sh", "-c", "exit 3"]);
    command.stdin(std::process::Stdio::null()).stderr(full);
    let status = {
        let _lock = crate::common::place::one_at_a_time();
        command.spawn()
    };
    assert_eq!(status.unwrap().wait().unwrap().code(), Some(3));
}

#[test]
fn a_loader_without_a_path_is_refused() {
    for (text, why) in [("=/x", "in front of ="), ("/x=", "behind ="), ("", "no path")] {
        let mut command = Command::new(uexec());
        let output = command.args(["run", "--tree", "--interp", text, "true"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{text}: {said}");
        assert!(said.contains("--interp") && said.contains(why), "{text}: {said}");
    }
}
