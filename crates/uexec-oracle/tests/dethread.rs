//! Execs from processes with other threads (PIPE-49.3): caller leader or not × what the others do ×
//! root or not. A few of each here; `cargo run -p uexec-oracle --bin dethread -- --times 200` does as
//! many as one likes.

use std::path::Path;
use std::process::Command;

use uexec_oracle::dethread::{Place, cases};
use uexec_oracle::skip;

#[test]
fn all_situations() {
    let host = Path::new(env!("CARGO_BIN_EXE_uexec-host"));
    let place = Place::new(host, Path::new(env!("CARGO_BIN_EXE_uexec-probe"))).unwrap();
    if !rustix::process::geteuid().is_root() {
        skip("dethread as root", "not root");
    }
    let mut wrong = Vec::new();
    for case in cases() {
        for siblings in [1, 2, 5] {
            if let Err(why) = place.try_once(case, siblings) {
                wrong.push(format!("{case} {siblings}: {}", why.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n  {}", wrong.len(), wrong.join("\n  "));
}

/// A process that becomes itself again and again grows in nothing. `uexec-host soak 1000000` takes
/// longer.
#[test]
fn nothing_accumulates() {
    let soak =
        Command::new(env!("CARGO_BIN_EXE_uexec-host")).args(["soak", "700"]).output().unwrap();
    assert!(soak.status.success(), "{}", String::from_utf8_lossy(&soak.stderr));
}

/// A thread that ends keeps the table of signal handlers for a moment after it has left the list of
/// threads. The process was taken for one whose memory is another's too: found by the soak, which that
/// ended without a word. One in a
/// thousand tries met it.
#[test]
fn regression_a_thread_that_has_just_ended() {
    let host =
        Command::new(env!("CARGO_BIN_EXE_uexec-host")).args(["ended", "8000"]).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
}

/// Children that share their parent's memory become a program without harming it: the kernel starts a
/// loader, and what it was told does not stay behind.
#[test]
fn vfork_children() {
    let host = Command::new(env!("CARGO_BIN_EXE_uexec-host"))
        .args(["vfork", "200", env!("CARGO_BIN_EXE_uexec-probe"), "exit", "0"])
        .output()
        .unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
}

/// Where the leader has ended, only the kernel can give its id to another thread: it starts the
/// loader.
#[test]
fn a_leader_that_has_ended() {
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    let host = |way| {
        let mut host = Command::new(env!("CARGO_BIN_EXE_uexec-host"));
        host.args([way, "orphan", "pause", "-", probe, "alone", "%pid"]).output().unwrap()
    };
    let with = host("loader");
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    let without = host("uexec");
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(said.contains("EAGAIN") && said.contains("main thread"), "{said}");
}
