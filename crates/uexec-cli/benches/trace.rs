//! What tracing adds to each exec, and to a build, beside other tracers.
//!
//! ```text
//! cargo bench -p uexec --bench trace            9 rounds of 200 execs each, and a build
//! cargo bench -p uexec --bench trace -- 20      more
//! ```
//!
//! Every round runs each way once, in turn; printed are the least and the median of microseconds
//! for one start and end of `/bin/true`, and what is added to the plain way's.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const STARTS: u32 = 200;

/// One way to run a command.
struct Way {
    name: &'static str,
    before: Vec<String>,
    micros: Vec<f64>,
    build: Vec<f64>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.first().is_some_and(|a| a == "starts") {
        return starts();
    }
    let rounds: usize = args.iter().find_map(|a| a.parse().ok()).unwrap_or(9);
    let dir = std::env::temp_dir().join(format!("uexec-bench-trace-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let out = dir.join("out").display().to_string();
    let uexec = env!("CARGO_BIN_EXE_uexec");
    let ways: [(&str, Vec<&str>); 7] = [
        ("plain", vec![]),
        ("uexec trace", vec![uexec, "trace", "-o", &out]),
        ("uexec trace --format json", vec![uexec, "trace", "--format", "json", "-o", &out]),
        ("uexec trace --format html", vec![uexec, "trace", "--format", "html", "-o", &out]),
        (
            "strace -f --seccomp-bpf",
            vec!["strace", "-f", "--seccomp-bpf", "-e", "execve", "-o", &out],
        ),
        ("tracexec log", vec!["tracexec", "log", "-o", &out, "--"]),
        ("proot", vec!["proot"]),
    ];
    let mut ways: Vec<Way> = ways
        .into_iter()
        .filter(|(name, before)| {
            let there = before.first().is_none_or(|program| installed(program));
            if !there {
                println!("{name}: skipped, not installed");
            }
            there
        })
        .map(|(name, before)| Way {
            name,
            before: before.into_iter().map(str::to_owned).collect(),
            micros: Vec::new(),
            build: Vec::new(),
        })
        .collect();
    let builds = installed("make") && installed("cc");
    if builds {
        project(&dir);
    } else {
        println!("a build: skipped, no make or cc");
    }
    let own = std::env::current_exe().unwrap().display().to_string();
    for round in 0..rounds {
        for way in &mut ways {
            let output = through(&way.before, &[&own, "starts"]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            way.micros.push(text.trim().parse().unwrap_or(f64::NAN));
            if builds && round % 2 == 0 {
                let begun = Instant::now();
                let words = ["make", "-s", "-B", "-j2", "-C", dir.to_str().unwrap()];
                assert!(through(&way.before, &words).status().unwrap().success());
                way.build.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    tell(&mut ways);
}

fn tell(ways: &mut [Way]) {
    println!(
        "{:<28} {:>9} {:>9} {:>9}   {:>9} {:>7}",
        "", "least us", "median", "added", "build ms", "ratio"
    );
    let mut plain = None;
    for way in ways {
        way.micros.sort_by(f64::total_cmp);
        way.build.sort_by(f64::total_cmp);
        let (least, median) = (way.micros[0], way.micros[way.micros.len() / 2]);
        let build = way.build.get(way.build.len() / 2).copied().unwrap_or(f64::NAN);
        let (first, first_build) = *plain.get_or_insert((least, build));
        println!(
            "{:<28} {least:>9.0} {median:>9.0} {:>9.0}   {build:>9.0} {:>7.3}",
            way.name,
            least - first,
            build / first_build
        );
    }
}

fn through(before: &[String], words: &[&str]) -> Command {
    let mut all = before.iter().map(String::as_str).chain(words.iter().copied());
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a program over and over; prints microseconds for one.
fn starts() {
    let begun = Instant::now();
    for _ in 0..STARTS {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    println!("{:.1}", begun.elapsed().as_secs_f64() * 1e6 / f64::from(STARTS));
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
