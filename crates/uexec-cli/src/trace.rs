//! `uexec trace`: follows a command and tells what its tree of processes does. Changes nothing of
//! it.
//!
//! The command takes this very process; what tells of it is another.

mod ask;
mod differ;
mod failure;
mod files;
mod follow;
mod html;
mod json;
mod lines;
mod pages;
mod perfetto;
mod record;
mod search;
mod text;
mod tree;

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

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

/// Whether a writer that gathers should write: what was told is seen before long, and the tracer's
/// own death loses little.
struct Now(Instant);

impl Now {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.elapsed() > Duration::from_secs(1);
        if is_due {
            self.0 = Instant::now();
        }
        is_due
    }
}

/// Traces; returns in the tracer, and where the command cannot be started.
pub(crate) fn trace(args: &Trace, envp: &[Vec<u8>]) -> u8 {
    let format = match format(args) {
        Ok(format) => format,
        Err(error) => {
            report::say(format_args!("{error}"));
            return OWN_FAILURE;
        }
    };
    let output = match open(args) {
        Ok(output) => output,
        Err(error) => return lost(args, &error),
    };
    let watch = if args.cow { Watch::Memory } else { Watch::Plain };
    // SAFETY: this process has had one thread since the kernel started it.
    match unsafe { engine::start(&[output.as_fd()], watch) } {
        Ok(Role::Traced) => {
            let is_told = format == Format::Tree && args.output.is_none();
            execute(args, envp, is_told)
        }
        Ok(Role::Tracer(tracer)) => follow(args, format, tracer, output, envp),
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

/// How it is to be told; `Err` says what cannot be.
fn format(args: &Trace) -> Result<Format, String> {
    let ending = args.output.as_ref().and_then(|path| path.extension()).map(OsStrExt::as_bytes);
    let format = match (args.format, ending) {
        (Some(format), _) => format,
        (None, Some(b"html" | b"htm")) => Format::Html,
        (None, Some(b"jsonl" | b"ndjson")) => Format::Json,
        (None, Some(b"json")) => {
            return Err("a .json file: --format json has an object a line, --format perfetto is \
                        for ui.perfetto.dev"
                .into());
        }
        (None, _) => Format::Tree,
    };
    let only = [(args.failed, "--failed"), (args.depth.is_some(), "--depth")];
    match only.iter().find(|(given, _)| *given && format != Format::Tree) {
        Some((_, option)) => Err(format!("{option} is for --format tree")),
        None => Ok(format),
    }
}

/// What is written to, by name.
fn name_of(args: &Trace) -> String {
    match &args.output {
        None => "standard error".into(),
        Some(path) if path.as_os_str() == "-" => "standard output".into(),
        Some(path) => Shown(path.as_os_str().as_bytes()).to_string(),
    }
}

fn open(args: &Trace) -> io::Result<OwnedFd> {
    match &args.output {
        None => io::stderr().as_fd().try_clone_to_owned(),
        Some(path) if path.as_os_str() == "-" => io::stdout().as_fd().try_clone_to_owned(),
        Some(path) => File::create(path).map(OwnedFd::from),
    }
}

/// Becomes the command. `is_told`: whoever reads messages sees in the trace why it cannot.
fn execute(args: &Trace, envp: &[Vec<u8>], is_told: bool) -> u8 {
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
        Err(error) if error.errno() == errno && !is_told => report::print(&name, &error, &mut host),
        _ => report::say(format_args!("{}: {errno}", Shown(&name))),
    }
    if errno == Errno::ENOENT { 127 } else { 126 }
}

/// Tells as long as somebody can be told.
struct Telling<'a> {
    args: &'a Trace,
    teller: Box<dyn Teller>,
    broken: bool,
}

impl Telling<'_> {
    fn put(&mut self, records: &[Record]) {
        for record in records {
            if self.broken {
                return;
            }
            let told = self.teller.tell(record);
            self.look(told);
        }
    }

    fn pause(&mut self) {
        let told = if self.broken { Ok(()) } else { self.teller.pause() };
        self.look(told);
    }

    fn finish(&mut self) {
        let told = if self.broken { Ok(()) } else { self.teller.finish() };
        self.look(told);
    }

    /// The command goes on without being told of. A reader that has gone away knows that.
    fn look(&mut self, told: io::Result<()>) {
        let Err(error) = told else { return };
        self.broken = true;
        if error.kind() != io::ErrorKind::BrokenPipe {
            let reason = report::reason(&error);
            report::say(format_args!("{}: {reason}; the trace ends here", name_of(self.args)));
        }
    }
}

/// Tells until all have ended.
fn follow(
    args: &Trace,
    format: Format,
    mut tracer: Tracer,
    output: OwnedFd,
    envp: &[Vec<u8>],
) -> u8 {
    let words: Vec<Vec<u8>> = args.command.iter().map(|a| a.clone().into_vec()).collect();
    let file = File::from(output);
    let teller: Box<dyn Teller> = match format {
        Format::Tree => Box::new(tree::Tree::new(file, args.failed, args.depth)),
        Format::Json => Box::new(json::Json::new(BufWriter::new(file))),
        Format::Perfetto => Box::new(perfetto::Perfetto::new(BufWriter::new(file))),
        Format::Html => Box::new(html::Html::new(BufWriter::new(file))),
    };
    let mut telling = Telling { args, teller, broken: false };
    let mut follower = follow::Follower::new(&tracer, &words, envp.to_vec(), args.cow);
    telling.put(&follower.begin());
    let root = tracer.root();
    let error = loop {
        let event = match tracer.next(&mut || telling.pause()) {
            Ok(Some(event)) => event,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        let is_end = matches!(event.what, engine::What::Ended { .. }) && event.pid == root;
        telling.put(&follower.take(event, tracer.used()));
        if is_end {
            // Whoever waits for the command finds everything written.
            if tracer.alive() == 0 {
                telling.put(&follower.end());
            }
            telling.finish();
        }
    };
    telling.put(&follower.end());
    telling.finish();
    match error {
        Some(error) => lost(args, &io::Error::from_raw_os_error(error.0.into())),
        None => u8::from(telling.broken),
    }
}

fn lost(args: &Trace, error: &io::Error) -> u8 {
    report::say(format_args!("{}: {}", name_of(args), report::reason(error)));
    OWN_FAILURE
}
