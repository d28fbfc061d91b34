//! Asks both sides about a start and compares; many starts at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use uexec_linux::Host;
use uexec_oracle::launch::Exec;
use uexec_oracle::state::State;
use uexec_oracle::trace::by_kernel;
use uexec_oracle::verdict::Verdict;
use uexec_oracle::{predict, skip};

/// What came of one comparison.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// How to have it again.
    pub(crate) name: String,
    /// What was compared.
    pub(crate) what: String,
    /// The kernel's verdict, in a word or two.
    pub(crate) verdict: String,
    /// Whether the command was asked, too.
    pub(crate) by_command: bool,
    /// Whether uexec cannot be asked here.
    pub(crate) skipped: bool,
    /// What is not equal.
    pub(crate) differences: Vec<String>,
}

/// Who is asked besides the kernel.
pub(crate) struct Sides {
    uexec: Option<PathBuf>,
    /// Everybody may run the command.
    for_others: bool,
}

impl Sides {
    /// Finds the command: the one named, or that next to this program.
    pub(crate) fn new(named: Option<PathBuf>) -> io::Result<Sides> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("uexec"));
        let uexec = named.or_else(beside).filter(|p| p.exists());
        let mut for_others = false;
        match &uexec {
            Some(path) => {
                let try_it = Exec::new(path).args(["--version"]).state(State::Ids(65_534));
                for_others = matches!(uexec_oracle::launch::run(&try_it), Ok(0));
            }
            None => skip("uexec explain", "there is no uexec beside this program"),
        }
        Ok(Sides { uexec, for_others })
    }

    /// Compares one start. `folder` takes the command's answer.
    pub(crate) fn compare(
        &self,
        exec: &Exec,
        host: &Host,
        ask_command: bool,
        folder: &Path,
    ) -> io::Result<Compared> {
        let known = exec.states.iter().all(predict::is_known);
        let uexec = self.uexec.as_deref().filter(|_| match known {
            true => ask_command && is_modest(exec),
            false => self.for_others,
        });
        // First the predictions, as nothing has happened then.
        let library = known.then(|| predict::by_library(exec, host));
        let command = match uexec {
            Some(uexec) => Some(predict::by_command(exec, uexec, &answers(folder)?)?),
            None => None,
        };
        let kernel = Verdict::of_kernel(&by_kernel(exec)?)?;
        let mut differences = Vec::new();
        for (who, prediction) in [("library", &library), ("command", &command)] {
            let Some(prediction) = prediction else { continue };
            differences
                .extend(kernel.differences(prediction).iter().map(|d| format!("{who}: {d}")));
        }
        let verdict = match &kernel {
            Verdict::Starts(_) => "starts".to_owned(),
            other => other.to_string(),
        };
        let skipped = library.is_none() && command.is_none();
        let by_command = command.is_some();
        Ok(Compared { verdict, by_command, skipped, differences, ..Compared::default() })
    }
}

/// A folder for the command's answers: outside the case's, which may be closed to it.
fn answers(folder: &Path) -> io::Result<PathBuf> {
    let mut name = folder.as_os_str().to_owned();
    name.push("-said");
    let path = std::env::current_dir()?.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Whether the command itself can be started in these states, and with some words more.
fn is_modest(exec: &Exec) -> bool {
    let size: usize = exec.argv.iter().chain(&exec.envp).map(|s| s.as_bytes().len() + 9).sum();
    // What the command is started with: READ_IMPLIES_EXEC ends at its own exec.
    let fits = |s: &State| match s {
        State::Limit(_, limit) => *limit >= 64 << 20,
        State::Personality(bits) => bits & 0x40_0000 == 0,
        _ => true,
    };
    size < 100_000 && exec.states.iter().all(fits)
}

/// Does one thing so many times, several at a time; the answers are in order.
pub(crate) fn all(
    count: u64,
    jobs: usize,
    message: &'static str,
    one: impl Fn(u64, &Host) -> io::Result<Compared> + Sync,
) -> io::Result<Vec<Compared>> {
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta:>4} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(message);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let host = Host::new();
                while !failed.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    let compared = one(i, &host)
                        .map_err(|e| io::Error::other(format!("number {i} of {message}: {e}")));
                    failed.fetch_or(compared.is_err(), Ordering::Relaxed);
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((i, compared));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, compared)| compared).collect()
}
