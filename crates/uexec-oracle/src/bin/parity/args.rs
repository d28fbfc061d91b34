//! What can be said on the command line. Parses only.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Compare what uexec predicts with what the kernel does
///
/// Makes odd programs from a seed. Each is started for real, under ptrace, and killed at its first
/// instruction; before that, uexec says what would happen: the errno, the death, or mappings,
/// stack, auxiliary vector, registers and published layout to the last byte.
#[derive(Debug, Parser)]
#[command(name = "parity", max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 if all agree, 1 if not, 2 if the comparison itself fails.

Examples:
  parity --cases 20000 --seed 7               odd programs
  parity --only script --keep /tmp/odd        odd scripts; keeps those that disagree
  parity --i386 --cases 20000                 programs for i386
  parity --seed 7 --first 1234 --cases 1      one case again
  parity --layout /usr/bin /usr/sbin          every installed program, in six situations")]
pub(crate) struct Args {
    /// How many programs to make
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) cases: u64,

    /// What they are made from
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Number of the first case
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub(crate) first: u64,

    /// Cases at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,

    /// Only cases of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) only: Option<Kind>,

    /// Programs for i386 instead of x86-64
    #[arg(long)]
    pub(crate) i386: bool,

    /// Copy the files of cases that disagree to DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// Ask the command `uexec explain` as well in one of so many cases; 0: never
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) command_every: u64,

    /// The command [default: next to this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) uexec: Option<PathBuf>,

    /// Compare the programs of these folders instead, or just these programs
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) layout: Vec<PathBuf>,
}

impl Args {
    /// How many cases are tried at a time.
    pub(crate) fn jobs(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or_else(all).max(1)
    }
}

/// What is odd about a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Real programs with some header fields changed
    Elf,
    /// Hand-made programs of random segments
    Made,
    /// Odd program interpreters
    Interp,
    /// Files that end too early
    Short,
    /// `#!` lines of every shape
    Script,
    /// Permissions, kinds of files, paths
    Place,
    /// Arguments, environments and limits
    Args,
}

impl Kind {
    /// Draws a kind, the ones with more to try more often.
    pub(crate) fn draw(rng: &mut crate::rng::Rng) -> Kind {
        match rng.below(100) {
            0..=27 => Kind::Elf,
            28..=57 => Kind::Made,
            58..=69 => Kind::Interp,
            70..=74 => Kind::Short,
            75..=86 => Kind::Script,
            87..=94 => Kind::Place,
            _ => Kind::Args,
        }
    }
}
