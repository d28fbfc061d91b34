//! Runs every program and script of some folders with `--version`, by the kernel and by
//! `uexec run`, and compares exit status, standard output and standard error.
//!
//! The programs are whatever is installed: the test knows nothing about them. What does not print
//! the same twice under the kernel is left out, what must not or cannot be run is skipped by name
//! with its reason ([`skip`]); both are listed, so that nothing is hidden.

mod args;
mod judge;
mod program;
mod report;
mod run;
mod skip;
mod uexec;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Args, User};
use crate::judge::Judged;
use crate::program::Program;
use crate::run::{Folder, Way};

fn main() -> ExitCode {
    match sweep(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything; true when enough is equal.
fn sweep(args: Args) -> std::io::Result<bool> {
    let root = rustix::process::geteuid().is_root();
    let user = args.user.unwrap_or(if root { User::Root } else { User::Myself });
    if user != User::Myself && !root {
        return Err(std::io::Error::other(format!("only root can run programs as {user}")));
    }
    let programs = program::find(&args.folders, &args.only)?;
    if let Some(name) = program::missing(&args.only, &programs).next() {
        return Err(std::io::Error::other(format!("no such program: {}", name.display())));
    }
    let folder = Folder::new()?;
    let jobs = args.jobs();
    let uexec = uexec::find(args.uexec, args.build, &folder)?;
    let way = Way { uexec, user, userns: args.userns };
    let judged = judge_all(&programs, &way, &folder, jobs);
    let report = report::Report::new(&way, &judged, args.bar);
    if args.list_different {
        report.list_different();
    } else {
        report.print();
    }
    if let Some(path) = args.json {
        report.write_json(&path)?;
    }
    Ok(report.passes())
}

/// Judges each program, several at a time; the answers are in the programs' order.
fn judge_all<'a>(
    programs: &'a [Program],
    way: &Way,
    folder: &Folder,
    jobs: usize,
) -> Vec<Judged<'a>> {
    let bar = ProgressBar::new(programs.len() as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta:>4} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(programs.len()));
    std::thread::scope(|scope| {
        for worker in 0..jobs.min(programs.len()).max(1) {
            let (bar, next, done) = (&bar, &next, &done);
            scope.spawn(move || {
                while let Some((i, program)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    programs.get(i).map(|p| (i, p))
                } {
                    bar.set_message(program.path.display().to_string());
                    let judged = judge::judge(program, way, &folder.of_worker(worker));
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((i, judged));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, judged)| judged).collect()
}
