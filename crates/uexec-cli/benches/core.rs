//! How long a core dump takes: `uexec core`, the kernel's own, and gdb's gcore, side by side.
//!
//! ```text
//! cargo bench -p uexec --bench core                        7 rounds, in the temporary directory
//! cargo bench -p uexec --bench core -- 15 --dir /dev/shm   more, elsewhere
//! ```
//!
//! Every round runs each way once, in turn, each on a new victim; printed are medians, and the
//! medians of the rounds' ratios. The kernel dumps whom it kills: from that the time is taken off
//! that the same victim needs to die without a dump. gcore runs in few rounds only, it takes so long.

#[path = "../tests/common/core_pattern.rs"]
mod core_pattern;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use core_pattern::CorePattern;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// Name, size, and which pages are touched: one out of so many.
const VICTIMS: [(&str, usize, usize); 3] =
    [("10 MB", 10 * MIB, 1), ("1 GB", 1024 * MIB, 1), ("8 GB, 1 page in 100", 8192 * MIB, 100)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.first().is_some_and(|a| a == "victim") {
        return victim(args[1].parse().unwrap(), args[2].parse().unwrap());
    }
    let rounds: usize = args.iter().find_map(|a| a.parse().ok()).unwrap_or(7);
    let dir = args.iter().position(|a| a == "--dir").and_then(|i| args.get(i + 1));
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("uexec-bench-core-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let result = std::panic::catch_unwind(|| measure_all(&dir, rounds));
    let _ = fs::remove_dir_all(&dir);
    if result.is_err() {
        std::process::exit(1);
    }
}

fn measure_all(dir: &Path, rounds: usize) {
    let gcore = Command::new("gcore").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !gcore {
        println!("gcore: skipped, not installed");
    }
    // A pattern that is a name suits already, and needs no privilege.
    let now = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = dir.join("kernels").display().to_string();
    let _borrowed;
    let kernel = if now.starts_with(['|', '/', '@']) {
        let set = CorePattern::set(&pattern);
        if let Err(error) = &set {
            println!("kernel: skipped, core_pattern is {}, setting it: {error}", now.trim());
        }
        _borrowed = set;
        _borrowed.is_ok()
    } else {
        true
    };
    println!("{rounds} rounds in {}; medians\n", dir.display());
    println!(
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>8} | {:>9} {:>9}",
        "", "uexec ms", "stopped", "kernel ms", "gcore ms", "uexec", "kernel", "gcore"
    );
    println!("{:>69} | {:>9} {:>9}", "peak MiB", "/ uexec", "/ uexec");
    for (name, len, every) in VICTIMS {
        measure(dir, name, (len, every), rounds, kernel, gcore);
    }
}

fn measure(dir: &Path, name: &str, size: (usize, usize), rounds: usize, kernel: bool, gcore: bool) {
    let [mut ours, mut stopped, mut theirs, mut gdbs, mut peak] = [const { Vec::new() }; 5];
    let [mut to_kernel, mut to_gcore] = [const { Vec::new() }; 2];
    for round in 0..rounds {
        let took = dump(dir, size);
        ours.push(took.0);
        stopped.push(took.1);
        peak.push(took.2);
        if kernel {
            let with = die(dir, size, true);
            let without = die(dir, size, false);
            theirs.push(with - without);
            to_kernel.push((with - without) / took.0);
        }
        if gcore && round < 3 {
            let ms = by_gcore(dir, size);
            gdbs.push(ms);
            to_gcore.push(ms / took.0);
        }
    }
    println!(
        "{name:<20} {:>9.1} {:>9.1} {:>9.1} {:>9.0} {:>8.1} | {:>9.2} {:>9.1}",
        median(ours),
        median(stopped),
        median(theirs),
        median(gdbs),
        median(peak),
        median(to_kernel),
        median(to_gcore)
    );
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds of `uexec core`, those the victim stood still, and the peak of its memory in MiB.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it")]
fn dump(dir: &Path, size: (usize, usize)) -> (f64, f64, f64) {
    let victim = Victim::start(dir, size, true);
    let file = dir.join("ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_uexec"));
    command.args(["core", "--json", "-o"]).arg(&file).arg(victim.pid().to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let told = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    // SAFETY: a structure of numbers, all of which may be zero.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let mut status = 0;
    // SAFETY: waits for the child just started; both places are written to.
    unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    let took = millis(begun);
    assert_eq!(status, 0, "uexec core failed");
    let stopped = told.split("\"stopped_ms\":").nth(1).and_then(|t| t.split(',').next());
    let dumped = told.split("\"written\":").nth(1).and_then(|t| t.split(',').next());
    assert!(dumped.unwrap().parse::<usize>().unwrap() >= size.0 / size.1);
    fs::remove_file(file).unwrap();
    (took, stopped.unwrap().parse().unwrap(), usage.ru_maxrss as f64 / 1024.0)
}

/// Milliseconds of a death, with the kernel's dump or without.
fn die(dir: &Path, size: (usize, usize), with: bool) -> f64 {
    let mut victim = Victim::start(dir, size, with);
    let begun = Instant::now();
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(victim.pid(), libc::SIGABRT) };
    let _ = victim.0.wait();
    let took = millis(begun);
    let cores: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(cores.len(), usize::from(with), "cores of the kernel: {cores:?}");
    for core in cores {
        assert!(fs::metadata(&core).unwrap().len() as usize >= size.0);
        fs::remove_file(core).unwrap();
    }
    took
}

fn by_gcore(dir: &Path, size: (usize, usize)) -> f64 {
    let victim = Victim::start(dir, size, true);
    let prefix = dir.join("gcores");
    let begun = Instant::now();
    let status = Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(victim.pid().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let took = millis(begun);
    assert!(status.unwrap().success(), "gcore failed");
    fs::remove_file(format!("{}.{}", prefix.display(), victim.pid())).unwrap();
    took
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A process with so much memory, ended when dropped.
struct Victim(Child);

impl Victim {
    fn start(dir: &Path, (len, every): (usize, usize), core: bool) -> Victim {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["victim", &len.to_string(), &every.to_string()]).current_dir(dir);
        command.stdout(Stdio::piped());
        let most = if core { libc::RLIM_INFINITY } else { 0 };
        let limited = move || {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: reads the structure.
            match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: what is called in the child only makes a system call.
        unsafe { command.pre_exec(limited) };
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Victim(child)
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Maps memory, touches some of it, and waits for its end.
fn victim(len: usize, every: usize) {
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, at an address that the kernel chooses.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    if every > 1 {
        // Where huge pages are the rule, a touch would bring in hundreds.
        // SAFETY: advice on our own memory.
        unsafe { libc::madvise(at, len, libc::MADV_NOHUGEPAGE) };
    }
    // SAFETY: the mapping, which nobody else knows; its pages are zeros.
    let memory = unsafe { std::slice::from_raw_parts_mut(at.cast::<u64>(), len / 8) };
    let mut random = 1u64;
    for pages in memory.chunks_mut(every * PAGE / 8) {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // One of these pages.
        let count = pages.len() / (PAGE / 8);
        let page = pages.chunks_mut(PAGE / 8).nth((random >> 33) as usize % count);
        for (word, i) in page.unwrap_or_default().iter_mut().zip(random | 1..) {
            *word = i;
        }
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
