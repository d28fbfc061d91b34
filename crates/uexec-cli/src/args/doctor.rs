//! What can be said to `uexec doctor`. Parses only.

use clap::{Args, ValueEnum};

/// Say what this host allows, and what uexec will therefore do
///
/// Everything is tried for real, in processes of its own that change nothing outside themselves;
/// kernel versions are not trusted, as distributions move features between them.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 if all that uexec does is possible here, 1 if something is not, 125 if uexec
itself fails.

Examples:
  uexec doctor                           on this host
  docker run … uexec doctor              in that container
  uexec doctor --json | jq .will")]
pub(crate) struct Doctor {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Do this and exit: how the command tries things in a process of its own
    #[arg(long, hide = true, conflicts_with = "json")]
    pub(crate) attempt: Option<Attempt>,
}

/// What is tried in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attempt {
    /// A user namespace in which the user stays who he is.
    Userns,
    /// A `binfmt_misc` of one's own, with a rule.
    Binfmt,
    /// Being what `/proc/self/exe` names.
    Exe,
    /// Publishing a layout.
    SetMm,
    /// Asking the kernel's policy about a file.
    PolicyCheck,
    /// Being a small tree: a process that starts another.
    Tree,
    /// Being traced.
    Ptrace,
    /// A system call filter that reports to a tracer.
    Seccomp,
    /// Being asked by one, by processes that are no children.
    Notify,
}
