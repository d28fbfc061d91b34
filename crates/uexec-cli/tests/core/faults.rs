//! What goes wrong, and what is large. Never is a stopped victim left behind, nor a file under the
//! name that a whole core would have.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use crate::common::place::{Place, one_at_a_time, uexec};
use crate::common::skip;
use crate::victim::{Victim, build};
use crate::{Waiting, names, ok, run, with_own_mounts};

fn told(place: &Place, file: &str) -> serde_json::Value {
    serde_json::from_str(&ok(&["core", "info", "--json", file], &place.path)).unwrap()
}

#[test]
fn two_thousand_threads() {
    let place = Place::new();
    let Some(victim) = Victim::start(&place, "two_thousand_threads", "threads", 2000) else {
        return;
    };
    ok(&["core", "-o", "c", &victim.pid()], &place.path);
    assert_eq!(victim.asleep(2001), 2001);
    assert_eq!(told(&place, "c")["threads"].as_array().unwrap().len(), 2001);
}

#[test]
fn sixty_thousand_regions() {
    let place = Place::new();
    let Some(victim) = Victim::start(&place, "sixty_thousand_regions", "regions", 60_000) else {
        return;
    };
    ok(&["core", "-o", "c", &victim.pid()], &place.path);
    assert_eq!(victim.asleep(1), 1);
    let told = told(&place, "c");
    assert!(told["mappings"].as_array().unwrap().len() >= 60_000);
    assert_eq!(told["complaints"], serde_json::json!([]));
}

/// A dump into a pipe that nobody reads: it stands still in the middle.
fn stuck_dump(place: &Place, victim: &Victim) -> Child {
    let mut command = Command::new(uexec());
    command.args(["core", "-o", "-", &victim.pid()]).current_dir(&place.path);
    let mut child = {
        let _lock = one_at_a_time();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Once something has come, the victim stands still.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    child
}

#[test]
fn a_victim_killed_meanwhile() {
    let place = Place::new();
    let Some(mut victim) = Victim::start(&place, "a_victim_killed_meanwhile", "memory", 64) else {
        return;
    };
    let dump = stuck_dump(&place, &victim);
    victim.child.kill().unwrap();
    // The dumper may still trace it, and is told of its end first: only then is its parent.
    let out = dump.wait_with_output().unwrap();
    victim.child.wait().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("ended while it was being dumped"), "{error}");
    // Into a file, some time or other: whole, or not there.
    for micros in [500, 2_000, 5_000, 10_000, 20_000, 40_000] {
        let Some(mut victim) = Victim::start(&place, "a_victim_killed_meanwhile", "memory", 64)
        else {
            return;
        };
        let mut command = Command::new(uexec());
        command.args(["core", "-o", "c", &victim.pid()]).current_dir(&place.path);
        let dump = {
            let _lock = one_at_a_time();
            command.stderr(Stdio::piped()).spawn().unwrap()
        };
        std::thread::sleep(std::time::Duration::from_micros(micros));
        victim.child.kill().unwrap();
        let out = dump.wait_with_output().unwrap();
        assert!(matches!(out.status.code(), Some(0 | 1)), "{out:?}");
        assert_eq!(place.join("c").exists(), out.status.success(), "{out:?}");
        if out.status.success() {
            assert_eq!(told(&place, "c")["missing"], 0);
            std::fs::remove_file(place.join("c")).unwrap();
        }
    }
    assert_eq!(names(&place.path), ["victim"]);
}

#[test]
fn a_killed_dumper_lets_its_victim_go() {
    let place = Place::new();
    let test = "a_killed_dumper_lets_its_victim_go";
    let Some(victim) = Victim::start(&place, test, "memory", 8) else { return };
    let mut dump = stuck_dump(&place, &victim);
    assert!(victim.asleep(0) == 0, "it is stopped");
    dump.kill().unwrap();
    dump.wait().unwrap();
    assert_eq!(victim.asleep(1), 1);
    // A limit of the file's size kills, too.
    let script = format!("ulimit -f 1000; exec {} core -o c {}", uexec().display(), victim.pid());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(&place.path);
    let out = {
        let _lock = one_at_a_time();
        command.output().unwrap()
    };
    assert!(!out.status.success(), "{out:?}");
    assert_eq!(victim.asleep(1), 1);
    assert_eq!(names(&place.path), ["victim"]);
}

#[test]
fn one_that_a_job_control_stop_holds_stays_stopped() {
    let place = Place::new();
    let test = "one_that_a_job_control_stop_holds_stays_stopped";
    let Some(victim) = Victim::start(&place, test, "threads", 3) else { return };
    let signal = |name| {
        let pid = rustix::process::Pid::from_raw(victim.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, name).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    ok(&["core", "-o", "c", &victim.pid()], &place.path);
    let status = std::fs::read_to_string(format!("/proc/{}/status", victim.pid())).unwrap();
    assert!(status.contains("State:\tT (stopped)"), "{status}");
    signal(rustix::process::Signal::CONT);
    assert_eq!(victim.asleep(4), 4);
}

#[test]
fn a_thread_that_does_not_stop_is_told() {
    let place = Place::new();
    let test = "a_thread_that_does_not_stop_is_told";
    // Live: no core without it.
    let Some(victim) = Victim::start(&place, test, "stuck", 1) else { return };
    let out = run(&["core", "-o", "c", &victim.pid()], &place.path);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(error.contains("cannot stop thread") && error.contains("vfork"), "{error}");
    assert_eq!(victim.asleep(1), 1, "the main thread goes on");
    assert_eq!(names(&place.path), ["victim"]);
    drop(victim);
    // Dying: what there is, and that something is missing.
    let program = build(&place, test).unwrap();
    let program = program.to_str().unwrap();
    let out = run(&["run", "--core", "kept", program, "stuck", "1", "die"], &place.path);
    assert_eq!(out.status.signal(), Some(11), "{out:?}");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("did not stop within 4 s"), "{error}");
    let listed = ok(&["core", "list", "--json", "kept"], &place.path);
    let kept: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(kept["missing_threads"].as_array().unwrap().len(), 1, "{kept}");
    assert!(kept["story"].as_str().unwrap().contains("which did not stop"), "{kept}");
}

#[test]
fn without_proc() {
    let place = Place::new();
    let waiting = Waiting::new();
    let script = format!(
        "mount -t tmpfs none /proc || exit 77; exec {} core -o x {}",
        uexec().display(),
        waiting.pid()
    );
    let Some(out) = with_own_mounts(&script, &place.path) else {
        return skip("without_proc", "no mount namespace");
    };
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("/proc is not mounted"), "{error}");
    assert_eq!(waiting.state(), "S (sleeping) 0");
    assert_eq!(names(&place.path), Vec::<String>::new());
}

#[test]
fn signals_to_uexec_reach_the_program() {
    let place = Place::new();
    for (signal, trap, code) in
        [("TERM", "exit 5", Some(5)), ("USR1", "exit 6", Some(6)), ("TERM", "-", None)]
    {
        let script = format!("trap '{trap}' {signal}; echo; while :; do sleep 0.05; done");
        let script = script.replace("'-'", "-");
        let mut command = Command::new(uexec());
        command.args(["run", "--core", "kept", "sh", "-c", &script]).current_dir(&place.path);
        let mut child = {
            let _lock = one_at_a_time();
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code, "{signal} {trap}: {status:?}");
        assert_eq!(status.signal().is_some(), code.is_none());
    }
    assert_eq!(names(&place.join("kept")), Vec::<String>::new());
}

#[test]
fn a_tree_keeps_cores_of_descendants() {
    let place = Place::new();
    let script = "sh -c 'kill -SEGV $$'; echo $?";
    let out = run(&["run", "--core", "kept", "--tree", "sh", "-c", script], &place.path);
    let error = String::from_utf8_lossy(&out.stderr);
    if error.contains("no tree") {
        return skip("a_tree_keeps_cores_of_descendants", error.trim());
    }
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), &b"139\n"[..]), "{error}");
    let listed = ok(&["core", "list", "--json", "kept"], &place.path);
    let kept: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(kept["signal_name"], "SIGSEGV");
    assert_eq!(kept["argv"][2], "kill -SEGV $$");
}
