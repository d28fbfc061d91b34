//! How long a program takes to start and end: the kernel's way and uexec's, side by side.
//!
//! ```text
//! cargo bench -p uexec --bench start            300 rounds
//! cargo bench -p uexec --bench start -- 1000    more
//! ```
//!
//! Every round runs each way once, in turn, so that a machine whose speed drifts drifts for all
//! of them; printed are medians in microseconds and the medians of the ratios round by round.

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Instant;

use uexec_core::world::{At, Denied, FileId, Mount, Role, Stat, Sysctl, World};
use uexec_core::{Errno, Exec, Facts, KERNEL_FORMATS, plan};
use uexec_linux::{Caller, Host, Prepared, prepare};

/// A program with arguments, as C wants them.
struct Job {
    name: &'static str,
    words: Vec<CString>,
}

impl Job {
    fn new(name: &'static str, words: &[&str]) -> Job {
        Job { name, words: words.iter().map(|w| CString::new(*w).unwrap()).collect() }
    }

    fn argv(&self) -> Vec<*const c_char> {
        self.words.iter().map(|w| w.as_ptr()).chain([std::ptr::null()]).collect()
    }
}

/// The ways a program can be started.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Way {
    /// `vfork` and the kernel's exec, as `posix_spawn(3)` does.
    Spawn,
    /// `fork` and the kernel's exec.
    ForkKernel,
    /// `fork`, then plan, prepare and commit in the child.
    ForkUexec,
    /// Plan and prepare, then `fork`, and the child only commits.
    PlanFork,
    /// The command `uexec run`, started by `posix_spawn(3)`.
    Command,
}

const WAYS: [Way; 5] = [Way::Spawn, Way::ForkKernel, Way::ForkUexec, Way::PlanFork, Way::Command];

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(300);
    println!("{rounds} rounds; medians in µs; ratios are medians of the rounds' ratios\n");
    println!("spawn      posix_spawn(3): vfork and the kernel's exec");
    println!("fork+exec  fork and the kernel's exec");
    println!("fork+ours  fork, then plan, prepare and commit in the child");
    println!("plan+fork  plan and prepare, fork, commit in the child");
    println!("run        the command uexec run, started by posix_spawn(3)\n");
    println!(
        "{:<9} {:>7} {:>9} {:>9} {:>9} {:>7} | {:>9} {:>9} {:>9}",
        "",
        "spawn",
        "fork+exec",
        "fork+ours",
        "plan+fork",
        "run",
        "fork+ours",
        "plan+fork",
        "run adds"
    );
    println!("{:>57}  {:>9} {:>9}", "", "/fork+exec", "/fork+exec");
    let mut host = Host::new();
    // What a long-lived parent knows after its first start.
    for which in [Sysctl::RandomizeVaSpace, Sysctl::MmapRndBits] {
        host.sysctl(which);
    }
    for job in jobs() {
        measure(&job, rounds, &host);
    }
    planning(rounds);
}

fn jobs() -> Vec<Job> {
    let dir = std::env::temp_dir().join(format!("uexec-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut jobs = Vec::new();
    for (name, source, flags) in [
        ("asm exit", ".globl _start\n_start: mov $60,%eax\nxor %edi,%edi\nsyscall\n", "-nostdlib"),
        ("static", ".globl main\nmain: xor %eax,%eax\nret\n.section .note.GNU-stack,\"\"\n", ""),
    ] {
        let path = dir.join(name.replace(' ', "-"));
        let text = path.with_extension("s");
        std::fs::write(&text, source).unwrap();
        let built = std::process::Command::new("cc")
            .args(["-static", "-o"])
            .args([&path, &text])
            .args(flags.split_whitespace())
            .status();
        match built {
            Ok(s) if s.success() => {
                let path: &'static str = path.to_string_lossy().into_owned().leak();
                jobs.push(Job::new(name, &[path]));
            }
            _ => println!("{name}: skipped, cc could not build it"),
        }
    }
    for (name, words) in [
        ("true", &["/bin/true"][..]),
        ("bash", &["/bin/bash", "-c", ":"]),
        ("python3", &["/usr/bin/python3", "-S", "-c", ""]),
    ] {
        match Path::new(words[0]).exists() {
            true => jobs.push(Job::new(name, words)),
            false => println!("{name}: skipped, not on this machine"),
        }
    }
    jobs
}

fn measure(job: &Job, rounds: usize, host: &Host) {
    let argv = job.argv();
    let uexec = CString::new(env!("CARGO_BIN_EXE_uexec")).unwrap();
    let run = CString::new("run").unwrap();
    let mut command = vec![uexec.as_ptr(), run.as_ptr()];
    command.extend(&argv);
    let mut times: HashMap<Way, Vec<f64>> = HashMap::new();
    for round in 0..rounds + 3 {
        for way in WAYS {
            let start = Instant::now();
            let child = match way {
                Way::Spawn => spawn(&argv),
                Way::Command => spawn(&command),
                Way::ForkKernel => fork_kernel(&argv),
                Way::ForkUexec => fork_uexec(job, host),
                Way::PlanFork => plan_fork(job, host),
            };
            let status = wait(child);
            let micros = start.elapsed().as_secs_f64() * 1e6;
            assert_eq!(status, 0, "{} by {way:?} ended with status {status:#x}", job.name);
            // The first rounds warm the caches.
            if round >= 3 {
                times.entry(way).or_default().push(micros);
            }
        }
    }
    let ratio =
        |a: Way, b: Way| median(times[&a].iter().zip(&times[&b]).map(|(x, y)| x / y).collect());
    let adds: Vec<f64> =
        times[&Way::Command].iter().zip(&times[&Way::Spawn]).map(|(x, y)| x - y).collect();
    let m = |w: Way| median(times[&w].clone());
    println!(
        "{:<9} {:>7.0} {:>9.0} {:>9.0} {:>9.0} {:>7.0} | {:>9.3} {:>9.3} {:>6.0} µs",
        job.name,
        m(Way::Spawn),
        m(Way::ForkKernel),
        m(Way::ForkUexec),
        m(Way::PlanFork),
        m(Way::Command),
        ratio(Way::ForkUexec, Way::ForkKernel),
        ratio(Way::PlanFork, Way::ForkKernel),
        median(adds)
    );
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn environ() -> *const *mut c_char {
    unsafe extern "C" {
        static environ: *const *mut c_char;
    }
    // SAFETY: the C library's own variable; nothing here changes the environment.
    unsafe { environ }
}

fn spawn(argv: &[*const c_char]) -> i32 {
    let mut pid = 0;
    // SAFETY: argv and the environment are null-terminated arrays of C strings.
    let error = unsafe {
        libc::posix_spawn(
            &mut pid,
            argv[0],
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr().cast(),
            environ(),
        )
    };
    assert_eq!(error, 0);
    pid
}

fn fork() -> i32 {
    // SAFETY: one thread only, and the child goes on by replacing itself.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    pid
}

fn fork_kernel(argv: &[*const c_char]) -> i32 {
    let pid = fork();
    if pid == 0 {
        // SAFETY: as in `spawn`.
        unsafe { libc::execve(argv[0], argv.as_ptr(), environ().cast()) };
        // SAFETY: the exec failed and the child has nothing else to do.
        unsafe { libc::_exit(99) };
    }
    pid
}

fn prepared(job: &Job, host: &Host, caller: &Caller) -> Prepared {
    let mut host = host.again();
    let argv: Vec<Vec<u8>> = job.words.iter().map(|w| w.as_bytes().to_vec()).collect();
    let path = argv[0].clone();
    let exec = Exec { path, argv, envp: environment(), untold: true, ..Exec::default() };
    let plan = plan(exec, &mut host, &KERNEL_FORMATS).unwrap();
    prepare(&plan, host, caller).unwrap()
}

fn fork_uexec(job: &Job, host: &Host) -> i32 {
    let pid = fork();
    if pid == 0 {
        let prepared = prepared(job, host, &Caller::forked());
        // SAFETY: a forked child: one thread, own memory.
        unsafe { prepared.commit() }
    }
    pid
}

fn plan_fork(job: &Job, host: &Host) -> i32 {
    let prepared = prepared(job, host, &Caller::forked());
    let pid = fork();
    if pid == 0 {
        // SAFETY: a forked child: one thread, own memory.
        unsafe { prepared.commit() }
    }
    pid
}

fn environment() -> Vec<Vec<u8>> {
    std::env::vars_os().map(|(k, v)| [k.into_vec(), v.into_vec()].join(&b'=')).collect()
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for the one child just started.
    let got = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(got, pid);
    status
}

/// Remembers every answer of the host, so that only deciding is left to be measured.
struct Remembered {
    host: Host,
    opened: HashMap<Vec<u8>, FileId>,
    stats: HashMap<FileId, Stat>,
    reads: HashMap<(FileId, u64, usize), Vec<u8>>,
    sysctls: HashMap<u64, u64>,
    caps: Option<(u64, u64)>,
}

impl World for Remembered {
    fn open(&mut self, at: At, path: &[u8], follow: bool) -> Result<FileId, Errno> {
        if let Some(id) = self.opened.get(path) {
            return Ok(*id);
        }
        let id = self.host.open(at, path, follow)?;
        self.opened.insert(path.to_vec(), id);
        Ok(id)
    }
    fn stat(&mut self, file: FileId) -> Result<Stat, Errno> {
        if let Some(s) = self.stats.get(&file) {
            return Ok(*s);
        }
        let s = self.host.stat(file)?;
        self.stats.insert(file, s);
        Ok(s)
    }
    fn check_exec(&mut self, _: FileId, _: Role) -> Result<(), Denied> {
        Ok(())
    }
    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let key = (file, offset, buf.len());
        if let Some(bytes) = self.reads.get(&key) {
            buf[..bytes.len()].copy_from_slice(bytes);
            return Ok(bytes.len());
        }
        let n = self.host.read_at(file, offset, buf)?;
        self.reads.insert(key, buf[..n].to_vec());
        Ok(n)
    }
    fn file_caps(&mut self, _: FileId) -> Result<Option<Vec<u8>>, Errno> {
        Ok(None)
    }
    fn mount(&mut self, _: FileId) -> Mount {
        Mount::default()
    }
    fn sysctl(&mut self, which: Sysctl) -> u64 {
        let host = &mut self.host;
        *self.sysctls.entry(which as u64).or_insert_with(|| host.sysctl(which))
    }
    fn cap_sets(&mut self) -> (u64, u64) {
        let host = &mut self.host;
        *self.caps.get_or_insert_with(|| host.cap_sets())
    }
    fn facts(&self) -> &Facts {
        self.host.facts()
    }
}

fn planning(rounds: usize) {
    let mut world = Remembered {
        host: Host::new(),
        opened: HashMap::new(),
        stats: HashMap::new(),
        reads: HashMap::new(),
        sysctls: HashMap::new(),
        caps: None,
    };
    let envp = environment();
    for untold in [true, false] {
        let mut times = Vec::new();
        for _ in 0..rounds * 10 {
            let exec = Exec { envp: envp.clone(), untold, ..Exec::new("/bin/true") };
            let start = Instant::now();
            let plan = plan(exec, &mut world, &KERNEL_FORMATS).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e6);
            std::hint::black_box(plan);
        }
        let story = if untold { "without" } else { "with" };
        println!("\nplanning /bin/true {story} its story, no file I/O: {:.1} µs", median(times));
    }
}
