//! `cargo xtask libs [--prefix DIR]`: builds the libraries for C.

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::{Profile, libs, root};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut prefix: PathBuf = root().join("target/libs/prefix");
    let mut profile = Profile::Release;
    if args.next().as_deref() != Some("libs") {
        return usage();
    }
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--prefix", Some(dir)) => prefix = dir.into(),
            ("--profile", Some(name)) if name == "dev" => profile = Profile::Dev,
            _ => return usage(),
        }
    }
    match libs(profile, &prefix) {
        Ok(()) => {
            println!("{}", prefix.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask libs [--prefix DIR] [--profile dev]");
    ExitCode::FAILURE
}
