//! Random `Command`s by std and by uexec: the same report of the started program, the same answers,
//! the same errors, and each shown the same. `UEXEC_COMMANDS=N` tries so many instead of a hundred,
//! `UEXEC_SEED` others.

#![allow(unsafe_code, reason = "forked processes that are set up by system calls")]

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use xtask::scratch::Scratch;

/// Numbers that look random and are the same each time (xorshift).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % n as u64) as usize
    }

    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

#[derive(Clone, Debug)]
enum EnvOp {
    Set(OsString, OsString),
    Remove(OsString),
    Clear,
}

#[derive(Clone, Debug, PartialEq)]
enum Stream {
    Unsaid,
    Inherit,
    Null,
    Piped,
    From(&'static str),
    To(&'static str),
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Spawn,
    Output,
    Status,
    Exec,
}

/// A command, and the process that starts it.
#[derive(Clone, Debug)]
struct Case {
    program: OsString,
    arg0: Option<OsString>,
    args: Vec<OsString>,
    env: Vec<EnvOp>,
    cwd: Option<&'static str>,
    streams: [Stream; 3],
    uid: Option<u32>,
    gid: Option<u32>,
    group: Option<i32>,
    /// What closures do: set this umask, or fail with `EDOM`.
    closures: Vec<Option<u32>>,
    how: How,
    again: bool,
    /// Of the caller: standard streams that it has closed, what its PATH is, and the rest of its
    /// environment as it is in memory; ignored and blocked signals, a bit each.
    closed: Vec<i32>,
    environ: Vec<&'static str>,
    ignored: Vec<i32>,
    blocked: Vec<i32>,
}

const NAMES: [&str; 7] = ["A", "B", "PATH", "LONG_NAME", "", "K=V", "Z"];
const VALUES: [&[u8]; 5] = [b"", b"1", b"two words", b"\xff\xfe", b"a=b"];

impl Case {
    fn random(rng: &mut Rng, dir: &Path) -> Case {
        let at = |name: &str| dir.join(name).into_os_string();
        let programs = [
            at("probe"),
            at("probe"),
            at("in/probe"),
            "probe".into(),
            "probe".into(),
            "probe".into(),
            "./probe".into(),
            "in/probe".into(),
            "../probe".into(),
            "text".into(),
            at("text"),
            at("hashbang"),
            "hashbang".into(),
            "plain".into(),
            at("plain"),
            "missing".into(),
            at("nointerp"),
            "nointerp".into(),
            "in".into(),
            at("plain/x"),
            at("loop"),
            "".into(),
            "n".repeat(300).into(),
            "nul\0byte".into(),
        ];
        let paths = [
            format!("PATH={}", dir.display()),
            format!("PATH=/no/such:{0}/in:{0}:/bin", dir.display()),
            "PATH=:/bin".to_owned(),
            "PATH=in".to_owned(),
            "PATH=".to_owned(),
            format!("PATH={0}/plain:{0}/loop:{0}", dir.display()),
            format!("PATH={0}/denied:{0}", dir.display()),
        ];
        let leak = |s: String| -> &'static str { Box::leak(s.into_boxed_str()) };
        let some = |rng: &mut Rng, n: usize| rng.below(n);
        let mut environ = vec!["HOME=/", "A=of the caller", "Q=q"];
        if !rng.once_in(6) {
            environ.insert(some(rng, 3), leak(rng.pick(&paths)));
        }
        if rng.once_in(4) {
            environ.extend(["NO_EQUALS", "=X=1", "A=again", "PATH=/second", ""]);
        }
        let word = |rng: &mut Rng| OsStr::from_bytes(rng.pick(&VALUES)).to_owned();
        let op = |rng: &mut Rng| match rng.below(8) {
            0 => EnvOp::Clear,
            1 | 2 => EnvOp::Remove(rng.pick(&NAMES).into()),
            3 => EnvOp::Set("PATH".into(), leak(rng.pick(&paths).split_off(5)).into()),
            _ => EnvOp::Set(rng.pick(&NAMES).into(), word(rng)),
        };
        let number = if rng.once_in(2) { 0 } else { rng.below(5) };
        let env = (0..number).map(|_| op(rng)).collect();
        let stream = |rng: &mut Rng, input: bool| match rng.below(12) {
            0 | 1 => Stream::Inherit,
            2 => Stream::Null,
            3 | 4 => Stream::Piped,
            5 => Stream::From("input"),
            6 if !input => Stream::To("made"),
            7 if !input => Stream::Stdout,
            8 if !input => Stream::Stderr,
            _ => Stream::Unsaid,
        };
        let closed = match rng.below(15) {
            0 => vec![0],
            1 => vec![0, 1, 2],
            2 => vec![1, 2],
            _ => vec![],
        };
        // What std then opens itself may take those numbers, and get lost on the way.
        let stream = |rng: &mut Rng, input| match closed.is_empty() {
            true => stream(rng, input),
            false => rng.pick(&[Stream::Unsaid, Stream::Inherit]),
        };
        let how = [How::Spawn, How::Spawn, How::Status, How::Exec, How::Output];
        let how = rng.pick(if closed.is_empty() { &how } else { &how[..4] });
        let root = rustix::process::geteuid().is_root();
        let number = rng.below(3);
        let program = rng.pick(&programs);
        let cwd = rng.once_in(3).then(|| rng.pick(&["in", "/", "in/..", "missing", "plain"]));
        // A statically linked std does not start these by posix_spawn(3), and so has a shell run them.
        let cwd = cwd.filter(|_| !program.to_string_lossy().contains("text"));
        if cwd.is_some() {
            environ.retain(|var| *var != "PATH=/second");
        }
        Case {
            program,
            arg0: rng.once_in(4).then(|| word(rng)),
            args: (0..number).map(|_| word(rng)).collect(),
            env,
            cwd,
            streams: [stream(rng, true), stream(rng, false), stream(rng, false)],
            uid: rng.once_in(6).then(|| if root { rng.pick(&[0, 1234]) } else { 0 }),
            gid: rng.once_in(6).then(|| if root { rng.pick(&[0, 567]) } else { 0 }),
            group: rng.once_in(5).then(|| rng.pick(&[0, 0, 1, -5])),
            closures: match rng.below(8) {
                0 => vec![Some(0o27)],
                1 => vec![Some(0o27), Some(0o77)],
                2 if rng.once_in(2) => vec![Some(0o27), None],
                _ => vec![],
            },
            how,
            again: rng.once_in(4),
            closed,
            environ,
            ignored: if rng.once_in(3) { vec![libc::SIGHUP, libc::SIGPIPE, 40] } else { vec![] },
            blocked: if rng.once_in(3) { vec![libc::SIGINT, libc::SIGCHLD, 45] } else { vec![] },
        }
    }
}

fn told(error: std::io::Error) -> String {
    format!("{:?} {:?} {error}", error.kind(), error.raw_os_error())
}

macro_rules! by {
    ($way:ident: $($types:tt)*) => {
        mod $way {
            #[allow(unused_imports)]
            use $($types)*;
            use super::*;

            fn stdio(stream: &Stream) -> Option<Stdio> {
                Some(match stream {
                    Stream::Unsaid => return None,
                    Stream::Inherit => Stdio::inherit(),
                    Stream::Null => Stdio::null(),
                    Stream::Piped => Stdio::piped(),
                    Stream::From(name) => fs::File::open(name).expect("opens").into(),
                    Stream::To(name) => fs::File::create(name).expect("creates").into(),
                    Stream::Stdout => std::io::stdout().into(),
                    Stream::Stderr => std::io::stderr().into(),
                })
            }

            /// What the caller sees of it.
            pub(crate) fn run(case: &Case) -> String {
                let mut said = String::new();
                let mut command = Command::new(&case.program);
                command.args(&case.args);
                for op in &case.env {
                    match op {
                        EnvOp::Set(k, v) => command.env(k, v),
                        EnvOp::Remove(k) => command.env_remove(k),
                        EnvOp::Clear => command.env_clear(),
                    };
                }
                case.arg0.iter().for_each(|a| { command.arg0(a); });
                case.cwd.iter().for_each(|dir| { command.current_dir(dir); });
                let [stdin, stdout, stderr] = case.streams.each_ref().map(stdio);
                stdin.into_iter().for_each(|s| { command.stdin(s); });
                stdout.into_iter().for_each(|s| { command.stdout(s); });
                stderr.into_iter().for_each(|s| { command.stderr(s); });
                case.uid.iter().for_each(|id| { command.uid(*id); });
                case.gid.iter().for_each(|id| { command.gid(*id); });
                case.group.iter().for_each(|id| { command.process_group(*id); });
                for closure in case.closures.iter().copied() {
                    let act = move || {
                        let Some(mask) = closure else {
                            return Err(std::io::Error::from_raw_os_error(libc::EDOM));
                        };
                        // SAFETY: takes a number.
                        unsafe { libc::umask(mask) };
                        Ok(())
                    };
                    // SAFETY: it makes one system call.
                    unsafe { command.pre_exec(act) };
                }
                let envs: Vec<_> = command.get_envs().collect();
                let args: Vec<_> = command.get_args().collect();
                let (program, dir) = (command.get_program(), command.get_current_dir());
                let _ = writeln!(said, "{command:?}\n{program:?} {args:?} {envs:?} {dir:?}");
                for _ in 0..=usize::from(case.again) {
                    let _ = match case.how {
                        How::Output => writeln!(said, "{:?}", command.output().map_err(told)),
                        How::Status => writeln!(said, "{:?}", command.status().map_err(told)),
                        How::Exec => writeln!(said, "{:?}", told(command.exec())),
                        How::Spawn => {
                            let started = command.spawn().map(|mut child| {
                                if let Some(stdin) = &mut child.stdin {
                                    use std::io::Write;
                                    let _ = stdin.write_all(b"through the pipe");
                                }
                                let ends = [child.stdout.is_some(), child.stderr.is_some()];
                                (ends, child.wait_with_output())
                            });
                            writeln!(said, "{:?}", started.map_err(told))
                        }
                    };
                }
                said
            }
        }
    };
}

by!(std_s: std::{os::unix::process::CommandExt as _, process::{Command, Stdio}});
by!(ours: uexec_process::{Command, Stdio});

/// Runs it in a process of its own: what the caller sees, what the program reports, and what both have
/// written.
fn run(case: &Case, dir: &Path, by: fn(&Case) -> String) -> String {
    for name in ["report", "result", "stdout", "stderr", "made"] {
        let _ = fs::remove_file(dir.join(name));
    }
    let environ: Vec<_> = case.environ.iter().map(|e| CString::new(*e).unwrap()).collect();
    let mut environ: Vec<_> = environ.iter().map(|e| e.as_ptr()).collect();
    environ.push(std::ptr::null());
    // SAFETY: the child uses its copies, and glibc makes its allocator usable in it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        set_up(case, dir, environ.as_ptr());
        let said = by(case);
        let _ = fs::write(dir.join("result"), said);
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(77) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    let mut all = format!("status {status:#x}\n");
    for name in ["result", "report", "stdout", "stderr", "made"] {
        let text = fs::read(dir.join(name)).unwrap_or_else(|_| b"none".into());
        let _ = writeln!(all, "--- {name}\n{}", String::from_utf8_lossy(&text));
    }
    all
}

/// In the process that starts the command.
fn set_up(case: &Case, dir: &Path, environ: *const *const c_char) {
    unsafe extern "C" {
        #[link_name = "environ"]
        static mut ENVIRON: *const *const c_char;
    }
    std::env::set_current_dir(dir).unwrap();
    // SAFETY: this process has one thread, and the strings stay.
    unsafe { ENVIRON = environ };
    // What the harness has open is nobody's business.
    // SAFETY: nobody uses them in this process.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    let all = libc::O_RDWR | libc::O_CREAT | libc::O_APPEND;
    let open = |path: &str, flags, to| {
        let path = CString::new(path).unwrap();
        // SAFETY: a C string and numbers.
        let fd = unsafe { libc::open(path.as_ptr(), flags, 0o666) };
        // SAFETY: numbers.
        unsafe { libc::dup2(fd, to) };
        // SAFETY: of ours.
        unsafe { libc::close(fd) };
    };
    open("/dev/null", libc::O_RDONLY, 0);
    open("stdout", all, 1);
    open("stderr", all, 2);
    // Inherited, and not.
    open("input", libc::O_RDONLY, 20);
    // SAFETY: numbers.
    unsafe { libc::fcntl(20, libc::F_DUPFD_CLOEXEC, 30) };
    for fd in &case.closed {
        // SAFETY: nobody uses it but the test.
        unsafe { libc::close(*fd) };
    }
    for signal in &case.ignored {
        // SAFETY: no handler.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
    // SAFETY: zeroes are a valid set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in &case.blocked {
        // SAFETY: a set of ours.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: likewise.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Lines of `all` that are not in `other`.
fn lacking(all: &str, other: &str) -> String {
    let lines = all.lines().filter(|line| !other.lines().any(|o| o == *line));
    lines.map(|line| format!("\n    {line}")).collect()
}

#[test]
fn random_commands_are_as_by_std() {
    if std::process::Command::new("cc").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no C compiler (cc)");
    }
    let dir = Scratch::new("commands");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(dir.path(), mode(0o777)).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/probe.c");
    let report = format!("-DREPORT=\"{}/report\"", dir.path().display());
    let _ = dir.compile(&source, "probe", &[&report]);
    dir.file("in/input", "of another file\n", 0o644);
    xtask::scratch::copy(&dir.path().join("probe"), &dir.path().join("in/probe"));
    dir.file("input", "of a file\n", 0o644);
    dir.file("text", "echo \"text $0 $#\"; exit 5\n", 0o755);
    dir.file("hashbang", &format!("#!{}/probe of the script\n", dir.path().display()), 0o755);
    dir.file("plain", "", 0o644);
    dir.file("denied/probe", "", 0o644);
    dir.file("nointerp", "#!/no/such\n", 0o755);
    std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
    };
    let (cases, seed) = (number("UEXEC_COMMANDS", 100), number("UEXEC_SEED", 1u64));
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut different = 0;
    for i in 0..cases {
        let case = Case::random(&mut rng, dir.path());
        let [expected, got] = [std_s::run, ours::run].map(|by| run(&case, dir.path(), by));
        // How such bytes are shown has changed from one std to another.
        let [expected, got] = [expected, got].map(|all| all.replace("\\xFF\\xFE", "\\xff\\xfe"));
        if got != expected {
            different += 1;
            let (by_std, ours) = (lacking(&expected, &got), lacking(&got, &expected));
            eprintln!("{i}: {case:?}\n  by std:{by_std}\n  ours:{ours}");
        }
    }
    assert_eq!(different, 0, "of {cases}");
}
