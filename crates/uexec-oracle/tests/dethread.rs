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

fn host(env: (&str, &str), words: &[&str]) -> std::process::Output {
    let mut host = Command::new(env!("CARGO_BIN_EXE_uexec-host"));
    host.env(env.0, env.1).args(words).output().unwrap()
}

/// A thread that blocks even the C library's signals is stopped by `ptrace(2)`. Where that is refused
/// the kernel starts the loader; without one the exec fails and every thread still runs.
#[test]
fn deaf_threads_where_nothing_can_be_traced() {
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    let none = ("NOTHING", "");
    for caller in ["leader", "other"] {
        let with = host(none, &["loader", caller, "raw,raw", "no ptrace", probe, "alone", "%pid"]);
        assert!(with.status.success(), "{caller}: {}", String::from_utf8_lossy(&with.stderr));
        let without = host(none, &["uexec", caller, "raw,raw", "no ptrace", probe, "exit", "0"]);
        let said = String::from_utf8_lossy(&without.stderr);
        assert!(said.contains("EPERM") && said.contains("ptrace"), "{caller}: {said}");
        let after = host(none, &["try", caller, "raw,raw", "no ptrace", probe, "exit", "9"]);
        assert!(after.status.success(), "{caller}: {}", String::from_utf8_lossy(&after.stderr));
    }
}

/// A restartable sequence area that the C library knows nothing of cannot be dropped: the kernel would
/// go on to write there.
#[test]
fn an_area_that_nobody_tells_of() {
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    let tunables = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
    let cases = [
        ("leader", "pause", "rseq"),
        ("leader", "-", "rseq"),
        ("other", "pause", "rseq"),
        ("other", "pause,raw", "rseq of leader"),
        // Known too late to be refused, but not to the loader.
        ("other", "raw", "rseq of leader"),
    ];
    for (caller, siblings, area) in cases {
        let host = |way| host(tunables, &[way, caller, siblings, area, probe, "alone", "%pid"]);
        let with = host("loader");
        let said = String::from_utf8_lossy(&with.stderr);
        if said.contains("cannot set up rseq") {
            return skip(
                "unknown restartable sequences",
                "the C library does not leave them alone",
            );
        }
        assert!(with.status.success(), "{caller} {siblings}: {} {said}", with.status);
        if siblings != "raw" {
            let without = host("uexec");
            let said = String::from_utf8_lossy(&without.stderr);
            assert!(said.contains("EOPNOTSUPP") && said.contains("sequence"), "{caller}: {said}");
        }
    }
}

/// Sealed memory (`mseal(2)`) cannot be unmapped: the process died past the point of no return.
#[test]
fn regression_sealed_memory() {
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    let none = ("NOTHING", "");
    for (caller, siblings) in [("leader", "-"), ("leader", "pause,raw"), ("other", "pause")] {
        let host = |way| host(none, &[way, caller, siblings, "sealed", probe, "alone", "%pid"]);
        let with = host("loader");
        let said = String::from_utf8_lossy(&with.stderr);
        if said.contains("cannot set up sealed") {
            return skip("sealed memory", "this kernel has none");
        }
        assert!(with.status.success(), "{caller} {siblings}: {} {said}", with.status);
        let without = host("uexec");
        let said = String::from_utf8_lossy(&without.stderr);
        assert!(said.contains("EOPNOTSUPP") && said.contains("mseal"), "{caller}: {said}");
        assert!(host("try").status.success(), "{caller} {siblings}");
    }
}

/// Rules with descriptors and credentials (MISC-24 to MISC-27) in a process with threads: the file is
/// handed on, and nothing else of the old program.
#[test]
fn rules_that_hand_the_file_on() {
    let dir = std::env::temp_dir().join(format!("uexec-handed-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("file");
    // Written by a process of its own: nobody here may have it open when it is executed.
    let write = format!("echo MAGIC >'{0}' && chmod 755 '{0}'", file.display());
    assert!(Command::new("sh").args(["-c", &write]).status().unwrap().success());
    let path = file.to_str().unwrap();
    let probe = env!("CARGO_BIN_EXE_uexec-probe");
    for (flags, handed) in [("", "none"), ("O", path), ("C", path), ("OC", path)] {
        let rule = format!(":handed:M::MAGIC::{probe}:{flags}");
        for caller in ["leader", "other"] {
            let words = ["uexec", caller, "pause,busy", "-", path, "handed"];
            let output = host(("UEXEC_BINFMT", &rule), &words);
            let said = String::from_utf8_lossy(&output.stdout);
            let why = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, format!("{path} {handed} 1\n"), "{caller} {flags}: {why}");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
