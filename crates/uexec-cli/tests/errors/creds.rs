//! Privilege: what the kernel would grant is refused, and run without it on demand; where the
//! kernel itself refuses or ignores, uexec does the same (PIPE-38 to PIPE-41).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use uexec_core::Errno;

use crate::common::ask::{Ask, End, NOBODY, check};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{root, skip};
use crate::{errno, message, row};

/// Whether files of another owner can be made here.
fn privileged(what: &str) -> bool {
    if !root() {
        skip(what, "needs root to make a file of another owner");
    }
    root()
}

fn prog(p: &Place, mode: u32) -> Ask {
    p.file("prog", Elf::exit(42).bytes(), mode);
    Ask::new(&p.path, "./prog")
}

#[track_caller]
fn granted_but_refused(name: &str, ask: &Ask) {
    assert_eq!(ask.kernel().end, End::Exit(42), "{name}");
    let ours = ask.uexec();
    assert_eq!(ours.end, errno(Errno::EPERM), "{name}: {}", ours.stderr);
    message(name, &ours.stderr);
    let without = ask.clone().option("--no-privileges").uexec();
    assert_eq!(without.end, End::Exit(42), "{name}: {}", without.stderr);
}

#[track_caller]
fn runs(what: &str, ask: &Ask) {
    let ours = ask.uexec();
    assert_eq!(
        (ask.kernel().end, ours.end),
        (End::Exit(42), End::Exit(42)),
        "{what}: {}",
        ours.stderr
    );
}

#[test]
fn set_user_id() {
    if !privileged("set-user-ID") {
        return;
    }
    let p = Place::new();
    granted_but_refused("own_set_user_id", &prog(&p, 0o4755).nobody());
    granted_but_refused("own_set_group_id", &prog(&p, 0o2755).nobody());
    runs("set-group-ID without group x", &prog(&p, 0o2745).nobody());
    runs("its owner's own", &prog(&p, 0o6755));
    let ask = prog(&p, 0o4755).before(|| {
        // SAFETY: only numbers are passed.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
    });
    runs("no_new_privs", &ask.nobody());
}

#[test]
fn set_user_id_without_the_privilege() {
    if !privileged("--no-privileges") {
        return;
    }
    let p = Place::new();
    p.file("id", fs::read("/usr/bin/id").unwrap(), 0o4755);
    let ask = Ask::new(&p.path, "./id").args(&[b"-u"]).nobody();
    assert_eq!(ask.kernel().stdout, b"0\n");
    let ours = ask.option("--no-privileges").uexec();
    assert_eq!(ours.stdout, format!("{NOBODY}\n").as_bytes(), "{}", ours.stderr);
}

/// Sets file capabilities (revision 2, `capabilities(7)`).
pub(crate) fn set_caps(path: &Path, permitted: u32, effective: bool) -> std::io::Result<()> {
    let words = [0x0200_0000 | u32::from(effective), permitted, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let (name, data) = (c"security.capability".as_ptr(), value.as_ptr().cast());
    // SAFETY: C strings, and as many bytes as are given.
    check(unsafe { libc::setxattr(path.as_ptr(), name, data, value.len(), 0) })
}

const CAP_NET_RAW: u32 = 13;

fn without_net_raw() -> std::io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_RAW, 0, 0, 0) })
}

#[test]
fn err_20_file_capabilities() {
    if !privileged("ERR-20 and file capabilities") {
        return;
    }
    let p = Place::new();
    let ask = prog(&p, 0o755);
    if let Err(e) = set_caps(&p.join("prog"), 1 << CAP_NET_RAW, true) {
        return skip("ERR-20 and file capabilities", &format!("setxattr: {e}"));
    }
    granted_but_refused("own_file_capabilities", &ask.clone().nobody());
    runs("nothing gained", &ask);
    // Dropped from the bounding set they cannot be granted, which the effective flag demands.
    let bounded = ask.before(without_net_raw);
    row("err_20_capability_not_in_the_bounding_set", &bounded, errno(Errno::EPERM));
    row(
        "err_20_capability_not_in_the_bounding_set",
        &bounded.clone().nobody(),
        errno(Errno::EPERM),
    );
    set_caps(&p.join("prog"), 1 << CAP_NET_RAW, false).unwrap();
    runs("without the effective flag they are only fewer", &bounded.nobody());
}

#[test]
fn pipe_38_nosuid_mount() {
    if !privileged("set-user-ID on a nosuid mount") {
        return;
    }
    let p = Place::new();
    let dir = p.join("mnt");
    fs::create_dir(&dir).unwrap();
    let bytes = Elf::exit(42).bytes();
    let ask = Ask::new(&p.path, "mnt/prog").nobody().before(move || {
        crate::path::mount_own(&dir, libc::MS_NOSUID)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        fs::write(dir.join("prog"), &bytes)?;
        fs::set_permissions(dir.join("prog"), fs::Permissions::from_mode(0o4755))
    });
    if ask.kernel().end == End::Exit(99) {
        return skip("set-user-ID on a nosuid mount", &ask.kernel().stderr);
    }
    runs("nosuid mount", &ask);
}
