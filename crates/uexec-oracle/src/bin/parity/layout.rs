//! Every program of some folders, in situations that change the layout.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use uexec_oracle::launch::Exec;
use uexec_oracle::state::State;

use crate::args::Args;
use crate::compare::{self, Compared, Sides};
use crate::report::Report;

const RLIMIT_STACK: u32 = 3;

/// A way to start any program.
struct Situation {
    name: &'static str,
    set: fn(Exec) -> Exec,
}

const SITUATIONS: [Situation; 6] = [
    Situation { name: "as usual", set: |e| e },
    Situation {
        name: "with a stack of 64 KiB",
        set: |e| e.state(State::Limit(RLIMIT_STACK, 64 << 10)),
    },
    Situation {
        name: "with a stack of 1 GiB",
        set: |e| e.state(State::Limit(RLIMIT_STACK, 1 << 30)),
    },
    Situation {
        name: "with an unlimited stack",
        set: |e| e.state(State::Limit(RLIMIT_STACK, u64::MAX)),
    },
    Situation { name: "without arguments", set: |e| Exec { argv: Vec::new(), ..e } },
    Situation {
        name: "with 10,000 arguments",
        set: |mut e| {
            let more = (e.argv.len()..10_000).map(|i| CString::new(i.to_string()));
            e.argv.extend(more.flatten());
            e
        },
    },
];

/// Compares all of them; true when all agree.
pub(crate) fn run(args: &Args, sides: &Sides, folder: &Path) -> io::Result<bool> {
    let programs = programs(&args.layout)?;
    let ways = SITUATIONS.len() as u64;
    let count = programs.len() as u64 * ways;
    let one = |i: u64, host: &uexec_linux::Host| {
        let program = &programs[(i / ways) as usize];
        let situation = &SITUATIONS[(i % ways) as usize];
        let exec = Exec::new(program).args(["one", "two words"]).envs(["HOME=/", "LANG=C"]);
        let ask = args.command_every != 0 && i.is_multiple_of(args.command_every);
        let said = folder.join(i.to_string());
        let found = sides.compare(&(situation.set)(exec), host, ask, &said)?;
        let name = format!("{} {}", program.display(), situation.name);
        Ok(Compared { name, ..found })
    };
    let compared = compare::all(count, args.jobs(), "installed programs", one)?;
    println!("{} programs, each {ways} times", programs.len());
    Ok(Report::new(&compared).print())
}

/// All files below the folders that could be programs, each once.
fn programs(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_file() {
                all.push(path);
            }
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}
