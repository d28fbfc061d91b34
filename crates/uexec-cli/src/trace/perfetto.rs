//! The trace in Chrome's format, which ui.perfetto.dev opens: a slice for every program, on as
//! many lanes as run at the same time. Only writes, and keeps nothing of who has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::record::Record;
use super::text::command;
use super::tree::copied;
use super::{Now, Teller};
use crate::signal;

/// A living process.
struct Slice {
    lane: usize,
    since: f64,
    name: String,
    args: Value,
}

/// What is written are whole microseconds.
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6).round() as u64
}

pub(super) struct Perfetto {
    out: BufWriter<File>,
    now: Now,
    begun: bool,
    living: BTreeMap<u32, Slice>,
    /// Which lanes are taken.
    lanes: Vec<bool>,
}

impl Perfetto {
    pub(super) fn new(out: BufWriter<File>) -> Perfetto {
        Perfetto {
            out,
            now: Now(Instant::now()),
            begun: false,
            living: BTreeMap::new(),
            lanes: Vec::new(),
        }
    }

    /// One more event. The closing bracket may be missing, so the file is good at any time.
    fn put(&mut self, event: &Value) -> io::Result<()> {
        let before: &[u8] = if std::mem::replace(&mut self.begun, true) { b",\n" } else { b"[\n" };
        self.out.write_all(before)?;
        serde_json::to_writer(&mut self.out, event)?;
        Ok(())
    }

    fn lane(&mut self) -> io::Result<usize> {
        let lane = match self.lanes.iter().position(|taken| !taken) {
            Some(free) => free,
            None => {
                self.lanes.push(false);
                let lane = self.lanes.len() - 1;
                for (what, value) in [
                    ("thread_name", json!({ "name": format!("lane {}", lane + 1) })),
                    ("thread_sort_index", json!({ "sort_index": lane })),
                ] {
                    self.put(&json!({
                        "ph": "M", "name": what, "pid": 1, "tid": lane + 1, "args": value,
                    }))?;
                }
                lane
            }
        };
        self.lanes[lane] = true;
        Ok(lane)
    }

    /// The slice of a program that is over.
    fn slice(&mut self, id: u32, until: f64, end: Option<Value>) -> io::Result<()> {
        let Some(slice) = self.living.get(&id) else { return Ok(()) };
        let mut args = slice.args.clone();
        args["end"] = end.unwrap_or(Value::Null);
        let event = json!({
            "ph": "X", "cat": "exec", "name": slice.name, "pid": 1, "tid": slice.lane + 1,
            "ts": micros(slice.since), "dur": micros(until - slice.since), "args": args,
        });
        self.put(&event)
    }

    /// An arrow from the creator to what it has created.
    fn arrow(&mut self, from: u32, id: u32, t: f64) -> io::Result<()> {
        let ends = [("s", from), ("f", id)];
        for (phase, end) in ends {
            let Some(slice) = self.living.get(&end) else { continue };
            let event = json!({
                "ph": phase, "bp": "e", "cat": "spawn", "name": "spawn", "id": id, "pid": 1,
                "tid": slice.lane + 1, "ts": micros(t),
            });
            self.put(&event)?;
        }
        Ok(())
    }
}

impl Teller for Perfetto {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Start(r) => {
                let name = json!({ "name": command(&r.command) });
                self.put(&json!({ "ph": "M", "name": "process_name", "pid": 1, "args": name }))?;
                let lane = self.lane()?;
                let name = "uexec trace".to_owned();
                self.living.insert(0, Slice { lane, since: 0.0, name, args: json!({}) });
            }
            Record::Spawn(r) => {
                let lane = self.lane()?;
                let of = self.living.get(&r.parent).map_or("", |p| p.name.as_str());
                let name = format!("({of})");
                let args = json!({ "pid": r.who.pid, "how": r.how, "flags": r.flags });
                self.living.insert(r.who.id, Slice { lane, since: r.who.t, name, args });
                self.arrow(r.parent, r.who.id, r.who.t)?;
            }
            Record::Exec(r) => {
                self.slice(r.who.id, r.who.t, None)?;
                if let Some(slice) = self.living.get_mut(&r.who.id) {
                    slice.since = r.who.t;
                    slice.name = r.name().base().to_string();
                    slice.args = json!({
                        "pid": r.who.pid, "command": command(&r.argv), "exe": r.exe, "interp": r.interp,
                        "cwd": r.cwd, "withheld": r.withheld, "chain": r.chain, "env": r.env, "stdio": r.stdio,
                        "parent_waited_us": r.parent_waited_us,
                        "pages": copied(r.pages, r.faults_since_fork),
                    });
                }
            }
            Record::Failed(r) => {
                let lane = self.living.get(&r.who.id).map_or(0, |slice| slice.lane);
                let name = format!("{}: {}", r.path, r.errno);
                self.put(&json!({
                    "ph": "i", "s": "t", "cat": "failed", "name": name, "pid": 1,
                    "tid": lane + 1, "ts": micros(r.who.t), "args": r.because,
                }))?;
            }
            Record::Exit(r) => {
                let end = match r.signal {
                    Some(signal) => json!(signal::name(signal)),
                    None => json!(r.status),
                };
                self.slice(r.who.id, r.who.t, Some(end))?;
                if let Some(slice) = self.living.remove(&r.who.id) {
                    self.lanes[slice.lane] = false;
                }
            }
            Record::End(_) => self.out.write_all(b"\n]\n")?,
        }
        Ok(())
    }

    fn pause(&mut self) -> io::Result<()> {
        if self.now.is_due() { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
