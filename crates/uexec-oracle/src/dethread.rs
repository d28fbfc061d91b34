//! Execs from processes with other threads: whoever calls and whatever the others do, the new
//! program has one thread with the process's id, and nothing of the old one is left; and an exec
//! that fails leaves every thread running. The processes are those of `uexec-host`, the new program
//! is `uexec-probe alone`, which judges.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What other threads do (see `uexec-host`).
pub const SIBLINGS: [&str; 8] =
    ["pause", "busy", "read", "libc", "raw", "malloc", "rival", "vfork"];

/// Nobody in particular.
const NOBODY: u32 = 65_534;

/// How the exec ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It works.
    Works,
    /// All but the last step is done, then everybody goes on.
    Rehearsal,
    /// There is no such program.
    Fails,
}

/// One situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Whether the leader calls.
    pub leads: bool,
    /// What the others do.
    pub siblings: &'static str,
    /// As root, or as a user without any privilege.
    pub root: bool,
    /// How it ends.
    pub end: End,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = if self.leads { "leader" } else { "other" };
        let user = if self.root { "root" } else { "unprivileged" };
        write!(f, "{caller:<7} {:<6} {user:<13} {:?}", self.siblings, self.end)
    }
}

/// All situations that can be had here.
#[must_use]
pub fn cases() -> Vec<Case> {
    let root = rustix::process::geteuid().is_root();
    let mut cases = Vec::new();
    for leads in [true, false] {
        for siblings in SIBLINGS {
            for as_root in [true, false].into_iter().filter(|r| root || !r) {
                for end in [End::Works, End::Rehearsal, End::Fails] {
                    // Without a loader this one is refused before any thread is stopped.
                    if siblings != "vfork" || end != End::Rehearsal {
                        cases.push(Case { leads, siblings, root: as_root, end });
                    }
                }
            }
        }
    }
    cases
}

/// Copies of the two programs where everybody may execute them.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// # Errors
    /// When they cannot be copied.
    pub fn new(host: &Path, probe: &Path) -> std::io::Result<Place> {
        let dir = std::env::temp_dir().join(format!("uexec-dethread-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let place = Place(dir);
        std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o755))?;
        for (from, name) in [(host, "host"), (probe, "probe")] {
            let to = place.path(name);
            // Written by a process of its own: nobody here may have it open when it is executed.
            let copied = Command::new("cp").arg(from).arg(&to).status()?;
            if !copied.success() {
                return Err(std::io::Error::other(format!("cp {}: {copied}", from.display())));
            }
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// One exec with so many siblings.
    ///
    /// # Errors
    /// What was not as it should be.
    pub fn try_once(&self, case: Case, siblings: usize) -> Result<(), String> {
        let way = match (case.end, case.siblings) {
            (End::Works, "vfork") => "loader",
            (End::Works, _) => "uexec",
            (End::Rehearsal, _) => "rehearse",
            (End::Fails, _) => "fail",
        };
        let missing = self.path("missing");
        let program = if case.end == End::Fails { missing } else { self.path("probe") };
        let caller = if case.leads { "leader" } else { "other" };
        let mut command = Command::new(self.path("host"));
        command.arg(way).arg(caller).arg(vec![case.siblings; siblings].join(",")).arg("-");
        command.arg(program).args(["alone", "%pid"]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if rustix::process::geteuid().is_root() && !case.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.process_group(0).spawn().map_err(|e| e.to_string())?;
        let group = rustix::process::Pid::from_child(&child);
        let ended = end_of(child);
        // Those that a sibling had waited for stay when it is gone.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let (status, said) = ended?;
        if status.success() && said.is_empty() { Ok(()) } else { Err(format!("{status} {said}")) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for the end, but not for ever.
fn end_of(mut child: std::process::Child) -> Result<(std::process::ExitStatus, String), String> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => {
                let mut said = String::new();
                let stderr = child.stderr.take();
                // A child of the old program may still have it open.
                let _ = stderr.map(|mut s| read_what_is_there(&mut s, &mut said));
                return Ok((status, said));
            }
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("hangs".to_owned());
            }
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn read_what_is_there(
    from: &mut std::process::ChildStderr,
    to: &mut String,
) -> std::io::Result<()> {
    use std::io::Read;
    rustix::io::ioctl_fionbio(&*from, true)?;
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    to.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}
