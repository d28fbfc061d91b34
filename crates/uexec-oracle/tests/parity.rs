//! A fixed part of what `parity` compares: what uexec predicts is what the kernel does, without
//! exception. The whole comparison is the program `parity` of this crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use uexec_oracle::uexec::uexec_binary;

/// Runs it; all must agree.
fn parity(args: &[&str], paths: &[PathBuf]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parity"));
    command.arg("--uexec").arg(uexec_binary()).args(args).args(paths);
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    eprintln!("{said}");
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn odd_programs() {
    parity(&["--cases", "1500", "--seed", "20261123"], &[]);
}

/// The same for i386, in both classes' order of formats (ELF-21); a kernel without IA32 emulation
/// refuses all of them, and that is compared, too.
#[test]
fn odd_i386_programs() {
    parity(&["--cases", "700", "--seed", "20261124", "--i386"], &[]);
}

/// The kinds of which few are among those.
#[test]
fn odd_places_and_arguments() {
    parity(&["--cases", "150", "--only", "place"], &[]);
    parity(&["--cases", "150", "--only", "args"], &[]);
}

/// Under every stack limit, without arguments and with many.
#[test]
fn installed_programs() {
    let names = "awk bash busybox cat chmod clang cp dash date env find gcc git go grep java ld \
        ldd ls mount node passwd perl php ping python3 qemu-img ruby sh su sudo tar which zgrep";
    let folders = ["/usr/bin", "/usr/sbin", "/bin"].map(Path::new);
    let place = |name| folders.iter().map(|d| d.join(name)).find(|p| p.exists());
    let found: Vec<PathBuf> = names.split_whitespace().filter_map(place).collect();
    parity(&["--layout"], &found);
}
