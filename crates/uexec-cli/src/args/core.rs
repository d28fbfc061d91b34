//! What can be said to `uexec core`. Parses only.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Dump a live process to an ELF core, or keep and read cores
///
/// The process is stopped, all threads of it, written, and goes on untouched; also when uexec is
/// killed meanwhile. The core is what the kernel would have written, but pages of zeros are holes.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Exit status: 0 if there is a core, 1 if not, 125 if uexec itself fails.

Examples:
  uexec core 1234                        core.1234, for gdb
  uexec core --zstd -o - 1234 | ssh …    compressed, to another host
  uexec core --explain 1234              what would be in it, and why
  uexec core info core.1234              what is in one
  echo '|/usr/bin/uexec core --handler /var/lib/cores %P %s %t' \\
      > /proc/sys/kernel/core_pattern    keep what dies on this machine"
)]
pub(crate) struct Core {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) dump: Dump,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Info(Info),
    List(List),
    Rm(Rm),
}

/// How a core is made.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "handler")]
    pub(crate) output: Option<PathBuf>,

    /// Which mappings: the hexadecimal mask of core(5), instead of that of the process
    #[arg(long, value_name = "MASK", value_parser = mask)]
    pub(crate) filter: Option<u64>,

    /// Most bytes of the core, holes included; K, M, G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) limit: Option<u64>,

    /// Put mappings with less data first, as kernel.core_sort_vma
    #[arg(long)]
    pub(crate) sort: bool,

    /// Compress
    #[arg(long)]
    pub(crate) zstd: bool,

    /// Write nothing; tell of every mapping how much of it, and why
    #[arg(long, conflicts_with_all = ["output", "handler", "zstd"])]
    pub(crate) explain: bool,

    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Keep the core that the kernel pipes in, in DIR; for kernel.core_pattern
    #[arg(long, value_name = "DIR")]
    pub(crate) handler: Option<PathBuf>,

    /// Most bytes kept in DIR; the oldest cores make room
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "handler")]
    pub(crate) quota: Option<u64>,

    /// Names of the cores in DIR: %p process, %s signal, %t seconds, %e name, %h host
    #[arg(long, value_name = "TEMPLATE", default_value = "core.%e.%p.%t", requires = "handler")]
    pub(crate) name: OsString,

    /// The process; with --handler, as the kernel tells them: process (%P), signal (%s), and
    /// seconds (%t)
    #[arg(value_name = "PID", required = true, num_args = 1..=3)]
    pub(crate) words: Vec<OsString>,
}

/// Say what is in a core: who died, of what, and where
///
/// Reads the kernel's cores, debuggers' and those of uexec, compressed ones too, of any machine.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw the address space, as SVG; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Draw it as a page; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// List every mapping and every register
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The core
    pub(crate) file: PathBuf,
}

/// List the cores kept in a folder, newest first
#[derive(Debug, Args)]
pub(crate) struct List {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// The folder of --handler
    pub(crate) dir: PathBuf,
}

/// Remove kept cores, with what is told of them
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The cores
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// A size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        unit => return Err(format!("unit {unit}: use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number is needed".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

fn mask(text: &str) -> Result<u64, String> {
    let hex = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(hex, 16).map_err(|_| "a hexadecimal mask is needed".to_owned())
}
