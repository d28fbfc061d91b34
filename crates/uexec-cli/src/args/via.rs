//! How a tree is served. Parses only.

use clap::ValueEnum;

/// What `--via` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// The first of these that works
    #[default]
    Auto,
    /// The kernel starts uexec's loader, by a rule in namespaces of the tree's own (Linux 6.7)
    Binfmt,
    /// A process aside is asked before each exec, and steps in where uexec would load a program other
    /// than the kernel does (Linux 5.19)
    Notify,
    /// A tracer steps in where uexec would load a program other than the kernel does
    Ptrace,
}
