//! Programs that the kernel does not run any more (AOUT-2), where a caller asks for it.

#![allow(unsafe_code, reason = "pre_exec, for a child that is a copy")]

use std::os::unix::fs::PermissionsExt;

use uexec_core::World;
use uexec_process::{Command, Formats};

/// QMAGIC: ends with status 7. It lies at 4096.
fn program() -> Vec<u8> {
    let words = [0xcc | 100u32 << 16, 4096, 4096, 0, 0, 4096 + 32, 0, 0];
    let mut file: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    file.extend([0xbb, 7, 0, 0, 0]); // mov ebx, 7
    file.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit
    file.resize(8192, 0);
    file
}

fn may_map_so_low() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
    let rawio = u64::from_str_radix(line.trim(), 16).unwrap_or(0) & 1 << 17 != 0;
    let least = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").unwrap_or_default();
    rawio || least.trim().parse().is_ok_and(|least: u64| least <= 4096)
}

#[test]
fn what_the_kernel_has_lost() {
    if let Err(why) = uexec_linux::Host::new().ia32() {
        return eprintln!("skipped: a.out: {why}");
    }
    let path = std::env::temp_dir().join(format!("uexec-qmagic-{}", std::process::id()));
    std::fs::write(&path, program()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
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
    std::fs::remove_file(&path).unwrap();
}
