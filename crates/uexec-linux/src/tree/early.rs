//! New processes and threads that are seen before their creator reports them. They wait for that,
//! so that nobody is told of before his creation, unless the creator was killed in the middle of
//! it. Resumes nobody, and tells nothing.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{Event, now};

/// Nanoseconds that the creator of a new thread has to report it, if he may have been killed. He
/// is in the middle of that call, if he lives.
const PATIENCE: u64 = 200_000_000;
/// Nanoseconds in which no id is used again.
const RECENT: u64 = 1_000_000_000;

/// Those that have not been reported.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// They have stopped.
    stopped: BTreeSet<i32>,
    /// They have ended.
    ended: BTreeMap<i32, Event>,
    /// Since when (as [`now`]) the creator of one of those may have been killed before it could.
    doubt: Option<u64>,
    /// Those for whose report nobody waits any more, since when: it may be late.
    given_up: BTreeMap<i32, u64>,
}

/// What there was of a thread when it was reported.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: it is still to come.
    Nothing,
    /// It has stopped.
    Stopped,
    /// It has ended like this.
    Ended(Event),
    /// It was given up, and has gone on.
    GivenUp,
}

impl Early {
    pub(super) fn stop(&mut self, tid: i32) {
        self.stopped.insert(tid);
    }

    /// A process that nobody has reported has ended.
    pub(super) fn end(&mut self, event: Event) {
        self.ended.insert(event.tid, event);
    }

    /// A thread has ended, which may have been the creator of one of these.
    pub(super) fn doubt(&mut self, tid: i32) {
        self.stopped.remove(&tid);
        if !self.is_empty() {
            self.doubt.get_or_insert_with(now);
        }
    }

    /// A creator's report.
    pub(super) fn reported(&mut self, tid: i32, at: u64) -> Found {
        if self.given_up.remove(&tid).is_some_and(|since| at.saturating_sub(since) < RECENT) {
            return Found::GivenUp;
        }
        let found = match (self.ended.remove(&tid), self.stopped.remove(&tid)) {
            (Some(end), _) => Found::Ended(end),
            (None, true) => Found::Stopped,
            (None, false) => Found::Nothing,
        };
        if self.is_empty() {
            self.doubt = None;
        }
        found
    }

    /// Nobody waits.
    fn is_empty(&self) -> bool {
        self.stopped.is_empty() && self.ended.is_empty()
    }

    /// Somebody waits for a report that may never come.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// He has waited long enough.
    pub(super) fn is_over(&self) -> bool {
        self.doubt.is_some_and(|since| now().saturating_sub(since) > PATIENCE)
    }

    /// Gives up waiting: those that have stopped, and the ends of the others.
    pub(super) fn give_up(&mut self) -> (BTreeSet<i32>, BTreeMap<i32, Event>) {
        let at = now();
        self.doubt = None;
        let (stopped, ended) =
            (core::mem::take(&mut self.stopped), core::mem::take(&mut self.ended));
        self.given_up.retain(|_, since| at.saturating_sub(*since) < RECENT);
        self.given_up.extend(stopped.iter().chain(ended.keys()).map(|tid| (*tid, at)));
        (stopped, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Usage, What};
    use super::*;

    fn end(tid: i32) -> Event {
        let what = What::Ended { how: Ended::Exited(0), usage: Usage::default() };
        Event { at: 0, pid: tid, tid, what }
    }

    #[test]
    fn nobody_is_given_up_whose_creator_lives() {
        let mut early = Early::default();
        early.stop(5);
        assert!(!early.is_in_doubt());
        assert!(matches!(early.reported(4, now()), Found::Nothing));
        early.doubt(9);
        assert!(early.is_in_doubt() && !early.is_over());
        assert!(matches!(early.reported(5, now()), Found::Stopped));
        assert!(!early.is_in_doubt());
    }

    #[test]
    fn an_end_waits_for_the_beginning() {
        let mut early = Early::default();
        early.stop(5);
        early.end(end(5));
        early.doubt(5);
        assert!(early.is_in_doubt());
        assert!(matches!(early.reported(5, now()), Found::Ended(Event { tid: 5, .. })));
        assert!(!early.is_in_doubt());
        // Who has ended is nobody's creator.
        early.stop(6);
        early.doubt(6);
        assert!(!early.is_in_doubt());
    }

    #[test]
    fn a_late_report_is_of_somebody_known() {
        let mut early = Early::default();
        early.stop(5);
        early.end(end(6));
        early.doubt(6);
        let (stopped, ended) = early.give_up();
        assert!(stopped.contains(&5) && ended.contains_key(&6) && !early.is_in_doubt());
        assert!(matches!(early.reported(5, now()), Found::GivenUp));
        assert!(matches!(early.reported(5, now()), Found::Nothing));
        // Much later it is somebody else.
        assert!(matches!(early.reported(6, now() + 2 * RECENT), Found::Nothing));
    }
}
