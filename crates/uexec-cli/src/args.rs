//! What can be said on the command line. Parses only.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) mod binfmt;
pub(crate) mod core;
pub(crate) mod doctor;
pub(crate) mod interp;
pub(crate) mod trace;
pub(crate) mod via;

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
    Binfmt(binfmt::Binfmt),
    Trace(trace::Trace),
    Doctor(doctor::Doctor),
    /// Give the parent's new user namespace all ids of this one: how `run --tree` does it
    #[command(hide = true)]
    MapIds,
    Core(core::Core),
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
  uexec explain --svg ls.svg --html ls.html ls
                                         pictures of it: files, memory, first stack
  uexec explain --root rootfs /bin/app   a program of an unpacked container image
  uexec explain --clone 'VM|VFORK'       what such a child shares
  find . -type f | uexec explain --batch --json")]
pub(crate) struct Explain {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Read paths from standard input, separated by NUL bytes or newlines; one JSON object a line
    #[arg(long, conflicts_with_all = ["program", "stack", "svg", "html"])]
    pub(crate) batch: bool,

    /// Draw the exec on one sheet, as SVG; - is standard output
    ///
    /// The environment is drawn, too, without the values of variables named like secrets; -i
    /// leaves it out.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Draw the exec as a page to click through, as one HTML file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

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

    /// Look for the libraries of the program, as its loader will
    #[arg(long, value_name = "yes|no", default_value = "yes", value_parser = yes_no, action = clap::ArgAction::Set)]
    pub(crate) libraries: bool,

    /// Pass NAME as `argv[0]` instead of PROG
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) argv0: Option<OsString>,

    /// Set an environment variable (can be repeated)
    #[arg(short, long, value_name = "K=V")]
    pub(crate) env: Vec<OsString>,

    /// Start with an empty environment
    #[arg(short = 'i', long)]
    pub(crate) clear_env: bool,

    /// Start with no arguments at all, not even `argv[0]`
    #[arg(long, conflicts_with = "argv0")]
    pub(crate) no_args: bool,

    /// List the slots of the global offset table: bound to what, and when
    #[arg(long, conflicts_with = "batch")]
    pub(crate) bindings: bool,

    /// Explain what fork, vfork, clone or clone3 with FLAGS gives the child, instead of an exec
    #[arg(
        long,
        value_name = "FLAGS",
        conflicts_with_all = ["program", "batch", "stack", "svg", "html", "root"]
    )]
    pub(crate) clone: Option<String>,

    #[command(flatten)]
    pub(crate) rules: binfmt::Rules,

    /// Explain what uselib(2), which Linux had until 6.14, would map of a shared library
    #[arg(long, value_name = "FILE", conflicts_with_all = ["program", "batch", "clone"])]
    pub(crate) shlib: Option<OsString>,

    /// Tell every decision, and every word of the auxiliary vector
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The program, a path or a name to be found in PATH, and its arguments
    // One list: with two, an option right behind PROG would be uexec's.
    #[arg(
        value_name = "PROG [ARGS]",
        required_unless_present_any = ["batch", "clone", "shlib"],
        num_args = 1..,
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) program: Vec<OsString>,
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

    #[command(flatten)]
    pub(crate) rules: binfmt::Rules,

    /// List the programs that start, too
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Programs, and directories to look for programs in
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
}

/// Run a program without the kernel's exec
#[derive(Debug, Args)]
#[command(
    long_about = "\
Run a program without the kernel's exec: everything execve(2) does is done by uexec, in this very \
process. The program keeps the process id, open files, signal mask and all else that an exec \
keeps, and cannot tell the difference.

uexec runs nothing that the system's own policy refuses, and never grants set-user-ID.",
    after_help = "\
Exit status: the program's own, or death by the same signal;
  125  uexec itself failed
  126  the program was found, but refused
  127  the program was not found

Examples:
  uexec run ls -l                        ls, from PATH
  uexec run --argv0 sh busybox -c ls     another name for argv[0]
  uexec run --seed 7 ./prog              the same addresses every time
  uexec run --tree make                  make and all that it starts
  curl -s host/tool | uexec run - -h     a program from standard input",
    override_usage = "uexec run [OPTIONS] PROG [ARGS]...",
    help_template = "\
{about-with-newline}
{usage-heading} {usage}

PROG is a path, a name to be found in PATH, - for standard input, or /dev/fd/N.
All that follows are its arguments, also what looks like an option.

{all-args}{after-help}",
    disable_help_flag = true
)]
pub(crate) struct Run {
    /// Pass NAME as the program's own name, `argv[0]`
    #[arg(
        long,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "What the program is given"
    )]
    pub(crate) argv0: Option<OsString>,

    /// Set an environment variable; can be repeated
    #[arg(
        short,
        long,
        value_name = "NAME=VALUE",
        value_parser = PairParser,
        help_heading = "What the program is given"
    )]
    pub(crate) env: Vec<OsString>,

    /// Start from an empty environment
    #[arg(short = 'i', long, help_heading = "What the program is given")]
    pub(crate) clear_env: bool,

    /// Randomise no address, as setarch -R
    #[arg(long, conflicts_with = "seed", help_heading = "Where it is placed")]
    pub(crate) no_aslr: bool,

    /// Draw all addresses from N, so that they come again
    #[arg(long, value_name = "N", help_heading = "Where it is placed")]
    pub(crate) seed: Option<u64>,

    /// Dynamic loader to use, or NEW in place of OLD
    #[arg(long, value_name = "[OLD=]NEW", value_parser = interp::Interp::parser(), help_heading = "How it is started")]
    pub(crate) interp: Vec<interp::Interp>,

    /// Serve each exec, of all descendants too
    #[arg(long, conflicts_with = "seed", help_heading = "How it is started")]
    pub(crate) tree: bool,

    /// With --tree: binfmt, notify, ptrace, or auto, the first that works
    #[arg(
        long,
        value_name = "WAY",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true,
        requires = "tree",
        help_heading = "How it is started"
    )]
    pub(crate) via: via::Via,

    #[command(flatten)]
    pub(crate) rules: binfmt::Rules,

    /// Own user namespace, where /proc/self/exe can be set
    #[arg(long, help_heading = "How it is started")]
    pub(crate) userns: bool,

    /// Keep a core in DIR if it dies; runs as a child
    #[arg(long, value_name = "DIR", help_heading = "How it is started")]
    pub(crate) core: Option<PathBuf>,

    /// Run set-user-ID files, without their privilege
    #[arg(long, help_heading = "How it is started")]
    pub(crate) no_privileges: bool,

    /// Say what differs from the kernel; twice: all decisions
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Messages")]
    pub(crate) verbose: u8,

    /// Print this help
    #[arg(short, long, action = clap::ArgAction::HelpShort, help_heading = "Messages")]
    help: Option<bool>,

    /// The program and its arguments
    ///
    /// PROG is a path, a name to be found in PATH, - for standard input, or /dev/fd/N. All that
    /// follows are its arguments, also what looks like an option.
    // One list: with two, an option right behind PROG would be uexec's.
    #[arg(
        value_name = "PROG [ARGS]",
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        hide_short_help = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) program: Vec<OsString>,
}

/// Takes `NAME=VALUE`, any bytes.
#[derive(Clone)]
struct PairParser;

impl clap::builder::TypedValueParser for PairParser {
    type Value = OsString;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        if value.as_bytes().iter().skip(1).any(|b| *b == b'=') {
            return Ok(value.to_owned());
        }
        let text = format!("--env takes NAME=VALUE, not '{}'", value.display());
        Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, text + "\n")
            .with_cmd(command))
    }
}

/// `yes` or `no`.
fn yes_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no"),
    }
}
