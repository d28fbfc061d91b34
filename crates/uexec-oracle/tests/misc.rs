//! `binfmt_misc` in user space against the kernel's: a fixed part of what the program `misc` of this
//! crate compares (MISC-1 to MISC-15, MISC-20 to MISC-30).

use std::process::Command;

#[test]
fn rules_as_in_the_kernel() {
    let out = Command::new(env!("CARGO_BIN_EXE_misc"))
        .args(["--cases", "1500", "--seed", "20261124"])
        .output()
        .unwrap();
    let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if let Some(why) = why.strip_prefix("skipped: ") {
        let (what, why) = why.split_once(": ").unwrap_or((why, ""));
        uexec_oracle::skip(what, why.trim_end());
    }
    assert!(out.status.success(), "{said}{why}");
}
