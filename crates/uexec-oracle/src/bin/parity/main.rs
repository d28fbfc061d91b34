//! Compares what uexec predicts of an exec with what the kernel does: odd programs made from a
//! seed, or all programs of some folders.
//!
//! The kernel decides what is right. A program that starts is stopped before its first
//! instruction and killed, so nothing odd ever runs.

mod args;
mod compare;
mod layout;
mod make;
mod report;
mod rng;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::compare::{Compared, Sides};
use crate::report::Report;
use crate::rng::Rng;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parity: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(mut args: Args) -> io::Result<bool> {
    for path in args.layout.iter_mut().chain(&mut args.keep).chain(&mut args.uexec) {
        *path = std::path::absolute(&path)?;
    }
    let folder = Folder::new()?;
    let sides = Sides::new(args.uexec.take())?;
    if !args.layout.is_empty() {
        return layout::run(&args, &sides, &folder.0);
    }
    std::env::set_current_dir(&folder.0)?;
    let bases = make::Bases::gather(Path::new("bases"), args.i386)?;
    let root = rustix::process::geteuid().is_root();
    let one = |i: u64, host: &uexec_linux::Host| {
        let case = args.first + i;
        let dir = PathBuf::from(format!("c{case:07}"));
        let mut rng = Rng::of_case(args.seed, case);
        let kind = args.only.unwrap_or_else(|| args::Kind::draw(&mut rng));
        let ask_command = args.command_every != 0 && case.is_multiple_of(args.command_every);
        let made = make::Maker::new(rng, &bases, &dir, [root, args.i386]).make(kind)?;
        let found = sides.compare(&made.exec, host, ask_command, &dir)?;
        let i386 = if args.i386 { "--i386 " } else { "" };
        let again = format!("{i386}--seed {} --first {case} --cases 1", args.seed);
        let only = args.only.map_or(String::new(), |k| format!(" --only {k:?}").to_lowercase());
        if !found.differences.is_empty()
            && let Some(keep) = &args.keep
        {
            report::keep(&dir, &keep.join(&dir), &made.what)?;
        }
        drop(std::fs::remove_dir_all(&dir));
        Ok(Compared { name: format!("{:?}: {again}{only}", made.kind), what: made.what, ..found })
    };
    let compared = compare::all(args.cases, args.jobs(), "odd programs", one)?;
    Ok(Report::new(&compared).print())
}

/// A folder of its own, removed at the end. Its name is always as long, as paths count among the
/// bytes of a start.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let dir = std::env::temp_dir().join(format!("parity-{:08}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Folder(std::fs::canonicalize(dir)?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
