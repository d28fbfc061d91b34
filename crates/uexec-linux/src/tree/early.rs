//! New processes and threads that are seen before their creator reports them. They wait for that,
//! so that nobody is told of before his creation, unless the creator was killed in the middle of
//! it. Resumes nobody, and tells nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Event, now};

/// Nanoseconds that the creator of a new thread has to report it, if he may have been killed. He
/// is in the middle of that call, if he lives.
const PATIENCE: u64 = 200_000_000;
/// Nanoseconds in which no id is used again.
const RECENT: u64 = 1_000_000_000;

/// Those that have not been reported.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// They have stopped, and when (as [`now`]).
    stopped: BTreeMap<i32, u64>,
    /// They have ended, and are known to be processes.
    ended: BTreeMap<i32, (Event, bool)>,
    /// Since when the creator of one of those may have been killed before it could.
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
        self.stopped.insert(tid, now());
    }

    /// A process that nobody has reported has ended; or a thread, if it is not `certain`.
    pub(super) fn end(&mut self, event: Event, certain: bool) {
        self.ended.insert(event.tid, (event, certain));
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
        let found = match (self.ended.remove(&tid), self.stopped.remove(&tid).is_some()) {
            (Some((end, _)), _) => Found::Ended(end),
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

    /// One of them has waited long enough.
    pub(super) fn is_over(&self) -> bool {
        let ends = self.ended.values().map(|(event, _)| event.at);
        let mut since = self.stopped.values().copied().chain(ends);
        self.doubt.is_some_and(|doubt| since.any(|since| is_long_ago(since.max(doubt))))
    }

    /// Those that have stopped and wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = i32> {
        self.stopped.keys().copied()
    }

    /// Gives up those whose creators are known to be gone, and who have waited long enough: those
    /// that have stopped, and the ends of the others.
    pub(super) fn give_up(&mut self, orphans: &[i32]) -> (Vec<i32>, Vec<Event>) {
        let at = now();
        let doubt = self.doubt.unwrap_or(at);
        let over = |since: u64| is_long_ago(since.max(doubt));
        let stopped: Vec<i32> = self
            .stopped
            .iter()
            .filter(|(tid, since)| orphans.contains(tid) || over(**since))
            .map(|(tid, _)| *tid)
            .collect();
        let ended: Vec<i32> =
            self.ended.values().filter(|(end, _)| over(end.at)).map(|(end, _)| end.tid).collect();
        self.given_up.retain(|_, since| at.saturating_sub(*since) < RECENT);
        self.given_up.extend(stopped.iter().chain(&ended).map(|tid| (*tid, at)));
        self.stopped.retain(|tid, _| !stopped.contains(tid));
        let ended = ended.iter().filter_map(|tid| self.ended.remove(tid));
        let ended = ended.filter_map(|(end, certain)| certain.then_some(end)).collect();
        if self.is_empty() {
            self.doubt = None;
        }
        (stopped, ended)
    }

    /// Gives up all of them: nobody is left who could report them.
    pub(super) fn give_up_all(&mut self) -> (Vec<i32>, Vec<Event>) {
        self.doubt = None;
        let stopped = core::mem::take(&mut self.stopped).into_keys().collect();
        let ended = core::mem::take(&mut self.ended).into_values();
        (stopped, ended.filter_map(|(end, certain)| certain.then_some(end)).collect())
    }
}

fn is_long_ago(since: u64) -> bool {
    now().saturating_sub(since) > PATIENCE
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
        early.end(end(5), true);
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
        early.stop(7);
        early.end(end(6), true);
        early.doubt(6);
        // Whose creator is gone, and nobody else: they have only just come.
        early.doubt = Some(now());
        let (stopped, ended) = early.give_up(&[5]);
        assert!(stopped == [5] && ended.is_empty() && early.is_in_doubt() && !early.is_over());
        assert!(matches!(early.reported(5, now()), Found::GivenUp));
        assert!(matches!(early.reported(5, now()), Found::Nothing));
        // All have waited long.
        early.doubt = Some(0);
        early.stopped.insert(7, 0);
        assert!(early.is_over());
        let (stopped, ended) = early.give_up(&[]);
        assert!(stopped == [7] && ended.len() == 1 && !early.is_in_doubt());
        // Much later it is somebody else.
        assert!(matches!(early.reported(6, now() + 2 * RECENT), Found::Nothing));
    }
}
