//! What the process aside does: it serves a tree, as its tracer or as who answers for it. Decides
//! nothing.

use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use uexec_linux::tree::{Asked, Listener, Served, Tracer, Trouble};

use super::judge::{Judge, Wishes};
use crate::OWN_FAILURE;

/// Threads that answer: one goes on while the other leads a thread. More are woken in turn, and find
/// nothing of what they need in their processor's memory.
const THREADS: usize = 2;

/// Traces until all have ended.
pub(super) fn trace(tracer: Tracer, wishes: Wishes) -> u8 {
    be_quiet();
    let Some(mut judge) = Judge::new(&wishes) else { return OWN_FAILURE };
    match tracer.serve(wishes.loader(), &mut |asked| judge.judge(asked), &mut tell) {
        Ok(()) => 0,
        Err(_) => OWN_FAILURE,
    }
}

/// Answers until all have ended.
pub(super) fn answer(listener: &Listener, wishes: &Wishes) -> u8 {
    be_quiet();
    let Some(judge) = Judge::new(wishes) else { return OWN_FAILURE };
    let judge = Mutex::new(judge);
    let decide = |asked: &Asked| -> Option<Served> {
        judge.lock().unwrap_or_else(PoisonError::into_inner).judge(asked)
    };
    let Ok(loader) = listener.prepare(wishes.loader()) else { return OWN_FAILURE };
    let serve = |alone| listener.serve(&loader, alone, &mut |asked| decide(asked), &mut tell);
    std::thread::scope(|scope| {
        let start = || std::thread::Builder::new().spawn_scoped(scope, || serve(false));
        // A limit may forbid threads.
        if (0..THREADS).filter(|_| start().is_ok()).count() == 0 {
            let _ = serve(true);
        }
        listener.wait();
        // They wait for ever.
        std::process::exit(0)
    })
}

/// Nobody waits for the end of what is written to standard error.
fn be_quiet() {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
        let _ = rustix::stdio::dup2_stderr(null);
    }
}

/// Says so where the process itself would.
fn tell(Trouble { tid, errno, killed }: &Trouble) {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
    let place = format!("/proc/{tid}/fd/2");
    if let Ok(there) = rustix::fs::open(place, flags | OFlags::CLOEXEC, Mode::empty()) {
        let becomes = if *killed { "is lost, and killed" } else { "executes as by the kernel" };
        let line = format!("uexec: run --tree: process {tid} {becomes}: {errno}\n");
        let _ = rustix::io::write(there, line.as_bytes());
    }
}
