//! What the tests of the command share: a place for files, hand-made programs, and the same
//! question put to the kernel, to the command and to the library.

#![allow(dead_code, reason = "every test program uses its own part of this")]

use std::io::Write;

pub(crate) mod ask;
pub(crate) mod elf;
pub(crate) mod place;
pub(crate) mod terminal;

/// Says visibly that something was not tested, and why.
pub(crate) fn skip(what: &str, why: &str) {
    // Not eprintln: that is shown for failing tests only.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

/// Whether the tests run as root.
pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the running kernel is this version or newer.
pub(crate) fn kernel_since(major: u16, minor: u16) -> bool {
    uexec_linux::Host::new().facts_mut().since(major, minor)
}
