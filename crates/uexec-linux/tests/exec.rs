//! `Exec` from processes whose memory is not theirs alone, and what its parts come to.

mod common;

use std::ffi::c_void;

use uexec_core::Errno;
use uexec_linux::exec::{Bytes, Exec};

/// Runs `f` in a forked child; its exit status, or less than 0 for a signal.
fn in_child(f: impl FnOnce()) -> i32 {
    let status = common::in_child(f);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// Runs `f` in a child that shares this process's memory, as `vfork(2)` makes it.
fn in_vfork_child(f: extern "C" fn(*mut c_void) -> i32) -> i32 {
    let mut stack = vec![0u64; 1 << 17];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    // SAFETY: the child has a stack of its own; this thread waits until it has ended.
    let child = unsafe { libc::clone(f, top, flags, std::ptr::null_mut()) };
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

fn shell(script: &str) -> Exec<'static> {
    Exec::new("/bin/sh").arg("-c").arg(script)
}

#[test]
fn its_parts_arrive() {
    let status = in_child(|| {
        let exec = shell("[ \"$0 $1 $A $B\" = 'x y 2 3' ] && [ $(env | wc -l) -lt 6 ]");
        let pairs = [("A", "1"), ("B", "3")];
        let _ = exec.args(["x", "y"]).env("Z", "z").env_clear().envs(pairs).env("A", "2").exec();
    });
    assert_eq!(status, 0);
    let status = in_child(|| {
        let _ = shell("[ \"$(head -c 3 /proc/$$/cmdline)\" = me! ]").argv0("me!").exec();
    });
    assert_eq!(status, 0);
    assert_eq!(b"a\0b".bytes().len(), 3);
}

#[test]
fn an_open_descriptor_is_executed() {
    let status = in_child(|| {
        // SAFETY: a C string.
        let fd = unsafe { libc::open(c"/bin/sh".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
        let script = format!("! [ -e /proc/self/fd/{fd} ]");
        let _ = Exec::fd(fd).args(["sh", "-c", &script]).exec();
    });
    assert_eq!(status, 0);
}

#[test]
fn a_signal_gets_its_default_action() {
    let ignored = "grep -q 'SigIgn:.*1[0-9a-f]\\{3\\}$' /proc/$$/status";
    let with = |change: fn(Exec<'static>) -> Exec<'static>| {
        in_child(|| {
            // SAFETY: ignoring runs no code.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
            let _ = change(shell(ignored).env("PATH", "/bin:/usr/bin")).exec();
        })
    };
    assert_eq!(with(|e| e), 0, "SIGPIPE stays ignored");
    assert_eq!(with(|e| e.default_signal(libc::SIGPIPE)), 1);
}

extern "C" fn exec_true(_: *mut c_void) -> i32 {
    match Exec::new("/bin/true").exec().errno() {
        Errno::EAGAIN => 42,
        _ => 43,
    }
}

extern "C" fn exec_nothing(_: *mut c_void) -> i32 {
    match Exec::new("/nonexistent").exec().errno() {
        Errno::ENOENT => 42,
        _ => 43,
    }
}

/// Replacing the image there would take the parent's memory away.
#[test]
fn a_vfork_child_is_recognized() {
    let status = in_child(|| {
        let kept = vec![1u8; 1 << 20];
        let (a, b) = (in_vfork_child(exec_true), in_vfork_child(exec_nothing));
        let whole = kept.iter().all(|b| *b == 1);
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(i32::from((a, b, whole) != (42, 42, true))) };
    });
    assert_eq!(status, 0);
}

/// The kernel's answer to a question about memory is not needed where a filter refuses it.
#[test]
fn a_vfork_child_is_recognized_without_unshare_and_kcmp() {
    let status = in_child(|| {
        refuse(&[libc::SYS_unshare, libc::SYS_kcmp]);
        let shared = in_vfork_child(exec_true);
        if shared != 42 {
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(shared) };
        }
        // And what is not shared is not taken for it.
        let _ = shell("exit 3").exec();
    });
    assert_eq!(status, 3);
}

/// Has these system calls fail with `EPERM`.
fn refuse(calls: &[i64]) {
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let ret = |value: u32| op(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let mut filter = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        filter.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, 0, 1));
        filter.push(ret(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    filter.push(ret(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: a whole filter.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(set, 0);
}

/// A thread may exec while its leader has ended; not from inside, though.
#[test]
fn a_dead_leader_is_an_error() {
    let status = in_child(|| {
        std::thread::spawn(|| {
            while !std::fs::read_to_string("/proc/self/stat").is_ok_and(|s| s.contains(") Z")) {
                std::thread::yield_now();
            }
            let errno = Exec::new("/bin/true").exec().errno();
            std::process::exit(i32::from(errno != Errno::EAGAIN));
        });
        // SAFETY: ends this thread only, without running what it has left.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    assert_eq!(status, 0);
}

/// Contexts for asynchronous I/O are counted until they are destroyed; where their memory was only
/// unmapped, nobody could do that any more.
#[test]
fn aio_contexts_do_not_stay() {
    let count = || std::fs::read_to_string("/proc/sys/fs/aio-nr").unwrap_or_default();
    if count().trim() != "0" {
        eprintln!("SKIPPED: somebody uses io_setup(2)");
        return;
    }
    let status = in_child(|| {
        let mut context = 0u64;
        // SAFETY: writes one word.
        if unsafe { libc::syscall(libc::SYS_io_setup, 16, &raw mut context) } == 0 {
            let _ = shell("read n </proc/sys/fs/aio-nr; [ $n = 0 ]").exec();
        }
    });
    assert_eq!(status, 0);
}
