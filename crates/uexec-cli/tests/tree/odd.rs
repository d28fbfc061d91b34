//! Execs in odd ways: of files that somebody writes to, without a name, with names that start
//! somewhere, in other root directories and mounts, and calls that fail: all come out as outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::place::{Place, uexec};
use crate::common::{root, skip};
use crate::{command, compile, interpreter, output, possible, run, same_loader};

const TELLS: &str = include_str!("tells.c");

fn place() -> Place {
    let place = Place::new();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// The probe, and where the tree begins.
fn probe(place: &Place) -> PathBuf {
    compile(place, "odd", include_str!("odd.c"), &["-w"])
}

/// What it says, in a directory of its own.
fn says(tree: bool, place: &Place, words: &[PathBuf]) -> String {
    output(command(tree, words).current_dir(&place.path))
}

#[test]
fn odd_execs_come_out_as_outside() {
    if crate::VIA == "binfmt" || !possible("odd execs") {
        return;
    }
    let place = place();
    let tells = compile(&place, "tells", TELLS, &[]);
    let lonely = compile(&place, "lonely", TELLS, &["-static"]);
    let words = [probe(&place), tells, lonely];
    // Who is not root finds the loader's name as its own where that was given another loader.
    let pair = same_loader().filter(|_| root());
    let served = pair.into_iter().flat_map(|pair| ["--interp".into(), pair.into()]);
    let inside: Vec<PathBuf> = served.chain(words.clone()).collect();
    let [ours, kernels] = [says(true, &place, &inside), says(false, &place, &words)];
    let differ = ours.lines().zip(kernels.lines()).find(|(ours, kernels)| ours != kernels);
    assert_eq!(differ, None);
    assert_eq!(ours.len(), kernels.len());
    assert!(kernels.contains("busy_program: Text file busy"), "{kernels}");
}

/// Those that only uexec can load: which are, and by which names not.
#[test]
fn odd_execs_are_served() {
    if crate::VIA == "binfmt" || !possible("odd execs") {
        return;
    }
    let place = place();
    let Some(loader) = interpreter(Path::new("/bin/sh")) else { return };
    let tells = compile(&place, "tells", TELLS, &["-Wl,--dynamic-linker=/nowhere/ld.so"]);
    let usual = compile(&place, "usual", TELLS, &[]);
    let told = output(Command::new(uexec()).args(["explain", "--json"]).arg(usual));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let libraries = told["libraries"].as_array().unwrap().iter();
    let libraries = libraries.map(|library| PathBuf::from(library["path"].as_str().unwrap()));
    let pair = format!("/nowhere/ld.so={loader}");
    let mut words = vec!["--interp".into(), pair.into(), probe(&place), tells.clone(), tells];
    words.extend(libraries);
    let said = says(true, &place, &words);
    let ran = |way: &str| {
        let begin = format!("{way}: ");
        let end = said.lines().find_map(|line| line.strip_prefix(&begin));
        end.is_some_and(|end| end.starts_with("runs by ") || end.starts_with("child 0, runs by "))
    };
    let mut ways = vec![
        "relative",
        "relative_absolutely",
        "nested",
        "from_directory",
        "from_closing_directory",
        "memory_file",
        "closing_memory_file",
        "unlinked_file",
        "unlinked_closing_file",
        "place_only",
        "own_descriptor",
        "device_descriptor",
        "memory_script",
        "no_descriptor_but_path",
        "longest_name",
        "null_words",
        "empty_words",
        "after_failures",
        "after_vfork",
        "with_blocked_signals",
    ];
    if root() {
        ways.extend([
            "in_root",
            "in_root_relative",
            "in_root_script",
            "root_of_user",
            "only_in_mount",
        ]);
    }
    let lost: Vec<_> = ways.into_iter().filter(|way| !ran(way)).collect();
    assert!(lost.is_empty(), "{lost:?} of {said}");
    // By these names the loader would find itself, or nothing: they are left to the kernel.
    for way in ["own_closing_descriptor", "linked_descriptor", "by_working_directory"] {
        let line = format!("{way}: No such file or directory");
        assert!(said.contains(&line), "{way}: {said}");
    }
}

#[test]
fn another_proc_in_the_place_of_the_trees() {
    if crate::VIA == "binfmt" || !possible("another /proc") {
        return;
    }
    let own = |words: &[&str]| {
        let mut all = vec!["-m", "--propagation", "private"];
        all.extend(words);
        let mut command = Command::new("unshare");
        command.args(all);
        command
    };
    if !root() || !run(&mut own(&["unshare", "-pf", "true"])).status.success() {
        return skip("another /proc", "no namespaces for it");
    }
    let Some(pair) = same_loader() else { return };
    // All numbers in it are others, of others.
    let inner = "mount -t proc proc /proc; /bin/echo one; readlink /proc/self; cat /proc/1/comm";
    let line = format!("unshare -pf sh -c '{inner}'; umount /proc; /bin/echo two");
    let tree = [uexec().to_str().unwrap(), "run", "--tree", "--via", "ptrace", "--interp", &pair];
    let words = ["sh", "-c", &line];
    let inside = output(&mut own(&[&tree[..], &words].concat()));
    assert_eq!(inside, output(&mut own(&words)));
}
