//! Spreads the deciding over the processors and puts the findings back in order.
//!
//! Holds a bounded number of programs at any time, however many there are and however long one of
//! them takes: the walk waits until there is room again.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::io::Errno;
use uexec_core::error::{Refusal, Stage};
use uexec_core::{Errno as CoreErrno, Reason};

use super::finding::{Finding, Outcome};
use super::judge::{Judge, Seat};
use super::walk::{Found, Tree};

/// Programs that are handed over at once.
const BATCH: usize = 16;
/// Batches under way.
const WINDOW: usize = 64;

/// A batch, and where its findings go.
struct Work {
    found: Vec<Found>,
    reply: SyncSender<Vec<Option<Finding>>>,
}

/// Walks `paths` and gives every finding to `sink` in the order of the walk; `None` stands for a
/// link that leads nowhere. Stops when `sink` says so.
pub(crate) fn run(
    tree: &Tree,
    paths: &[Vec<u8>],
    seats: Vec<Seat>,
    sink: &mut dyn FnMut(Option<Finding>) -> bool,
) {
    let (to_judges, work) = sync_channel::<Work>(WINDOW);
    let (to_order, order) = sync_channel(WINDOW);
    let work = &Mutex::new(work);
    std::thread::scope(|scope| {
        for seat in seats {
            scope.spawn(move || {
                let mut judge = Judge::new(seat);
                while decide_batch(work, &mut judge) {}
            });
        }
        scope.spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            tree.walk(paths, &mut |found| {
                batch.push(found);
                batch.len() < BATCH || hand_over(&mut batch, &to_order, &to_judges)
            });
            hand_over(&mut batch, &to_order, &to_judges);
        });
        // Every batch has its own way back; taking them in the order in which they were handed
        // out is all the sorting there is. Dropping `order` ends the walk, which ends the judges.
        for findings in order.into_iter().filter_map(|back: Receiver<_>| back.recv().ok()) {
            for finding in findings {
                if !sink(finding) {
                    return;
                }
            }
        }
    });
}

fn hand_over(
    batch: &mut Vec<Found>,
    to_order: &SyncSender<Receiver<Vec<Option<Finding>>>>,
    to_judges: &SyncSender<Work>,
) -> bool {
    let found = std::mem::replace(batch, Vec::with_capacity(BATCH));
    let (reply, back) = sync_channel(1);
    to_order.send(back).is_ok() && to_judges.send(Work { found, reply }).is_ok()
}

/// Takes a batch and decides it; false when there will be no more.
fn decide_batch(work: &Mutex<Receiver<Work>>, judge: &mut Judge) -> bool {
    let next = match work.lock() {
        Ok(work) => work.recv(),
        Err(_) => return false,
    };
    let Ok(Work { found, reply }) = next else { return false };
    let decide = |found| match found {
        Found::Program(path) => Some(judge.decide(path)),
        Found::Closed(path, errno) => Some(closed(path, errno)),
        Found::Dangling => None,
    };
    // Nobody waits for it when the output has failed.
    let _ = reply.send(found.into_iter().map(decide).collect());
    true
}

/// A directory that nothing can be said about.
fn closed(path: Vec<u8>, errno: Errno) -> Finding {
    let reason = Reason::Walk { errno: CoreErrno(errno.raw_os_error() as u16) };
    let mut finding = Finding::new(path, Outcome::Unreadable);
    finding.refusal = Some(Box::new(Refusal::new(Stage::Open, reason).of(&finding.path)));
    finding.format = "directory".into();
    finding
}
