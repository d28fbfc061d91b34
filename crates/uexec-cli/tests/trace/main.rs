//! `uexec trace`: what it tells, and the command it traces compared with an untraced one. That it
//! misses nothing is tested by the oracle, with the kernel's own tracepoint.

#[path = "../common/mod.rs"]
mod common;

mod cow;
mod ends;
mod formats;
mod page;
mod storm;
mod told;
mod unchanged;

use std::process::Command;

use common::place::{Place, uexec};
use serde_json::Value;

/// A command to be traced in `place`, with the trace in a file there.
fn traced(place: &Place, format: &str, words: &[&str]) -> Command {
    let mut command = Command::new(uexec());
    command.args(["trace", "--format", format, "-o"]).arg(place.join("out")).args(words);
    command.current_dir(&place.path);
    command
}

/// The records of a finished trace.
fn records(place: &Place) -> Vec<Value> {
    let text = std::fs::read_to_string(place.join("out")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Records of what a shell does with this script.
fn shell(place: &Place, script: &str) -> Vec<Value> {
    let output = traced(place, "json", &["/bin/sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    records(place)
}

fn of<'a>(records: &'a [Value], event: &str) -> Vec<&'a Value> {
    records.iter().filter(|r| r["event"] == event).collect()
}
