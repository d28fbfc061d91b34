//! The name, before and while it is opened: PIPE-2 to PIPE-12, PIPE-28 to PIPE-30.
mod common;
use common::elf::Elf;
use common::{Mem, alive, exec};
use uexec_core::error::FileKind;
use uexec_core::world::{At, Denied};
use uexec_core::{Errno, Exec, Reason, flags};

fn errno(mem: &mut Mem, exec: Exec) -> Errno {
    mem.plan(exec).unwrap_err().errno()
}

fn world() -> Mem {
    Mem::default().with("/p", Elf::fixed()).with("/s", "#!/p\n")
}

#[test]
fn pipe_2_empty_path_comes_before_bad_flags() {
    let bad = Exec { flags: 1, ..Exec::new("") };
    assert_eq!(errno(&mut world(), bad), Errno::ENOENT);
    let bad = Exec { flags: 1, ..Exec::new("/p") };
    assert_eq!(errno(&mut world(), bad), Errno::EINVAL);
}

#[test]
fn pipe_3_path_length() {
    assert_eq!(errno(&mut world(), Exec::new(vec![b'a'; 4095])), Errno::ENOENT);
    assert_eq!(errno(&mut world(), Exec::new(vec![b'a'; 4096])), Errno::ENAMETOOLONG);
}

#[test]
fn pipe_4_process_limit_comes_before_flags_and_open() {
    let mut mem = world();
    mem.facts.nproc_exceeded = true;
    assert_eq!(errno(&mut mem, Exec { flags: 1, ..Exec::new("/p") }), Errno::EAGAIN);
    assert_eq!(errno(&mut mem, Exec::new("/missing")), Errno::EAGAIN);
    assert_eq!(errno(&mut mem, Exec::new("")), Errno::ENOENT);
}

#[test]
fn pipe_5_check_flag_is_new_in_6_14() {
    let check = Exec { flags: flags::AT_EXECVE_CHECK, ..Exec::new("/missing") };
    assert_eq!(errno(&mut world(), check.clone()), Errno::ENOENT);
    let mut old = world();
    old.facts.kernel = (6, 13);
    assert_eq!(errno(&mut old, check), Errno::EINVAL);
}

#[test]
fn pipe_8_only_regular_files() {
    for kind in [
        FileKind::Directory,
        FileKind::Fifo,
        FileKind::Socket,
        FileKind::CharDevice,
        FileKind::BlockDevice,
    ] {
        let mut mem = world();
        mem.add("/x", "").kind = kind;
        assert_eq!(errno(&mut mem, Exec::new("/x")), Errno::EACCES);
    }
    let mut mem = world();
    mem.add("/x", "").kind = FileKind::Symlink;
    assert_eq!(errno(&mut mem, Exec::new("/x")), Errno::ELOOP);
}

#[test]
fn pipe_9_to_12_admission() {
    for (denied, expected) in [
        (Denied::NoexecMount, Errno::EACCES),
        (Denied::NoPermission, Errno::EACCES),
        (Denied::TextBusy, Errno::ETXTBSY),
        (Denied::Policy(Errno::EPERM), Errno::EPERM),
    ] {
        let mut mem = world();
        mem.files[1].denied = Some(denied);
        assert_eq!(errno(&mut mem, Exec::new("/p")), expected);
        // The same rules hold for an interpreter (PIPE-37, SCR-26).
        assert_eq!(errno(&mut mem, Exec::new("/s")), expected);
    }
    let mut mem = world();
    mem.files[1].mode = 0o644;
    let e = mem.run("/p").unwrap_err();
    assert_eq!(e.refusal.reason, Reason::NoExecBit { mode: 0o644 });
}

#[test]
fn pipe_28_names_through_a_descriptor() {
    let by = |at, path: &str| Exec { at, ..Exec::new(path) }.filename().into_owned();
    assert_eq!(by(At::Cwd, "p"), b"p");
    assert_eq!(by(At::Fd(7), "/p"), b"/p");
    assert_eq!(by(At::Fd(7), ""), b"/dev/fd/7");
    assert_eq!(by(At::Fd(7), "./x"), b"/dev/fd/7/./x");
}

#[test]
fn pipe_29_close_on_exec_hides_scripts_only() {
    let fd = |path: &str| Exec { at: At::Fd(3), fd_cloexec: true, ..Exec::new(path) };
    let mut mem = Mem::default().with("p", Elf::fixed()).with("s", "#!p\n");
    alive(mem.plan(fd("p")));
    assert_eq!(mem.plan(fd("s")).unwrap_err().refusal.reason, Reason::Inaccessible);
    alive(mem.plan(Exec { fd_cloexec: false, ..fd("s") }));
    // An absolute path does not lead through the descriptor.
    let mut mem = world();
    alive(mem.plan(fd("/s")));
    // A line that is wrong is found wrong before (SCR-7).
    let mut mem = Mem::default().with("s", "#!\n");
    assert_eq!(mem.plan(fd("s")).unwrap_err().errno(), Errno::ENOEXEC);
}

#[test]
fn pipe_30_comm() {
    let long = "/a/0123456789abcdefgh";
    let mut mem = world().with(long, Elf::fixed()).with("/d/run.sh", "#!/p\n");
    assert_eq!(alive(mem.run(long)).comm, b"0123456789abcde");
    let plan = alive(mem.plan(exec(&["/d/run.sh"], &[])));
    assert_eq!(plan.comm, b"run.sh");
}

#[test]
fn pipe_30_comm_by_descriptor() {
    let by_fd = Exec { at: At::Fd(3), flags: flags::AT_EMPTY_PATH, ..Exec::new("") };
    let mut mem = Mem::default().with("script", "#!/p\n").with("/p", Elf::fixed());
    mem.files[2].dentry = Some(b"interp".to_vec());
    assert_eq!(alive(mem.plan(by_fd.clone())).comm, b"interp");
    mem.facts.kernel = (6, 13);
    assert_eq!(alive(mem.plan(by_fd)).comm, b"3");
}
