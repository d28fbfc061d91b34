//! What can be said to `uexec trace`. Parses only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Show everything a command starts: who executes what, from where, how it ends, and why not
///
/// The command and all its descendants are followed, however they are started: shells, make, Go,
/// posix_spawn, static programs, threads. Nothing but process creation, exec and signals is
/// stopped at, and the command is told apart from an untraced one by nobody who waits for it.
///
/// The command itself can tell by TracerPid and Seccomp in /proc/self/status, and without
/// CAP_SYS_ADMIN by NoNewPrivs. No debugger and no other tracer can be used in it; set-user-ID
/// files run without their privilege, unless root traces. If the tracer is killed, all are. As
/// the first process of a pid namespace (a container without an init) the command has the tracer as
/// a child, which wait(2) does not see without __WCLONE.
#[derive(Debug, Args)]
#[command(
    after_help = "\
Exit status: the command's own, or death by the same signal; 125 if uexec itself fails, 126 and
127 if the command cannot be started.

Examples:
  uexec trace make                       as it happens, on standard error
  uexec trace --failed ./configure       only what goes wrong, and why
  uexec trace -o build.html make -j8     a page with timeline, tree and critical path
  uexec trace -o t.jsonl cargo build     one JSON object a line
  uexec trace --format perfetto -o t.json make   for https://ui.perfetto.dev",
    override_usage = "uexec trace [OPTIONS] CMD [ARGS]..."
)]
pub(crate) struct Trace {
    /// How it is told; where FILE ends in .html or .jsonl, that, else tree
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Where it is written to, instead of standard error; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Only what failed: execs, exit statuses that are not 0, deaths by signal (tree only)
    #[arg(long)]
    pub(crate) failed: bool,

    /// Leave out what lies deeper than N levels below the command (tree only)
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<u32>,

    /// Count the pages that copy-on-write has really copied, of each fork
    ///
    /// Compared where a forked process executes something or ends, or its parent does, are the
    /// pages that it was given: those of which both have their own now were copied, whoever wrote
    /// first. Exact with CAP_SYS_ADMIN. Without, pages are missing that both sides share again with
    /// other children. What was given back or swapped out before that moment is not counted. From Linux 6.7 on.
    #[arg(long)]
    pub(crate) cow: bool,

    /// The command and its arguments
    // One list: with two, an option right behind CMD would be uexec's.
    #[arg(
        value_name = "CMD [ARGS]",
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}

/// How a trace is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for a person, as things happen
    Tree,
    /// One JSON object a line (docs/trace.schema.json)
    Json,
    /// A trace for ui.perfetto.dev, or any viewer of Chrome's format
    Perfetto,
    /// One self-contained page, which can be opened while it grows
    Html,
}
