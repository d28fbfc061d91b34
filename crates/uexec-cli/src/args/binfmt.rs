//! What can be said to `uexec binfmt`. Parses only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// List, check and explain binfmt_misc rules: which interpreter runs which files
///
/// Rules are in the kernel's syntax, :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS. They come from
/// --binfmt, from the running kernel, from the binfmt.d folders and from Debian's packages; uexec
/// needs no privilege to use them. Nothing is registered with the kernel.
#[derive(Debug, Args)]
pub(crate) struct Binfmt {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(List),
    Check(Check),
    Explain(Explain),
}

/// The rules of this host, in the order in which they are tried
#[derive(Debug, Args)]
pub(crate) struct List {
    /// One JSON object a line for every rule
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) rules: Rules,
}

/// Say which rules of files are wrong, and where
///
/// Files are as in binfmt.d(5), or Debian's own (/usr/share/binfmts). What would only be noticed when
/// a program is run, a missing interpreter for example, is noted and no error.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 if every rule is right, 1 if some are not, 125 if a file cannot be read.

Examples:
  uexec binfmt check my.conf
  uexec binfmt check /usr/lib/binfmt.d/*.conf")]
pub(crate) struct Check {
    /// One JSON object a line for every rule
    #[arg(long)]
    pub(crate) json: bool,

    /// Files with rules; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Say which rule takes a program, and why the others do not
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 if a rule takes it, 1 if none does, 125 if uexec itself fails.

Examples:
  uexec binfmt explain ./hello-arm64
  uexec binfmt explain --binfmt ':jar:E::jar::/usr/bin/jexec:' ./hello.jar")]
pub(crate) struct Explain {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Name all rules that do not take it, not only those that come near
    #[arg(short, long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    pub(crate) rules: Rules,

    /// The program, a path
    #[arg(value_name = "PROG")]
    pub(crate) program: OsString,
}

/// More rules.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Rules {
    /// Run files by this binfmt_misc rule, or by those of a file; can be repeated. none: by no others
    ///
    /// A rule is in the kernel's syntax, :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS; a file has
    /// one a line, as in binfmt.d(5). These come before all others. When nobody else knows a file,
    /// the running kernel's rules and those of the binfmt.d folders are asked, too, unless none is
    /// said.
    #[arg(
        long = "binfmt",
        value_name = "RULE|FILE",
        allow_hyphen_values = true,
        help_heading = "How it is started"
    )]
    pub(crate) binfmt: Vec<OsString>,
}
