//! Compares `binfmt_misc` in user space with the kernel's: rules made from a seed, valid, odd and
//! broken, are registered with both, in a `binfmt_misc` of this process's own. Errno, text of the
//! entries, and which rule takes which of a set of files must agree.

mod compare;
mod kernel;
mod make;
#[allow(dead_code, reason = "parity uses more of it")]
#[path = "../parity/rng.rs"]
mod rng;
mod time;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use clap::Parser;

/// Compare binfmt_misc in user space with the kernel's
#[derive(Debug, Parser)]
#[command(name = "misc", max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 if all agree, or if the kernel cannot be asked; 1 if not, 2 if the comparison itself fails.")]
struct Args {
    /// How many rules
    #[arg(long, value_name = "N", default_value_t = 5000)]
    cases: u64,

    /// Where the draws come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Number of the first set of rules
    #[arg(long, value_name = "I", default_value_t = 0)]
    first: u64,

    /// Measure instead how long 1,000 rules take that a file does not match
    #[arg(long)]
    time: bool,
}

/// What was compared, and what came of it.
#[derive(Default)]
pub(crate) struct Report {
    /// Rules, by what the kernel said to them.
    registered: BTreeMap<String, usize>,
    /// Files, by what became of them.
    run: BTreeMap<String, usize>,
    /// Writes to `status` and to entries.
    commands: usize,
    differences: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Before anything else, while there is one thread.
    let mount = match kernel::Mount::new() {
        Ok(mount) => mount,
        Err(why) => {
            eprintln!("skipped: binfmt_misc against the kernel: {why}");
            return ExitCode::SUCCESS;
        }
    };
    match run(&args, &mount) {
        Ok(_) if args.time => ExitCode::SUCCESS,
        Ok(report) => print(&report),
        Err(error) => {
            eprintln!("misc: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args, mount: &kernel::Mount) -> io::Result<Report> {
    let files = make::Files::new(mount.folder())?;
    let mut report = Report::default();
    if args.time {
        time::time(mount)?;
        return Ok(report);
    }
    let mut set = args.first;
    while report.registered.values().sum::<usize>() < args.cases as usize {
        let rng = rng::Rng::of_case(args.seed, set);
        compare::set(
            mount,
            &files,
            rng,
            &format!("--seed {} --first {set}", args.seed),
            &mut report,
        )?;
        set += 1;
    }
    Ok(report)
}

fn print(report: &Report) -> ExitCode {
    for difference in report.differences.iter().take(20) {
        println!("{difference}");
    }
    let list = |of: &BTreeMap<String, usize>| {
        of.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
    };
    println!("rules: {}", list(&report.registered));
    println!("files: {}", list(&report.run));
    println!("writes to status and entries: {}", report.commands);
    let total: usize = report.registered.values().sum();
    println!("{} rules compared, {} differences", total, report.differences.len());
    if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
