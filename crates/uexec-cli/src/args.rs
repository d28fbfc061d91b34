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
    Explain(Explain),
    Check(Check),
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

/// Say why a program starts, or why not, exactly as the kernel would have it
///
/// Walks the way of an exec up to the point of no return and tells what is decided on it. Nothing
/// is run or changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 if the exec would succeed, 1 if it would fail, 125 if uexec itself fails.

Examples:
  uexec explain ./run.sh                 the verdict, and what leads to it
  uexec explain --json --no-aslr ls      everything, for programs
  uexec explain --root rootfs /bin/app   a program of an unpacked container image
  find . -type f | uexec explain --batch --json")]
pub(crate) struct Explain {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Read paths from standard input, separated by NUL bytes or newlines; one JSON object a line
    #[arg(long, conflicts_with_all = ["program", "stack"])]
    pub(crate) batch: bool,

    /// Write the bytes of the first stack, from rsp to its end, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) stack: Option<PathBuf>,

    /// Place everything where it goes when nothing is randomised, as setarch -R
    #[arg(long, conflicts_with = "seed")]
    pub(crate) no_aslr: bool,

    /// Draw all addresses from a seed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Look for program, interpreters and libraries below DIR, as after chroot
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<OsString>,

    /// Pass NAME as argv[0] instead of PROG
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) argv0: Option<OsString>,

    /// Set an environment variable (can be repeated)
    #[arg(short, long, value_name = "K=V")]
    pub(crate) env: Vec<OsString>,

    /// Start with an empty environment
    #[arg(short = 'i', long)]
    pub(crate) clear_env: bool,

    /// Start with no arguments at all, not even argv[0]
    #[arg(long, conflicts_with_all = ["argv0", "args"])]
    pub(crate) no_args: bool,

    /// Tell every decision, and every word of the auxiliary vector
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The program: a path, or a name to be found in PATH
    #[arg(value_name = "PROG", required_unless_present = "batch")]
    pub(crate) program: Option<OsString>,

    /// Its arguments
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// Say of every program below the paths whether it starts, and if not, why
///
/// Programs are regular files with an execute bit, also where a symbolic link leads to one; a file
/// named on the command line always counts. Links to directories are not followed on the way
/// down. Shared libraries (ELF objects without an interpreter that have a DT_SONAME or are called
/// *.so or *.so.*) are told apart. Nothing is run; only regular files are opened.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 if every program starts, 1 if some do not or cannot be read, 125 if uexec itself \
fails.

Examples:
  uexec check /usr/bin                   what is broken on this machine
  uexec check --root rootfs /            and in an unpacked container image
  uexec check --json . | jq 'select(.outcome == \"error\")'")]
pub(crate) struct Check {
    /// Look for programs, interpreters and libraries below DIR, as after chroot; no privilege is
    /// needed
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<OsString>,

    /// One JSON object a line for every program, and a last one that sums up
    #[arg(long)]
    pub(crate) json: bool,

    /// Look for the libraries of each program, as its loader will
    #[arg(long, value_name = "yes|no", default_value = "yes", value_parser = yes_no, action = clap::ArgAction::Set)]
    pub(crate) libraries: bool,

    /// List the programs that start, too
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Programs, and directories to look for programs in
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
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

/// `yes` or `no`.
fn yes_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no"),
    }
}
