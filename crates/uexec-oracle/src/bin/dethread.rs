//! Execs from processes with other threads, as often as one likes: the whole matrix of
//! [`uexec_oracle::dethread`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::ProgressBar;
use uexec_oracle::dethread::{Place, cases};

/// Execs from processes with other threads, and counts what goes wrong.
#[derive(Debug, Parser)]
struct Args {
    /// How often each situation is tried.
    #[arg(long, default_value_t = 200)]
    times: usize,
    /// Only situations whose line contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dethread: {error}");
            ExitCode::from(2)
        }
    }
}

/// The number of tries that went wrong.
fn run(args: &Args) -> std::io::Result<usize> {
    let beside = |name: &str| -> std::io::Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name(name))
    };
    let place = Place::new(&beside("uexec-host")?, &beside("uexec-probe")?)?;
    let cases: Vec<_> =
        cases().into_iter().filter(|c| c.to_string().contains(&args.only)).collect();
    let bar = ProgressBar::new((cases.len() * args.times) as u64);
    let mut wrong = 0;
    for case in cases {
        let (mut good, mut last) = (0, String::new());
        for i in 0..args.times {
            match place.try_once(case, 1 + i % 4) {
                Ok(()) => good += 1,
                Err(why) => last = why,
            }
            bar.inc(1);
        }
        wrong += args.times - good;
        bar.suspend(|| println!("{case:<40} {good} of {} {}", args.times, last.trim()));
    }
    bar.finish_and_clear();
    Ok(wrong)
}
