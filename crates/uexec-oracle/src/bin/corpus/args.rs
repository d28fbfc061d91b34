//! What can be said on the command line. Parses only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Compare uexec with the kernel over all installed programs
///
/// Every ELF file and script of the folders is run with --version, twice by the kernel and once by
/// uexec. Exit status, standard output and standard error must be equal.
#[derive(Debug, Parser)]
#[command(name = "corpus", max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 if enough is equal, 1 if not, 2 if the sweep itself fails.

Examples:
  corpus                                     /usr/bin, as whoever calls
  corpus --as nobody --userns /usr/sbin      unprivileged, in an own user namespace
  corpus --only java node go                 some programs only")]
pub(crate) struct Args {
    /// Folders with programs
    #[arg(value_name = "FOLDER", default_value = "/usr/bin")]
    pub(crate) folders: Vec<PathBuf>,

    /// Who runs the programs [default: whoever calls]
    #[arg(long = "as", value_name = "WHO")]
    pub(crate) user: Option<User>,

    /// Let uexec make an own user namespace (uexec run --userns)
    #[arg(long)]
    pub(crate) userns: bool,

    /// Programs at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,

    /// Only programs with these names or paths
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) only: Vec<OsString>,

    /// Print the paths of the different programs and nothing else
    #[arg(long)]
    pub(crate) list_different: bool,

    /// Write everything to FILE as well
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Percent that must be equal; unprivileged programs that go by /proc/self/exe do not count
    #[arg(long, value_name = "PERCENT", default_value_t = 99.8)]
    pub(crate) bar: f64,

    /// The uexec to test [default: next to this program; built if it is not there]
    #[arg(long, value_name = "PATH")]
    pub(crate) uexec: Option<PathBuf>,

    /// Have cargo bring the uexec next to this program up to date first
    #[arg(long, conflicts_with = "uexec")]
    pub(crate) build: bool,
}

impl Args {
    /// How many programs are run at a time.
    pub(crate) fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or_else(all).max(1)
    }
}

/// Who runs the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum User {
    /// User 0
    Root,
    /// User and group 65534, without any other group
    Nobody,
    /// Whoever calls
    Myself,
}

/// The id of `nobody`, the same on every Linux (`DEFAULT_OVERFLOWUID`, `include/linux/highuid.h`).
const NOBODY: u32 = 65534;

impl User {
    /// User and group id.
    pub(crate) fn ids(self) -> (u32, u32) {
        use rustix::process::{getegid, geteuid};
        match self {
            User::Root => (0, 0),
            User::Nobody => (NOBODY, NOBODY),
            User::Myself => (geteuid().as_raw(), getegid().as_raw()),
        }
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            User::Root => "root",
            User::Nobody => "nobody",
            User::Myself => "the caller",
        })
    }
}
