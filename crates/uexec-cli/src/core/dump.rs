//! `uexec core PID`: stops, writes, lets go, tells.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use uexec_core::coredump::{Filter, Options};
use uexec_linux::dump::{self, Copied, Stopped};

use super::Failure;
use super::output::{Output, write_to};
use crate::args::core::Dump;
use crate::report;

/// What is told of a dump.
#[derive(Serialize)]
struct Told<'a> {
    pid: i32,
    /// Where the core is, if one was written.
    file: Option<&'a PathBuf>,
    /// Size of the core, holes included.
    bytes: u64,
    /// Bytes of memory in it.
    written: u64,
    /// Pages that could not be read.
    unreadable: u64,
    threads: usize,
    /// How long the process stood still.
    stopped_ms: f64,
    segments: Vec<SegmentTold>,
}

#[derive(Serialize)]
struct SegmentTold {
    start: String,
    end: String,
    dumped: u64,
    name: String,
    why: &'static str,
    spec: &'static str,
}

/// What the command line says about what is in a core.
pub(crate) fn options(args: &Dump) -> Options {
    let limit = args.limit.unwrap_or(u64::MAX);
    Options { limit, sort: args.sort, ..Options::default() }
}

/// A bar on the terminal, if there is one.
pub(crate) fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    let style =
        ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Dumps a process.
pub(crate) fn dump(args: &Dump) -> Result<(), Failure> {
    let word = args.words.first().and_then(|w| w.to_str()).unwrap_or_default();
    let pid: i32 = match word.parse() {
        Ok(pid) if pid > 0 && args.words.len() == 1 => pid,
        _ => return Err(Failure::new(format_args!("one process id is needed, not '{word}'"))),
    };
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("core.{pid}")));
    let started = Instant::now();
    let stopped = Stopped::seize(pid)?;
    let dump = dump::Dump::of(stopped, args.filter.map(Filter), options(args))?;
    let threads = dump.process.threads.len();
    let mut copied = Copied::default();
    let written = !args.explain;
    let failed = |e: io::Error| Failure::new(format_args!("{}: {e}", path.display()));
    let mut output = None;
    if written {
        let bar = bar();
        bar.set_length(dump.plan.len());
        let mut write = |sink: &mut dyn dump::Sink| {
            copied = dump.write(sink, &mut |done| bar.set_position(done))?;
            Ok(())
        };
        if path.as_os_str() == "-" {
            let out = io::stdout().as_fd().try_clone_to_owned()?;
            write_to(out, args.zstd, false, &mut write)?;
        } else {
            let output = output.insert(Output::create(&path).map_err(failed)?);
            let file = output.file().as_fd().try_clone_to_owned()?;
            write_to(file, args.zstd, true, &mut write)?;
        }
        bar.finish_and_clear();
    }
    let explained = if args.explain { dump.explain() } else { String::new() };
    let (process, plan) = dump.let_go();
    let stopped_ms = started.elapsed().as_secs_f64() * 1000.0;
    // The name comes last: in place of another file it may have to wait for the disk.
    output.map_or(Ok(()), |output| output.finish().map_err(failed))?;
    if args.json {
        let segments = plan.segments.iter().map(|s| {
            let vma = process.vmas.get(s.vma);
            let name = vma.map(|v| v.file.as_ref().map_or(&v.name, |f| &f.path));
            SegmentTold {
                start: format!("{:#x}", s.start),
                end: format!("{:#x}", s.start + s.mem_len),
                dumped: s.file_len,
                name: name.map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default(),
                why: s.why.text(),
                spec: s.why.spec(),
            }
        });
        let told = Told {
            pid,
            file: written.then_some(&path),
            bytes: plan.len(),
            written: copied.written,
            unreadable: copied.unreadable,
            threads,
            stopped_ms,
            segments: segments.collect(),
        };
        let text = serde_json::to_string(&told).map_err(io::Error::from)?;
        if path.as_os_str() == "-" {
            report::say(format_args!("{text}"));
        } else {
            writeln!(io::stdout(), "{text}")?;
        }
        return Ok(());
    }
    if args.explain {
        let head = plan.head.len() as u64 - plan.notes_len;
        write!(io::stdout(), "{explained}")?;
        writeln!(
            io::stdout(),
            "{} bytes: {head} of headers, {} of notes on {threads} threads, {} mappings",
            plan.len(),
            plan.notes_len,
            plan.segments.len()
        )?;
        return Ok(());
    }
    report::say(format_args!(
        "{}: {} bytes of memory in a file of {}, {threads} threads, stopped for {stopped_ms:.1} ms",
        path.display(),
        copied.written,
        plan.len()
    ));
    Ok(())
}
