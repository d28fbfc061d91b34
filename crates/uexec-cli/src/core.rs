//! `uexec core`: dumps processes, keeps and reads cores. Decides nothing about what is in one.

mod dump;
mod info;
pub(crate) mod model;
mod output;
mod store;
pub(crate) mod watch;

use crate::args::core::{Command, Core};
use crate::{OWN_FAILURE, report};

/// Does what was asked for; the exit status.
pub(crate) fn core(args: Core) -> u8 {
    let done = match args.command {
        Some(Command::Info(args)) => info::info(&args),
        Some(Command::List(args)) => store::list(&args),
        Some(Command::Rm(args)) => store::rm(&args),
        None if args.dump.handler.is_some() => store::handle(&args.dump),
        None => dump::dump(&args.dump),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            report::say(format_args!("{error}"));
            if error.own { OWN_FAILURE } else { 1 }
        }
    }
}

/// Why nothing came of it.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    /// Whether uexec is to blame, not what it was asked to do.
    own: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl Failure {
    /// What was asked for is not to be had.
    pub(crate) fn new(what: impl std::fmt::Display) -> Failure {
        Failure { what: what.to_string(), own: false }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure { what: e.to_string(), own: true }
    }
}

impl From<uexec_linux::dump::DumpError> for Failure {
    fn from(e: uexec_linux::dump::DumpError) -> Failure {
        Failure::new(e)
    }
}
