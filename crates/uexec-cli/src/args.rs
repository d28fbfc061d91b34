//! What can be said on the command line. Parses only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Program execution for Linux, in user space
#[derive(Debug, Parser)]
#[command(name = "uexec", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    /// Explain what a process creation gives the child, or why it is refused
    #[command(hide = true)]
    Clone {
        /// As in CLONE_VM|CLONE_FS|SIGCHLD, 0x1200011, vfork, pthread_create
        flags: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the manual page, or write all of them to a directory
    #[command(hide = true)]
    Man {
        /// Directory for one file per page
        dir: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Run a program without the kernel's exec
///
/// Everything execve(2) does is done by uexec, in this very process: the program cannot tell the
/// difference. uexec never runs what the system's policy would refuse, and never grants
/// set-user-ID.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: the program's own; 127 if it is not found, 126 if it is found but refused, 125 if \
uexec itself fails. A program that dies while being laid out dies by SIGSEGV, as it would under \
the kernel.

Examples:
  uexec run ls -l                      ls, from PATH
  uexec run --argv0 sh busybox -c ls   another name for argv[0]
  uexec run --seed 7 ./prog            the same addresses every time
  curl -s host/tool | uexec run - -h   a program from standard input")]
pub(crate) struct Run {
    /// Pass NAME as argv[0] instead of PROG
    #[arg(long, value_name = "NAME")]
    pub(crate) argv0: Option<OsString>,

    /// Set an environment variable (can be repeated)
    #[arg(short, long, value_name = "K=V")]
    pub(crate) env: Vec<OsString>,

    /// Start with an empty environment
    #[arg(short = 'i', long)]
    pub(crate) clear_env: bool,

    /// Place everything where it goes when nothing is randomised, as setarch -R
    #[arg(long, conflicts_with = "seed")]
    pub(crate) no_aslr: bool,

    /// Draw all addresses from a seed, so that the same layout comes again
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Use this dynamic loader instead of the one the program names
    #[arg(long, value_name = "PATH")]
    pub(crate) interp: Option<OsString>,

    /// Run in an own user namespace, so that /proc/self/exe can be set without privilege
    #[arg(long)]
    pub(crate) userns: bool,

    /// Ignore set-user-ID, set-group-ID and file capabilities instead of refusing such programs
    #[arg(long)]
    pub(crate) no_privileges: bool,

    /// Say what is not as under the kernel; twice: every decision
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// The program: a path, a name to be found in PATH, - for standard input, or /dev/fd/N
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,

    /// Its arguments, passed on untouched
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}
