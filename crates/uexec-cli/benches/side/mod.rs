//! Ways to run a command, measured side by side: every round runs each way once, in turn, so that
//! what else the machine does meets all of them. Told are ratios, and what is added.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One way, and what it took.
struct Way {
    name: String,
    before: Vec<String>,
    starts: Vec<f64>,
    build: Vec<f64>,
}

/// Everything that is measured.
pub(crate) struct Side {
    ways: Vec<Way>,
    pub(crate) dir: PathBuf,
}

impl Side {
    /// With a place for files of this name.
    pub(crate) fn new(name: &str) -> Side {
        let dir = std::env::temp_dir().join(format!("uexec-bench-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Side { ways: Vec::new(), dir }
    }

    /// A way: what stands before the command. The first is what the others are compared with.
    pub(crate) fn way(&mut self, name: &str, before: &[&str]) {
        if !before.first().is_none_or(|program| installed(program)) {
            return println!("{name}: skipped, not installed");
        }
        let before: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        let works = through(&before, &["true"]).status().is_ok_and(|s| s.success());
        if !works {
            return println!("{name}: skipped, it does not work here");
        }
        let name = name.to_owned();
        self.ways.push(Way { name, before, starts: Vec::new(), build: Vec::new() });
    }

    /// Measures. Of the arguments a number says in how many rounds, and a directory what is built
    /// by `make`.
    pub(crate) fn measure(mut self, starts: &[&str], count: f64) {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let rounds = args.iter().find_map(|a| a.parse().ok()).unwrap_or(7);
        let given = args.iter().find(|a| Path::new(a).is_dir());
        let builds = installed("make") && installed("cc");
        if !builds {
            println!("a build: skipped, no make or cc");
        } else if given.is_none() {
            project(&self.dir);
        }
        let dir = given.map_or(self.dir.to_str().unwrap(), String::as_str);
        for _ in 0..rounds {
            for way in &mut self.ways {
                way.starts.push(time(&way.before, starts) * 1e6 / count);
                if builds {
                    let words = ["make", "-s", "-B", "-j2", "-C", dir];
                    way.build.push(time(&way.before, &words) * 1e3);
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        tell(&mut self.ways);
    }
}

fn tell(ways: &mut [Way]) {
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>6}   {:>8} {:>6}",
        "", "least us", "median", "added", "ratio", "build ms", "ratio"
    );
    let mut plain = None;
    for way in ways {
        way.starts.sort_by(f64::total_cmp);
        way.build.sort_by(f64::total_cmp);
        let middle = |of: &[f64]| of.get(of.len() / 2).copied().unwrap_or(f64::NAN);
        let (least, median, build) = (way.starts[0], middle(&way.starts), middle(&way.build));
        let (first, first_build) = *plain.get_or_insert((least, build));
        println!(
            "{:<44} {least:>8.0} {median:>8.0} {:>8.0} {:>6.2}   {build:>8.0} {:>6.3}",
            way.name,
            least - first,
            least / first,
            build / first_build
        );
    }
}

/// Seconds that a command takes.
fn time(before: &[String], words: &[&str]) -> f64 {
    let begun = Instant::now();
    assert!(through(before, words).status().unwrap().success(), "{before:?} {words:?}");
    begun.elapsed().as_secs_f64()
}

fn through(before: &[String], words: &[&str]) -> Command {
    let mut all = before.iter().map(String::as_str).chain(words.iter().copied());
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Twenty C files that include what programs do.
fn project(dir: &Path) {
    for i in 0..20 {
        let text = format!(
            "#include <stdio.h>\n#include <stdlib.h>\nint f{i}(void) {{ return printf(\"{i}\"); }}\n"
        );
        std::fs::write(dir.join(format!("f{i}.c")), text).unwrap();
    }
    let rules = "lib.a: $(patsubst %.c,%.o,$(wildcard *.c))\n\tar rcs $@ $^\n%.o: %.c\n\t$(CC) -O2 -c -o $@ $<\n";
    std::fs::write(dir.join("Makefile"), rules).unwrap();
}

fn installed(program: &str) -> bool {
    program.contains('/')
        || std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
