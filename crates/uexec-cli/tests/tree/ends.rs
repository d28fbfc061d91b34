//! How trees end, trees in trees, and what is left: nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::common::place::{Place, one_at_a_time, uexec};
use crate::{command, output, possible, run, unprivileged};

#[test]
fn ends_are_the_programs_own() {
    if !possible("ends") {
        return;
    }
    for line in
        ["exit 0", "exit 3", "kill -TERM $$", "kill -KILL $$", "kill -SEGV $$", "exec false"]
    {
        let [ours, kernels] =
            [true, false].map(|tree| run(&mut command(tree, ["/bin/sh", "-c", line])).status);
        // Where core dumps are written, that is equal, too.
        assert_eq!((ours.code(), ours.signal()), (kernels.code(), kernels.signal()), "{line}");
    }
}

#[test]
fn failures_are_told() {
    if !possible("failures") {
        return;
    }
    let place = Place::new();
    let text = place.file("text", "echo\n", 0o644);
    for (program, status, what) in [
        ("/nowhere/at/all", 127, "ENOENT"),
        ("no-such-program-anywhere", 127, "ENOENT"),
        (text.to_str().unwrap(), 126, "EACCES"),
    ] {
        // No directory that nobody may search.
        let failed = run(command(true, [program]).env("PATH", "/usr/bin:/bin"));
        assert_eq!(failed.status.code(), Some(status), "{failed:?}");
        assert!(String::from_utf8_lossy(&failed.stderr).contains(what), "{failed:?}");
        // A shell of the tree says of it what a shell says outside.
        let line = format!("{program}; echo $?");
        let [ours, kernels] =
            [true, false].map(|tree| run(&mut command(tree, ["/bin/sh", "-c", &line])));
        assert_eq!((ours.stdout, ours.stderr), (kernels.stdout, kernels.stderr));
    }
}

#[test]
fn the_command_is_gone_and_so_is_the_tree_when_killed() {
    if !possible("kill -9") {
        return;
    }
    let mut child = {
        let _lock = one_at_a_time();
        // The last line comes when nothing that writes the others is left.
        let line = "echo $$; readlink /proc/$$/exe; echo; exec sleep 1000";
        command(true, ["/bin/sh", "-c", line]).stdout(Stdio::piped()).spawn().unwrap()
    };
    let said = BufReader::new(child.stdout.take().unwrap()).lines().take(3);
    let said: Vec<_> = said.map(|l| l.unwrap()).collect();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = fs::read_to_string(children).unwrap_or_default();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // The program has the command's own process.
    assert_eq!(said[0], child.id().to_string());
    assert_ne!(said[1], uexec().to_str().unwrap());
    assert_eq!(children.trim(), "");
}

#[test]
fn trees_in_trees() {
    if !possible("trees in trees") {
        return;
    }
    let uexec = uexec().to_str().unwrap();
    let inner = [uexec, "run", "--tree", uexec, "run", "--tree", "sh", "-c"];
    let line = "id -u; readlink /proc/self/exe; exit 0";
    let words = inner.iter().chain([&line]);
    let own = output(unprivileged(&mut command(false, ["/bin/sh", "-c", line])));
    assert_eq!(output(unprivileged(&mut command(true, words.clone()))), own);
    let own = output(&mut command(false, ["/bin/sh", "-c", line]));
    assert_eq!(output(&mut command(true, words)), own);
    // Without a tree, in one.
    let plain = [uexec, "run", "/bin/sh", "-c", line];
    assert_eq!(output(&mut command(true, plain)), own);
}

#[test]
fn nothing_is_mounted_outside() {
    if crate::VIA != "binfmt" || !possible("mounts") {
        return;
    }
    let inside = output(&mut command(true, ["cat", "/proc/self/mounts"]));
    assert!(inside.lines().any(|l| l.starts_with("binfmt_misc ")), "{inside}");
    let mine = |text: &str| text.lines().filter(|l| l.starts_with("binfmt_misc ")).count();
    let outside = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mine(&outside) < mine(&inside), "{outside}");
}

#[test]
fn a_program_from_standard_input() {
    if !possible("standard input") {
        return;
    }
    let program = fs::File::open("/bin/echo").unwrap();
    let said = command(true, ["-", "it", "works"]).stdin(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "it works\n", "{said:?}");
}
