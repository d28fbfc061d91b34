//! `uexec trace`: follows a command and tells what its tree of processes does. Changes nothing of
//! it.
//!
//! The command takes this very process; what tells of it is another.

mod failure;
mod follow;
mod html;
mod interp;
mod json;
mod pages;
mod perfetto;
mod record;
mod search;
mod tree;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use uexec_core::lookup::candidates;
use uexec_core::story::Shown;
use uexec_core::{Errno, Exec, KERNEL_FORMATS, Privileges};
use uexec_linux::Host;
use uexec_linux::tree::{self as engine, Role, Tracer, Watch};

use crate::args::trace::{Format, Trace};
use crate::find::{find_and_plan, path_in};
use crate::{OWN_FAILURE, report};
use record::Record;

/// Something that tells of records.
trait Teller {
    /// Takes the next record.
    fn tell(&mut self, record: &Record) -> io::Result<()>;

    /// Nothing happens just now: what was told should be seen.
    fn pause(&mut self) -> io::Result<()>;

    /// The command has ended, and nobody of its tree is left, or some are. May come twice.
    fn finish(&mut self) -> io::Result<()>;
}

/// Traces; returns in the tracer, and where the command cannot be started.
pub(crate) fn trace(args: &Trace, envp: &[Vec<u8>]) -> u8 {
    let output = match open(args) {
        Ok(output) => output,
        Err(error) => {
            let name = args.output.as_deref().unwrap_or_else(|| "standard error".as_ref());
            report::say(format_args!("{}: {error}", name.display()));
            return OWN_FAILURE;
        }
    };
    let watch = if args.cow { Watch::Memory } else { Watch::Plain };
    // SAFETY: this process has had one thread since the kernel started it.
    match unsafe { engine::start(&[output.as_fd()], watch) } {
        Ok(Role::Traced) => execute(args, envp),
        Ok(Role::Tracer(tracer)) => follow(args, tracer, output, envp),
        Err(error) => {
            match report::tracer(error) {
                Some(who) => report::say(format_args!("cannot trace: {who}")),
                None => report::say(format_args!(
                    "cannot trace: {error}; `uexec doctor` says what this host allows"
                )),
            }
            OWN_FAILURE
        }
    }
}

fn format(args: &Trace) -> Format {
    let is_page = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "html");
    match args.format {
        Some(format) => format,
        None if args.output.as_ref().is_some_and(is_page) => Format::Html,
        None => Format::Tree,
    }
}

fn open(args: &Trace) -> io::Result<OwnedFd> {
    match &args.output {
        None => io::stderr().as_fd().try_clone_to_owned(),
        Some(path) if path.as_os_str() == "-" => io::stdout().as_fd().try_clone_to_owned(),
        Some(path) => File::create(path).map(OwnedFd::from),
    }
}

/// Becomes the command.
fn execute(args: &Trace, envp: &[Vec<u8>]) -> u8 {
    let argv: Vec<Vec<u8>> = args.command.iter().map(|a| a.as_bytes().to_vec()).collect();
    let name = argv.first().cloned().unwrap_or_default();
    let tried = candidates(&name, path_in(envp));
    let errno = match &tried {
        Ok(paths) => engine::command(paths, &argv, envp),
        Err(errno) => *errno,
    };
    let mut host = Host::new();
    let exec = Exec {
        path: name.clone(),
        argv,
        envp: envp.to_vec(),
        privileges: Privileges::AsKernel,
        ..Exec::default()
    };
    match find_and_plan(exec, path_in(envp), &mut host, &KERNEL_FORMATS) {
        Err(error) if error.errno() == errno => report::print(&name, &error, &mut host),
        _ => report::say(format_args!("{}: {errno}", Shown(&name))),
    }
    if errno == Errno::ENOENT { 127 } else { 126 }
}

/// Tells until all have ended.
fn follow(args: &Trace, mut tracer: Tracer, output: OwnedFd, envp: &[Vec<u8>]) -> u8 {
    let words: Vec<Vec<u8>> = args.command.iter().map(|a| a.clone().into_vec()).collect();
    let file = File::from(output);
    let mut teller: Box<dyn Teller> = match format(args) {
        Format::Tree => Box::new(tree::Tree::new(file, args.failed, args.depth)),
        Format::Json => Box::new(json::Json::new(BufWriter::new(file))),
        Format::Perfetto => Box::new(perfetto::Perfetto::new(BufWriter::new(file))),
        Format::Html => match html::Html::new(file) {
            Ok(html) => Box::new(html),
            Err(error) => return lost(&error),
        },
    };
    let mut follower = follow::Follower::new(&tracer, &words, envp.to_vec(), args.cow);
    // A reader that has gone away does not stop the command.
    let mut broken = None;
    let mut put = |teller: &mut dyn Teller, records: Vec<Record>| {
        for record in records {
            if broken.is_none() {
                broken = teller.tell(&record).err();
            }
        }
    };
    put(teller.as_mut(), follower.begin());
    let root = tracer.root();
    let error = loop {
        let event = match tracer.next(&mut || drop(teller.pause())) {
            Ok(Some(event)) => event,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        let is_end = matches!(event.what, engine::What::Ended { .. }) && event.pid == root;
        put(teller.as_mut(), follower.take(event));
        if is_end {
            // Whoever waits for the command finds everything written.
            if tracer.alive() == 0 {
                put(teller.as_mut(), follower.end());
            }
            let _ = teller.finish();
        }
    };
    put(teller.as_mut(), follower.end());
    if let Err(error) = teller.finish() {
        broken = broken.or(Some(error));
    }
    match (broken, error) {
        (Some(error), _) if error.kind() != io::ErrorKind::BrokenPipe => lost(&error),
        (_, Some(error)) => lost(&error),
        _ => 0,
    }
}

fn lost(error: &dyn std::fmt::Display) -> u8 {
    let _ = writeln!(io::stderr(), "uexec: trace: {error}");
    OWN_FAILURE
}
