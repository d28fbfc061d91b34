//! Trees that were made to hang, mislead or exhaust.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::Check;
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::skip;

fn fifo(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a C string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o777) }, 0);
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn pipes_sockets_and_loops_are_passed_by() {
    let p = Place::new();
    p.elf("good", &Elf::exit(0));
    fifo(&p.join("fifo"));
    symlink("fifo", p.join("to-fifo")).unwrap();
    symlink("/dev/tty", p.join("to-device")).unwrap();
    let _socket = UnixListener::bind(p.join("socket")).unwrap();
    p.script("of-fifo", format!("#!{}\n", p.join("fifo").display()));
    p.elf("elf-of-fifo", &Elf::exit(0).with_interp(p.join("fifo").to_str().unwrap()));
    symlink("loop", p.join("loop")).unwrap();
    symlink("b", p.join("a")).unwrap();
    symlink("a", p.join("b")).unwrap();
    fs::create_dir(p.join("dir")).unwrap();
    symlink("..", p.join("dir/up")).unwrap();
    symlink(&p.path, p.join("dir/top")).unwrap();
    symlink("nowhere", p.join("dir/nowhere")).unwrap();
    symlink("good", p.join("to-good")).unwrap();
    for check in [Check::new(&[&p.path]), Check::new(&[&p.path]).unprivileged()] {
        let checked = check.json();
        assert_eq!(checked.lines.len(), 4, "{:#?}", checked.paths());
        for name in ["/good", "/to-good"] {
            assert_eq!(checked.verdict(name), ("ok", "", ""));
        }
        assert_eq!(checked.verdict("/of-fifo"), ("error", "EACCES", "script.interp"));
        assert_eq!(checked.verdict("/elf-of-fifo"), ("error", "EACCES", "elf.interp"));
        assert_eq!(checked.summary["dangling_links"], 4);
    }
    let checked = Check::new(&[&p.join("fifo"), &p.join("loop"), &p.join("socket")]).json();
    assert_eq!(checked.verdict("/fifo"), ("error", "EACCES", "open"));
    assert_eq!(checked.verdict("/socket"), ("error", "EACCES", "open"));
    assert_eq!(checked.verdict("/loop"), ("error", "ELOOP", "open"));
}

#[test]
fn files_of_any_size_cost_the_same() {
    let p = Place::new();
    let huge = p.script("huge", "");
    let file = fs::OpenOptions::new().write(true).open(&huge).unwrap();
    if file.set_len(4 << 30).is_err() {
        return skip("a file of 4 GiB", "the file system has no holes");
    }
    drop(file);
    let elf = p.elf("huge-elf", &Elf::exit(0));
    fs::OpenOptions::new().write(true).open(elf).unwrap().set_len(4 << 30).unwrap();
    let checked = Check::new(&[&p.path]).json();
    assert_eq!(checked.verdict("/huge"), ("error", "ENOEXEC", "search"));
    assert_eq!(checked.verdict("/huge-elf"), ("ok", "", ""));
}

#[test]
fn very_deep_trees() {
    let p = Place::new();
    const DEPTH: usize = 7500;
    p.elf("prog", &Elf::exit(0));
    let name = c"d";
    let mut dir = rustix::fs::open(
        &p.path,
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let top = dir.try_clone().unwrap();
    for level in 0..DEPTH {
        rustix::fs::mkdirat(&dir, name, 0o755.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, name, flags, rustix::fs::Mode::empty()).unwrap();
        if matches!(level, 1000 | 2500 | 7000) {
            rustix::fs::linkat(&top, "prog", &dir, "z", rustix::fs::AtFlags::empty()).unwrap();
        }
    }
    let checked = Check::new(&[&p.path]).json();
    // The deepest first: a directory's name comes before its neighbour's.
    assert_eq!(checked.lines.len(), 4);
    for (i, errno) in [(0, "ENAMETOOLONG"), (1, "ENAMETOOLONG"), (2, "")] {
        assert_eq!(checked.lines[i]["error"]["errno"].as_str().unwrap_or(""), errno, "{i}");
    }
    assert_eq!(checked.lines[3]["outcome"], "ok");
}

#[test]
fn names_do_not_reach_the_terminal_raw() {
    let p = Place::new();
    for name in [&b"new\nline"[..], b"\x1b[31mred", b"\xff\xfe", b"tab\there", b"\"quote\\", b"-n"]
    {
        let path = p.path.join(OsStr::from_bytes(name));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    p.script("interp", b"#!/no/\x1b[2Jsuch\x07\n");
    let (text, status) = Check::new(&[&p.path]).text();
    assert_eq!(status, 1);
    let raw = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(raw), "{text:?}");
    for shown in
        ["new\\nline:", "\\u{1b}[31mred:", "\\xff\\xfe:", "tab\\there:", "/no/\\u{1b}[2Jsuch\\u{7}"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(text.lines().filter(|l| l.contains(": ENO")).count(), 7, "{text}");
    let checked = Check::new(&[&p.path]).json();
    assert_eq!(checked.lines.len(), 7);
}

#[test]
fn many_programs_do_not_take_more_memory() {
    let p = Place::new();
    // One long line each, so that keeping them would show.
    let interp = "x".repeat(200);
    for d in 0..40 {
        for i in 0..100 {
            p.script(&format!("d{d}/{i}-{}", "y".repeat(200)), format!("#!/{interp}\n"));
        }
    }
    let peak = |path: &Path| {
        let before = children_peak();
        let checked = Check::new(&[&path]).json();
        (checked.lines.len(), children_peak().max(before))
    };
    // ru_maxrss of children is a maximum over all so far: small first.
    let (few, small) = peak(&p.join("d0"));
    let (many, large) = peak(&p.path);
    assert_eq!((few, many), (100, 4000));
    assert!(large < small + 4096, "{small} KiB for {few}, {large} KiB for {many}");
}

/// Largest resident set of any child so far, in KiB.
fn children_peak() -> i64 {
    // SAFETY: all zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes to the structure.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    usage.ru_maxrss
}
