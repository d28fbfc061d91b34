//! How long it takes to say of everything in /usr/bin whether it starts, beside what tools that
//! tell a part of it take for the same files.
//!
//! ```text
//! cargo bench -p uexec --bench check            5 rounds over /usr/bin
//! cargo bench -p uexec --bench check -- 20      more
//! cargo bench -p uexec --bench check -- 5 DIR   another directory
//! ```
//!
//! Every round runs each way once, in turn; printed are medians in milliseconds and their ratios
//! to `uexec check`. ldd takes so long that it runs once.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One way to look at the files.
struct Way {
    name: &'static str,
    command: Command,
    /// Standard input.
    input: Option<PathBuf>,
    rounds: usize,
    millis: Vec<f64>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let rounds: usize = args.iter().find_map(|a| a.parse().ok()).unwrap_or(5);
    let dir = args.iter().find(|a| a.starts_with('/')).map_or("/usr/bin", String::as_str);
    let files = programs(Path::new(dir));
    let list = std::env::temp_dir().join(format!("uexec-bench-check-{}", std::process::id()));
    let mut text = std::fs::File::create(&list).unwrap();
    for f in &files {
        text.write_all(f.as_os_str().as_bytes()).unwrap();
        text.write_all(b"\n").unwrap();
    }
    println!("{} programs in {dir}, {rounds} rounds, medians in ms\n", files.len());

    let uexec = env!("CARGO_BIN_EXE_uexec");
    let mut ways = Vec::new();
    let mut add = |name, program: &str, args: &[&str], files: &[PathBuf], input, rounds| {
        let mut command = Command::new(program);
        command.args(args).args(files).stdout(Stdio::null()).stderr(Stdio::null());
        match installed(program) {
            true => ways.push(Way { name, command, input, rounds, millis: Vec::new() }),
            false => println!("{name}: skipped, {program} is not installed"),
        }
    };
    add("uexec check", uexec, &["check", dir], &[], None, rounds);
    let without = ["check", "--libraries", "no", dir];
    add("uexec check --libraries no", uexec, &without, &[], None, rounds);
    let batch = ["explain", "--batch", "--json"];
    add("uexec explain --batch", uexec, &batch, &[], Some(list.clone()), rounds);
    add("uexec explain /bin/ls", uexec, &["explain", "/bin/ls"], &[], None, rounds.max(20));
    add("file -f", "file", &["-f"], std::slice::from_ref(&list), None, rounds);
    add("readelf -lW", "readelf", &["-lW"], &files, None, rounds);
    add("ldd", "ldd", &[], &files, None, 1);

    for round in 0..=rounds.max(20) {
        for way in &mut ways {
            if round > way.rounds || (round == 0 && way.rounds == 1) {
                continue;
            }
            let input = way.input.as_ref().map(|p| std::fs::File::open(p).unwrap());
            way.command.stdin(input.map_or_else(Stdio::null, Stdio::from));
            let start = Instant::now();
            way.command.status().unwrap();
            // The first round warms the caches.
            if round > 0 {
                way.millis.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    std::fs::remove_file(&list).unwrap();

    let check = median(&ways[0].millis);
    println!("{:<28} {:>9} {:>9} {:>12}", "", "ms", "min", "/ check");
    for way in &ways {
        let m = median(&way.millis);
        let min = way.millis.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{:<28} {m:>9.1} {min:>9.1} {:>12.2}", way.name, m / check);
    }
}

/// What `uexec check` looks at: files with an execute bit, also behind links.
fn programs(dir: &Path) -> Vec<PathBuf> {
    let is_program = |p: &PathBuf| {
        std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let entries = std::fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_program).collect();
    files.sort();
    files
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.contains('/') || std::env::split_paths(&path).any(|d| d.join(program).is_file())
}

fn median(v: &[f64]) -> f64 {
    let mut v = v.to_vec();
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}
