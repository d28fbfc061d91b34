//! Callers that have much of everything are replaced all the same.

mod common;

use std::fs;

use common::in_child;
use uexec_core::{Exec, KERNEL_FORMATS, Plan, plan};
use uexec_linux::{Caller, Host, prepare};

const PAGE: usize = 4096;

/// Maps single pages with other permissions than their neighbours, until no more can be had but
/// `spare`.
fn crowd(spare: usize) {
    let map = |i: usize| {
        let prot = if i.is_multiple_of(2) { libc::PROT_READ } else { libc::PROT_NONE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: fresh mappings wherever there is room.
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE, prot, flags, -1, 0) }
    };
    let mut last = [libc::MAP_FAILED; 16];
    for i in 0.. {
        let got = map(i);
        if got == libc::MAP_FAILED {
            break;
        }
        last[i % 16] = got;
    }
    for page in &last[..spare] {
        // SAFETY: mapped above, and nothing is in it.
        unsafe { libc::munmap(*page, PAGE) };
    }
}

#[test]
fn regression_max_map_count() {
    let most = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if most.trim().parse().is_ok_and(|n: usize| n > 200_000) {
        eprintln!("SKIPPED: vm.max_map_count is {}", most.trim());
        return;
    }
    // With how few it can still be prepared is the kernel's business; from there on it must work.
    let mut worked = 0;
    for spare in [0, 1, 2, 3, 4, 6, 8, 12] {
        let status = in_child(|| {
            let mut host = Host::new();
            let decided = plan(Exec::new("/bin/true"), &mut host, &KERNEL_FORMATS).unwrap();
            crowd(spare);
            become_it(&decided, host, &Caller::forked());
        });
        match libc::WEXITSTATUS(status) {
            0 if libc::WIFEXITED(status) => worked += 1,
            77 => {}
            _ => panic!("{spare} mappings to spare: status {status:#x}"),
        }
    }
    assert!(worked > 0);
}

/// Carries the plan out, unless something is short.
fn become_it(decided: &Plan, host: Host, caller: &Caller) {
    if let Ok(prepared) = prepare(decided, host, caller) {
        // SAFETY: a forked child with one thread and its own memory.
        unsafe { prepared.commit() }
    }
}

extern "C" fn handler(_: i32) {}

/// Handlers for every signal, timers, descriptors that close on exec, and arguments.
fn equip() {
    for signal in 1..=64 {
        // SAFETY: the handler does nothing; signals that cannot have one are refused.
        unsafe { libc::signal(signal, handler as *const () as usize) };
    }
    for _ in 0..500 {
        // SAFETY: a timer id is a number.
        let mut timer: libc::timer_t = unsafe { std::mem::zeroed() };
        // SAFETY: the id is written to; without an event it is SIGALRM.
        let made = unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut timer)
        };
        assert_eq!(made, 0);
    }
    for _ in 0..900 {
        // SAFETY: only numbers are passed.
        assert!(unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 60) } > 0);
    }
}

#[test]
fn much_of_everything() {
    // The shell's own pipe is open meanwhile.
    let script = "[ $# = 10000 ] && [ $(ls /proc/$$/fd | wc -l) -lt 8 ] &&
        [ -z \"$(cat /proc/$$/timers)\" ]";
    let mut exec = Exec::new("/bin/bash");
    exec.argv = [b"bash".as_slice(), b"-c", script.as_bytes(), b"x"].map(<[u8]>::to_vec).to_vec();
    exec.argv.extend((0..10_000).map(|_| b"argument".to_vec()));
    exec.envp = vec![b"PATH=/bin:/usr/bin".to_vec()];
    let status = in_child(|| {
        // Descriptors that the tests' own runner left open.
        // SAFETY: only numbers are passed; the child has no other use for them.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        equip();
        let mut host = Host::new();
        let decided = plan(exec, &mut host, &KERNEL_FORMATS).unwrap();
        become_it(&decided, host, &Caller::any().unwrap());
    });
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0);
}

/// Past the point of no return it would be too late to find out.
#[test]
fn a_sealed_vdso_is_refused() {
    const MSEAL: libc::c_long = 462;
    let status = in_child(|| {
        let mut host = Host::new();
        let decided = plan(Exec::new("/bin/true"), &mut host, &KERNEL_FORMATS).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|l| l.ends_with("[vdso]")).unwrap();
        let mut ends = line.split([' ', '-']).map(|w| usize::from_str_radix(w, 16));
        let (start, end) = (ends.next().unwrap().unwrap(), ends.next().unwrap().unwrap());
        // SAFETY: only numbers are passed; the whole mapping stays as it is.
        if unsafe { libc::syscall(MSEAL, start, end - start, 0usize) } != 0 {
            eprintln!("SKIPPED: no mseal(2)");
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(78) };
        }
        become_it(&decided, host, &Caller::forked());
    });
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert!([77, 78].contains(&libc::WEXITSTATUS(status)), "{status:#x}");
}
