//! `uexec run --core DIR`: a parent that traces the program and keeps a core of whatever of it dies.
//! The program is a child, with an id of its own; all else is as without.

use std::path::Path;

use rustix::process::{Pid, Signal, WaitOptions};
use uexec_core::clone::CloneArgs;
use uexec_core::coredump::Options;
use uexec_linux::dump::{Dump, End, Stopped, supervise};
use uexec_linux::{Created, Start};

use super::Failure;
use super::store::{Dead, Store};
use crate::report;

/// Forks. The child comes back with `None` and is the program to be; the parent comes back when
/// that has ended, with its exit status, or does not come back when a signal killed it.
pub(crate) fn fork(dir: &Path, tree: bool) -> Result<Option<u8>, Failure> {
    // Everything that can fail comes before there is a child.
    let store =
        Store::open(dir).map_err(|e| Failure::new(format_args!("{}: {e}", dir.display())))?;
    let args = CloneArgs::fork();
    let facts = uexec_linux::clone_facts();
    let plan = uexec_core::clone::decide(&args, CloneArgs::SIZE, &facts);
    let plan = plan.map_err(|e| Failure::new(format_args!("fork: {}", e.errno())))?;
    // SAFETY: this process has one thread, so nobody holds a lock, and the child goes on as the
    // caller would have.
    let created = unsafe { uexec_linux::create(&args, &plan, Start::Return) };
    let child = match created.map_err(|e| Failure::new(format_args!("fork: {e}")))? {
        Created::Child => {
            // Until it is traced it does not outlive its parent, which alone would continue it.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
            let _ = rustix::process::set_parent_process_death_signal(None);
            return Ok(None);
        }
        Created::Parent(child) => child,
    };
    uexec_linux::dump::pass_on(child).map_err(|e| Failure::new(format_args!("pidfd: {e}")))?;
    let _ = rustix::process::waitpid(Pid::from_raw(child), WaitOptions::UNTRACED);
    let end = supervise(child, tree, &mut |stopped, tid| {
        if let Err(error) = keep(&store, stopped, tid) {
            report::say(format_args!("no core: {error}"));
        }
    })?;
    match end {
        End::Exited(status) => Ok(Some(status as u8)),
        End::Killed(signal) => uexec_linux::dump::die_by(signal),
    }
}

fn keep(store: &Store, stopped: &Stopped, tid: i32) -> Result<(), Failure> {
    let held = Stopped::held(stopped.pid(), &stopped.tids(), tid);
    let dump = Dump::of(held, None, Options::default())?;
    let mut dead = Dead::ask(stopped.pid(), dump.process.signal, None);
    dead.missing.extend(stopped.missing());
    for tid in stopped.missing() {
        report::say(format_args!("thread {tid} did not stop within 4 s, and is not in the core"));
    }
    let (path, _) = store.keep(&dead, |sink| {
        dump.write(sink, &mut |_| {})?;
        Ok(false)
    })?;
    report::say(format_args!("core kept: {}", path.display()));
    Ok(())
}
