//! `uexec core`: what it writes, keeps and tells, and what goes wrong.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/core_pattern.rs"]
mod core_pattern;
mod debuggers;
mod faults;
mod handler;
mod victim;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::elf::Elf;
use common::place::{Place, one_at_a_time, uexec};

/// A process that waits, ended with the test.
pub(crate) struct Waiting(Child);

impl Waiting {
    fn new() -> Waiting {
        let _lock = one_at_a_time();
        let this = Waiting(Command::new("sleep").arg("1000").spawn().unwrap());
        // It has begun once it is inside nanosleep(2) or clock_nanosleep(2).
        for _ in 0..500 {
            let call = fs::read_to_string(format!("/proc/{}/syscall", this.pid()));
            if call.is_ok_and(|c| c.starts_with("35 ") || c.starts_with("230 ")) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        this
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// State and tracer, as soon as it sleeps again.
    fn state(&self) -> String {
        for _ in 0..500 {
            if self.now().starts_with('S') {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.now()
    }

    fn now(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
        format!("{} {}", field("State:").trim(), field("TracerPid:").trim())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(uexec());
    command.args(args).current_dir(dir);
    let child = {
        let _lock = one_at_a_time();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    child.wait_with_output().unwrap()
}

fn ok(args: &[&str], dir: &Path) -> String {
    let out = run(args, dir);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {error}");
    String::from_utf8(out.stdout).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_live_process_is_dumped_and_goes_on() {
    let place = Place::new();
    let waiting = Waiting::new();
    for (args, file) in [
        (&["-o", "plain"][..], "plain"),
        (&["-o", "packed", "--zstd"], "packed"),
        (&["-o", "small", "--limit", "150K"], "small"),
        (&["-o", "all", "--filter", "1ff", "--sort"], "all"),
    ] {
        let mut words = vec!["core"];
        words.extend(args);
        let pid = waiting.pid();
        words.push(&pid);
        ok(&words, &place.path);
        assert_eq!(waiting.state(), "S (sleeping) 0");
        let told = ok(&["core", "info", "--json", file], &place.path);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["process"]["name"], "sleep");
        assert_eq!(told["process"]["pid"].to_string(), pid);
        assert_eq!((&told["missing"], &told["signal"]), (&0.into(), &serde_json::Value::Null));
    }
    let len = |name: &str| fs::metadata(place.join(name)).unwrap().len();
    assert!(len("small") <= 150 << 10 && len("plain") > len("small"));
    assert!(len("packed") < len("plain") && len("plain") < len("all"));
    // To a pipe: every byte of the file.
    let out = run(&["core", "-o", "-", &waiting.pid()], &place.path);
    assert_eq!(out.stdout.len() as u64, len("plain"));
    let explained = ok(&["core", "--explain", &waiting.pid()], &place.path);
    assert!(explained.contains("CORE-45") && explained.contains("[stack]"), "{explained}");
    assert_eq!(names(&place.path), ["all", "packed", "plain", "small"]);
}

#[test]
fn pictures_and_schema() {
    let place = Place::new();
    let waiting = Waiting::new();
    ok(&["core", "-o", "c", &waiting.pid()], &place.path);
    let svg = ok(&["core", "info", "--svg", "-", "c"], &place.path);
    roxmltree::Document::parse(&svg).unwrap();
    assert!(svg.contains("sleep") && svg.contains("[stack]"));
    assert!(ok(&["core", "info", "--html", "-", "c"], &place.path).contains("</html>"));
    let schema = include_str!("../../../../docs/core.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let told = ok(&["core", "info", "--json", "c"], &place.path);
    schema.validate(&serde_json::from_str(&told).unwrap()).unwrap();
    assert!(ok(&["core", "info", "-v", "c"], &place.path).contains("AT_PHDR"));
}

#[test]
fn what_cannot_be_dumped_is_said() {
    let place = Place::new();
    for (args, status, says) in [
        (&["core", "0"][..], 1, "process id"),
        (&["core", "999999999"], 1, "No such process"),
        (&["core", "info", "/nonexistent"], 1, "No such file"),
        (&["core", "info", "/dev/zero"], 1, "not a regular file"),
        (&["core", "info", "/proc/self/exe"], 1, "no core dump"),
        (&["core", "list", "/nonexistent"], 1, "No such file"),
        (&["core"], 125, "PID"),
    ] {
        let out = run(args, &place.path);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(status), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let waiting = Waiting::new();
    let out = run(&["core", "--limit", "100", "-o", "x", &waiting.pid()], &place.path);
    assert_eq!(out.status.code(), Some(1));
    let out = run(&["core", "-o", "no/such/x", &waiting.pid()], &place.path);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(waiting.state(), "S (sleeping) 0");
    assert_eq!(names(&place.path), Vec::<String>::new());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = Place::new();
    let waiting = Waiting::new();
    // A tmpfs that is too small, seen by the command alone.
    let script = format!(
        "mount -t tmpfs -o size=64k none {0} && cd {0} || exit 77; {1} core -o x {2}; s=$?; ls -A; \
         exit $s",
        place.path.display(),
        uexec().display(),
        waiting.pid()
    );
    let Some(out) = with_own_mounts(&script, &place.path) else {
        return common::skip("a_full_disk_leaves_nothing_behind", "no mount namespace");
    };
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("ENOSPC"), "{error}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "");
    assert_eq!(waiting.state(), "S (sleeping) 0");
}

/// What a shell says in a mount namespace of its own; `None` where there can be none, or the script
/// ends with 77.
fn with_own_mounts(script: &str, dir: &Path) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(dir);
    let out = {
        let _lock = one_at_a_time();
        command.output().ok()?
    };
    let none = out.stderr.starts_with(b"unshare") || out.status.code() == Some(77);
    (!none).then_some(out)
}

#[test]
fn others_processes_are_refused() {
    if !common::root() {
        return common::skip("others_processes_are_refused", "not root");
    }
    let place = Place::new();
    let waiting = Waiting::new();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups"]).arg(uexec());
    command.args(["core", "-o", "/dev/null", &waiting.pid()]).current_dir(&place.path);
    let out = {
        let _lock = one_at_a_time();
        command.output()
    };
    let Ok(out) = out else {
        return common::skip("others_processes_are_refused", "no setpriv");
    };
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("another user"));
    assert_eq!(waiting.state(), "S (sleeping) 0");
}

#[test]
fn a_handler_keeps_lists_and_removes_within_its_quota() {
    let place = Place::new();
    let waiting = Waiting::new();
    let core = run(&["core", "-o", "-", &waiting.pid()], &place.path).stdout;
    let keep = |time: &str, quota: &str| {
        let mut command = Command::new(uexec());
        command.args(["core", "--handler", "kept", "--quota", quota, "--name", "%e/%p.%t"]);
        command.args([&waiting.pid(), "11", time]).current_dir(&place.path).stdin(Stdio::piped());
        let mut child = {
            let _lock = one_at_a_time();
            command.spawn().unwrap()
        };
        let _ = child.stdin.take().unwrap().write_all(&core);
        assert!(child.wait().unwrap().success());
    };
    keep("1", "1G");
    let kept = place.join("kept");
    let name = |time: u32| format!("sleep!{}.{time}", waiting.pid());
    assert_eq!(names(&kept), [name(1), name(1) + ".json"]);
    let listed = ok(&["core", "list", "--json", "kept"], &place.path);
    let told: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&told["signal_name"], &told["cut"]), (&"SIGSEGV".into(), &false.into()));
    assert_eq!(told["argv"][1], "1000");
    // The next one needs the room of the first.
    let used = fs::metadata(kept.join(name(1))).unwrap().blocks() * 512;
    keep("2", &(used * 3 / 2).to_string());
    assert_eq!(names(&kept), [name(2), name(2) + ".json"]);
    // One that does not fit at all is cut, and can still be read.
    keep("3", "50K");
    assert_eq!(names(&kept), [name(3), name(3) + ".json"]);
    let path = format!("kept/{}", name(3));
    let told = ok(&["core", "info", "--json", &path], &place.path);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["missing"].as_u64().unwrap() > 0);
    ok(&["core", "rm", &path], &place.path);
    assert_eq!(names(&kept), Vec::<String>::new());
}

#[test]
fn a_killed_handler_leaves_no_file() {
    let place = Place::new();
    let mut command = Command::new(uexec());
    command.args(["core", "--handler", "kept", "1", "11"]).current_dir(&place.path);
    let mut child = {
        let _lock = one_at_a_time();
        command.stdin(Stdio::piped()).spawn().unwrap()
    };
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(&vec![1; 3 << 20]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let left = names(&place.join("kept"));
    assert!(left.iter().all(|n| n.starts_with('.')), "{left:?}");
}

#[test]
fn run_core_keeps_what_dies_and_dies_as_it() {
    let place = Place::new();
    // mov eax, [16]
    let null = Elf::exit(0).but(|e| e.code = vec![0x8b, 0x04, 0x25, 16, 0, 0, 0]);
    let program = place.elf("null", &null);
    let program = program.to_str().unwrap();
    let out = run(&["run", "--core", "kept", program], &place.path);
    assert_eq!(out.status.signal(), Some(11), "{out:?}");
    let listed = ok(&["core", "list", "kept"], &place.path);
    assert!(listed.contains("null pointer, 16 bytes into"), "{listed}");
    let out = run(&["run", "--core", "kept2", "sh", "-c", "exit 7"], &place.path);
    assert_eq!(out.status.code(), Some(7), "{out:?}");
    let out = run(&["run", "--core", "kept2", "sh", "-c", "kill -TERM $$"], &place.path);
    assert_eq!(out.status.signal(), Some(15), "{out:?}");
    let out = run(
        &["run", "--core", "kept2", "sh", "-c", "trap 'exit 3' XCPU; kill -XCPU $$"],
        &place.path,
    );
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert_eq!(names(&place.join("kept2")), Vec::<String>::new());
}
