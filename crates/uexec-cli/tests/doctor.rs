//! `uexec doctor`: what it says is compared with what the host does, also where it forbids things.

mod common;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::place::uexec;
use serde_json::Value;

/// What it says of this host, or of one that lets these system calls fail with `EPERM`.
fn health(forbidden: &'static [u32]) -> (i32, Value) {
    let mut command = Command::new(uexec());
    command.args(["doctor", "--json"]);
    if !forbidden.is_empty() {
        // SAFETY: makes two system calls on memory that was allocated before the fork.
        unsafe { command.pre_exec(move || forbid(forbidden)) };
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), serde_json::from_str(&text).expect(&text))
}

/// A filter in whose presence each of these calls says `EPERM`.
fn forbid(calls: &[u32]) -> io::Result<()> {
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [op(0x06, 0, 0, 0x7fff_0000); 16];
    program[0] = op(0x20, 0, 0, 0);
    for (i, nr) in calls.iter().enumerate() {
        program[1 + 2 * i] = op(0x15, 0, 1, *nr);
        program[2 + 2 * i] = op(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32);
    }
    let filter = libc::sock_fprog { len: 16, filter: program.as_mut_ptr() };
    // SAFETY: numbers only.
    let locked = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the kernel reads the sixteen instructions.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const filter) };
    if locked == 0 && set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn finding<'a>(health: &'a Value, name: &str) -> &'a Value {
    let all = health["findings"].as_array().unwrap();
    all.iter().find(|f| f["name"] == name).unwrap_or_else(|| panic!("{name}: {health:#}"))
}

fn way<'a>(health: &'a Value, what: &str) -> &'a Value {
    let all = health["will"].as_array().unwrap();
    &all.iter().find(|w| w["what"] == what).unwrap()["way"]
}

#[test]
fn says_what_this_host_does() {
    let (status, health) = health(&[]);
    // The other tests show that programs are run in place here, so that must be said.
    assert_eq!(finding(&health, "run")["outcome"], "yes");
    assert_eq!(way(&health, "run"), "in-place");
    let asked = common::kernel_since(6, 14);
    assert_eq!(finding(&health, "policy_check")["outcome"], if asked { "yes" } else { "no" });
    let userns = Command::new("unshare").args(["-U", "true"]).status();
    if let Ok(done) = userns {
        let says = finding(&health, "userns")["outcome"] == "yes";
        assert_eq!(says, done.success(), "{health:#}");
    } else {
        common::skip("user namespaces", "there is no unshare(1) to compare with");
    }
    let impossible = health["will"].as_array().unwrap().iter().any(|w| w["way"].is_null());
    assert_eq!(status, i32::from(impossible), "{health:#}");
}

#[test]
fn says_what_is_forbidden_and_goes_another_way() {
    let (_, health) = health(&[libc::SYS_unshare as u32]);
    for name in ["userns", "own_binfmt_misc"] {
        let finding = finding(&health, name);
        assert_eq!(finding["outcome"], "no", "{finding:#}");
        assert!(finding["seen"].as_str().unwrap().contains("EPERM"), "{finding:#}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{finding:#}");
    }
    assert_eq!(finding(&health, "tree_binfmt")["outcome"], "no");
    let possible = |way: &&&str| finding(&health, &format!("tree_{way}"))["outcome"] == "yes";
    let first = ["notify", "ptrace"].iter().find(possible);
    assert_eq!(way(&health, "tree"), &first.map_or(Value::Null, |way| Value::from(*way)));
}

#[test]
fn nothing_left_is_said_by_the_exit_status() {
    const CALLS: [u32; 2] = [libc::SYS_unshare as u32, libc::SYS_ptrace as u32];
    let (status, health) = health(&CALLS);
    for name in ["ptrace", "tree_ptrace", "tree_notify"] {
        assert_eq!(finding(&health, name)["outcome"], "no");
    }
    assert_eq!((way(&health, "tree"), way(&health, "trace")), (&Value::Null, &Value::Null));
    assert_eq!(status, 1);
}

#[test]
fn text_names_every_finding() {
    let output = Command::new(uexec()).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, health) = health(&[]);
    for f in health["findings"].as_array().unwrap() {
        assert!(text.contains(f["what"].as_str().unwrap()), "{text}");
    }
    assert!(text.contains("What uexec will do"), "{text}");
}

#[test]
fn without_proc_nothing_can_be_tried() {
    let script = "umount -l /proc; \"$0\" doctor --json; \"$0\" run --tree true; echo $?";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(uexec());
    let output = match command.output() {
        Ok(output) if output.status.success() => output,
        other => return common::skip("no /proc", &format!("{other:?}")),
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (json, status) = text.trim_end().rsplit_once('\n').unwrap();
    let health: Value = serde_json::from_str(json).expect(&text);
    assert_eq!(health["findings"].as_array().unwrap().len(), 1, "{health:#}");
    assert_eq!(finding(&health, "proc")["remedy"], "mount -t proc proc /proc");
    assert!(health["will"].as_array().unwrap().iter().all(|w| w["way"].is_null()), "{health:#}");
    // A tree was killed without a word.
    assert_eq!(status, "125");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "uexec: no tree: /proc is not mounted\n");
}

#[test]
fn says_what_is_not_as_without_uexec() {
    let (_, health) = health(&[libc::SYS_unshare as u32]);
    for will in health["will"].as_array().unwrap().iter().filter(|w| w["way"] == "ptrace") {
        let but = will["but"].as_array().unwrap();
        assert!(but.iter().any(|but| but.as_str().unwrap().contains("set-user-ID")), "{will:#}");
    }
    let text = Command::new(uexec()).arg("doctor").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.contains("follows a whole tree") || text.contains("but no debugger"), "{text}");
}
