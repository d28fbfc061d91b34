//! `uexec check` over trees made for the purpose: every kind of trouble, other roots, and hosts
//! that do not wish it well.

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod root;
mod rules;
mod trouble;

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::place::{one_at_a_time, uexec};
use serde_json::Value;

/// No check of a small tree takes that long; one that does hangs.
const LONG: Duration = Duration::from_secs(60);

/// A run of `uexec check`.
struct Check {
    args: Vec<OsString>,
    nobody: bool,
}

impl Check {
    fn new(args: &[&dyn AsRef<std::ffi::OsStr>]) -> Check {
        Check { args: args.iter().map(|a| a.as_ref().to_owned()).collect(), nobody: false }
    }

    /// As an unprivileged user, where the tests run as root.
    fn unprivileged(mut self) -> Check {
        self.nobody = common::root();
        self
    }

    fn output(&self) -> Output {
        let mut command = Command::new(uexec());
        command.arg("check").args(&self.args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().env("X", "1");
        if self.nobody {
            command.uid(65534).gid(65534);
        }
        let started = Instant::now();
        let child = {
            let _lock = one_at_a_time();
            command.spawn().unwrap()
        };
        let id = child.id() as i32;
        let (done, over) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if over.recv_timeout(LONG).is_err() {
                // SAFETY: sends a signal to a child that has not been waited for yet.
                unsafe { libc::kill(id, libc::SIGKILL) };
            }
        });
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        watch.join().unwrap();
        assert_eq!(output.status.signal(), None, "after {:?}: {output:?}", started.elapsed());
        output
    }

    /// The text for a person, and the exit status.
    fn text(&self) -> (String, i32) {
        let out = self.output();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        (String::from_utf8(out.stdout).unwrap(), out.status.code().unwrap())
    }

    /// The objects of all programs, the sums, and the exit status.
    fn json(&self) -> Checked {
        let mut args = self.args.clone();
        args.push("--json".into());
        let out = Check { args, nobody: self.nobody }.output();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        let text = String::from_utf8(out.stdout).unwrap();
        let mut lines: Vec<Value> =
            text.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
        for line in &lines {
            if let Err(error) = schema().validate(line) {
                panic!("{error}: {line}");
            }
        }
        let summary = lines.pop().unwrap()["summary"].clone();
        assert!(summary.is_object(), "{text}");
        Checked { lines, summary, status: out.status.code().unwrap() }
    }
}

/// The contract.
fn schema() -> &'static jsonschema::Validator {
    static SCHEMA: std::sync::OnceLock<jsonschema::Validator> = std::sync::OnceLock::new();
    SCHEMA.get_or_init(|| {
        let text = include_str!("../../../../docs/check.schema.json");
        jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
    })
}

/// What `--json` said.
struct Checked {
    lines: Vec<Value>,
    summary: Value,
    status: i32,
}

impl Checked {
    /// The object of the one program whose path ends like this.
    #[track_caller]
    fn of(&self, end: &str) -> &Value {
        let path = |l: &Value| l["path"].as_str().unwrap().to_owned();
        let mut found = self.lines.iter().filter(|l| path(l).ends_with(end));
        let one = found.next();
        assert!(found.next().is_none(), "{end}: more than once");
        one.unwrap_or_else(|| panic!("{end}: not among {:#?}", self.paths()))
    }

    fn paths(&self) -> Vec<&str> {
        self.lines.iter().map(|l| l["path"].as_str().unwrap()).collect()
    }

    /// Outcome, errno and stage of a program.
    #[track_caller]
    fn verdict(&self, end: &str) -> (&str, &str, &str) {
        let line = self.of(end);
        let error = |field: &str| line["error"][field].as_str().unwrap_or("");
        (line["outcome"].as_str().unwrap(), error("errno"), error("stage"))
    }
}
