//! Root file systems that are not ours.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::Check;
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{root, skip};

/// A root with a loader of its own, and links that point out of it.
fn image() -> Place {
    let p = Place::new();
    p.elf("root/lib/ld.so", &Elf::exit(0));
    p.elf("root/usr/bin/inside", &Elf::exit(0).with_interp("/lib/ld.so"));
    p.elf("root/usr/bin/outside", &Elf::exit(0).with_interp("/lib64/ld-linux-x86-64.so.2"));
    p.script("root/usr/bin/script", "#!/bin/inside\n");
    p.script("root/usr/bin/sh-script", "#!/bin/sh\n");
    symlink("/usr/bin", p.join("root/bin")).unwrap();
    symlink("../../../../../../../usr/bin/inside", p.join("root/usr/bin/up")).unwrap();
    symlink("/usr/bin/inside", p.join("root/usr/bin/absolute")).unwrap();
    // These are there, but not in there.
    p.elf("secret", &Elf::exit(0));
    symlink("../../../secret", p.join("root/usr/bin/escape")).unwrap();
    symlink("/../bin/sh", p.join("root/usr/bin/escape-sh")).unwrap();
    symlink("../../..", p.join("root/usr/bin/out")).unwrap();
    symlink("/proc/self/root/bin/sh", p.join("root/usr/bin/magic")).unwrap();
    p
}

fn check_image(p: &Place, check: Check) {
    let checked = check.json();
    assert_eq!(checked.status, 1);
    assert_eq!(
        checked.paths(),
        [
            "/lib/ld.so",
            "/usr/bin/absolute",
            "/usr/bin/inside",
            "/usr/bin/outside",
            "/usr/bin/script",
            "/usr/bin/sh-script",
            "/usr/bin/up"
        ],
        "{}",
        p.path.display()
    );
    for name in ["/lib/ld.so", "/absolute", "/inside", "/usr/bin/script", "/up"] {
        assert_eq!(checked.verdict(name), ("ok", "", ""), "{}", checked.of(name));
    }
    assert_eq!(checked.verdict("/outside"), ("error", "ENOENT", "elf.interp"));
    assert_eq!(checked.verdict("/sh-script"), ("error", "ENOENT", "script.interp"));
    assert_eq!(checked.summary["dangling_links"], 3);
}

#[test]
fn everything_is_looked_for_inside() {
    let p = image();
    let root = p.join("root");
    check_image(&p, Check::new(&[&"--root", &root, &"/"]));
    check_image(&p, Check::new(&[&"--root", &root, &"/"]).unprivileged());
    // Through a link that is named, by its name; and no further up than the root.
    for (path, first) in [("/bin", "/bin/absolute"), ("/../bin", "/../bin/absolute")] {
        let checked = Check::new(&[&"--root", &root, &path]).json();
        assert_eq!((checked.paths()[0], checked.lines.len()), (first, 6));
    }
    let checked = Check::new(&[&"--root", &root, &"/usr/bin/out"]).json();
    assert_eq!(checked.lines.len(), 7, "{:#?}", checked.paths());
    let checked = Check::new(&[&"--root", &root, &"/usr/bin/escape", &"/secret"]).json();
    for name in ["/escape", "/secret"] {
        assert_eq!(checked.verdict(name), ("error", "ENOENT", "open"));
    }
}

#[test]
fn closed_parts_of_a_root_are_undecided() {
    let p = image();
    let closed = |name: &str, mode| {
        fs::set_permissions(p.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    p.elf("root/opt/closed/x", &Elf::exit(0));
    p.elf("root/opt/unsearchable/x", &Elf::exit(0));
    p.elf("root/opt/unreadable", &Elf::exit(0));
    symlink("closed/x", p.join("root/opt/link")).unwrap();
    p.script("root/opt/needs-closed", "#!/opt/closed/x\n");
    closed("root/opt/closed", 0o700);
    closed("root/opt/unsearchable", 0o744);
    closed("root/opt/unreadable", 0o711);
    if !root() {
        // Then they are ours, and open.
        closed("root/opt/closed", 0);
        closed("root/opt/unsearchable", 0o444);
        closed("root/opt/unreadable", 0o111);
    }
    let checked = Check::new(&[&"--root", &p.join("root"), &"/opt"]).unprivileged().json();
    assert_eq!(checked.status, 1);
    for name in ["/opt/closed", "/link", "/needs-closed", "/opt/unreadable"] {
        assert_eq!(checked.verdict(name).0, "unreadable", "{}", checked.of(name));
        assert_eq!(checked.verdict(name).1, "EACCES", "{}", checked.of(name));
    }
    if root() {
        let checked = Check::new(&[&"--root", &p.join("root"), &"/opt"]).json();
        assert_eq!(checked.status, 0, "{:#?}", checked.lines);
    } else {
        skip("closed parts of a root, as root", "not root");
        closed("root/opt/closed", 0o755);
        closed("root/opt/unsearchable", 0o755);
    }
}

#[test]
fn modes_count_not_owners() {
    let p = Place::new();
    p.file("root/x", Elf::exit(0).bytes(), 0o644);
    p.file("root/only-owner", Elf::exit(0).bytes(), 0o744);
    let root = p.join("root");
    let checked = Check::new(&[&"--root", &root, &"/", &"/x"]).unprivileged().json();
    assert_eq!(checked.verdict("/only-owner"), ("ok", "", ""));
    assert_eq!(checked.verdict("/x"), ("error", "EACCES", "open"));
}
