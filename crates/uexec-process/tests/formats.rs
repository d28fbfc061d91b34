//! Programs that the kernel does not run any more (AOUT-2), where a caller asks for it.

#![allow(unsafe_code, reason = "pre_exec, for a child that is a copy")]

use uexec_core::World;
use uexec_process::{Command, Formats};
use xtask::scratch::{Scratch, lost_program, may_map_so_low};

#[test]
fn what_the_kernel_has_lost() {
    if let Err(why) = uexec_linux::Host::new().ia32() {
        return eprintln!("skipped: a.out: {why}");
    }
    let dir = Scratch::new("lost");
    dir.file("lost", &lost_program(), 0o755);
    let path = dir.path().join("lost");
    let command = || Command::new(&path);
    assert_eq!(command().status().unwrap_err().raw_os_error(), Some(libc::ENOEXEC));
    assert!(command().explain().is_some());
    if may_map_so_low() {
        assert!(command().formats(Formats::All).explain().is_none());
        assert_eq!(command().formats(Formats::All).status().unwrap().code(), Some(7));
        let mut copy = command();
        // SAFETY: does nothing.
        unsafe { copy.pre_exec(|| Ok(())) };
        assert_eq!(copy.formats(Formats::All).status().unwrap().code(), Some(7));
    } else {
        eprintln!("skipped: a.out programs run: this user may not map so low (vm.mmap_min_addr)");
    }
}
