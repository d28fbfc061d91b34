//! The way to the program: PIPE-2 to PIPE-12.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use uexec_core::Errno;

use crate::common::ask::{Ask, End, NOBODY, check};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{kernel_since, root, skip};
use crate::{errno, message, row};

fn place() -> Place {
    let place = Place::new();
    place.elf("prog", &Elf::exit(42));
    place
}

#[test]
fn err_2_empty_path() {
    row("err_02_empty_path", &Ask::new(&place().path, ""), errno(Errno::ENOENT));
}

#[test]
fn err_3_missing() {
    let p = place();
    row("err_03_missing", &Ask::new(&p.path, "./missing"), errno(Errno::ENOENT));
    row("err_03_missing_directory", &Ask::new(&p.path, "missing/prog"), errno(Errno::ENOENT));
    symlink("nowhere", p.join("dangling")).unwrap();
    row("err_03_dangling_link", &Ask::new(&p.path, "./dangling"), errno(Errno::ENOENT));
}

#[test]
fn err_6_name_too_long() {
    let p = place();
    let long = "c".repeat(256);
    let ask = Ask::new(&p.path, format!("./{long}"));
    assert_eq!(ask.kernel().end, errno(Errno::ENAMETOOLONG));
    let ours = ask.uexec();
    assert_eq!(ours.end, errno(Errno::ENAMETOOLONG));
    message("err_06_component", &ours.stderr.replace(&long, "<256 bytes>"));
    // 255 bytes are only missing.
    let ask = Ask::new(&p.path, format!("./{}", &long[1..]));
    assert_eq!((ask.kernel().end, ask.uexec().end), (errno(Errno::ENOENT), errno(Errno::ENOENT)));
}

#[test]
fn err_6_path_too_long() {
    let p = place();
    // 4095 bytes are allowed (PIPE-3).
    let path = |len: usize| {
        let dots = len - "prog".len();
        format!("{}{}prog", "./".repeat(dots / 2), if dots % 2 == 1 { "/" } else { "" })
    };
    for (len, expected) in [(4094, End::Exit(42)), (4095, End::Exit(42))] {
        let ask = Ask::new(&p.path, path(len));
        assert_eq!((ask.kernel().end, ask.uexec().end), (expected, expected), "{len} bytes");
    }
    for len in [4096, 4097, 9000] {
        let ask = Ask::new(&p.path, path(len));
        assert_eq!(ask.kernel().end, errno(Errno::ENAMETOOLONG), "{len} bytes");
        let ours = ask.uexec();
        assert_eq!(ours.end, errno(Errno::ENAMETOOLONG), "{len} bytes");
        if len == 4096 {
            message("err_06_path", &ours.stderr.replace(&path(len), "<4096 bytes>"));
        }
    }
}

#[test]
fn err_7_not_a_directory() {
    let p = place();
    row("err_07_file_as_directory", &Ask::new(&p.path, "prog/x"), errno(Errno::ENOTDIR));
    row("err_07_trailing_slash", &Ask::new(&p.path, "prog/"), errno(Errno::ENOTDIR));
}

#[test]
fn err_8_symbolic_links() {
    let p = place();
    symlink("prog", p.join("link1")).unwrap();
    for i in 2..=41 {
        symlink(format!("link{}", i - 1), p.join(&format!("link{i}"))).unwrap();
    }
    let ask = Ask::new(&p.path, "./link40");
    assert_eq!((ask.kernel().end, ask.uexec().end), (End::Exit(42), End::Exit(42)));
    row("err_08_41_links", &Ask::new(&p.path, "./link41"), errno(Errno::ELOOP));
    symlink("self", p.join("self")).unwrap();
    row("err_08_link_to_itself", &Ask::new(&p.path, "./self"), errno(Errno::ELOOP));
}

#[test]
fn err_14_directory_without_search() {
    let p = place();
    p.elf("dir/prog", &Elf::exit(42));
    fs::set_permissions(p.join("dir"), fs::Permissions::from_mode(0o600)).unwrap();
    row("err_14_no_search", &Ask::new(&p.path, "dir/prog").nobody(), errno(Errno::EACCES));
    fs::set_permissions(p.join("dir"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn err_15_no_execute_permission() {
    let p = place();
    p.file("plain", Elf::exit(42).bytes(), 0o644);
    row("err_15_no_x_bit", &Ask::new(&p.path, "./plain"), errno(Errno::EACCES));
    row("err_15_no_x_bit", &Ask::new(&p.path, "./plain").nobody(), errno(Errno::EACCES));
    // The owner's bits count for the owner, however generous the others are.
    let path = p.file("not_for_owner", Elf::exit(42).bytes(), 0o655);
    if root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let ask = Ask::new(&p.path, "./not_for_owner").nobody();
    assert_eq!(ask.kernel().end, errno(Errno::EACCES));
    let ours = ask.uexec();
    assert_eq!(ours.end, errno(Errno::EACCES));
    let me = rustix::process::getuid().as_raw();
    let ids = if root() { (NOBODY, NOBODY) } else { (me, rustix::process::getgid().as_raw()) };
    let ids = format!("owner {}, group {}", ids.0, ids.1);
    message("err_15_not_for_owner", &ours.stderr.replace(&ids, "owner U, group G"));
}

#[test]
fn err_16_not_a_regular_file() {
    let p = place();
    fs::create_dir(p.join("dir")).unwrap();
    row("err_16_directory", &Ask::new(&p.path, "./dir"), errno(Errno::EACCES));
    row("err_16_directory_with_slash", &Ask::new(&p.path, "dir/"), errno(Errno::EACCES));
    let fifo =
        std::ffi::CString::new(p.join("fifo").into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: the path is a C string.
    check(unsafe { libc::mkfifo(fifo.as_ptr(), 0o755) }).unwrap();
    // Nobody writes to it: neither of the two may wait for that.
    row("err_16_fifo", &Ask::new(&p.path, "./fifo"), errno(Errno::EACCES));
    let _socket = UnixListener::bind(p.join("socket")).unwrap();
    fs::set_permissions(p.join("socket"), fs::Permissions::from_mode(0o755)).unwrap();
    row("err_16_socket", &Ask::new(&p.path, "./socket"), errno(Errno::EACCES));
    row("err_16_char_device", &Ask::new(&p.path, "/dev/null"), errno(Errno::EACCES));
}

#[test]
fn err_16_block_device() {
    let p = place();
    let name =
        std::ffi::CString::new(p.join("block").into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: the path is a C string. A device that is never opened.
    let made = unsafe { libc::mknod(name.as_ptr(), libc::S_IFBLK | 0o755, libc::makedev(7, 200)) };
    match check(made) {
        Ok(()) => row("err_16_block_device", &Ask::new(&p.path, "./block"), errno(Errno::EACCES)),
        Err(e) => skip("ERR-16 with a block device", &format!("mknod: {e}")),
    }
}

#[test]
fn err_17_noexec_file_system() {
    let p = place();
    row("err_17_proc", &Ask::new(&p.path, "/proc/version"), errno(Errno::EACCES));
    let dir = p.join("mnt");
    fs::create_dir(&dir).unwrap();
    let bytes = Elf::exit(42).bytes();
    let ask = Ask::new(&p.path, "mnt/prog").before(move || {
        mount_own(&dir, libc::MS_NOEXEC)?;
        fs::write(dir.join("prog"), &bytes)?;
        fs::set_permissions(dir.join("prog"), fs::Permissions::from_mode(0o755))
    });
    if ask.kernel().end == End::Exit(99) {
        return skip("ERR-17 on a tmpfs", &format!("no own mounts: {}", ask.kernel().stderr));
    }
    row("err_17_noexec_mount", &ask, errno(Errno::EACCES));
}

/// Mounts a tmpfs with these flags, in mount and user namespaces of this child's own.
pub(crate) fn mount_own(dir: &std::path::Path, flags: libc::c_ulong) -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let mut own = UnshareFlags::NEWNS;
    own.set(UnshareFlags::NEWUSER, !root());
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: changes neither memory nor descriptors.
    unsafe { unshare_unsafe(own) }?;
    if own.contains(UnshareFlags::NEWUSER) {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let mount = |from: &std::ffi::CStr, to: &std::ffi::CStr, flags| {
        let none: *const libc::c_void = std::ptr::null();
        // SAFETY: C strings, and no data.
        check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), from.as_ptr(), flags, none) })
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    let dir = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes())?;
    mount(c"tmpfs", &dir, flags)
}

#[test]
fn err_22_open_for_writing() {
    if !kernel_since(6, 14) {
        return skip("ERR-22", "uexec cannot ask for it on kernels before 6.14");
    }
    let p = place();
    let _writer = p.writer("prog");
    row("err_22_program", &Ask::new(&p.path, "./prog"), errno(Errno::ETXTBSY));
}

/// The kernel runs what may be executed but not read; uexec has to read it.
#[test]
fn execute_only() {
    let p = place();
    let path = p.file("secret", Elf::exit(42).bytes(), 0o111);
    if root() {
        std::os::unix::fs::chown(path, Some(0), Some(0)).unwrap();
    }
    let ask = Ask::new(&p.path, "./secret").nobody();
    assert_eq!(ask.kernel().end, End::Exit(42));
    let ours = ask.uexec();
    assert_eq!(ours.end, errno(Errno::EACCES));
    message("own_execute_only", &ours.stderr);
}
