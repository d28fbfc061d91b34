//! Whoever tries gains no more inside than outside: as root, as nobody, as nobody in a tree of
//! root's, and as root of a namespace of one's own.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::equal::served;
use crate::common::place::{Place, uexec};
use crate::common::{root, skip};
use crate::{NOBODY, VIA, command, compile, output, possible, run, unprivileged};

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// Whoever runs the tests.
    Tester,
    Nobody,
    /// Nobody, in a tree of the tester's.
    Dropped,
}

const DROP: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// What these words print, in a directory of whose who tries.
fn output_of(who: Who, command: &mut Command) -> String {
    let place = Place::new();
    if root() && who != Who::Tester {
        chown(&place.path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    place.file("gain-secret", "secret", 0o600);
    command.current_dir(&place.path);
    output(if who == Who::Nobody { unprivileged(command) } else { command })
}

/// The words of who tries.
fn words<'a>(who: Who, words: &[&'a str]) -> Vec<&'a str> {
    let drop = DROP.into_iter().filter(|_| who == Who::Dropped);
    drop.chain(words.iter().copied()).collect()
}

/// Whether a line tells of a capability that reaches no further than the tree's own namespace.
fn of_the_namespace(who: Who, line: &str, kernels: &str) -> bool {
    let Some((set, value)) = line.strip_prefix("is Cap").and_then(|l| l.split_once(":\t")) else {
        return false;
    };
    // A file's capabilities are granted in the namespace, to its owner too.
    let granted = value == "0000000000ffffff" && who == Who::Nobody;
    // All that there are, where outside some are missing.
    let granted = granted || who == Who::Dropped && !kernels.ends_with("\t0000000000000000");
    // CAP_CHECKPOINT_RESTORE, of who is not root.
    let kept = value == "0000010000000000" && (who == Who::Nobody || !root());
    VIA == "binfmt" && (set == "Bnd" || granted || kept || who == Who::Tester && root())
}

/// What a tree's own namespaces allow, and nobody else sees anything of.
fn of_the_tree(who: Who, line: &str) -> bool {
    let allowed: &[&str] = match who {
        // Root of a namespace has all capabilities in it, and may say how many more it has.
        Who::Tester => &[
            "all_caps()",
            "writable(\"/proc/sys/user/max_user_namespaces\")",
            "put(\"/proc/sys/fs/binfmt_misc/status\", \"1\")",
            "put(\"/proc/self/projid_map\", \"0 0 1\")",
            "registers()",
        ],
        // The tree's rules are his.
        Who::Nobody => &["registers()", "put(\"/proc/sys/fs/binfmt_misc/status\", \"1\")"],
        // A namespace's project ids are written by whom they concern, once.
        Who::Dropped => &["put(\"/proc/self/projid_map\", \"0 0 1\")"],
    };
    VIA == "binfmt" && line.strip_suffix(": ok").is_some_and(|name| allowed.contains(&name))
}

/// What is different inside: nothing, or, where ids and capabilities are a namespace's, less.
#[track_caller]
fn compare(who: Who, inside: &str, outside: &str) {
    let (ours, kernels): (Vec<_>, Vec<_>) = (inside.lines().collect(), outside.lines().collect());
    for (ours, kernels) in ours.iter().zip(&kernels) {
        let refused = VIA == "binfmt" && !ours.starts_with("is ") && !ours.ends_with(": ok");
        let allowed = refused || of_the_namespace(who, ours, kernels) || of_the_tree(who, ours);
        assert!(ours == kernels || allowed, "{who:?}: {ours:?} not {kernels:?} of\n{inside}");
    }
    assert_eq!(ours.len(), kernels.len(), "{who:?}: {inside}");
}

fn everybody() -> Vec<Who> {
    let all = [Who::Tester, Who::Nobody, Who::Dropped];
    all.into_iter().filter(|&who| root() || who == Who::Tester).collect()
}

#[test]
fn what_is_tried() {
    if !possible("what is tried") {
        return;
    }
    let place = Place::new();
    let gain = compile(&place, "gain", include_str!("gain.c"), &[]);
    let gain = gain.to_str().unwrap();
    let uexec = uexec().display().to_string();
    for who in everybody() {
        let plain = words(who, &[gain]);
        let outside = output_of(who, &mut command(false, &plain));
        assert!(outside.contains("\ntried "), "{outside}");
        for options in served() {
            let inside: Vec<_> = options.iter().chain(&plain).copied().collect();
            compare(who, &output_of(who, &mut command(true, inside)), &outside);
        }
        if VIA == "ptrace" {
            let traced = [&uexec, "trace", "-o", "/dev/null", "--"];
            let traced: Vec<_> = traced.iter().chain(&plain).copied().collect();
            compare(who, &output_of(who, &mut command(false, traced)), &outside);
        }
    }
}

/// Gives a file every capability, effective at once; in a namespace of this root's, if one is told.
fn grant(file: &Path, root: Option<u32>) -> bool {
    let revision: u32 = if root.is_some() { 0x0300_0000 } else { 0x0200_0000 };
    let words = [revision | 1, 0x00ff_ffff, 0, 0, 0].into_iter().chain(root);
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let file = CString::new(file.as_os_str().as_bytes()).unwrap();
    let value = bytes.as_ptr().cast();
    // SAFETY: both names end with a zero, and the value has that many bytes.
    let set = unsafe {
        libc::setxattr(file.as_ptr(), c"security.capability".as_ptr(), value, bytes.len(), 0)
    };
    set == 0
}

/// Programs that are somebody else's once executed.
fn privileged(place: &Place, gain: &Path) -> Vec<PathBuf> {
    let copy = |name: &str, owner, mode| {
        let file = place.file(name, fs::read(gain).unwrap(), 0o755);
        chown(&file, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    };
    let mut files = vec![
        copy("user", 0, 0o4755),
        copy("other-user", 77, 0o4755),
        copy("group", 0, 0o2755),
        copy("other-group", 77, 0o2755),
        copy("both", 0, 0o6755),
        copy("unreadable", 0, 0o4711),
    ];
    for (name, owner) in
        [("capabilities", None), ("of-namespace", Some(NOBODY)), ("of-roots-namespace", Some(0))]
    {
        let file = copy(name, 0, 0o755);
        match grant(&file, owner) {
            true => files.push(file),
            false => skip(name, "no file capabilities in the temporary directory"),
        }
    }
    let script = format!("#!{} -\n", files[0].display());
    files.push(place.script("script", script));
    files
}

#[test]
fn what_files_grant() {
    if !possible("what files grant") {
        return;
    }
    if !root() {
        return skip("what files grant", "only root can make such files");
    }
    let place = Place::new();
    let gain = compile(&place, "gain", include_str!("gain.c"), &[]);
    let files = privileged(&place, &gain);
    let files = [&gain].into_iter().chain(&files);
    let all: Vec<_> = files.map(|file| file.to_str().unwrap()).collect();
    let ungranted = |who| {
        let plain = words(who, &all);
        let plain = ["setpriv", "--no-new-privs", "--"].iter().chain(&plain).copied();
        output_of(who, &mut command(false, plain))
    };
    for who in [Who::Nobody, Who::Dropped] {
        let plain = words(who, &all);
        // In a tree of root's all ids are there, and his tracer may let it be.
        let expected = match who == Who::Dropped {
            true => output_of(who, &mut command(false, &plain)),
            false => ungranted(who),
        };
        for options in served() {
            let inside: Vec<_> = options.iter().chain(&plain).copied().collect();
            compare(who, &output_of(who, &mut command(true, inside)), &expected);
        }
    }
    // They do grant something.
    let granted = output_of(Who::Nobody, &mut command(false, &all));
    if granted == ungranted(Who::Nobody) {
        skip("what files grant", "the temporary directory is mounted nosuid");
    }
}

#[test]
fn rules_of_a_tree_stay_in_it() {
    if VIA != "binfmt" || !possible("rules of a tree") {
        return;
    }
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let register = "echo ':uexec-gain:M::uexec-gain::/bin/sh:' > register";
    let line = format!("cd /proc/sys/fs/binfmt_misc && {register} && test -e uexec-gain");
    // They are of who has made the tree.
    output(&mut command(true, ["/bin/sh", "-c", &line]));
    output(unprivileged(&mut command(true, ["/bin/sh", "-c", &line])));
    if root() {
        let words = DROP.into_iter().chain(["/bin/sh", "-c", &line]);
        let tried = run(&mut command(true, words));
        assert!(!tried.status.success(), "{tried:?}");
    }
    assert!(!Path::new("/proc/sys/fs/binfmt_misc/uexec-gain").exists());
    assert_eq!(mounts(), before);
}
