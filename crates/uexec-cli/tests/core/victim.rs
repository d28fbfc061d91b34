//! A program that is hard to dump, or that dies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::place::{Place, one_at_a_time};

/// Builds it; `None`, said visibly, where there is no C compiler.
pub(crate) fn build(place: &Place, test: &str) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/core/victim.c");
    let path = place.join("victim");
    let mut cc = Command::new("cc");
    cc.args(["-O0", "-g", "-pthread", "-w", "-o"]).arg(&path).arg(source);
    let status = {
        let _lock = one_at_a_time();
        cc.status()
    };
    match status {
        Ok(status) if status.success() => Some(path),
        _ => {
            crate::common::skip(test, "no C compiler");
            None
        }
    }
}

/// It runs, and is ended with the test.
pub(crate) struct Victim {
    pub(crate) child: Child,
}

impl Victim {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(place: &Place, test: &str, how: &str, count: u32) -> Option<Victim> {
        let program = build(place, test)?;
        let mut command = Command::new(program);
        command.args([how, &count.to_string()]).stdout(Stdio::piped());
        let mut child = {
            let _lock = one_at_a_time();
            command.spawn().unwrap()
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let got: u32 = line.split(' ').next().unwrap().parse().unwrap();
        if got < count {
            crate::common::skip(test, &format!("only {got} of {count} are allowed here"));
        }
        let victim = Victim { child };
        (got == count).then_some(victim)
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// How many threads sleep, untraced; all of them soon after they have been let go.
    pub(crate) fn asleep(&self, expected: usize) -> usize {
        let mut count = 0;
        for _ in 0..500 {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let status =
                tasks.filter_map(|t| fs::read_to_string(t.ok()?.path().join("status")).ok());
            let free = |s: &String| s.contains("State:\tS") && s.contains("TracerPid:\t0");
            count = status.filter(free).count();
            if count == expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        count
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
