//! Who has given up rights, and executes what it may not, is told so by the call, and goes on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::common::place::Place;
use crate::common::{root, skip};
use crate::{command, compile, interpreter, output, possible, same_loader};

const GROUP: u32 = 12;
const SOURCE: &str = "#include <stdio.h>\nint main(void) { puts(\"it ran\"); }\n";

/// A program of somebody's, with a mode.
fn copy(from: &Path, to: PathBuf, mode: u32, (user, group): (u32, u32)) -> PathBuf {
    fs::copy(from, &to).unwrap();
    chown(&to, Some(user), Some(group)).unwrap();
    fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    to
}

/// Programs and scripts that some may execute and others not.
fn files(place: &Place) -> Vec<PathBuf> {
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    let program = compile(place, "program", SOURCE, &[]);
    let private = place.join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let mut files = vec![
        copy(&program, place.join("owner"), 0o700, (0, 0)),
        copy(&program, place.join("group"), 0o750, (0, GROUP)),
        copy(&program, place.join("not-group"), 0o705, (0, GROUP)),
        copy(&program, place.join("others"), 0o700, (1000, 1000)),
        copy(&program, place.join("unreadable"), 0o711, (0, 0)),
        copy(&program, place.join("nobody"), 0o644, (0, 0)),
        copy(&program, private.join("inside"), 0o755, (0, 0)),
    ];
    for (name, interpreter, mode) in [
        ("script", "program", 0o755),
        ("script-of-owner", "program", 0o700),
        ("script-by-owner", "owner", 0o755),
        ("script-by-group", "group", 0o755),
        ("script-by-unreadable", "unreadable", 0o755),
    ] {
        files.push(place.file(name, format!("#!{}\n", place.join(interpreter).display()), mode));
    }
    files.push(program);
    files
}

#[test]
fn rights_given_up() {
    // By binfmt_misc there are no other ids, nor another namespace's capabilities.
    if crate::VIA == "binfmt" || !possible("rights") {
        return;
    }
    if !root() {
        return skip("rights", "only root has some to give up");
    }
    let Some(pair) = same_loader() else { return skip("rights", "the loader has one name only") };
    let place = Place::new();
    let probe = compile(&place, "probe", include_str!("rights.c"), &[]);
    let words: Vec<_> = [probe].into_iter().chain(files(&place)).collect();
    let served = ["--interp".into(), pair.into()];
    let inside = output(&mut command(true, served.iter().chain(&words)));
    let outside = output(&mut command(false, &words));
    for (ours, kernels) in inside.lines().zip(outside.lines()) {
        assert_eq!(ours, kernels, "of\n{outside}");
    }
    assert_eq!(inside, outside);
    // They differ in what they may.
    assert!(outside.contains("owner: Permission denied"), "{outside}");
    assert!(outside.contains("owner: it ran"), "{outside}");
}

#[test]
fn rights_given_up_where_only_uexec_can_load() {
    if crate::VIA == "binfmt" || !possible("rights") {
        return;
    }
    let Some(loader) = interpreter(Path::new("/bin/sh")).filter(|_| root()) else {
        return skip("rights", "only root has some to give up");
    };
    let place = Place::new();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    let probe = compile(&place, "probe", include_str!("rights.c"), &[]);
    let flags = ["-Wl,--dynamic-linker=/nowhere/ld.so"];
    let anybodys = compile(&place, "anybodys", SOURCE, &flags);
    let owners = copy(&anybodys, place.join("owners"), 0o700, (0, 0));
    let others = copy(&anybodys, place.join("others"), 0o700, (1000, 1000));
    let pair = format!("/nowhere/ld.so={loader}");
    let words = [Path::new("--interp"), Path::new(&pair), &probe, &anybodys, &owners, &others];
    let said = output(&mut command(true, words));
    let end = |who: &str, file: &Path| {
        let begin = format!("{who}, {}: ", file.display());
        let line = said.lines().find_map(|line| line.strip_prefix(&begin));
        line.unwrap_or_default().to_owned()
    };
    // Nobody but the loader can have run them.
    for who in ["nothing", "user", "effective user", "no capabilities", "one capability"] {
        assert_eq!(end(who, &anybodys), "it ran", "{said}");
    }
    let [ran, refused] = ["it ran", "Permission denied"];
    for (who, owner, other) in [
        ("nothing", ran, ran),
        ("user", refused, refused),
        ("file user", refused, refused),
        ("no capabilities", ran, refused),
        ("one capability", ran, ran),
        ("user's namespace", refused, refused),
    ] {
        assert_eq!([end(who, &owners), end(who, &others)], [owner, other], "{who}: {said}");
    }
}
