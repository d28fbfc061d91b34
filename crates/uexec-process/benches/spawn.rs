//! How long it takes to start `/bin/true` and wait for it, from a parent of 10 MB and of 4 GB:
//! `posix_spawn(3)`, std's `Command` and uexec's, side by side.
//!
//! ```text
//! cargo bench -p uexec-process --bench spawn               300 rounds, 10 MB and 4096 MB
//! cargo bench -p uexec-process --bench spawn -- 1000 10    rounds and one size in MB
//! ```
//!
//! Every round runs each way once, in turn, so that a machine whose speed drifts drifts for all
//! of them; printed are medians in microseconds and the medians of the ratios round by round, then
//! what a tenth of the rounds stay below, and the ratio of that: other work on the machine hardly
//! changes those.

use std::ffi::CStr;
use std::time::Instant;

const PROGRAM: &CStr = c"/bin/true";

/// One way to start the program and wait for its end.
type Way = (&'static str, fn());

const WAYS: [Way; 5] = [
    ("posix_spawn", posix_spawn),
    ("std", std_command),
    ("uexec", uexec_command),
    ("std, pre_exec", std_pre_exec),
    ("uexec, pre_exec", uexec_pre_exec),
];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let rounds = numbers.next().unwrap_or(300);
    let sizes: Vec<usize> = match numbers.next() {
        Some(size) => vec![size],
        None => vec![10, 4096],
    };
    println!(
        "{rounds} rounds of /bin/true; medians in µs, of the ratios to posix_spawn(3); lowest tenths\n"
    );
    for size in sizes {
        measure(size, rounds);
    }
}

fn measure(megabytes: usize, rounds: usize) {
    // Written to, so that it is resident.
    let ballast = vec![1u8; megabytes << 20];
    let mut times = [const { Vec::new() }; WAYS.len()];
    for round in 0..rounds + 3 {
        for ((_, start), times) in WAYS.iter().zip(&mut times) {
            let begin = Instant::now();
            start();
            // The first rounds warm the caches.
            if round >= 3 {
                times.push(begin.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    println!("parent of {megabytes} MB");
    for ((name, _), own) in WAYS.iter().zip(&times) {
        let ratios = own.iter().zip(&times[0]).map(|(a, b)| a / b).collect();
        let tenth = tenth(own.clone());
        let quiet = tenth / self::tenth(times[0].clone());
        println!(
            "  {name:<16} {:>8.0} µs {:>7.3} {tenth:>8.0} µs {quiet:>7.3}",
            median(own.clone()),
            median(ratios)
        );
    }
    println!();
    std::hint::black_box(&ballast);
}

/// What a tenth of the rounds stay below: what it takes where nothing else goes on.
fn tenth(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 10]
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[allow(unsafe_code, reason = "the way of C")]
fn posix_spawn() {
    let argv = [PROGRAM.as_ptr().cast_mut(), std::ptr::null_mut()];
    let (mut pid, mut status) = (0, 0);
    // SAFETY: both arrays end with a null pointer, and nobody changes the environment meanwhile.
    let made = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            PROGRAM.as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr(),
            environ,
        )
    };
    assert_eq!(made, 0);
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

unsafe extern "C" {
    static environ: *const *mut libc::c_char;
}

fn std_command() {
    assert!(std::process::Command::new("/bin/true").status().unwrap().success());
}

fn uexec_command() {
    assert!(uexec_process::Command::new("/bin/true").status().unwrap().success());
}

#[allow(unsafe_code, reason = "std's contract")]
fn std_pre_exec() {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("/bin/true");
    // SAFETY: the closure does nothing.
    let command = unsafe { command.pre_exec(|| Ok(())) };
    assert!(command.status().unwrap().success());
}

#[allow(unsafe_code, reason = "std's contract")]
fn uexec_pre_exec() {
    let mut command = uexec_process::Command::new("/bin/true");
    // SAFETY: the closure does nothing.
    let command = unsafe { command.pre_exec(|| Ok(())) };
    assert!(command.status().unwrap().success());
}
