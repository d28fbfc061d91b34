//! A caller with as many mappings as the kernel allows is replaced all the same.

use std::fs;

use uexec_core::{Exec, KERNEL_FORMATS, plan};
use uexec_linux::{Caller, Host, prepare};

const PAGE: usize = 4096;

/// Maps single pages with other permissions than their neighbours, until no more can be had but
/// `spare`.
fn crowd(spare: usize) {
    let map = |i: usize| {
        let prot = if i % 2 == 0 { libc::PROT_READ } else { libc::PROT_NONE };
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
        // SAFETY: the child has this thread only, and uses memory as it finds it.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut host = Host::new();
            let decided = plan(Exec::new("/bin/true"), &mut host, &KERNEL_FORMATS).unwrap();
            crowd(spare);
            match prepare(&decided, host, &Caller::forked()) {
                // SAFETY: a forked child with one thread and its own memory.
                Ok(prepared) => unsafe { prepared.commit() },
                // SAFETY: leaves without running anything of the parent's.
                Err(_) => unsafe { libc::_exit(77) },
            }
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        match libc::WEXITSTATUS(status) {
            0 if libc::WIFEXITED(status) => worked += 1,
            77 => {}
            _ => panic!("{spare} mappings to spare: status {status:#x}"),
        }
    }
    assert!(worked > 0);
}
