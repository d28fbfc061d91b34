//! Runs one program once and keeps everything it said. Ends only what it started.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, setsid};

use crate::args::User;
use crate::program::{Kind, Program};

/// Who writes more than that would never stop.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// How uexec is run, and by whom both are.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) uexec: PathBuf,
    pub(crate) user: User,
    pub(crate) userns: bool,
}

/// Who carries the exec out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Kernel,
    Uexec,
}

/// How a run ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// Why it was killed, if it was.
    pub(crate) cut_short: Option<&'static str>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// "exit 1", "signal 11", or why it was killed.
    pub(crate) fn end(&self) -> String {
        match (self.cut_short, self.status.code(), self.status.signal()) {
            (Some(why), ..) => why.to_owned(),
            (_, Some(code), _) => format!("exit {code}"),
            (_, _, signal) => format!("signal {}", signal.unwrap_or(0)),
        }
    }
}

/// Runs `PROGRAM --version` with an empty standard input, in a session and an empty folder of its
/// own.
pub(crate) fn run(program: &Program, way: &Way, by: By, folder: &Path) -> io::Result<Outcome> {
    fresh(folder, way.user)?;
    let mut command = match by {
        By::Kernel => Command::new(&program.path),
        By::Uexec => {
            let mut uexec = Command::new(&way.uexec);
            uexec.arg("run").args(way.userns.then_some("--userns")).arg(&program.path);
            uexec
        }
    };
    command.arg("--version").current_dir(folder).stdin(Stdio::null());
    environment(&mut command, folder);
    // Files, not pipes: whoever is left behind in the background holds nobody up.
    let (stdout, stderr) = (memory_file()?, memory_file()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    if way.user == User::Nobody {
        // Root's supplementary groups go too (`CommandExt::uid`).
        let (uid, gid) = way.user.ids();
        command.uid(uid).gid(gid);
    }
    // SAFETY: runs between fork and exec, and makes one system call.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
    let limit = Duration::from_secs(if program.kind == Kind::Jvm { 20 } else { 10 });
    let child = command.spawn()?;
    let (status, cut_short) = wait(child, limit, [&stdout, &stderr])?;
    Ok(Outcome { status, cut_short, stdout: contents(stdout)?, stderr: contents(stderr)? })
}

/// Waits for the end, and ends it when it takes too long or writes too much. Then whatever is
/// left of its process group is killed.
fn wait(
    mut child: Child,
    limit: Duration,
    output: [&File; 2],
) -> io::Result<(ExitStatus, Option<&'static str>)> {
    let pid = Pid::from_child(&child);
    let ended: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let cut_short = loop {
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        if poll(&mut fds, Some(&tick)).unwrap_or(0) > 0 {
            break None;
        }
        if Instant::now() > deadline {
            break Some("takes too long");
        }
        if output.iter().any(|f| f.metadata().is_ok_and(|m| m.len() > MAX_OUTPUT_BYTES)) {
            break Some("writes too much");
        }
    };
    // The child, not waited for yet, keeps the group's number from being used again.
    let _ = kill_process_group(pid, Signal::KILL);
    Ok((child.wait()?, cut_short))
}

/// The caller's environment, but without what changes what programs print: language and terminal
/// are fixed, and everything a program keeps goes to the run's own folder.
fn environment(command: &mut Command, folder: &Path) {
    // rustup's programs find their toolchain below HOME.
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    for (name, below) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
        if env::var_os(name).is_none() && home.join(below).is_dir() {
            command.env(name, home.join(below));
        }
    }
    for name in ["HOME", "TMPDIR", "PWD"] {
        command.env(name, folder);
    }
    command.env("LC_ALL", "C.UTF-8").env("TERM", "dumb");
}

fn memory_file() -> io::Result<File> {
    Ok(memfd_create("output", MemfdFlags::CLOEXEC)?.into())
}

fn contents(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Empties a run's folder and gives it to whoever runs.
fn fresh(folder: &Path, user: User) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => fs::create_dir(folder)?,
    }
    let (uid, gid) = user.ids();
    chown(folder, Some(uid), Some(gid))
}

/// Where everything happens; removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder that every user can enter.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn new() -> io::Result<Folder> {
        let path = env::temp_dir().join(format!("uexec-corpus.{}", std::process::id()));
        fs::create_dir(&path)?;
        let folder = Folder(path);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A worker's own part.
    pub(crate) fn of_worker(&self, worker: usize) -> PathBuf {
        self.0.join(OsStr::new(&worker.to_string()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
