//! Robust locks in memory that processes share: whoever waits for one learns that its owner has
//! become another program, as after the kernel's exec (`pthread_mutexattr_setrobust(3)`).

#![allow(unsafe_code, reason = "locks of the C library in shared memory")]

use std::ffi::c_int;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::ptr::null_mut;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Kernel,
    Ours,
    /// Ours, from a thread that is not the first, which holds the lock.
    OtherThread,
}

/// A lock that processes share.
fn lock(priority: bool) -> *mut libc::pthread_mutex_t {
    unsafe extern "C" {
        fn pthread_mutexattr_setprotocol(attr: *mut libc::pthread_mutexattr_t, to: c_int) -> c_int;
    }
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: fresh memory.
    let at = unsafe { libc::mmap(null_mut(), 4096, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let lock = at.cast::<libc::pthread_mutex_t>();
    // SAFETY: plain data, initialised next.
    let mut attr = unsafe { zeroed() };
    // SAFETY: a local.
    unsafe { libc::pthread_mutexattr_init(&raw mut attr) };
    // SAFETY: likewise.
    unsafe { libc::pthread_mutexattr_setpshared(&raw mut attr, libc::PTHREAD_PROCESS_SHARED) };
    // SAFETY: likewise.
    unsafe { libc::pthread_mutexattr_setrobust(&raw mut attr, libc::PTHREAD_MUTEX_ROBUST) };
    // SAFETY: likewise; 1 is PTHREAD_PRIO_INHERIT.
    unsafe { pthread_mutexattr_setprotocol(&raw mut attr, c_int::from(priority)) };
    // SAFETY: large enough and aligned.
    assert_eq!(unsafe { libc::pthread_mutex_init(lock, &raw const attr) }, 0);
    lock
}

/// What waiting for the lock answers when its owner becomes a program that goes on running.
fn after_exec(way: Way, priority: bool, waits: bool) -> c_int {
    let place = lock(priority) as usize;
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut ready, taken) = std::io::pipe().unwrap();
    let become_it = move || {
        // SAFETY: shared with the parent, and initialised.
        unsafe { libc::pthread_mutex_lock(place as *mut _) };
        (&taken).write_all(b"x").unwrap();
        // The parent begins to wait.
        std::thread::sleep(std::time::Duration::from_millis(if waits { 50 } else { 0 }));
        match way {
            Way::Kernel => {
                let argv = [c"cat".as_ptr(), std::ptr::null()];
                // SAFETY: an array of C strings that ends with a null pointer.
                unsafe { libc::execv(c"/bin/cat".as_ptr(), argv.as_ptr()) };
            }
            _ => drop(uexec_process::execv(c"/bin/cat", &[c"cat"])),
        }
        // SAFETY: ends without running anything of the parent's.
        unsafe { libc::_exit(1) }
    };
    // SAFETY: the child uses its copies, and glibc makes its allocator usable in it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: standard input of the program.
        unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&reader), 0) };
        drop((writer, reader));
        match way {
            Way::OtherThread => drop(std::thread::spawn(become_it).join()),
            _ => become_it(),
        }
        // SAFETY: likewise.
        unsafe { libc::_exit(2) }
    }
    drop((become_it, reader));
    let mut byte = [0];
    ready.read_exact(&mut byte).unwrap();
    if !waits {
        // Its end: the exec has closed the other end.
        assert_eq!(ready.read(&mut byte).unwrap(), 0);
    }
    // SAFETY: plain data.
    let mut until: libc::timespec = unsafe { zeroed() };
    // SAFETY: a local.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until) };
    until.tv_sec += 10;
    // SAFETY: initialised; and a local.
    let said = unsafe { libc::pthread_mutex_timedlock(place as *mut _, &raw const until) };
    drop(writer);
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "{way:?}");
    said
}

/// The list of such locks was dropped without looking at it.
#[test]
fn regression_whoever_waits_is_told() {
    for way in [Way::Kernel, Way::Ours, Way::OtherThread] {
        for (priority, waits) in [(false, false), (false, true), (true, false)] {
            let said = after_exec(way, priority, waits);
            assert_eq!(said, libc::EOWNERDEAD, "{way:?} {priority} {waits}");
        }
    }
}
